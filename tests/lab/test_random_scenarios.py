"""Random scenarios over the tiny models of all families that read text: one sentence, or numbers that are finite.

All are observed and go through the link, and one of five that a model could write for is compared and generated.
"""

import dataclasses
import math
import random
from functools import cache

import numpy as np
import pytest

from nvib import NVError
from nvib.lab import Bench, Scenario, observe
from nvib.lab.fields import ByLayer, Choice, Flag, Layers, Number, Whole
from nvib.lab.instead import Peers
from nvib.lab.scenario import FIELDS
from nvib.lab.share import link
from nvib.lab.view.comparison import compare
from nvib.lab.view.generation import generate
from nvib.lab.view.observation import Observation
from tests.support import tiny
from tests.support.counts import so_many
from tests.support.folders import WORDS, save_words

FAMILIES = [family for family in tiny.FAMILIES if family not in (*tiny.UNWRITTEN, "whisper")]
COUNT = so_many(3000, 900)  # in all
COMPARED = 5  # one of so many is compared and generated too, by a model that writes
ANSWER = 6  # tokens at most, of 64 on the page
LINES = "the cat sat on the mat\nmat the cat\non the mat the cat sat"
ODD = [
    "\u200b", "\u0301", "\x00", "🏳️‍🌈", "ส", "明天", "\n", "\r\n", "\t", "<s>", "[PAD]", "[CLS]", "&amp;", "'",
    '"', "ﬁ", "\ufeff", "\u2028", "%00", "é" * 3,
]  # fmt: skip
ABSENT = ("log_alpha", "prior_log_alpha", "distance", "kl_gaussian", "kl_dirichlet")


def text(draw, most=40):
    """Of 0 to 40 tokens: mostly words that the tokenizer knows, between them what people paste."""
    words = [draw.choice(WORDS[2:]) if draw.random() < 0.85 else draw.choice(ODD) for _ in range(draw.randint(0, most))]
    return "".join(word + draw.choice([" ", " ", " ", "", "\n"]) for word in words)


def value(draw, field):
    """A value that the field takes, small or at its ends, where its model may still have nothing of the kind."""
    takes = field.takes
    if isinstance(takes, Choice):
        return draw.choice(takes.options)
    if isinstance(takes, Flag):
        return draw.random() < 0.5
    if isinstance(takes, Whole):
        return draw.choice([takes.low, min(takes.low + 1, takes.high), draw.randint(takes.low, min(takes.high, 5))])
    if isinstance(takes, Number):
        ends = [takes.low, takes.high, *([] if takes.also is None else [takes.also])]
        near = draw.choice([0.1, 0.5, 1.0, 2.0, -1.0])
        found = [n for n in (*ends, near, near, near) if takes.holds(n)] or [field.default]
        if isinstance(takes, ByLayer) and draw.random() < 0.3:  # as many as some models have layers
            return [draw.choice(found) for _ in range(draw.choice([2, 2, 3]))]
        return draw.choice(found)
    if isinstance(takes, Peers):
        return draw.choice(["", "", "temperature:1.5", "noise:0.3", "bits:4", "dropout:0.2", "temperature:1/2",
                            "rank:1.nothing:0.5"])  # fmt: skip
    if isinstance(takes, Layers):
        return draw.choice(["", "0-0", "0-1", "1-1", "1-2", "1-9"])
    return {"head": lambda: draw.choice(["mean", "max", "0", "3", "7"]),
            "pinned": lambda: draw.choice(["", "model=g2p&decoder_sigma=0.3", "model=nothing", "x=1"]),
            "note": lambda: draw.choice(["", "Look here.", "é\n“x”"]),
            "cell": lambda: draw.choice(["", "0,0", "1,prior", "3,5", "99,1"]),
            "lens_at": lambda: draw.choice(["", "0", "2", "99"]),
            "prior_id": lambda: draw.choice(["", "0123456789ab"]),
            "uploads": lambda: draw.choice(["", "inside 120 0123456789ab corpus.txt"]),
            "grid": lambda: draw.choice(["", "mu=1,0.9", "x"]),
            "calibration_set": lambda: draw.choice(["", "words"]),
            "fit_sets": lambda: draw.choice(["", "words", "words\nproper names", "-"]),
            "measured": lambda: draw.choice(["", "bits per byte"])}.get(field.name, lambda: text(draw))()  # fmt: skip


def scenario_of(draw, model):
    chosen = [name for name in FIELDS if name not in ("model", "text", "prior_text") and draw.random() < 0.3]
    values = {name: value(draw, FIELDS[name]) for name in chosen}
    values["prior"] = draw.choice(["normal", "text", "text", values.get("prior", "text")])
    values["length"] = draw.randint(1, 3)
    known = draw.random() < 0.9
    return Scenario(model=model, text=text(draw), prior_text=LINES if known else text(draw, 8), **values)


@cache
def drawn(family):
    draw = random.Random(f"NVIB {family}")
    return [scenario_of(draw, "owner/name") for _ in range(share())]


@cache
def share():
    """How many scenarios each family has."""
    return math.ceil(COUNT / len(FAMILIES))


def arrays(record):
    for field in dataclasses.fields(record):
        held = getattr(record, field.name)
        if isinstance(held, np.ndarray) and held.dtype.kind == "f":
            yield field.name, held
        elif isinstance(held, float):
            yield field.name, np.array(held)


def finite(record):
    """Every number is, but for those that say that there is none: NaN where a layer or a side has no such thing."""
    for name, numbers in arrays(record):
        if isinstance(record, Observation) and name in ABSENT:
            numbers = numbers[~np.isnan(numbers)]
        if isinstance(record, Observation) and name == "kl_gaussian":
            numbers = numbers[numbers != np.inf]  # of a variance of 0
        assert np.isfinite(numbers).all(), name


def says_one_sentence(error):
    said = str(error)
    assert said
    assert "\n" not in said
    assert said.endswith((".", "!", "?")), said


@pytest.mark.parametrize("family", FAMILIES)
def test_random_scenarios_give_finite_numbers_or_one_sentence(family, tmp_path, monkeypatch):
    bench, shown = Bench(save_words(tmp_path, tiny.model_of(family), pad_token="[PAD]")), 0
    whole = bench.generate
    monkeypatch.setattr(bench, "generate", lambda batch, most=ANSWER, **more: whole(batch, min(most, ANSWER), **more))
    for number, made in enumerate(drawn(family)):
        scenario = dataclasses.replace(made, model=bench.loaded.name)
        try:
            seen = observe(bench, scenario)
            finite(seen)
            finite(seen.output)
            assert np.isfinite(seen.cell.weights).all()
            assert np.isfinite([seen.cell.baseline_total, seen.cell.regularised_total]).all()
            shown += 1
            if bench.mode.writes and number % COMPARED == 0:
                prior = bench.priors.of(scenario)
                assert generate(bench, scenario, prior).shape[1] <= scenario.length + 1
                for forced in compare(bench, scenario, prior).forced.values():
                    finite(forced)
        except (NVError, ValueError) as error:
            says_one_sentence(error)
    assert shown > share() / 8
    bench.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_random_scenarios_survive_the_link(family):
    for scenario in drawn(family):
        query = link.encode(scenario)
        if query is not None:
            assert link.decode(query) == (scenario, link.Made(), [])
        assert link.from_json("a.json", link.to_json(scenario, link.Made()).encode()) == (scenario, link.Made())


def test_there_are_enough_of_them():
    assert share() * len(FAMILIES) >= COUNT
