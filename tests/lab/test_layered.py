"""Temperatures by layer, and peers, in scenarios, links, files, grids and sweeps."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import nvib
from nvib import NVError, peers
from nvib.lab import EXAMPLES, Scenario, observe
from nvib.lab.instead import in_words, peer_of
from nvib.lab.share import link
from nvib.lab.sweep import measures
from nvib.lab.sweep.run import baseline_point, read_findings, sweep
from nvib.lab.sweep.space import count, proposals, space
from nvib.lab.sweep.store import key_of
from nvib.lab.sweep.tasks import TEST, VALIDATION
from nvib.lab.view.walk import follow
from tests.support.scenes import plan_of


@pytest.mark.parametrize(
    "given", [[1, 2.5, math.inf], (1, 2.5, math.inf), np.array([1, 2.5, np.inf]), torch.tensor([1, 2.5, torch.inf])]
)
def test_a_control_takes_a_value_for_each_layer(given):
    assert Scenario(decoder_alpha=given).decoder_alpha == (1.0, 2.5, math.inf)
    assert Scenario(decoder_alpha=given).temperature("decoder") == nvib.Temperature([1.0, 2.5, math.inf])


def test_the_same_value_for_each_is_one():
    assert Scenario(decoder_sigma=[0.5, 0.5]) == Scenario(decoder_sigma=0.5)
    assert key_of(Scenario(mu=(1.0, 1.0))) == key_of(Scenario())


@pytest.mark.parametrize("given", [[], [1, "x"], [1, math.nan], [1, 101.0], [[1, 2]], [True, 2.0]])
def test_what_is_no_value_for_each(given):
    with pytest.raises(ValueError, match=r"^Scenario decoder_alpha=.* is not a legal value; give a number from -100"):
        Scenario(decoder_alpha=given)


def test_a_link_and_a_file_hold_ninety_temperatures():
    drawn = np.random.default_rng(3)
    found = Scenario(text="x", decoder_alpha=[float(f"{v:.4g}") for v in drawn.uniform(-7, 7, 30)],
                     decoder_sigma=[float(f"{v:.4g}") for v in drawn.uniform(0, 1, 30)],
                     mu=[float(f"{v:.4g}") for v in drawn.uniform(0.8, 1, 30)])  # fmt: skip
    query = link.encode(found)
    assert len(link.urlencode(query)) < 2000
    assert link.decode(query)[0] == found
    assert link.from_json("x.json", link.to_json(found, link.Made()).encode())[0] == found


def test_what_a_link_of_another_length_says(benches):
    """It is read, and the page says how many there are."""
    found, _, ignored = link.decode({"v": "2", "model": "minilm", "text": "a", "encoder_alpha": "1/2"})
    assert not ignored
    told = "^The temperatures of 'encoder' are of 2 layers, and this model has 6 there; give one for each, or one for"
    with pytest.raises(NVError, match=told):
        observe(benches("minilm"), found)


def test_mean_temperatures_are_of_one_kind_after_the_other():
    counts = {"encoder": 1, "cross": 2, "decoder": 2}
    scenario = Scenario(mu=[0.5, 0.6, 0.7, 0.8, 0.9])
    found = scenario.regularisation(counts)
    assert [found.temperature(kind).mu for kind in nvib.KINDS] == [(0.5,), (0.6, 0.7), (0.8, 0.9)]
    alone = Scenario(mu=[0.5, 0.6]).regularisation({"decoder": 2})
    assert alone.decoder.mu == (0.5, 0.6)


def test_a_view_by_layer_is_that_of_the_library(benches):
    bench = benches("g2p")
    layers = bench.layers
    scenario = replace(EXAMPLES["g2p"], encoder_sigma=np.linspace(0, 0.6, layers["encoder"]),
                       decoder_alpha=np.linspace(2, -1, layers["decoder"]), mu=1.0)  # fmt: skip
    seen = observe(bench, scenario)
    setting = nvib.Regularisation(
        encoder=nvib.Temperature(scenario.encoder_alpha, scenario.encoder_sigma),
        cross=nvib.Temperature(scenario.cross_alpha, scenario.cross_sigma),
        decoder=nvib.Temperature(scenario.decoder_alpha, scenario.decoder_sigma),
    )
    batch = bench.encode(bench.rows(scenario.text))
    with torch.inference_mode(), bench.nv.regularised(setting, bench.priors.of(scenario)):
        ids = bench.generate(batch)
    assert seen.output.regularised == bench.loaded.target_tokenizer.batch_decode(ids, skip_special_tokens=True)


def test_the_way_from_identity_is_laid_by_layer(benches):
    scenario = Scenario(decoder_sigma=[0.2, 0.4], mu=[0.8, 1.0], encoder_sigma=0.6)
    half = scenario.at_share(0.5)
    assert (half.decoder_sigma, half.mu, half.encoder_sigma) == ((0.1, 0.2), (0.9, 1.0), 0.3)
    whole = replace(EXAMPLES["minilm"], encoder_sigma=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], encoder_alpha=math.inf)
    path = follow(benches("minilm"), whole, lambda share: None)
    assert path.change[0] == 0
    assert path.change[-1] > 0


# Peers


@pytest.mark.parametrize(
    ("text", "peer", "words"),
    [
        ("temperature:1.1", peers.AttentionTemperature(1.1), "attention temperature 1.1"),
        ("noise:0.05", peers.LogitNoise(0.05), "noise on the scores, nats 0.05"),
        ("rank:20.mlp.down_proj:0.5", peers.LowRank("mlp.down_proj", 20, 0.5), "share of the rank kept in 20.mlp.dow"),
        ("bits:4", peers.RoundedWeights(4), "weights rounded to bits: 4"),
        ("dropout:0.1", peers.McDropout(0.1, draws=8), "dropout, mean of 8 draws, 0.1"),
        (
            "temperature:1.1/1.2/1.3",
            peers.AttentionTemperature(encoder=(1.1, 1.2), decoder=(1.3,)),
            "attention temperature 1.1 to 1.3 by layer",
        ),
    ],
)  # fmt: skip
def test_a_peer_is_what_its_text_says(text, peer, words):
    assert peer_of(text, {"encoder": 2, "decoder": 1}) == peer
    assert in_words(text).startswith(words)
    assert Scenario(peer=text).peer == text
    found = Scenario(peer=text, decoder_sigma=0.3)
    assert link.decode(link.encode(found))[0] == found


NONE = """temperature temperature: temperature:0 temperature:x heat:1 noise:-1 rank:0.5 rank:x.y:1 bits:2.5 bits:1
    dropout:1 noise:1/2 temperature:nan temperature:१ bits:inf"""


@pytest.mark.parametrize("text", NONE.split())
def test_what_is_no_peer(text):
    with pytest.raises(ValueError, match=r"is not a legal value; give nothing for NV, or one of temperature:1\.1"):
        Scenario(peer=text)


def test_under_a_peer_nothing_else_counts():
    a = Scenario(peer="temperature:1.2", decoder_alpha=1.0, prior="normal", protected=2, mu=0.5)
    assert key_of(a) == key_of(Scenario(peer="temperature:1.2"))
    assert key_of(a) != key_of(Scenario())


def test_a_view_under_a_peer_is_the_librarys(benches):
    bench = benches("minilm")
    scenario = replace(EXAMPLES["minilm"], peer="temperature:1.5")
    seen = observe(bench, scenario)
    batch = bench.encode(bench.rows(scenario.text))
    with torch.inference_mode(), bench.nv.instead(peers.AttentionTemperature(1.5)):
        hidden = bench.hidden_states(batch)[0]
    weight = batch["attention_mask"].unsqueeze(-1).double()
    pooled = torch.nn.functional.normalize((hidden.double() * weight).sum(1) / weight.sum(1), dim=-1)
    np.testing.assert_allclose(seen.output.regularised, (pooled @ pooled.T).numpy(), atol=1e-6)
    assert np.nanmax(seen.regularised[:, 0]) == 0  # no prior


def points(found, search="grid", trials=3):
    return list(itertools.islice(iter(_go(found, search, trials)), 100))


def _go(found, search, trials):
    proposed = proposals(found, search, trials)
    point = next(proposed)
    while point is not None:
        yield point
        try:
            point = proposed.send(0.0)
        except StopIteration:
            return


def test_peers_of_a_grid_are_points_beside_the_combinations():
    base = Scenario(model="g2p", prior="normal")
    found = space(base, "decoder_sigma=0,0.2 decoder_alpha=inf,1 peer=temperature:1.05,1.1,noise:0.1")
    assert count(found, "grid", 1) == 2 * 2 + 3 == len(points(found))
    assert [point.peer for point in points(found)] == [""] * 4 + ["temperature:1.05", "temperature:1.1", "noise:0.1"]
    assert space(base, found.spec) == found
    alone = space(base, "peer=bits:4,3")
    assert [point.peer for point in points(alone)] == ["bits:4", "bits:3"]


@pytest.mark.parametrize("search", ["random", "adaptive"])
def test_a_range_of_a_peer_is_searched(search):
    found = space(Scenario(model="g2p"), "decoder_sigma=0:0.5 peer=temperature:1:1.3")
    assert count(found, search, 5) == 10
    drawn = points(found, search, 5)
    assert [bool(point.peer) for point in drawn] == [False] * 5 + [True] * 5
    assert all(1 <= float(point.peer.partition(":")[2]) <= 1.3 for point in drawn[5:])
    assert space(Scenario(model="g2p"), found.spec) == found
    bits = points(space(Scenario(model="g2p"), "peer=bits:3:8"), search, 4)
    assert all(float(point.peer.partition(":")[2]) in range(3, 9) for point in bits)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("peer=heat:1", "The grid's peer='heat:1' is not a legal value; give nothing for NV"),
        ("peer=1.1", "The grid's peer='1.1' is not a legal value"),
        ("peer=temperature:1.3:1", "The grid's peer=1.3:1 is no range; write the lower number first."),
    ],
)
def test_what_a_grid_cannot_hold(spec, told):
    with pytest.raises(NVError, match=f"^{told}"):
        space(Scenario(), spec)


@pytest.mark.parametrize(("peer", "search"), [("temperature:1.1,dropout:0.1", "grid"), ("dropout:0.1:0.3", "random")])
def test_a_peer_that_the_model_cannot_have_is_refused_before_anything_is_measured(benches, tmp_path, peer, search):
    plan = plan_of(f"decoder_sigma=0.1 peer={peer}", search, trials=2)
    with pytest.raises(NVError, match=r"has no places of dropout, so that none can be drawn\.$"):
        sweep(benches("g2p"), plan, tmp_path / "s.db")
    assert not list(tmp_path.iterdir())


def test_a_sweep_holds_nv_against_the_best_peer(benches, tmp_path):
    bench = benches("g2p")
    plan = plan_of("decoder_sigma=0.1,0.3 peer=temperature:0.9,1.3")
    sweep(bench, plan, tmp_path / "s.db")
    found = read_findings(plan, tmp_path / "s.db", bench.shape.revision)
    assert found.finished
    assert found.left == 0

    def errors(point, part):
        total = []
        for name in plan.task.outside:
            with bench.under(point, bench.priors.of(point)):
                sums = measures.phoneme_edits(bench, plan.task.part(name, part)).sum(0)
            total.append(100 * sums[0] / sums[1])
        return float(np.mean(total))

    base = baseline_point(plan.task)
    for point, wanted in (
        (found.best, [replace(base, decoder_sigma=s) for s in (0.1, 0.3)]),
        (found.peer, [replace(base, peer=f"temperature:{t}") for t in (0.9, 1.3)]),
    ):
        merits = {each: errors(each, VALIDATION) for each in [base, *wanted]}
        assert merits[point] == min(merits.values())
    difference = errors(found.best, TEST) - errors(found.peer, TEST)
    assert found.against.change == pytest.approx(difference)
    assert found.against.low <= difference <= found.against.high
    assert found.of_peer.change == pytest.approx(errors(found.peer, TEST) - errors(base, TEST))
