"""How the app has a model write: as it predicts, without what its checkpoint's generation settings add to that.

Greedy is then the likeliest next token at every step, sampled a draw of the model's own distribution. What belongs to
the model stays: its start, end and padding tokens, and of an encoder-decoder the first token that it is forced to write
(a target language), and that it never writes padding, where its checkpoint says so.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import GenerationConfig

from nvib.errors import NVError

KEPT = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "transformers_version")
SETTINGS = tuple(name for name in vars(GenerationConfig()) if name not in KEPT and not name.startswith("_"))
NEUTRAL = {"do_sample": False, "num_beams": 1, "num_return_sequences": 1, "use_cache": True}  # None for the others
IDLE = NEUTRAL | dict.fromkeys(
    ("temperature", "top_p", "typical_p", "repetition_penalty", "encoder_repetition_penalty", "length_penalty",
     "guidance_scale", "num_beam_groups"), 1,
)  # fmt: skip


def neutral(model: nn.Module) -> dict[str, Any]:
    """The options of `generate` under which a model writes as it predicts, token by token."""
    return dict.fromkeys(SETTINGS) | NEUTRAL | _structural(model) | {"eos_token_id": ends(model) or None}


def set_aside(model: nn.Module) -> list[str]:
    """The settings of a checkpoint that `neutral` leaves out, by name: those that would do something.

    Its length is none of them: the app always says how long a text may become.
    """
    asked, used = vars(model.generation_config), neutral(model)
    told = (name for name in SETTINGS if name not in ("max_length", "max_new_tokens"))
    return [name for name in told if not _idle(name, asked.get(name)) and asked[name] != used[name]]


def ends(model: nn.Module) -> list[int]:
    """The tokens that end a text: the generation settings' or, where these have none, the configuration's."""
    for config in (model.generation_config, model.config):
        found: Any = getattr(config, "eos_token_id", None)
        if found is not None:
            return list(found) if isinstance(found, list | tuple) else [found]
    return []


def start(model: nn.Module) -> int:
    """The token that an encoder-decoder's text starts from, as `generate` finds it. Raises NVError for none."""
    asked: Any = model.generation_config
    found = (asked.decoder_start_token_id, getattr(model.config, "decoder_start_token_id", None), asked.bos_token_id)
    for token in found:
        if token is not None:
            return int(token)
    raise NVError("The model has no token to start its text from; give its generation_config a decoder_start_token_id.")


def _structural(model: nn.Module) -> dict[str, Any]:
    asked: Any = model.generation_config
    if not model.config.is_encoder_decoder:  # type: ignore[union-attr]
        return {}
    padding = [asked.pad_token_id]
    kept = [padding] if padding in (asked.bad_words_ids or []) else None
    return {"forced_bos_token_id": asked.forced_bos_token_id, "bad_words_ids": kept}


def _idle(name: str, value: Any) -> bool:
    return value is None or (value == IDLE[name] if name in IDLE else not value)
