"""Texts that travel in packages."""

from nvib.lab.sweep import corpora


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
