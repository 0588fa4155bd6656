"""Write the parts of docs/ that the code knows best: fields, options, families, the map of modules.

Run: make docs
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

from nvib import families
from nvib.lab import cli
from nvib.lab.fields import Field, written
from nvib.lab.scenario import FIELDS
from nvib.show import limits
from tests.support.folders import ROOT

DOCS = ROOT / "docs"
MODES = ("private", "public")
BEGIN, END = "<!-- made by tests/support/docs.py: {} -->", "<!-- end -->"
# Every room of the house, its folder's modules without those of the rooms in it.
ROOMS = {
    "core": "nvib",
    "models": "nvib/models",
    "lab": "nvib/lab",
    "lab/model": "nvib/lab/model",
    "lab/view": "nvib/lab/view",
    "lab/sweep": "nvib/lab/sweep",
    "lab/share": "nvib/lab/share",
    "show": "nvib/show",
    "show/figures": "nvib/show/figures",
    "show/components": "nvib/show/components",
    "show/sections": "nvib/show/sections",
    "pages": "pages",
}


def main() -> None:
    """Write every part anew."""
    for path, text in documents().items():
        path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))


def documents() -> dict[Path, str]:
    """The pages that have such parts, as they should be."""
    parts = {
        DOCS / "scenario.md": {field.group: of_group(field.group) for field in FIELDS.values()},
        DOCS / "command-line.md": {name: of_verb(verb) for name, verb in verbs().items() if verb._actions},
        DOCS / "serving.md": {"limits": of_limits()},
        DOCS / "families.md": {"families": of_families(), "refused": of_refused()},
        DOCS / "architecture.md": {room: of_room(folder) for room, folder in ROOMS.items()},
    }
    return {path: _filled(path.read_text("utf-8"), tables) for path, tables in parts.items()}


def _filled(text: str, tables: dict[str, str]) -> str:
    """A page with each of its parts made anew. Raises ValueError for a part that the page lacks."""
    for name, made in tables.items():
        before, begin, rest = text.partition(BEGIN.format(name))
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise ValueError(f"The page has no place for {name!r}; write {BEGIN.format(name)} and {END}.")
        text = f"{before}{begin}\n{made}\n{end}{after}"
    return text


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# The scenario


def of_group(group: str) -> str:
    """The fields of one group."""
    rows = (
        [
            f"`{name}`",
            f"`{cli.option(name)}`",
            field.takes.words,
            default(field),
            "yes" if field.swept else "",
            field.help,
        ]
        for name, field in FIELDS.items()
        if field.group == group
    )
    return table(("field", "option", "takes", "default", "swept", "meaning"), rows)


def default(field: Field) -> str:
    """A field's default as links and the command line write it."""
    return f"`{written(field.default)}`" if field.default != "" else "nothing"


# The command line


def verbs() -> dict[str, argparse.ArgumentParser]:
    """The parser of each verb."""
    (found,) = (action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def of_verb(verb: argparse.ArgumentParser) -> str:
    """The options of a verb; a scenario's fields stand on a page of their own, and here in one line."""
    fields = {cli.option(name) for name in FIELDS}
    known, of_scenario = [], []
    for action in verb._actions:
        name = spelled(action)
        if verb.prog.endswith(" observe") and name in fields:
            of_scenario.append(f"`{name}`")
        elif name != "--help":
            known.append([_with_value(action, name), _default(action), (action.help or "").replace("%%", "%")])
    made = table(("option", "default", "meaning"), known)
    return made + (f"\n\nAnd every field of a scenario: {', '.join(of_scenario)}." if of_scenario else "")


def spelled(action: argparse.Action) -> str:
    """What one writes: "--out", or the name of what stands without an option."""
    return action.option_strings[-1] if action.option_strings else str(action.metavar)


def _with_value(action: argparse.Action, name: str) -> str:
    value = action.metavar or action.dest.upper()
    return f"`{name}`" if action.nargs == 0 or name == value else f"`{name} {value}`"


def _default(action: argparse.Action) -> str:
    if action.required:
        return "must be given"
    return "" if action.default in (None, False) else f"`{action.default}`"


# The families

WRITTEN = {  # where a family is not written as its class is, or better known by another's name
    "Bert": "BERT", "Roberta": "RoBERTa", "XLMRoberta": "XLM-RoBERTa", "Camembert": "CamemBERT", "Electra": "ELECTRA",
    "Albert": "ALBERT", "DistilBert": "DistilBERT", "ModernBert": "ModernBERT", "Bart": "BART", "MBart": "mBART",
    "M2M100": "M2M100, NLLB", "MT5": "mT5", "GPT2": "GPT-2", "Mistral": "Mistral", "Qwen2Moe": "Qwen2-MoE",
    "Qwen3Moe": "Qwen3-MoE", "Phi3": "Phi-3", "GPTNeoX": "GPT-NeoX, Pythia", "Olmo": "OLMo", "Olmo2": "OLMo-2",
    "Starcoder2": "StarCoder2", "StableLm": "StableLM", "Dinov2": "DINOv2", "CLIP": "CLIP (each tower)",
    "Siglip": "SigLIP (each tower)", "Wav2Vec2": "wav2vec2", "Hubert": "HuBERT", "GptOss": "gpt-oss",
}  # fmt: skip
HALVES = "rotary, i with i + w/2"
POSITIONS = {None: "", "halves": HALVES, "once": HALVES, "pairs": "rotary, 2i with 2i + 1"}


def of_families() -> str:
    """Every family of `ADAPTERS`: what its projections are called, how it rotates, what is special."""
    rows: dict[str, list[str]] = {}
    for name, adapter in families.ADAPTERS.items():
        family = re.sub("(Self|Cross)?Attention$", "", name)
        projections = [adapter.key] if adapter.fused else [adapter.key, adapter.value]
        rows[family] = [
            WRITTEN.get(family, family),
            f"`{name}`" if family not in rows else f"{rows[family][1]}, `{name}`",
            ", ".join(f"`{part}`" for part in projections) + (f" (fused: {adapter.fused})" if adapter.fused else ""),
            POSITIONS[adapter.rotary],
            f"experimental: `{adapter.norm}`" if adapter.norm else "",
        ]
    return table(("family", "attention class", "key and value projections", "positions", "state"), rows.values())


def of_refused() -> str:
    """What is refused by name, with the reason that is told."""
    return table(("attention class", "why"), ([f"`{name}`", why] for name, why in families.REFUSED.items()))


# The map


def of_limits() -> str:
    """What one server gives, a variable a row."""
    rows = (
        (f"`{limits.variable(each.name)}`", *(_code(each.metadata[mode]) for mode in MODES), each.metadata["says"])
        for each in fields(limits.Limits)
    )
    return table(("variable", *(f"unless set, {mode}" for mode in MODES), "means"), rows)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def of_room(folder: str) -> str:
    """The modules of one folder, each with what it says of itself first."""
    return table(("module", "holds"), ([f"`{name}`", said] for name, said in modules(folder)))


def modules(folder: str) -> Iterator[tuple[str, str]]:
    """Every module of a folder, and of a component's, by its path from there; one that says nothing is its folder."""
    place = ROOT / folder
    paths = sorted(place.glob("*.py"))
    if place.name == "components":
        paths += sorted(place.glob("*/*.py"))
    if folder == "pages":
        paths = [ROOT / "app.py", *paths]
    for path in paths:
        said = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]
        if said:
            yield path.relative_to(place if path.is_relative_to(place) else ROOT).as_posix(), said


if __name__ == "__main__":
    main()
