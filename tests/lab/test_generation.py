"""Generated text, greedy and sampled."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from nvib import NVError
from nvib.lab import Bench, Scenario
from nvib.lab.view.generation import SharedNoise, generate
from tests.support import tiny
from tests.support.folders import save
from tests.support.scenes import TREATY


def test_sampled_text_is_drawn_from_the_models_own_distribution():
    logits = torch.tensor([[2.0, 0.5, -1.0, 0.0]])
    draws = Counter(int(SharedNoise(seed)(torch.zeros(1, 1), logits).argmax()) for seed in range(20_000))
    p = logits.softmax(-1)[0].tolist()
    surprise = sum((draws[n] - 20_000 * p[n]) ** 2 / (20_000 * p[n]) for n in range(4))
    assert surprise < 16.3  # chi squared with 3 degrees of freedom, 0.1 %
    one, two = SharedNoise(3), SharedNoise(3)
    steps = [(one(torch.zeros(1, 1), logits), two(torch.zeros(1, 1), logits)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in steps)
    assert not torch.equal(steps[0][0], steps[1][0])


def test_models_that_agree_write_the_same_when_sampled(benches):
    bench = benches("smollm2")
    same = replace(TREATY.at_identity(), sampled=True, seed=5)
    prior = bench.priors.of(same)
    ids = [generate(bench, same, used) for used in (None, prior)]
    assert torch.equal(*ids)
    assert not torch.equal(ids[0], generate(bench, replace(same, seed=6), None))
    assert not torch.equal(ids[0], generate(bench, replace(same, sampled=False), None))


def test_generation_tells_of_every_step_and_stops_when_told(benches):
    bench, steps = benches("smollm2"), []
    scenario = replace(TREATY, text="A text of its own for this test", length=5)
    ids = generate(bench, scenario, None, lambda new: steps.append(int(new)))
    assert steps == ids[0].tolist()

    class Stopped(Exception):
        pass

    def stop(new):
        raise Stopped

    with pytest.raises(Stopped):
        generate(bench, replace(scenario, length=7), None, stop)
    assert generate(bench, replace(scenario, length=7), None).shape[1] == 7


def test_a_text_that_leaves_no_room_for_an_answer_is_one_sentence(tmp_path):
    bench = Bench(str(save(tmp_path, tiny.llama(max_position_embeddings=5))))
    for text, room in (("the cat sat", 2), ("the cat sat on", 1)):
        assert generate(bench, Scenario(text=text), None).shape == (1, room)
    with pytest.raises(
        NVError, match="The text fills all 5 positions of the model; shorten it to leave room for an answer"
    ):
        generate(bench, Scenario(text="the cat sat on mat"), None)
