"""Short scenarios of the embedded models, and their float64 results."""

import copy
import sqlite3
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache

import numpy as np
import pytest

from nvib.lab import EXAMPLES, Scenario
from nvib.lab.share import gallery
from nvib.lab.sweep.measures import ERRORS, Example, Measure
from nvib.lab.sweep.run import Plan
from nvib.lab.sweep.space import space
from nvib.lab.sweep.tasks import Task, task
from tests.support import textbook

SHORT = {
    "smollm2": replace(EXAMPLES["smollm2"], text="The treaty was not", layer=2, head="3", pseudo_count_shift=1.0),
    "minilm": replace(EXAMPLES["minilm"], text="A good film.\nA bad film today.", layer=3, row=1, mu=0.8),
    "g2p": replace(EXAMPLES["g2p"], text="Lausanne\nknight", kind="cross", row=1),
}


def textbook_setting(scenario):
    kinds = textbook.KINDS
    return {
        "mu": scenario.mu,
        "alpha": {kind: getattr(scenario, f"{kind}_alpha") for kind in kinds},
        "sigma": {kind: getattr(scenario, f"{kind}_sigma") for kind in kinds},
        "protected": scenario.protected,
        "prior_mean_scale": scenario.prior_mean_scale,
        "prior_variance_scale": scenario.prior_variance_scale,
        "pseudo_count_shift": scenario.pseudo_count_shift,
        "layers": textbook_layers(scenario),
    }


def textbook_layers(scenario):
    ranges = {kind: getattr(scenario, f"{kind}_layers").split("-") for kind in textbook.KINDS}
    if all(part == [""] for part in ranges.values()):
        return None
    return {k: range(99) if r == [""] else range(int(r[0]), int(r[1]) + 1) for k, r in ranges.items()}


def by_hand(attention, queries, keys):
    """The sum of the attention to each group of keys, the mean of the attention from each group of queries."""
    out = np.zeros((len(queries), 1 + len(keys)))
    for i, rows in enumerate(queries):
        for row in rows:
            out[i, 0] += attention[row, 0] / len(rows)
            for j, columns in enumerate(keys):
                out[i, 1 + j] += sum(attention[row, 1 + c] for c in columns) / len(rows)
    return out


def exact(bench, scenario):
    """Inputs of the viewed row alone, its untouched and its regularised float64 results."""
    return _exact(bench, replace(scenario.without_view(), row=scenario.row))


@lru_cache(8)
def _exact(bench, scenario):
    row = bench.encode([bench.rows(scenario.text)[scenario.row]])
    inputs = dict(row)
    if bench.mode.answers:
        ids = bench.model.generate(**row, do_sample=False, max_new_tokens=62)
        inputs["decoder_input_ids"] = ids[:, :-1]
    inputs = {k: v.clone() for k, v in inputs.items()}
    model = copy.deepcopy(bench.model)
    for module in model.modules():
        module._forward_pre_hooks.clear()
        module._forward_pre_hooks_with_kwargs.clear()
    prior = bench.loaded.prior.state_dict()
    untouched = textbook.run(model, inputs, prior, textbook.IDENTITY)
    return inputs, untouched, textbook.run(model, inputs, prior, textbook_setting(scenario))


CORPUS = ["The cat sat on the mat.", "It rained all day in the city.", "Nobody knew why the train was late again."]


def small():
    return task("phonemes", 8)


def plan_of(spec, search="grid", trials=0, model="g2p", chosen_task=None):
    return Plan(chosen_task or small(), space(Scenario(model=model), spec), search, trials)


def contents(path):
    """The rows of a sweep's file."""
    with sqlite3.connect(path) as db:
        return db.execute("select * from sums order by point, name, part, example").fetchall()


class Known:
    """A measure whose sums are made up, so that what is best is known; it counts its calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, bench, examples):
        self.calls.append(len(examples))
        setting = bench.setting
        better = (setting.decoder_sigma - 0.3) ** 2 if setting.decoder_sigma else 0.5
        return np.array([[len(example.text) * (1 + better), 10.0] for example in examples])


class Pretended:
    """A bench that runs nothing: it only knows what it was set to."""

    def __init__(self, shape):
        self.shape = shape
        self.setting = Scenario()
        self.priors = self

    def of(self, scenario):
        """As `Priors.of`."""
        return scenario

    @contextmanager
    def under(self, scenario, prior):
        """As `Bench.under`."""
        self.setting = scenario
        yield
        self.setting = Scenario()


def pretended(benches, known):
    sets = {name: [Example("x" * n) for n in range(1, 9)] for name in ("in", "out")}
    made = Task("made up", "g2p", Measure(known, (ERRORS,)), sets, ("in",), "")
    return Pretended(benches("g2p").shape), made


MODELS = ["smollm2", "minilm", "g2p"]


ENTRIES = pytest.mark.parametrize("entry", gallery.ENTRIES, ids=lambda entry: entry.name)


def assert_same(a, b, relative=0.0, absolute=0.0):
    """Two dataclasses, field by field; relative, absolute: how far their numbers may be apart."""
    for f in fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if is_dataclass(x):
            assert type(x) is type(y)
            assert_same(x, y, relative, absolute)
        elif isinstance(x, np.ndarray):
            assert x.shape == y.shape
            np.testing.assert_allclose(y, x, rtol=relative, atol=absolute, err_msg=f.name)
        elif isinstance(x, float):
            assert y == pytest.approx(x, rel=relative, abs=absolute)
        else:
            assert x == y, f.name


TREATY = replace(EXAMPLES["smollm2"], length=6)


LONG = {
    "smollm2": "Antidisestablishmentarianism was\nunbelievably unpopular",
    "minilm": "Antidisestablishmentarianism, unbelievably.\nA pteranodon's transubstantiation today.",
    "g2p": "knight\nLausanne",
}


def groups(found):
    return [np.flatnonzero(found == n) for n in range(found.max() + 1)]
