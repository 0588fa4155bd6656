"""Temperatures and regularisations: what they take, what is neutral, and one sentence for the rest."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

import nvib
from nvib import Regularisation, Temperature


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"alpha": True}, "Temperature alpha=True is not a number; pass a number."),
        ({"sigma": "0.1"}, "Temperature sigma='0.1' is not a number; pass a number."),
        ({"mu": None}, "Temperature mu=None is not a number; pass a number."),
        ({"alpha": math.nan}, "Temperature alpha=nan is out of range; pass a finite number or +inf."),
        ({"alpha": -math.inf}, "Temperature alpha=-inf is out of range; pass a finite number or +inf."),
        ({"sigma": -0.1}, "Temperature sigma=-0.1 is out of range; pass a finite number >= 0."),
        ({"sigma": math.inf}, "Temperature sigma=inf is out of range; pass a finite number >= 0."),
        ({"sigma": math.nan}, "Temperature sigma=nan is out of range; pass a finite number >= 0."),
        ({"mu": 1.01}, "Temperature mu=1.01 is out of range; pass a number from 0 to 1."),
        ({"mu": math.nan}, "Temperature mu=nan is out of range; pass a number from 0 to 1."),
    ],
)
def test_a_temperature_that_is_none_is_one_sentence(values, sentence):
    with pytest.raises(ValueError, match="Temperature") as told:
        Temperature(**values)
    assert str(told.value) == sentence


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"decoder": 0.5}, "Regularisation decoder=0.5 is not a Temperature; pass one."),
        ({"protected": -1}, "Regularisation protected=-1 must be a whole number >= 0."),
        ({"protected": 1.0}, "Regularisation protected=1.0 must be a whole number >= 0."),
        ({"protected": True}, "Regularisation protected=True must be a whole number >= 0."),
        ({"exact_posterior": 1}, "Regularisation exact_posterior=1 must be True or False."),
        ({"prior_mean_scale": math.inf}, "Regularisation prior_mean_scale=inf must be a finite number."),
        ({"pseudo_count_shift": math.nan}, "Regularisation pseudo_count_shift=nan must be a finite number."),
        ({"prior_variance_scale": 0.0}, "Regularisation prior_variance_scale=0.0 must be a finite number > 0."),
        ({"layers": {"up": {0}}}, "Regularisation layers names 'up'; the kinds are encoder, cross, decoder."),
        ({"layers": {"cross": [-1]}}, "Regularisation layers['cross']=[-1] must hold layer numbers >= 0."),
        ({"layers": {"cross": [True]}}, "Regularisation layers['cross']=[True] must hold layer numbers >= 0."),
        ({"layers": {"cross": 1}}, "Regularisation layers['cross']=1 must hold layer numbers >= 0."),
        ({"layers": {"cross": [1.0]}}, "Regularisation layers['cross']=[1.0] must hold layer numbers >= 0."),
        ({"layers": [0, 1]}, 'Regularisation layers=[0, 1] must name kinds, as {"decoder": {0, 1}}.'),
        ({"prior_mean_scale": True}, "Regularisation prior_mean_scale=True must be a finite number."),
        ({"pseudo_count_shift": "1"}, "Regularisation pseudo_count_shift='1' must be a finite number."),
    ],
)
def test_a_regularisation_that_is_none_is_one_sentence(values, sentence):
    with pytest.raises(ValueError, match="Regularisation") as told:
        Regularisation(**values)
    assert str(told.value) == sentence


def test_whole_numbers_are_temperatures_too():
    assert Temperature(alpha=1, sigma=0, mu=1) == Temperature(alpha=1.0)
    assert isinstance(Temperature(alpha=1).alpha, float)


ONES = [np.float32(1), np.float16(1), np.int64(1), np.uint8(1), np.array(1.0), torch.tensor(1.0), torch.tensor(1),
        torch.tensor(1.0, dtype=torch.bfloat16), torch.tensor(1.0, requires_grad=True), Fraction(1),
        Decimal(1)]  # fmt: skip
NONE = [True, np.True_, torch.tensor(True), "1", None, [[1.0]], np.ones((1, 1)), torch.ones(1, 1), 1j,
        np.complex64(1), 10**400, Fraction(10**400), Decimal("sNaN"), np.datetime64(1, "s"), np.str_("1")]  # fmt: skip


@pytest.mark.parametrize("one", ONES, ids=repr)
def test_every_real_scalar_is_a_number(one):
    assert Temperature(one, one, one) == Temperature(1.0, 1.0, 1.0)
    assert {type(value) for value in vars(Temperature(one, one, one)).values()} == {float}
    scales = {"prior_mean_scale": one, "prior_variance_scale": one, "pseudo_count_shift": one}
    made = Regularisation(**scales)
    assert made == Regularisation(pseudo_count_shift=1.0)
    assert {type(getattr(made, name)) for name in scales} == {float}


@pytest.mark.parametrize("none", NONE, ids=repr)
def test_what_is_no_real_scalar_is_no_number(none):
    for field in ("alpha", "sigma", "mu"):
        with pytest.raises(ValueError, match=f"Temperature {field}=.* is not a number; pass a number"):
            Temperature(**{field: none})
    for field in ("prior_mean_scale", "prior_variance_scale", "pseudo_count_shift"):
        with pytest.raises(ValueError, match=f"Regularisation {field}=.* must be a finite number"):
            Regularisation(**{field: none})


def test_not_a_number_is_none_whoever_made_it():
    for nan in (np.float32("nan"), torch.tensor(math.nan), Decimal("NaN")):
        with pytest.raises(ValueError, match="Temperature alpha=nan is out of range"):
            Temperature(alpha=nan)


@pytest.mark.parametrize(
    "numbers", [np.arange(3), torch.arange(3), range(3), {np.int8(0), 1, 2}, [torch.tensor(2), 0, 1]], ids=repr
)
def test_every_set_of_whole_numbers_names_layers(numbers):
    assert Regularisation(layers={"decoder": numbers}) == Regularisation(layers={"decoder": {0, 1, 2}})


def test_numbers_that_come_one_by_one_name_layers_too():
    assert Regularisation(layers={"decoder": (n for n in range(3))}).layers == {"decoder": {0, 1, 2}}


def test_whole_numbers_and_truth_values_of_arrays():
    made = Regularisation(protected=np.int64(2), exact_posterior=np.True_)
    assert repr(made) == repr(Regularisation(protected=2, exact_posterior=True))
    for wrong in (np.float32(2), np.True_, np.arange(2)):
        with pytest.raises(ValueError, match="must be a whole number >= 0"):
            Regularisation(protected=wrong)


def test_the_defaults_are_identity_and_nothing_else_is():
    assert Temperature().is_identity
    assert not Temperature().has_prior
    for values in ({"alpha": 100.0}, {"sigma": 1e-9}, {"mu": 0.999}):
        assert not Temperature(**values).is_identity
        for kind in nvib.KINDS:
            assert not Regularisation(**{kind: Temperature(**values)}).is_identity
    assert Regularisation(protected=3, prior_mean_scale=2.0).is_identity  # scales of a prior that takes no part


def test_a_kind_that_is_not_named_is_left_alone():
    chosen = Regularisation(layers={"decoder": [1, 2, 2]})
    assert [chosen.selects("decoder", layer) for layer in range(4)] == [False, True, True, False]
    assert not chosen.selects("cross", 1)
    assert all(Regularisation().selects(kind, layer) for kind in nvib.KINDS for layer in (0, 99))
    assert not Regularisation(layers={}).selects("encoder", 0)


def test_settings_that_agree_are_equal_and_have_one_hash():
    one, same = (Regularisation(layers={"cross": numbers}, protected=1) for numbers in ([0, 1], (1, 0, 1)))
    assert one == same
    assert len({one, same, Regularisation(layers={"cross": [0]}, protected=1)}) == 2
