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
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
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


def roberta(**changes):
    config = transformers.RobertaConfig(**SHAPE | {"intermediate_size": 32, "pad_token_id": 0} | changes)
    return transformers.RobertaModel(config, add_pooling_layer=False)


def electra(**changes):
    config = transformers.ElectraConfig(**SHAPE | {"intermediate_size": 32, "embedding_size": 16} | changes)
    return transformers.ElectraModel(config)


def distilbert(**changes):
    shape = {"vocab_size": 50, "dim": 24, "hidden_dim": 32, "n_layers": 2, "n_heads": 4, "initializer_range": 0.4}
    return transformers.DistilBertModel(transformers.DistilBertConfig(**shape | changes))


def qwen2(**changes):
    config = transformers.Qwen2Config(**SHAPE | {"intermediate_size": 32, "num_key_value_heads": 2} | changes)
    return transformers.Qwen2ForCausalLM(config)


def qwen2_sliding(**changes):
    """A window of 4 tokens in the second layer alone."""
    layers = ["full_attention", "sliding_attention"]
    return qwen2(use_sliding_window=True, sliding_window=4, layer_types=layers, **changes)


def qwen3(**changes):
    shape = {"intermediate_size": 32, "num_key_value_heads": 2, "head_dim": 8}
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SHAPE | shape | changes))


def gemma3(**changes):
    """A window of 4 tokens in the first layer alone, and a noise variance that is not the root of the head width."""
    shape = {"intermediate_size": 32, "num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 6,
             "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4,
             "tie_word_embeddings": False}  # fmt: skip
    return transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**SHAPE | shape | changes))


def partial_rotary(share, **rest):
    return {"hidden_size": 32, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0,
                                                   "partial_rotary_factor": share}} | rest  # fmt: skip


def decoder(name, **shape):
    """A decoder of the family that transformers calls so, its key and value heads half as many as its heads."""
    common = SHAPE | {"intermediate_size": 32, "num_key_value_heads": 2} | SPECIAL

    def made(**changes):
        config = getattr(transformers, f"{name}Config")(**common | shape | changes)
        return getattr(transformers, f"{name}ForCausalLM")(config)

    return made


def encoder(name, **shape):
    """An encoder without a pooling layer."""

    def made(**changes):
        config = getattr(transformers, f"{name}Config")(**SHAPE | {"intermediate_size": 32} | SPECIAL | shape | changes)
        return getattr(transformers, f"{name}Model")(config, add_pooling_layer=False)

    return made


def plain(name, **shape):
    """A model whose class takes nothing but its config."""

    def made(**changes):
        config = getattr(transformers, f"{name}Config")(**SHAPE | {"intermediate_size": 32} | SPECIAL | shape | changes)
        return getattr(transformers, f"{name}Model")(config)

    return made


def opt(**changes):
    shape = {"word_embed_proj_dim": 24, "ffn_dim": 32, "init_std": 0.4, "max_position_embeddings": 64}
    return transformers.OPTForCausalLM(transformers.OPTConfig(**SHAPE | shape | changes))


def gpt2(**changes):
    shape = {"vocab_size": 50, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_inner": 32, "initializer_range": 0.4}
    config = transformers.GPT2Config(**shape | {"bos_token_id": 1, "eos_token_id": 2} | changes)
    return transformers.GPT2LMHeadModel(config)


def mbart(**changes):
    return transformers.MBartForConditionalGeneration(transformers.MBartConfig(**SEQ2SEQ | changes))


def pegasus(**changes):
    return transformers.PegasusForConditionalGeneration(transformers.PegasusConfig(**SEQ2SEQ | changes))


def m2m100(**changes):
    return transformers.M2M100ForConditionalGeneration(transformers.M2M100Config(**SEQ2SEQ | changes))


T5_SHAPE = {"vocab_size": 50, "d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_decoder_layers": 3,
            "num_heads": 4, "decoder_start_token_id": 0, "initializer_factor": 1.0}  # fmt: skip


def mt5(**changes):
    return transformers.MT5ForConditionalGeneration(
        transformers.MT5Config(**T5_SHAPE | {"initializer_factor": 2.0} | changes)
    )


def t5(**changes):
    """Heads of width 8 on a model of width 24, and a position bias that matters."""
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**T5_SHAPE | changes))


def whisper(**changes):
    sizes = {"num_mel_bins": 8, "max_source_positions": 10, "max_target_positions": 64, "suppress_tokens": None}
    shape = {k: v for k, v in SEQ2SEQ.items() if k not in ("max_position_embeddings", "forced_eos_token_id")}
    config = transformers.WhisperConfig(**shape | sizes | {"begin_suppress_tokens": None} | changes)
    return transformers.WhisperForConditionalGeneration(config)


