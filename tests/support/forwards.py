"""Settings, and what a forward gives, for models of every family."""

import inspect
import math

import torch

import nvib
from tests.support import textbook
from tests.support.tiny import DECODERS, ENCODER_DECODERS, ENCODERS  # fmt: skip

SEQ2SEQ_FIELDS = {"encoder": "encoder_attentions", "cross": "cross_attentions", "decoder": "decoder_attentions"}


FIELDS = (
    {family: {"encoder": "attentions"} for family in ENCODERS}
    | {family: {"decoder": "attentions"} for family in DECODERS}
    | dict.fromkeys(ENCODER_DECODERS, SEQ2SEQ_FIELDS)
)


SETTINGS = {
    "variance": {"alpha": math.inf, "sigma": 0.4, "mu": 1.0},
    "prior": {"alpha": 1.0, "sigma": 0.0, "mu": 1.0},
    "both": {"alpha": 0.5, "sigma": 0.3, "mu": 1.0, "protected": 1},
    "mean": {"alpha": math.inf, "sigma": 0.0, "mu": 0.6},
    "all": {
        "alpha": {"encoder": 2.0, "cross": -1.0, "decoder": 0.0},
        "sigma": {"encoder": 0.2, "cross": 0.9, "decoder": 0.5},
        "mu": 0.7,
        "protected": 2,
        "prior_mean_scale": 1.5,
        "prior_variance_scale": 0.5,
        "pseudo_count_shift": -1.0,
    },
    "one layer": {"alpha": 0.0, "sigma": 0.5, "mu": 1.0, "layers": {"encoder": {1}, "cross": {0}, "decoder": {1}}},
}


# The attention implementations of each family that can be asked for; transformers has no fused one with sinks.
IMPLEMENTED = [
    (family, name)
    for family in FIELDS
    for name in (("eager",) if family == "gpt oss" else ("sdpa", "eager"))
]  # fmt: skip


def regularisation(setting):
    def value(name, kind):
        return setting[name][kind] if isinstance(setting[name], dict) else setting[name]

    rest = {k: v for k, v in setting.items() if k not in ("alpha", "sigma", "mu")}
    temperatures = {
        kind: nvib.Temperature(value("alpha", kind), value("sigma", kind), value("mu", kind)) for kind in nvib.KINDS
    }
    return nvib.Regularisation(**temperatures, **rest)


def real_tokens(inputs):
    """Which source tokens are no padding, [B, N]: those of an image or a sound all are."""
    if "attention_mask" in inputs:
        return inputs["attention_mask"].bool()
    first = next(iter(inputs.values()))
    tokens = 9 if first.shape[-1] == 9 else 10  # of SigLIP's 9 patches, 9 patches and the class token, or 10 frames
    return torch.ones(len(first), tokens, dtype=torch.bool)


def output(out):
    """Its logits, where an answer begins (question answering), or its last hidden states."""
    return next(out[name] for name in ("logits", "start_logits", "last_hidden_state") if name in out)


ROTARY = ("modernbert", *(family for family in DECODERS if family not in ("gpt2", "opt")))
NORMED = ("qwen3", "qwen3 moe", "gemma3", "olmo2")  # in these a norm follows the key projection


def matrices(rotation, d):
    """Rotation matrices [N, d, d] of tables [1, N, w], plane by plane; what does not turn stays."""
    w = rotation.cos.shape[-1]
    out = torch.eye(d, dtype=torch.float64).repeat(rotation.cos.shape[1], 1, 1)
    for plane in range(w // 2):
        i, j = (2 * plane, 2 * plane + 1) if rotation.pairs else (plane, plane + w // 2)
        out[:, i, i] = out[:, j, j] = rotation.cos[0, :, plane]
        out[:, j, i], out[:, i, j] = rotation.sin[0, :, plane], -rotation.sin[0, :, plane]
    return out


def accepted(model, inputs):
    """The inputs that this model's forward takes."""
    return {name: x for name, x in inputs.items() if name in inspect.signature(model.forward).parameters}


def whole(rows):
    """Rows of attention [..., K] with what a learned sink takes beside them, [..., K + 1]."""
    return torch.cat([rows, (1 - rows.sum(-1, keepdim=True)).clamp(min=0)], dim=-1)


def textbook_attend(head, mixture, exact=False):
    """The textbook's output and weights of a head over a mixture."""
    queries, turns = head.queries, (None, None)
    if head.rotation is not None:
        turns = (matrices(head.rotation, queries.shape[1]),) * 2
        queries = queries / turns[0][0].pow(2).sum(0)  # tables that YaRN scales by f make them f^2 as long
    sink = None if head.sink is None else (head.sink.variance, head.sink.log_alpha)
    return textbook.attend(
        queries, head.key_weight, head.key_bias, head.value_weight, head.value_bias, mixture.means, mixture.variances,
        mixture.log_alpha, head.visible, head.noise, *turns, head.offset, head.key_scale, exact, sink,
    )  # fmt: skip


def entropy(p):
    """In nats, of rows [..., K]; 0 log 0 = 0."""
    return -(p * torch.where(p > 0, p, torch.ones_like(p)).log()).sum(-1)


def jensen_shannon(p, q):
    """The root of the divergence in bits."""
    divergence = entropy((p + q) / 2) - entropy(p) / 2 - entropy(q) / 2
    return (divergence / math.log(2)).clamp(min=0).sqrt()
