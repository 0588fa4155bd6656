"""Projections that are more than a weight and a bias: adapted, parametrised, hooked, quantised, or changed."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import nvib
from nvib.families import sites
from nvib.projections import Projection
from tests.support import textbook
from tests.support.adapters import Adapted, replaced
from tests.support.forwards import SETTINGS, output, regularisation
from tests.support.tiny import inputs_of, model_of, prior_of

FAMILIES = ["bert", "llama", "qwen3", "gpt2", "t5", "bart"]


class Rounded(nn.Linear):
    """As a quantised layer: its input is rounded first."""

    def forward(self, x):
        return super().forward((4 * x).round() / 4)


def regularised(model, prior, inputs, setting="both", **options):
    with (
        nvib.reinterpret(model, prior) as nv,
        nv.regularised(regularisation(SETTINGS[setting]), **options),
        nvib.capture(comparable=True) as seen,
    ):
        return output(model(**inputs)), seen


@pytest.mark.parametrize("setting", ["both", "all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_counts_as_if_it_were_merged(family, setting):
    adapted = replaced(model_of(family), Adapted)
    merged = replaced(adapted, lambda layer: layer.merged() if isinstance(layer, Adapted) else layer)
    inputs, prior = inputs_of(merged), prior_of(merged)
    assert len(sites(adapted)) == len(sites(merged))
    torch.testing.assert_close(output(adapted(**inputs)), output(merged(**inputs)), rtol=1e-4, atol=1e-4)
    one, seen = regularised(adapted, prior, inputs, setting)
    other, wanted = regularised(merged, prior, inputs, setting)
    scale = float(other.max() - other.min())
    assert float((one - other).abs().max()) < 1e-4 * scale
    exact = textbook.run(merged, inputs, prior.state_dict(), SETTINGS[setting])
    wanted_exact = exact.logits if exact.logits is not None else exact.last_hidden_state
    real = inputs["attention_mask"].bool() if "decoder_input_ids" not in inputs else slice(None)
    assert float((one.double() - wanted_exact)[real].abs().max()) < 1e-4 * scale
    for place, layer in seen.layers.items():
        head, plain = layer.head(0, 1), wanted.layers[place].head(0, 1)
        for part in ("key_weight", "value_weight", "key_bias", "value_bias"):
            expected = getattr(plain, part)
            found = getattr(head, part)
            torch.testing.assert_close(
                found, torch.zeros_like(found) if expected is None else expected, atol=1e-5, rtol=1e-4
            )
    local = [regularised(model, prior, inputs, setting, local=True)[1].prior_mass for model in (adapted, merged)]
    for place, mass in local[0].items():
        torch.testing.assert_close(mass, local[1][place], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_adapter_in_half_precision_counts_too(family):
    adapted = replaced(model_of(family), Adapted)
    merged = replaced(adapted, lambda layer: layer.merged() if isinstance(layer, Adapted) else layer)
    inputs, prior = inputs_of(merged), prior_of(merged)
    wanted, _ = regularised(merged, prior, inputs)
    found, _ = regularised(adapted.to(torch.bfloat16), prior, inputs)
    base, _ = regularised(replaced(adapted.float(), lambda layer: getattr(layer, "base_layer", layer)), prior, inputs)
    away = float((found.float() - wanted).abs().mean())
    assert away < 0.05 * float(wanted.max() - wanted.min())
    assert away < 0.3 * float((base - wanted).abs().mean())


def test_a_weight_is_read_through_a_parametrisation():
    class Doubled(nn.Module):
        def forward(self, weight):
            return 2 * weight

    def doubled(layer):
        parametrize.register_parametrization(layer, "weight", Doubled())
        return layer

    def plain(layer):
        layer.weight.data = 2 * layer.weight.data
        return layer

    for wrap, same in ((doubled, plain), (parametrizations.weight_norm, lambda layer: layer)):
        model = model_of("bert")
        merged, wrapped = replaced(model, same), replaced(model, wrap)
        inputs, prior = inputs_of(model), prior_of(merged)
        torch.testing.assert_close(*(regularised(m, prior, inputs)[0] for m in (wrapped, merged)), rtol=1e-4, atol=1e-4)


def hooked(change):
    def hook(layer):
        layer.register_forward_hook(change)
        return layer

    return hook


@pytest.mark.parametrize(
    "make",
    [
        hooked(lambda _layer, _args, out: out + 1),
        hooked(lambda _layer, _args, out: out.tanh()),
        lambda layer: nn.Sequential(layer, nn.Dropout(0.5)).train(),
        lambda layer: nn.Sequential(layer, nn.Tanh()),
        lambda layer: nn.Sequential(layer, nn.LayerNorm(layer.out_features)),
    ],
    ids=["a hook that adds", "a hook that bends", "dropout in training", "an activation", "a norm"],
)
def test_what_is_no_weight_and_bias_is_refused(make):
    model = replaced(model_of("llama"), make)
    with pytest.raises(
        nvib.NVError, match="is not one weight and one bias, as NV attention reads it; merge its"
    ) as told:
        nvib.reinterpret(model, nvib.standard_normal_prior(model))
    assert "'model.layers.0.self_attn.k_proj'" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_quantised_layer_is_refused():
    def rounded(layer):
        made = Rounded(layer.in_features, layer.out_features)
        made.load_state_dict(layer.state_dict())
        return made

    model = replaced(model_of("bert"), rounded)
    with pytest.raises(nvib.NVError, match=r"\(Rounded\) of BertModel is not one weight and one bias"):
        nvib.reinterpret(model, nvib.standard_normal_prior(model))


def test_a_layer_that_does_not_say_its_width_is_refused():
    class Opaque(nn.Module):
        def forward(self, x):
            return x

    with pytest.raises(nvib.NVError, match="The projection Opaque does not say how wide its input is; give it in_fea"):
        Projection(Opaque()).width  # noqa: B018


def test_a_hook_that_only_looks_is_let_be():
    seen = []
    model = replaced(model_of("llama"), hooked(lambda _layer, _args, out: seen.append(out.shape)))
    inputs, prior = inputs_of(model), prior_of(model_of("llama"))
    torch.testing.assert_close(*(regularised(m, prior, inputs)[0] for m in (model, model_of("llama"))))
    assert seen


def test_an_adapter_that_is_switched_and_weights_that_are_trained_count_from_the_next_forward():
    adapted = replaced(model_of("llama"), Adapted)
    inputs, prior = inputs_of(adapted), prior_of(adapted)
    layers = [module for module in adapted.modules() if isinstance(module, Adapted)]

    def switch(on):
        for layer in layers:
            layer.on = on

    def train():
        for layer in layers:
            layer.base_layer.weight.mul_(1.5)

    def afresh():
        return regularised(copy.deepcopy(adapted), prior, inputs)[0]

    steps = (lambda: switch(False), train, lambda: switch(True))
    setting = regularisation(SETTINGS["both"])
    wanted = []
    with torch.no_grad():
        for step in steps:
            step()
            wanted.append(afresh())
        for layer in layers:
            layer.base_layer.weight.div_(1.5)
        with nvib.reinterpret(adapted, prior) as nv, nv.regularised(setting):
            adapted(**inputs)
            for step, expected in zip(steps, wanted, strict=True):
                step()
                torch.testing.assert_close(output(adapted(**inputs)), expected, rtol=1e-4, atol=1e-4)


def test_projections_that_are_replaced_meanwhile_are_refused():
    model = model_of("llama")
    inputs, prior = inputs_of(model), prior_of(model)
    with nvib.reinterpret(model, prior) as nv:
        layer = model.model.layers[1].self_attn
        layer.k_proj = Adapted(layer.k_proj)
        with (
            nv.regularised(regularisation(SETTINGS["both"])),
            pytest.raises(
                nvib.NVError, match="projections of decoder layer 1 were replaced after the model was reinter"
            ),
        ):
            model(**inputs)
        layer.k_proj = layer.k_proj.base_layer
