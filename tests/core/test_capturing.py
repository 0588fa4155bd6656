"""What a capture sees, against the float64 textbook version: summaries, single heads, the local effect."""

import pytest
import torch

import nvib
from tests.support import textbook
from tests.support.forwards import FIELDS, SETTINGS, entropy, jensen_shannon, output, real_tokens, regularisation, whole
from tests.support.tiny import DECODERS, FAMILIES, inputs_of, model_of, prior_of

LAYERS = {kind: {0, 1} for kind in nvib.KINDS}


def real_queries(family, kind, inputs):
    """Which queries are no padding; indexes [B, Q] of tensors [B, Q, ...]."""
    if kind == "encoder" or family in DECODERS:
        return real_tokens(inputs)
    return torch.ones(inputs["decoder_input_ids"].shape, dtype=torch.bool)


@pytest.mark.parametrize("family", FAMILIES)
def test_summaries_agree_with_textbook(family):
    model, setting = model_of(family), SETTINGS["all"]
    prior, inputs = prior_of(model), inputs_of(model)
    exact = textbook.run(model, inputs, prior.state_dict(), setting)
    before = textbook.run(model, inputs, prior.state_dict(), textbook.IDENTITY)
    with nvib.reinterpret(model, prior) as nv:
        with nvib.capture(comparable=True) as base:
            model(**inputs)
        with nv.regularised(regularisation(setting)), nvib.capture(against=base) as seen:
            model(**inputs)
    assert not seen.attention
    assert not base.attention
    assert (
        set(seen.change)
        == set(base.entropy)
        == {(k, n) for k in FIELDS[family] for n in range(len(exact.attentions[k]))}
    )
    for kind, layer in seen.change:
        queries = real_queries(family, kind, inputs)
        rows, old = (whole(run.attentions[kind][layer].transpose(1, 2)[queries]) for run in (exact, before))
        for found, wanted in (
            (seen.entropy, entropy(rows)),
            (seen.largest, rows.amax(-1)),
            (seen.change, jensen_shannon(rows, old)),
            (base.entropy, entropy(old)),
            (base.largest, old.amax(-1)),
        ):
            torch.testing.assert_close(found[kind, layer].transpose(1, 2)[queries].double(), wanted, rtol=0, atol=5e-4)
        x, p = exact.inputs[kind][layer], textbook.layer_prior(prior.state_dict(), kind, layer, setting)
        tokens = real_tokens(inputs) if kind != "decoder" or family in DECODERS else slice(None)
        wanted = ((x - p["mean"]) ** 2 / p["var"]).sum(-1)[tokens]
        torch.testing.assert_close(seen.distance[kind, layer][tokens].double(), wanted, rtol=1e-4, atol=1e-4)


def test_nothing_has_changed_at_identity():
    model = model_of("llama")
    inputs = inputs_of(model)
    with nvib.reinterpret(model, prior_of(model)) as nv:
        with nvib.capture(comparable=True) as base:
            model(**inputs)
        with nv.regularised(nvib.Regularisation()), nvib.capture(against=base) as seen:
            model(**inputs)
    assert max(float(change.max()) for change in seen.change.values()) < 1e-5


def test_long_rows_are_summarised_in_blocks(monkeypatch):
    model, found = model_of("llama"), []
    inputs = inputs_of(model)
    for block in (1 << 20, 200):
        monkeypatch.setattr(nvib.scores, "BLOCK", block)
        setting = regularisation(SETTINGS["all"])
        with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(setting), nvib.capture() as seen:
            model(**inputs)
        found.append(seen)
    for place, expected in found[0].entropy.items():
        torch.testing.assert_close(found[1].entropy[place], expected)


def test_only_the_heads_asked_for_are_kept():
    model = model_of("llama")
    inputs = inputs_of(model)
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(regularisation(SETTINGS["both"])):
        with nvib.capture({"decoder": {1: [3, 0]}}) as some:
            model(**inputs)
        with nvib.capture({"decoder": {1}}) as every:
            model(**inputs)
    assert set(some.attention) == {("decoder", 1)}
    torch.testing.assert_close(some.attention["decoder", 1], every.attention["decoder", 1][:, [0, 3]])


@pytest.mark.parametrize("family", FAMILIES)
def test_local_effect_is_that_of_the_layer_alone(family):
    model, setting = model_of(family), SETTINGS["all"]
    prior, inputs = prior_of(model), inputs_of(model)
    before = output(model(**inputs))
    with (
        nvib.reinterpret(model, prior) as nv,
        nv.regularised(regularisation(setting), local=True),
        nvib.capture(LAYERS) as seen,
    ):
        after = output(model(**inputs))
    assert torch.equal(before, after)
    untouched = textbook.run(model, inputs, prior.state_dict(), textbook.IDENTITY)
    for kind in FIELDS[family]:
        queries = real_queries(family, kind, inputs)
        for layer in (0, 1):
            alone = textbook.run(model, inputs, prior.state_dict(), setting | {"layers": {kind: {layer}}})
            rows, old = (run.attentions[kind][layer].transpose(1, 2)[queries] for run in (alone, untouched))
            found = seen.attention[kind, layer].transpose(1, 2)[queries].double()
            torch.testing.assert_close(found, rows, rtol=0, atol=1e-4)
            found = seen.change[kind, layer].transpose(1, 2)[queries].double()
            torch.testing.assert_close(found, jensen_shannon(whole(rows), whole(old)), rtol=0, atol=5e-4)
            found = seen.prior_mass[kind, layer].transpose(1, 2)[queries].double()
            torch.testing.assert_close(found, rows[..., 0], rtol=0, atol=1e-4)


def test_generation_stays_the_baseline_under_a_local_effect():
    model = model_of("llama")
    ids = torch.arange(3, 9)[None]
    with nvib.reinterpret(model, prior_of(model)) as nv:
        baseline = nv.generate(input_ids=ids, max_new_tokens=6, do_sample=False)
        with nv.regularised(regularisation(SETTINGS["all"]), local=True):
            assert torch.equal(nv.generate(input_ids=ids, max_new_tokens=6, do_sample=False), baseline)
            with nvib.capture(), pytest.raises(nvib.NVError, match="leave out past_key_values"):
                nv.generate(input_ids=ids, max_new_tokens=6, do_sample=False)


def test_a_baseline_that_cannot_be_compared_with_is_refused():
    model = model_of("bert")
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(regularisation(SETTINGS["all"])):
        kept = (False, "kept no layers; make it with capture"), (True, "The baseline saw attention of shape")
        for keep, expected in kept:
            with nvib.capture(comparable=keep) as base:
                model(**inputs_of(model))
            with nvib.capture(against=base), pytest.raises(nvib.NVError, match=expected):
                model(**inputs_of(model, length=7))


def test_cached_cross_attention_reports_no_one_elses_tokens():
    model = model_of("bart")
    inputs = {k: v for k, v in inputs_of(model).items() if k != "decoder_input_ids"}
    setting = regularisation(SETTINGS["all"])
    with nvib.reinterpret(model, prior_of(model)) as nv, nv.regularised(setting), nvib.capture() as seen:
        nv.generate(**inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert all(seen.log_alpha["cross", layer].shape == inputs["input_ids"].shape for layer in range(3))
