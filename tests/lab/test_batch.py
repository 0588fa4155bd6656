"""The same comparison for a list of texts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nvib import NVError
from nvib.lab import EXAMPLES, Bench, Scenario, observe
from nvib.lab.view import outputs
from nvib.lab.view.batch import MOST_ROWS, answers_changed, as_table, entries, go_through, summary
from nvib.lab.view.comparison import force, reference_ids
from tests.support import tiny
from tests.support.folders import save


@pytest.mark.parametrize("name", ["smollm2", "minilm", "g2p"])
def test_a_list_is_the_same_comparison_for_each_text(name, benches):
    bench, scenario = benches(name), replace(EXAMPLES[name], length=5)
    prior = bench.priors.of(scenario)
    lines = ["knight debt", "psychology" if name != "smollm2" else "the cat\tsat", "x " * 3000, "island"]
    rows = list(go_through(bench, scenario, prior, entries("\n".join(lines))))
    assert [bool(row.problem) for row in rows] == [False, False, True, False]
    assert "\n" not in rows[2].problem
    one = observe(bench, replace(scenario, text="knight debt", row=0)).output
    found = rows[0].columns
    if name == "smollm2":
        assert found["KL, nats"] == pytest.approx(one.kl, rel=1e-3)
        assert found["next, NV"] == one.tokens[int(one.regularised.argmax())]
        ids = reference_ids(bench, "the cat", "sat")
        wanted = force(bench, scenario, prior, "the cat", ids).totals
        assert rows[1].columns["log p of the reference, NV"] == pytest.approx(wanted[1])
    elif name == "minilm":
        assert found["cosine to the own baseline"] == pytest.approx(one.moved[0], abs=1e-6)
    else:
        assert found["NV"] == " ".join(one.regularised)
    frame = as_table(rows)
    assert len(frame) == 4
    assert frame["skipped"].str.len().gt(0).tolist() == [False, False, True, False]
    if name == "minilm":
        done = [0, 1, 3]
        both = observe(bench, replace(scenario, text="\n".join(lines[n] for n in done))).output
        told = frame["nearest, NV"].tolist()
        near = [lines[done[n]] for n in outputs.neighbours(both.regularised)]
        assert [told[n] for n in done] == near
        old = [lines[done[n]] for n in outputs.neighbours(both.baseline)]
        wanted = ["yes" if a != b else "" for a, b in zip(near, old, strict=True)]
        assert frame["nearest changed"].tolist() == [*wanted[:2], "", wanted[2]]


def test_a_list_may_not_be_endless():
    assert entries("a\tb\n\n c ") == [("a", "b"), ("c", "")]
    with pytest.raises(NVError, match="The list has 501 texts; 500 are compared at most: shorten it"):
        entries("x\n" * (MOST_ROWS + 1))


def test_a_list_as_a_whole_has_means_with_intervals():
    generator = np.random.default_rng(0)
    kl = generator.exponential(size=400)
    before = generator.normal(-3, 1, 400)
    after = before + np.where(np.arange(400) % 2, 0.5, 0.1)
    table = pd.DataFrame({
        "text": "x", "log p, baseline": before, "log p, NV": after, "KL, nats": kl, "edits": [4, *[np.nan] * 399],
        "changed": ["yes", *[""] * 399],
    })  # fmt: skip
    whole = summary(table).set_index("measure")
    assert answers_changed(table).sum() == 1
    for name, values in {"log p": after - before, "KL, nats": kl}.items():
        normal = 1.96 * values.std() / 20
        wanted = [400, values.mean(), values.mean() - normal, values.mean() + normal]
        assert whole.loc[name, ["texts", "mean change", "from", "to"]].tolist() == pytest.approx(wanted, rel=0.02)
    assert whole.loc["log p", ["mean, baseline", "mean, NV"]].tolist() == pytest.approx([before.mean(), after.mean()])
    assert whole.loc["KL, nats", ["mean, baseline", "mean, NV"]].isna().all()
    assert whole.loc["edits", ["texts", "mean change"]].tolist() == [1, 4]
    assert whole.loc["edits", ["from", "to"]].isna().all()


def test_a_text_that_breaks_the_models_own_code_is_a_row_and_the_rest_goes_on(tmp_path, monkeypatch):
    bench = Bench(str(save(tmp_path, tiny.bert())))
    encode = bench.encode

    def broken(rows):
        if "mat" in rows[0]:
            raise IndexError("index out of range in self")
        return encode(rows)

    monkeypatch.setattr(bench, "encode", broken)
    scenario = Scenario(model=bench.shape.name, prior="normal", mu=0.9)
    listed = entries("the cat\nthe mat\nthe cat sat")
    rows = list(go_through(bench, scenario, bench.priors.of(scenario), listed, lambda error: type(error).__name__))
    assert [row.problem for row in rows] == ["", "IndexError", ""]