def vit(**changes):
    shape = {k: v for k, v in SHAPE.items() if k != "vocab_size"}
    config = transformers.ViTConfig(**shape | {"intermediate_size": 32, "image_size": 12, "patch_size": 4} | changes)
    return transformers.ViTModel(config, add_pooling_layer=False)


IMAGE = {"image_size": 12, "patch_size": 4}
SOUND = {"conv_dim": (8, 8), "conv_kernel": (4, 2), "conv_stride": (2, 2), "num_feat_extract_layers": 2,
         "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "feat_proj_dropout": 0.0,
         "apply_spec_augment": False}  # fmt: skip
YARN = {"max_position_embeddings": 64,
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 10.0, "factor": 4.0, "truncate": False,
                            "original_max_position_embeddings": 16}}  # fmt: skip
EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1}

ENCODERS = {
    "bert": bert,
    "roberta": roberta,
    "electra": electra,
    "distilbert": distilbert,
    "vit": vit,
    "xlm roberta": encoder("XLMRoberta"),
    "camembert": encoder("Camembert"),
    "albert": encoder("Albert", embedding_size=16, num_hidden_layers=4, num_hidden_groups=2),
    "modernbert": plain("ModernBert", cls_token_id=1, sep_token_id=2, attention_bias=True, local_attention=4,
                        global_attn_every_n_layers=2),
    "clip text": plain("CLIPText", initializer_factor=2.0, max_position_embeddings=64),
    "siglip text": plain("SiglipText", max_position_embeddings=64, projection_size=24),
    "deit": encoder("DeiT", **IMAGE | {"image_size": (8, 16)}),
    "dinov2": plain("Dinov2", **IMAGE, mlp_ratio=1),
    "clip vision": plain("CLIPVision", initializer_factor=2.0, **IMAGE),
    "siglip vision": plain("SiglipVision", image_size=9, patch_size=3),
    "wav2vec2": plain("Wav2Vec2", **SOUND),
    "hubert": plain("Hubert", **SOUND),
}  # fmt: skip
UNWRITTEN = ("vit", "deit", "dinov2", "clip vision", "siglip vision", "wav2vec2", "hubert")  # images and sound
DECODERS = {
    "llama": llama,
    "qwen2": qwen2,
    "qwen2 sliding": qwen2_sliding,
    "gpt2": gpt2,
    "opt": opt,
    "qwen3": qwen3,
    "gemma3": gemma3,
    "mistral": decoder("Mistral", sliding_window=4),
    "gemma": decoder("Gemma", head_dim=8, tie_word_embeddings=False),
    "phi": decoder("Phi", **partial_rotary(0.5)),
    "phi3": decoder("Phi3", sliding_window=None),
    "gpt neox": decoder("GPTNeoX", **partial_rotary(0.25)),
    "olmo": decoder("Olmo", attention_bias=True),
    "olmo2": decoder("Olmo2"),
    "starcoder2": decoder("Starcoder2", use_bias=True),
    "smollm3": decoder("SmolLM3", no_rope_layers=[1, 0]),
    "granite": decoder("Granite", attention_multiplier=0.3),
    "cohere": decoder("Cohere", attention_bias=True),
    "stablelm": decoder("StableLm", use_qkv_bias=True, **partial_rotary(0.25)),
    "mixtral": decoder("Mixtral", num_local_experts=3, num_experts_per_tok=2),
    "qwen2 moe": decoder("Qwen2Moe", shared_expert_intermediate_size=16, **EXPERTS),
    "qwen3 moe": decoder("Qwen3Moe", head_dim=8, **EXPERTS),
    "gpt oss": decoder("GptOss", head_dim=8, num_local_experts=3, num_experts_per_tok=2, sliding_window=4, **YARN),
}  # fmt: skip
ENCODER_DECODERS = {
    "bart": bart,
    "mbart": mbart,
    "marian": marian,
    "t5": t5,
    "whisper": whisper,
    "pegasus": pegasus,
    "m2m100": m2m100,
    "mt5": mt5,
}
FAMILIES = ENCODERS | DECODERS | ENCODER_DECODERS
# Their attention is that of another family but for its name, so that two settings tell what there is to tell.
ALIKE = (
    "xlm roberta", "camembert", "clip text", "siglip text", "deit", "dinov2", "clip vision", "siglip vision",
    "wav2vec2", "hubert", "mistral", "gemma", "phi3", "olmo", "starcoder2", "granite", "stablelm", "mixtral",
    "qwen2 moe", "qwen3 moe", "pegasus", "m2m100", "mt5",
)  # fmt: skip


