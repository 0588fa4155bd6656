"""Stronger settings on offer, and the smallest one whose answer is another."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nvib.lab import Scenario, observe
from nvib.lab.share import gallery
from nvib.lab.view.flips import first_flip, in_words, stronger, strongest
from nvib.lab.view.walk import HALVINGS, STEPS
from nvib.settings import KINDS

START = Scenario(model="smollm2", text="x", protected=1)


def regularises(scenario, kind):
    """How strongly, as two numbers that grow."""
    return -getattr(scenario, f"{kind}_alpha"), getattr(scenario, f"{kind}_sigma")


@pytest.mark.parametrize("kinds", [("decoder",), KINDS])
@pytest.mark.parametrize("start", [START, replace(START, decoder_alpha=1.0, decoder_sigma=0.45, mu=0.9)])
def test_what_is_offered_is_stronger_and_comes_to_an_end(start, kinds):
    at, seen = start, set()
    while offered := stronger(at, kinds):
        for each in offered:
            assert each != at
            assert all(
                new >= old
                for kind in kinds
                for new, old in zip(regularises(each, kind), regularises(at, kind), strict=True)
            )
            assert (
                replace(
                    each, **{f"{kind}_{of}": getattr(at, f"{kind}_{of}") for kind in kinds for of in ("alpha", "sigma")}
                )
                == at
            )
        at = offered[-1]
        assert at not in seen
        seen.add(at)
    assert at == strongest(start, kinds)
    assert [stronger(at, kinds), in_words(at, kinds)] == [[], "τα −3, τσ 1" + (", τμ 0.9" if start.mu < 1 else "")]


def test_a_setting_in_words():
    assert in_words(START, KINDS) == "identity"
    assert in_words(replace(START, encoder_alpha=2.0, decoder_sigma=0.3), KINDS) == "τα 2 / identity, τσ 0 / 0.3"
    assert in_words(replace(START, decoder_alpha=-0.5), ("decoder",)) == "τα −0.5"
    assert in_words(replace(START, encoder_alpha=2.0), ("decoder",)) == "identity"


def test_the_smallest_setting_flips_and_the_one_before_it_does_not(benches):
    """On the way to the present setting where the answer flips there, else to the next stronger one."""
    bench, finest = benches("minilm"), 1 / (STEPS - 1) / 2**HALVINGS
    present = next(entry.scenario for entry in gallery.ENTRIES if entry.name == "neighbour-flips")
    for scenario in (present, present.at_identity()):
        told = []
        found = first_flip(bench, scenario, progress=told.append)
        assert told == sorted(told)
        assert 0 < told[-1] <= 1.0

        def answer(setting):
            cosines = observe(bench, setting).output.regularised - 2 * np.eye(len(bench.rows(setting.text)))
            return cosines.argmax(1).tolist()

        assert found.setting == found.towards.at_share(found.share)
        assert found.setting.text == scenario.text
        assert answer(found.setting) != answer(scenario.at_identity())
        assert answer(found.towards.at_share(found.share - finest)) == answer(scenario.at_identity())


def test_an_answer_that_never_flips(benches):
    scenario = Scenario(model="minilm", text="one\ntwo", encoder_sigma=0.1)
    assert first_flip(benches("minilm"), scenario) is None  # of two sentences each is the other's nearest


def test_ways_are_walked_in_their_order():
    class Bench:
        kinds, layers = ("decoder",), {"decoder": 2}

    walked = []

    def walk(bench, scenario, progress):
        progress(1.0)
        walked.append(in_words(scenario, bench.kinds))
        return type("Path", (), {"first_flip": 0.5 if scenario.decoder_sigma == 1.0 else None, "flip": "a → b"})

    scenario, told = replace(START, decoder_alpha=math.inf, decoder_sigma=0.3), []
    found = first_flip(Bench, scenario, walk, told.append)
    assert walked == ["τσ 0.3", "τα 2, τσ 0.6", "τα −3, τσ 1"]
    assert told == pytest.approx([1 / 3, 2 / 3, 1])
    assert (found.share, found.flip, found.setting.decoder_sigma) == (0.5, "a → b", 0.5)
