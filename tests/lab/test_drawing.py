"""Sampled text under a temperature and top-p: the formula, the order, and the same on both sides, in link and code."""

import contextlib
import io
import math
from dataclasses import replace

import pytest
import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from nvib.lab import Bench, Scenario
from nvib.lab.share import link
from nvib.lab.share.script import script
from nvib.lab.view.generation import SharedNoise, drawing, generate
from nvib.show import report
from tests.support import tiny
from tests.support.folders import WORDS, save

DICE = [(1.0, 1.0), (0.3, 1.0), (3.0, 1.0), (1.0, 0.6), (0.5, 0.8), (2.0, 0.8), (100.0, 0.01)]
dice = pytest.mark.parametrize(("temperature", "top_p"), DICE)


def kept(logits, temperature, top_p):
    """Plain float64: which tokens may be drawn, and with which probability."""
    weights = [math.exp(value / temperature) for value in logits]
    p = [weight / sum(weights) for weight in weights]
    found, total = [], 0.0
    for n in sorted(range(len(p)), key=lambda n: -p[n]):
        if total < top_p:
            found.append(n)
        total += p[n]
    mass = sum(p[n] for n in found)
    return {n: p[n] / mass for n in found}


@dice
def test_draws_have_the_probabilities_of_the_formula(temperature, top_p):
    logits, draws = torch.tensor([[2.0, 0.5, -1.0, 0.0, 1.4]]), 6000
    found = [int(drawing(seed, temperature, top_p)(torch.zeros(1, 1), logits).argmax()) for seed in range(draws)]
    wanted = kept(logits[0].tolist(), temperature, top_p)
    assert set(found) <= set(wanted)
    surprise = sum((found.count(n) - draws * p) ** 2 / (draws * p) for n, p in wanted.items())
    assert surprise < 18.5  # chi squared with 4 degrees of freedom, 0.1 %


@dice
def test_the_logits_are_those_of_the_librarys_own_warpers(temperature, top_p):
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)) * 3
    own = LogitsProcessorList([TemperatureLogitsWarper(temperature), TopPLogitsWarper(top_p)])
    wanted = SharedNoise(5)(None, own(None, logits))
    assert torch.equal(drawing(5, temperature, top_p)(None, logits), wanted)


@pytest.fixture(scope="module")
def benches_of_two(tmp_path_factory):
    torch.manual_seed(3)
    shape = {"vocab_size": len(WORDS), "eos_token_id": 0}
    models = {
        "decoder": tiny.llama(**shape, initializer_range=0.5),
        "encoder-decoder": tiny.bart(**shape, init_std=0.6),
    }
    return {name: Bench(str(save(tmp_path_factory.mktemp("model"), model))) for name, model in models.items()}


SCENARIO = Scenario(text="the cat sat on", prior="normal", length=8, sampled=True, seed=4, decoder_alpha=1.0,
                    decoder_sigma=0.5, encoder_sigma=0.5, cross_alpha=1.0)  # fmt: skip


def by_brute_force(bench, temperature, top_p):
    """Token by token from whole forwards, the formula in float64, and the step's own noise."""
    inputs, found, noise = bench.encode([SCENARIO.text]), [], SharedNoise(SCENARIO.seed)
    while len(found) < SCENARIO.length and 0 not in found:
        given = torch.tensor([found], dtype=torch.long)
        batch = {"input_ids": torch.cat((inputs["input_ids"], given), 1)}
        if bench.mode.answers:
            batch = inputs | {"decoder_input_ids": torch.cat((torch.full((1, 1), 1), given), 1)}
        with torch.inference_mode():
            logits = bench.model(**batch, use_cache=False).logits[0, -1].tolist()
        may = kept(logits, temperature, top_p)
        scores = torch.full((1, len(logits)), -torch.inf)
        for n in may:
            scores[0, n] = logits[n] / temperature
        found.append(int(noise(None, scores).argmax()))
    return found


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
@dice
def test_both_sides_draw_by_the_same_formula_and_noise(kind, temperature, top_p, benches_of_two):
    bench = benches_of_two[kind]
    scenario, prior = replace(SCENARIO, sampling_temperature=temperature, top_p=top_p), bench.priors.of(SCENARIO)
    start = 1 if bench.mode.answers else 0
    assert generate(bench, scenario, None)[0, start:].tolist() == by_brute_force(bench, temperature, top_p)
    with bench.under(SCENARIO, prior):
        wanted = by_brute_force(bench, temperature, top_p)
    assert generate(bench, scenario, prior)[0, start:].tolist() == wanted


def test_they_change_what_is_written_and_nothing_that_is_greedy(benches_of_two):
    bench = benches_of_two["decoder"]
    texts = {tuple(generate(bench, replace(SCENARIO, sampling_temperature=t, top_p=p), None)[0].tolist())
             for t, p in DICE}  # fmt: skip
    assert len(texts) > 2
    greedy = replace(SCENARIO, sampled=False)
    other = replace(greedy, sampling_temperature=0.3, top_p=0.5)
    assert generate(bench, other, None) is generate(bench, greedy, None)
    assert greedy.dice is None


def test_code_link_and_caption_have_them(benches_of_two):
    bench = benches_of_two["decoder"]
    scenario = replace(SCENARIO, model=bench.shape.name, sampling_temperature=0.7, top_p=0.85)
    assert link.decode(link.encode(scenario))[0] == scenario
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(script(scenario, bench.shape, "Compare"), "printed", "exec"), names)
    prompt = bench.encode([scenario.text])["input_ids"].shape[1]
    for name, prior in (("ids", None), ("answer", bench.priors.of(scenario))):
        assert names[name][0, prompt:].tolist() == generate(bench, scenario, prior)[0].tolist()
    told = report.about("Compare", bench.shape, scenario, link.Made())["generation"]
    assert told == "sampled, temperature 0.7, top-p 0.85, 8 tokens at most"
    greedy = report.about("Compare", bench.shape, replace(scenario, sampled=False), link.Made())["generation"]
    assert greedy == "greedy, 8 tokens at most"