def bert_config(**changes):
    return transformers.BertConfig(**SHAPE | {"intermediate_size": 32} | changes)


def two_models(decoder):
    """An encoder-decoder made of two models, each with a config of its own."""
    model = transformers.EncoderDecoderModel(encoder=bert(), decoder=decoder)
    model.config.decoder_start_token_id, model.config.pad_token_id = 1, 0
    model.generation_config.decoder_start_token_id, model.generation_config.pad_token_id = 1, 0
    return model


OTHER_USES = {
    "llama without a head": lambda: transformers.LlamaModel(llama().config),
    "llama that classifies": lambda: transformers.LlamaForSequenceClassification(llama(pad_token_id=0).config),
    "bert that classifies": lambda: transformers.BertForSequenceClassification(bert_config()),
    "llama that labels tokens": lambda: transformers.LlamaForTokenClassification(llama().config),
    "gpt2 that answers": lambda: transformers.GPT2ForQuestionAnswering(gpt2().config),
    "a reward model": lambda: transformers.LlamaForSequenceClassification(llama(pad_token_id=0, num_labels=1).config),
    "bart that classifies": lambda: transformers.BartForSequenceClassification(bart().config),
    "bart that answers": lambda: transformers.BartForQuestionAnswering(bart().config),
    "t5 that classifies": lambda: transformers.T5ForSequenceClassification(t5().config),
    "bert that labels tokens": lambda: transformers.BertForTokenClassification(bert_config()),
    "bert that answers": lambda: transformers.BertForQuestionAnswering(bert_config()),
    "electra that discriminates": lambda: transformers.ElectraForPreTraining(electra().config),
    "bert as decoder": lambda: transformers.BertLMHeadModel(bert_config(is_decoder=True)),
    "t5's encoder": lambda: transformers.T5EncoderModel(t5().config),
    "bart's encoder": lambda: bart().get_encoder(),
    "whisper's encoder": lambda: whisper().get_encoder(),
    "bart alone": lambda: transformers.BartForCausalLM(bart(encoder_layers=3).config),
    "tied bart": lambda: bart(tie_word_embeddings=True),
    "bert to bert": lambda: two_models(
        transformers.BertLMHeadModel(bert_config(is_decoder=True, add_cross_attention=True, num_hidden_layers=3))
    ),
    "bert to gpt2": lambda: two_models(gpt2(add_cross_attention=True)),
}
GENERATING = ("bert as decoder", "bart alone", "tied bart", "bert to bert", "bert to gpt2")


def model_of(family, seed=0, **changes):
    """A random model in evaluation mode, float32, biases and norms random too."""
    torch.manual_seed(seed)
    model = (FAMILIES | OTHER_USES)[family](**changes).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter += 0.2 * torch.randn_like(parameter)
    return model


COUNTING = ("roberta", "xlm-roberta", "camembert", "opt")  # their positions count real tokens by themselves


def inputs_of(model, rows=3, length=9, padding="right", seed=1):
    """Random ids with two padded rows: input_ids, attention_mask and, for encoder-decoders, decoder_input_ids."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 50, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(1, rows):
        pad = slice(length - row - 1, None) if padding == "right" else slice(0, row + 1)
        mask[row, pad], ids[row, pad] = 0, 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.main_input_name == "pixel_values":
        size = model.config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return {"pixel_values": torch.randn(rows, 3, height, width, generator=generator)}
    if model.main_input_name == "input_values":
        return {"input_values": torch.randn(rows, 44, generator=generator)}
    if model.main_input_name == "input_features":
        inputs = {"input_features": torch.randn(rows, 8, 20, generator=generator)}
    if type(model).__name__.endswith("ForSequenceClassification") and model.config.is_encoder_decoder:
        last = mask.cumsum(1).argmax(1, keepdim=True)  # such a class reads its own source, up to the end token
        return inputs | {"input_ids": ids.scatter(1, last, model.config.eos_token_id)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.randint(3, 50, (rows, 6), generator=generator)
    elif padding == "left" and model.config.model_type not in COUNTING:
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    return inputs


def prior_of(model, seed=2):
    """The empirical prior of the model on other random text."""
    return nvib.estimate_prior(model, [inputs_of(model, rows=4, length=12, seed=seed)])
