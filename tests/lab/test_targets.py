"""Targets of one's own texts: how likely a decoder finds each after its text, forced, beside plain loops."""

import math

import numpy as np
import pytest
import torch

from nvib.lab import Bench, Scenario
from nvib.lab.sweep import measures
from nvib.lab.sweep.measures import LIKELIHOOD, TARGET_LOG_PROB, TARGET_PERPLEXITY, TARGETS, Example
from nvib.lab.sweep.run import Plan, read_findings, sweep
from nvib.lab.sweep.space import space
from nvib.lab.sweep.tasks import own
from tests.support.folders import save
from tests.support.tiny import FAMILIES

PAIRS = [("The capital of France is", "Paris."), ("Two and two", "make four, as ever"), ("Es war", "einmal ein König")]


def plain(bench, before, target):
    """log p of the target's tokens after those before it, one token at a time in float64."""
    total, ids = 0.0, list(before)
    for token in target:
        with torch.inference_mode():
            logits = bench.model(input_ids=torch.tensor([ids])).logits[0, -1].double()
        total += float(logits[token] - logits.logsumexp(0))
        ids.append(token)
    return total


@pytest.mark.parametrize("spec", ["", "decoder_sigma=0.4 decoder_alpha=2 protected=1"])
def test_a_target_is_as_likely_as_its_tokens_one_by_one(benches, spec):
    bench = benches("smollm2")
    tokenizer = bench.loaded.tokenizer
    at = Scenario(model="smollm2")
    if spec:
        found = space(at, spec)
        at = found.at({axis.name: axis.values[0] for axis in found.axes})
    with bench.under(at, bench.priors.of(at)):
        sums = measures.target_likelihood(bench, [Example(*pair) for pair in PAIRS])
        for (text, target), (total, count) in zip(PAIRS, sums, strict=True):
            before, after = tokenizer(text)["input_ids"], tokenizer(f"{text} {target}")["input_ids"]
            assert after[: len(before)] == before
            assert count == len(after) - len(before)
            assert total == pytest.approx(
                plain(bench, before, after[len(before) :]), rel=1e-3
            )  # batches round otherwise
    nats, tokens = sums.sum(0)
    assert TARGET_LOG_PROB.of(sums.sum(0)) == pytest.approx(nats / tokens)
    assert TARGET_PERPLEXITY.of(sums.sum(0)) == pytest.approx(math.exp(-nats / tokens))
    assert (TARGET_LOG_PROB.change_unit, TARGET_PERPLEXITY.change_unit) == ("nats per token", "%")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return Bench(str(save(tmp_path_factory.mktemp("llama"), FAMILIES["llama"]())))


def test_what_does_not_fit_is_cut_at_the_texts_beginning_and_the_targets_end(tiny, monkeypatch):
    monkeypatch.setattr(measures, "TOKENS", 5)
    monkeypatch.setattr(Bench, "longest", property(lambda self: 12))
    words = ["the", "cat", "sat", "on", "mat"]
    text, target = " ".join(words * 6), " ".join(words[::-1] * 3)
    sums = measures.target_likelihood(tiny, [Example(text, target), Example("", "the cat"), Example("the", "...")])
    ids = tiny.loaded.tokenizer(f"{text} {target}")["input_ids"]
    assert sums[0, 1] == 5
    assert sums[0, 0] == pytest.approx(plain(tiny, ids[30 - 7 : 30], ids[30 : 30 + 5]), rel=1e-4)
    first, second = tiny.loaded.tokenizer("the cat")["input_ids"]
    assert sums[1].tolist() == [pytest.approx(plain(tiny, [first], [second]), rel=1e-4), 1]  # nothing foretells the one


def rows(*targets):
    return [(f"the cat {n}", target) for n, target in enumerate(targets)]


LEFT = "1 out-of-domain text without the target that log-probability of the target needs: skipped."
UNUSED = "The targets of the out-of-domain texts are not used: the other file has none."


def test_targets_count_where_every_file_has_some(tiny):
    full, none, some = rows(*"abcd"), rows("", "", "", ""), rows("a", "b", "c", "d", "")
    for files, measure, told in (
        ({"inside": full}, TARGETS, []),
        ({"inside": full, "outside": some}, TARGETS, [LEFT]),
        ({"outside": none}, LIKELIHOOD, []),
        ({"inside": none, "outside": full}, LIKELIHOOD, [UNUSED]),
    ):  # fmt: skip
        made, said = own(tiny.shape, files)
        assert (made.measure, said) == (measure, told)


def test_a_sweep_tells_the_change_of_targets(tiny, tmp_path):
    pairs = [(f"the cat sat {word}", f"on the {word}") for word in ("mat", "cat", "sat", "on")]
    made, _ = own(tiny.shape, {"outside": pairs})
    plan = Plan(made, space(Scenario(model=tiny.shape.name, prior="normal"), "mu=0.5"))
    sweep(tiny, plan, tmp_path / "s.db")
    (row, *_) = read_findings(plan, tmp_path / "s.db", tiny.shape.revision).rows
    values = []
    for at in (Scenario(model=tiny.shape.name), row.point):
        with tiny.under(at, tiny.priors.of(at) if at == row.point else tiny.priors.of(row.point)):
            sums = measures.target_likelihood(tiny, made.part("out-of-domain", "validation"))
        values.append(sums[:, 0].sum() / sums[:, 1].sum())
    np.testing.assert_allclose((row.result.baseline, row.result.value), values, rtol=1e-5)
    assert row.result.change == pytest.approx(values[1] - values[0], rel=1e-4)
