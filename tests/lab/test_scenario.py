"""A scenario and its fields."""

import math
from dataclasses import replace

import pytest

from nvib.lab import Scenario
from nvib.lab.scenario import SWEPT, bounds, options


def test_a_share_of_a_setting_without_prior_has_no_shift():
    half = Scenario(decoder_sigma=0.4, mu=0.8).at_share(0.5)
    assert half == Scenario(decoder_sigma=0.2, mu=0.9)


ODD = Scenario(
    model="g2p", text="cat", decoder_sigma=0.4, cross_alpha=2.0, mu=0.8, pseudo_count_shift=-1.0, protected=2,
    prior="normal", cross_layers="0-0", kind="cross", layer=1, seed=5, grid="mu=1",
)  # fmt: skip


def test_half_way_the_odds_of_the_prior_are_halved():
    half = ODD.at_share(0.5)
    assert half.decoder_sigma == pytest.approx(0.2)
    assert half.mu == pytest.approx(0.9)
    assert math.exp(half.pseudo_count_shift) == pytest.approx(math.exp(ODD.pseudo_count_shift) / 2)
    assert half.cross_alpha == ODD.cross_alpha


@pytest.mark.parametrize(
    ("share", "reached"), [(0.0, ODD.at_identity()), (-1.0, ODD.at_identity()), (1.0, ODD), (2.0, ODD)]
)
def test_the_ends_of_the_way(share, reached):
    assert ODD.at_share(share) == reached


def test_identity_keeps_the_view_the_prior_and_the_protected_tokens():
    found = ODD.at_identity()
    assert found.regularisation({"cross": 1}).is_identity
    assert not ODD.regularisation({"cross": 1}).is_identity
    assert (found.protected, found.prior, found.kind, found.layer, found.seed) == (2, "normal", "cross", 1, 5)
    assert (found.mu, found.pseudo_count_shift, found.cross_layers) == (1.0, 0.0, "")


def test_two_views_of_one_run_are_one_without_their_view():
    other = replace(ODD, kind="encoder", layer=0, seed=6, grid="")
    assert ODD.without_view() == other.without_view() != replace(ODD, mu=0.7).without_view()
    assert set(ODD.without_view().changed()) == {
        "model", "text", "decoder_sigma", "cross_alpha", "mu", "pseudo_count_shift", "protected", "prior",
        "cross_layers",
    }  # fmt: skip


def test_layers_that_are_not_named_are_all_of_a_kind():
    setting = ODD.regularisation({"encoder": 2, "cross": 3, "decoder": 3})
    chosen = {kind: [setting.selects(kind, n) for n in range(3)] for kind in ("encoder", "cross", "decoder")}
    assert chosen == {"encoder": [True, True, False], "cross": [True, False, False], "decoder": [True] * 3}
    assert replace(ODD, cross_layers="").regularisation().layers is None


def test_a_setting_is_swept_and_a_view_is_not():
    assert {"mu", "decoder_alpha", "prior", "protected", "cross_layers"} <= set(SWEPT)
    assert not {"text", "model", "seed", "layer", "effect", "prior_text", "prior_id"} & set(SWEPT)
    assert options("effect") == ("total", "local")
    assert bounds("length") == (1, 200)
