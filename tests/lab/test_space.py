"""Which settings a sweep goes through."""

import itertools
import math

import pytest

from nvib import NVError
from nvib.lab import Scenario
from nvib.lab.scenario import SWEPT
from nvib.lab.sweep.space import count, proposals, space


def go(found, search, trials=0, merit=lambda point: 0.0, seed=0):
    """The settings of a search whose merits are known."""
    proposed, seen = proposals(found, search, trials, seed), []
    point = next(proposed)
    while point is not None:
        seen.append(point)
        try:
            point = proposed.send(merit(point))
        except StopIteration:
            point = None
    return seen


G2P = Scenario(model="g2p")


def test_a_grid_is_every_combination():
    found = space(G2P, "decoder_alpha=inf,1 cross_sigma=0,0.2,0.4")
    points = go(found, "grid")
    wanted = list(itertools.product((math.inf, 1.0), (0.0, 0.2, 0.4)))
    assert [(s.decoder_alpha, s.cross_sigma) for s in points] == wanted
    assert count(found, "grid", 0) == 6


def test_what_the_grid_does_not_name_stays_and_the_view_goes():
    base = Scenario(model="smollm2", text="x", protected=1, prior="broad", layer=7, seed=3, decoder_sigma=0.1)
    (point,) = go(space(base, "decoder_alpha=1"), "grid")
    wanted = Scenario(model="smollm2", protected=1, prior="broad", decoder_sigma=0.1, decoder_alpha=1.0)
    assert point == wanted


@pytest.mark.parametrize("search", ["random", "adaptive"])
def test_a_search_stays_in_its_ranges_and_comes_again(search):
    found = space(G2P, "decoder_sigma=0.1:0.5 encoder_alpha=inf,2,1 cross_alpha=-3:4")
    points = go(found, search, 40, lambda point: -point.decoder_sigma)
    assert len(points) == 40
    assert all(0.1 <= p.decoder_sigma <= 0.5 and -3 <= p.cross_alpha <= 4 for p in points)
    assert {p.encoder_alpha for p in points} == {math.inf, 2.0, 1.0}
    assert len({p.decoder_sigma for p in points}) > 20
    assert points == go(found, search, 40, lambda point: -point.decoder_sigma)
    assert points != go(found, search, 40, lambda point: -point.decoder_sigma, seed=1)


def test_an_adaptive_search_goes_where_it_is_better():
    found = space(G2P, "decoder_sigma=0:1 cross_sigma=0:1")

    def merit(point):
        return -((point.decoder_sigma - 0.7) ** 2) - (point.cross_sigma - 0.2) ** 2

    late = [merit(p) for p in go(found, "adaptive", 60, merit)[30:]]
    chance = [merit(p) for p in go(found, "random", 60, merit)[30:]]
    assert sum(late) / 30 > sum(chance) / 30 + 0.05  # over the square, chance is -0.3 on average


def test_a_merit_that_is_no_number_does_not_stop_it():
    found = space(G2P, "decoder_sigma=0:1")
    assert len(go(found, "adaptive", 20, lambda point: math.nan if point.decoder_sigma > 0.5 else 0.0)) == 20


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("", "is empty"),
        ("nonsense=1", "'nonsense' is not a control that a sweep varies"),
        ("seed=1,2", "'seed' is not"),
        ("text=x", "'text' is not"),
        ("mu=2", "The grid's mu='2' is not a legal value; give a number from 0 to 1"),
        ("mu", "mu='' is not a legal"),
        ("decoder_sigma=0.5:0.1", "decoder_sigma=0.5:0.1 is no range; write the lower number first"),
        ("decoder_sigma=0:x", "'x' is not a legal"),
        ("decoder_alpha=0:inf", "is no range"),
        ("mu=1 mu=0.5", "The grid names 'mu' twice; join its values with commas"),
    ],
)
def test_a_grid_that_is_none_is_one_sentence(spec, sentence):
    with pytest.raises(NVError, match=sentence) as error:
        space(G2P, spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "search", "trials", "sentence"),
    [
        ("decoder_sigma=0:1", "grid", 5, "decoder_sigma is a range"),
        ("mu=1", "best", 5, "There is no search 'best'; choose grid, random, adaptive"),
        ("mu=1", "random", 0, "has 0 points"),
        ("mu=1", "adaptive", 20_000, "20,000 points"),
        (
            "decoder_sigma="
            + ",".join(f"0.{n:03}" for n in range(101))
            + " cross_sigma="
            + ",".join(f"0.{n:03}" for n in range(101)),
            "grid",
            5,
            "The sweep has 10,201 points; it takes 1 to 10,000",
        ),
    ],
)
def test_a_search_that_cannot_be_is_one_sentence(spec, search, trials, sentence):
    with pytest.raises(NVError, match=sentence):
        count(space(G2P, spec), search, trials)


def test_layers_and_priors_are_varied_too():
    points = go(space(Scenario(model="smollm2"), "decoder_layers=0-9,10-29 prior=shipped,broad protected=0,1"), "grid")
    assert len(points) == 8
    assert {p.decoder_layers for p in points} == {"0-9", "10-29"}
    assert "decoder_layers" in SWEPT
