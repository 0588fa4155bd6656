"""The empirical prior: the moments of the model's own hidden states, however the text is dealt into batches."""

import pytest
import torch

import nvib
from tests.support.tiny import inputs_of, model_of


def test_a_prior_holds_the_moments_of_the_tokens_that_are_no_padding():
    model = model_of("bert")
    inputs = inputs_of(model, rows=4, length=12)
    real = inputs["attention_mask"].bool()
    states = model(**inputs, output_hidden_states=True).hidden_states
    found = nvib.estimate_prior(model, [inputs])
    for layer in range(2):
        x, noise = states[layer][real].double(), model.encoder.layer[layer].attention.self.attention_head_size ** 0.5
        log_alpha, prior = x.square().sum(-1) / (2 * noise), found.of("encoder", layer)
        torch.testing.assert_close(prior.mean.double(), x.mean(0), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(prior.var.double(), x.var(0), rtol=1e-5, atol=1e-6)
        assert float(prior.log_alpha) == pytest.approx(float(log_alpha.mean()), rel=1e-5)
        assert float(prior.log_alpha_std) == pytest.approx(float(log_alpha.std()), rel=1e-5)
    assert found.provenance["tokens"] == str(int(real.sum()))


def test_the_labels_of_an_encoder_decoder_stand_for_its_inputs():
    model = model_of("bart")
    inputs = inputs_of(model)
    labels = torch.cat((inputs["decoder_input_ids"][:, 1:], torch.full((3, 1), 2)), 1)
    start = torch.full((3, 1), model.config.decoder_start_token_id)
    inputs["decoder_input_ids"] = torch.cat((start, labels[:, :-1]), 1)
    forced = {name: inputs[name] for name in ("input_ids", "attention_mask")} | {"labels": labels}
    found = [nvib.estimate_prior(model, [batch]).fingerprint for batch in (inputs, forced)]
    assert found[0] == found[1]


@pytest.mark.parametrize("length", [0, 1])
def test_too_little_text_is_one_sentence(length):
    batches = [{"input_ids": torch.full((1, 1), 5)}] * length
    with pytest.raises(nvib.NVError, match=f"needs at least two tokens of text, and the batches hold {length}"):
        nvib.estimate_prior(model_of("llama"), batches)


def test_a_dimension_that_never_varies_is_one_sentence():
    model = model_of("llama")
    with pytest.raises(nvib.NVError, match="needs variances above 0 and a spread of at least 0"):
        nvib.estimate_prior(model, [{"input_ids": torch.full((1, 4), 5)}])


def test_progress_counts_tokens_and_may_stop_the_estimate():
    model, told = model_of("bert"), []

    def tell(tokens):
        told.append(tokens)
        if len(told) == 2:
            raise KeyboardInterrupt

    batch = {"input_ids": torch.arange(3, 11)[None]}
    with pytest.raises(KeyboardInterrupt):
        nvib.estimate_prior(model, [batch] * 3, progress=tell)
    assert told == [8, 16]
    assert not any(module._forward_pre_hooks for module in model.modules())
