"""The terms of the pages are those of the glossary, words before the formula, and none has two meanings."""

import re

import pytest

from nvib.show import terms
from tests.support.folders import ROOT


@pytest.mark.parametrize("term", terms.SPELLED)
def test_a_term_is_explained_in_words_first(term):
    symbol, meaning = terms.glossary()[term]
    said = terms.explained(term)
    assert re.match(r"[A-Za-zτ–, -]+: ([a-z]|Kullback)", said)
    assert meaning in said
    assert not re.search(r"[*`\[\]]", said.removesuffix(f"Written {symbol}.").replace("E[π]", ""))
    assert said.endswith(f". Written {symbol}." if symbol else ".")
    assert len(said) < 420
    line = next(line for line in (ROOT / "docs" / "glossary.md").read_text("utf-8").splitlines()
                if line.startswith(f"| {term} |"))  # fmt: skip
    assert line.split("|")[2].strip() == symbol


def test_no_form_is_of_two_terms():
    spelled = [form.lower() for forms in terms.SPELLED.values() for form in forms]
    assert len(spelled) == len(set(spelled))
    assert set(terms.forms()) == {form for forms in terms.SPELLED.values() for form in forms}


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("pseudo-counts", "how much a layer counts on a token"),
        ("prior mass", "the weight that queries give to the prior component"),
        ("τα", "how far above the prior's a token's pseudo-count starts"),
        ("KL", "Kullback–Leibler divergence"),
        ("Jensen–Shannon divergence", "in nats"),
        ("Jensen–Shannon distance", "0 equal, 1 disjoint, without unit"),
        ("local effect", "the output stays the baseline's"),
        ("tokens", "a dot · stands for a space"),
    ],
)
def test_what_a_newcomer_asks_for_is_explained(form, words):
    assert words in terms.forms()[form]
