"""Tiny random models of every family, with inputs and a prior: small enough for the float64 textbook version."""

from __future__ import annotations

import torch
import transformers

import nvib

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.4,
}
SEQ2SEQ = {
    "vocab_size": 50, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
    "init_std": 0.4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "forced_eos_token_id": None,
}  # fmt: skip


def bert(**changes):
    config = transformers.BertConfig(**SHAPE | {"intermediate_size": 32} | changes)
    return transformers.BertModel(config, add_pooling_layer=False)


def llama(**changes):
    config = transformers.LlamaConfig(
        **SHAPE | {"intermediate_size": 32, "num_key_value_heads": 2, "attention_bias": True} | changes
    )
    return transformers.LlamaForCausalLM(config)


def bart(**changes):
    return transformers.BartForConditionalGeneration(transformers.BartConfig(**SEQ2SEQ | changes))


def marian(**changes):
    return transformers.MarianMTModel(transformers.MarianConfig(**SEQ2SEQ | changes))


FAMILIES = {"bert": bert, "llama": llama, "bart": bart, "marian": marian}


def model_of(family, seed=0, **changes):
    """A random model in evaluation mode, float32, biases and norms random too."""
    torch.manual_seed(seed)
    model = FAMILIES[family](**changes).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def inputs_of(model, rows=3, length=9, padding="right", seed=1):
    """Random ids with two padded rows: input_ids, attention_mask and, for encoder-decoders, decoder_input_ids."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 50, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(1, rows):
        pad = slice(length - row - 1, None) if padding == "right" else slice(0, row + 1)
        mask[row, pad], ids[row, pad] = 0, 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.randint(3, 50, (rows, 6), generator=generator)
    elif padding == "left":
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    return inputs


def prior_of(model, seed=2):
    """The empirical prior of the model on other random text."""
    return nvib.estimate_prior(model, [inputs_of(model, rows=4, length=12, seed=seed)])
