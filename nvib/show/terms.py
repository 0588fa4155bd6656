"""The terms that the pages explain where they stand: each by how the pages spell it, with what the glossary says."""

from __future__ import annotations

import re
from functools import cache

from nvib import assets

# By the glossary's term, every form in which a page has it; upper case and lower are the same.
SPELLED = {
    "attention on the prior, prior mass": ("attention on the prior", "prior mass", "mass on the prior"),
    "attention sink": ("attention sink", "attention sinks", "sink"),
    "baseline": ("baseline",),
    "component": ("prior component", "component", "components"),
    "Dirichlet mean weight": ("Dirichlet weights", "Dirichlet mean weight", "E[π]", "E[πₙ]"),
    "distance to the prior": ("distance to the prior", "distances to the prior"),
    "edits": ("edit operations", "edits"),
    "effect": ("local effect", "total effect"),
    "effective number of vectors": ("effective number of vectors", "effective number"),
    "entropy": ("entropy",),
    "first flip": ("first flip",),
    "head": ("head", "heads"),
    "identity": ("identity",),
    "Jensen–Shannon distance": ("Jensen–Shannon distance", "Jensen–Shannon distances"),
    "Jensen–Shannon divergence": ("Jensen–Shannon divergence",),
    "kept tokens": ("kept tokens",),
    "key": ("key", "keys"),
    "KL": ("KL(baseline ‖ NV)", "KL"),
    "KL to the prior": ("KL to the prior", "KL of the posterior to the prior"),
    "learned sink": ("learned sink", "learned sinks"),
    "log p": ("log p",),
    "log pseudo-count": ("log α", "log pseudo-count"),
    "mean temperature": ("τμ", "mean temperature", "mean temperatures"),
    "NV": ("NV",),
    "posterior": ("posterior",),
    "prior": ("prior",),
    "prior scales": ("scales of the prior",),
    "protected first tokens": ("protected first tokens", "protected tokens", "first token protected"),
    "pseudo-count": ("pseudo-count", "pseudo-counts"),
    "pseudo-count temperature": ("τα", "pseudo-count temperature"),
    "query": ("query", "queries"),
    "temperature": ("temperature", "temperatures"),
    "token": ("token", "tokens"),
    "variance temperature": ("τσ", "variance temperature"),
}


@cache
def glossary() -> dict[str, tuple[str, str]]:
    """Symbol and meaning of every term of docs/glossary.md, as plain text. Raises NVError where the file is missing."""
    found = {}
    for line in assets.shipped("docs", "glossary.md").read_text("utf-8").splitlines():
        if line.startswith("| ") and not line.startswith(("| term ", "| --")):
            term, symbol, meaning, *_ = (cell.strip() for cell in line.strip("|").split("|"))
            found[term] = symbol, _plain(meaning)
    return found


def _plain(text: str) -> str:
    """Text without the marks of Markdown."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("**", "").replace("`", "")


def explained(term: str) -> str:
    """A term in words, its symbol behind them."""
    symbol, meaning = glossary()[term]
    return f"{term[0].upper()}{term[1:]}: {meaning}.{f' Written {symbol}.' if symbol else ''}"


@cache
def forms() -> dict[str, str]:
    """What each spelled form is explained by."""
    return {form: explained(term) for term, spelled in SPELLED.items() for form in spelled}
