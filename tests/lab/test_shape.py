"""The separate inputs in a text."""

import pytest

from nvib import NVError
from nvib.lab.model.shape import MAX_CHARACTERS, MAX_ROWS, Shape

KINDS = {"smollm2": ("decoder",), "minilm": ("encoder",), "g2p": ("encoder", "cross", "decoder")}


def shape(name, kinds=None):
    found = kinds or KINDS[name]
    return Shape(name, "1", found, dict.fromkeys(found, 2), 4, True, "", "cpu", "float32")


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("smollm2", [" knight  debt\n\nhonest \n"]),
        ("minilm", ["knight  debt", "honest"]),
        ("g2p", ["knight", "debt", "honest"]),
    ],
)
def test_a_text_is_taken_as_the_model_takes_it(name, rows):
    assert shape(name).rows(" knight  debt\n\nhonest \n") == rows


def test_only_a_model_of_the_catalogue_takes_words():
    assert shape("owner/model", KINDS["g2p"]).rows("one two") == ["one two"]
    assert shape("owner/model", KINDS["g2p"]).symbols == "text"
    assert shape("g2p").symbols == "phonemes"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("smollm2", "x" * (MAX_CHARACTERS + 1), "The text has 20,001 characters; shorten it to 20,000 or fewer."),
        ("smollm2", " \n", "The text is empty; type one, or choose an example."),
        ("minilm", "a b\n" * (MAX_ROWS + 1), "The text has 33 lines; shorten it to 32 lines or fewer."),
        ("g2p", "a " * (MAX_ROWS + 1), "The text has 33 words; shorten it to 32 words or fewer."),
    ],
)
def test_a_text_that_is_none_or_too_much_is_one_sentence(name, text, sentence):
    with pytest.raises(NVError) as told:
        shape(name).rows(text)
    assert str(told.value) == sentence


def test_as_many_as_there_may_be():
    assert len(shape("minilm").rows("a b\n" * MAX_ROWS)) == MAX_ROWS
    assert shape("smollm2").rows("x" * MAX_CHARACTERS) == ["x" * MAX_CHARACTERS]
