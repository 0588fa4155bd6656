"""What a field takes and how it is written."""

import math

import numpy as np
import pytest
import torch

from nvib.lab.fields import Choice, Flag, Layers, Number, Pattern, Whole, layer_range, written
from nvib.lab.scenario import FIELDS, Scenario

TAKEN = {
    "half open": (Number(0, 100, but=(0,)), [0.5, 100, 1e-9], [0, 0.0, -1, 100.1, True, "1", None, math.nan, math.inf]),
    "or infinity": (Number(-1, 1, also=math.inf), [-1, 1, math.inf], [-math.inf, 1.5, math.nan]),
    "whole": (Whole(0, 8), [0, 8], [-1, 9, 1.0, True, "1", None]),
    "flag": (Flag(), [True, False], [0, 1, "True", None]),
    "choice": (Choice(("", "a")), ["", "a"], ["b", None, 0]),
    "pattern": (Pattern("two digits", r"\d\d"), ["07"], ["7", "077", "07\n", "٣٣", 7]),
    "layers": (Layers(), ["", "0-0", "2-5", "0-999"], ["5-2", "2", "2-", "-2", "2-5 ", "2-1000", "٣-٥", 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_a_domain_holds_its_values_and_no_others(name):
    domain, inside, outside = TAKEN[name]
    assert [value for value in inside if not domain.holds(value)] == []
    assert [value for value in outside if domain.holds(value)] == []


def test_layers_are_those_from_the_first_to_the_last():
    assert layer_range("") is None
    assert list(layer_range("2-5")) == [2, 3, 4, 5]
    assert list(layer_range("7-7")) == [7]
    with pytest.raises(ValueError, match=r"layers='5-2' is no range of layers; write 2-5, or nothing for all\."):
        layer_range("5-2")


@pytest.mark.parametrize("name", FIELDS)
def test_a_default_is_legal_and_comes_back_from_its_text(name):
    field = FIELDS[name]
    assert field.takes.holds(field.default)
    assert field.parse(written(field.default)) == field.default


EACH = "or one for each layer, as 1/0.5."


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("mu", "²", "mu='²' is not a legal value; give a number from 0 to 1; " + EACH),
        (
            "decoder_alpha",
            "nan",
            f"decoder_alpha='nan' is not a legal value; give a number from -100 to 100, or inf; {EACH}",
        ),
        ("level", "1", "level='1' is not a legal value; give a number from 0 to 1 except 0 and 1."),
        ("seed", "1e3", "seed='1e3' is not a legal value; give a whole number from 0 to 999,999."),
        ("special", "yes", "special='yes' is not a legal value; give True or False."),
        ("kind", "up", "kind='up' is not a legal value; give one of nothing, encoder, cross, decoder."),
        ("layer", "9" * 60, f"layer='{'9' * 40}' is not a legal value; give a whole number from 0 to 999."),
        ("cross_layers", "2", "cross_layers='2' is not a legal value; give a range of layers such as 2-5, or nothing"),
    ],
)
def test_a_text_that_is_no_value_says_what_is(name, text, sentence):
    with pytest.raises(ValueError, match="legal") as told:
        FIELDS[name].parse(text)
    assert str(told.value).startswith(sentence)


@pytest.mark.parametrize(("name", "value"), [("mu", 2.0), ("protected", 1.5), ("special", 1), ("text", None)])
def test_a_scenario_refuses_what_its_field_does_not_take(name, value):
    with pytest.raises(ValueError, match=f"Scenario {name}={value!r} is not a legal value; give "):
        Scenario(**{name: value})


def test_numbers_of_arrays_become_what_the_field_is():
    given = Scenario(mu=np.float32(0.5), decoder_alpha=torch.tensor(2), protected=np.int64(1), special=np.False_)
    assert repr(given) == repr(Scenario(mu=0.5, decoder_alpha=2.0, protected=1, special=False))
    for field, value in (("mu", np.True_), ("mu", torch.tensor(math.nan)), ("protected", np.float64(1)), ("row", True)):
        with pytest.raises(ValueError, match=f"Scenario {field}=.* is not a legal value; give "):
            Scenario(**{field: value})


def test_whole_numbers_become_what_the_field_is():
    assert repr(Scenario(mu=0).mu) == "0.0"
    assert Scenario(mu=0) == Scenario(mu=0.0)
