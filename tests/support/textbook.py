"""NV attention the slow, obvious way: float64, every formula literally in embedding space. For tests only.

Written from the mathematics alone (Fehr & Henderson, arXiv:2312.00662, and this project's extensions to
rotary models and attention sinks); it shares no code with the package that it judges.

Letters: B batch, Q queries, N tokens, K = N + 1 components, H heads, P model width, d head width.
Component 0 is the prior. r = sqrt(d).
"""

import copy
import json
import math
import types
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

DATA = Path(__file__).parents[1] / "data"
KINDS = ("encoder", "cross", "decoder")
IDENTITY = {"mu": 1.0, "alpha": math.inf, "sigma": 0.0}


# ---- Prior and posterior ---------------------------------------------------------------------------------


def estimate(x, r):
    """Empirical prior of tokens x [N, P]: mean [P], var [P], log_alpha [], log_alpha_std []."""
    x = x.double()
    log_alpha = x.pow(2).sum(-1) / (2 * r)  # [N]
    return {"mean": x.mean(0), "var": x.var(0), "log_alpha": log_alpha.mean(), "log_alpha_std": log_alpha.std()}


def layer_prior(prior, kind, layer, setting):
    """The prior of one layer from the flat dict `prior`, with the setting's changes to the prior itself.

    Cross-attention has one prior, "cross.*", for all layers. The standard deviation of log alpha never changes.
    """
    name = "cross" if kind == "cross" else f"{kind}.{layer}"
    return {
        "mean": prior[f"{name}.mean"].double() * setting.get("prior_mean_scale", 1.0),
        "var": prior[f"{name}.var"].double() * setting.get("prior_variance_scale", 1.0),
        "log_alpha": prior[f"{name}.log_alpha"].double().reshape(()) + setting.get("pseudo_count_shift", 0.0),
        "log_alpha_std": prior[f"{name}.log_alpha_std"].double().reshape(()),
    }


def posterior(x, prior, tau_alpha, tau_sigma, tau_mu, r):
    """Tokens x [N, P] -> means [K, P], variances [K, P], log_alpha [K].

    tau_alpha = inf removes the prior: log_alpha[0] = -inf, and the tokens keep |x|^2 / 2r alone.
    """
    x = x.double()
    means, variances, log_alpha = [prior["mean"]], [prior["var"]], [prior["log_alpha"]]
    if tau_alpha == math.inf:
        log_alpha[0] = torch.tensor(-math.inf, dtype=torch.float64)
    for x_n in x:
        means.append(tau_mu * x_n + (1 - tau_mu) * prior["mean"])
        variances.append(prior["var"] * tau_sigma**2)
        above_prior = 0.0 if tau_alpha == math.inf else tau_alpha * prior["log_alpha_std"]
        log_alpha.append((x_n * x_n).sum() / (2 * r) + above_prior)
    return torch.stack(means), torch.stack(variances), torch.stack(log_alpha)


def learned_sink(logit, prior, tau_alpha, tau_sigma):
    """Variance [P] and log_alpha [] of a learned sink's component: it moves with the tokens, against the prior."""
    above_prior = 0.0 if tau_alpha == math.inf else tau_alpha * prior["log_alpha_std"]
    return prior["var"] * tau_sigma**2, logit.double() + above_prior


# ---- Attention over the mean mixture ---------------------------------------------------------------------


@dataclass
class Rope:
    """How a head turns: the frequency of each plane, what cos and sin are multiplied by, and which planes.

    Plane i is (i, i + w/2) for w/2 frequencies (rotate_half), or (2i, 2i + 1) with pairs; what is beyond w stays.
    """

    frequencies: list
    scale: float = 1.0
    pairs: bool = False


def rotation(position, d, theta):
    """R_n [d, d] of one position: plane (i, i + d/2) turns by position * theta^(-2i/d) (rotate_half)."""
    return turn(position, d, Rope([theta ** (-2 * i / d) for i in range(d // 2)]))


def turn(position, d, rope):
    """R_n [d, d] of one position; with a scale it is no pure rotation, but as much longer."""
    matrix = torch.eye(d, dtype=torch.float64)
    half = len(rope.frequencies)
    for plane, frequency in enumerate(rope.frequencies):
        i, j = (2 * plane, 2 * plane + 1) if rope.pairs else (plane, plane + half)
        cos, sin = (rope.scale * f(position * frequency) for f in (math.cos, math.sin))
        matrix[i, i], matrix[i, j] = cos, -sin
        matrix[j, i], matrix[j, j] = sin, cos
    return matrix


def turned_back(queries, components, query_rotations=None, key_rotations=None, key_scales=None):
    """D_n R_n^T R_m q_m [Q, K, d]: queries [Q, d] as component n meets them.

    The prior is met at relative position zero, R_m^T R_m q_m, which is q_m where R is a pure rotation.
    rotations [Q, d, d] and [N, d, d], and the diagonals D_n of a key norm [K, d], if any.
    """
    met = queries[:, None, :].expand(-1, components, -1)
    if query_rotations is not None:
        tokens = torch.einsum("ned,qef,qf->qnd", key_rotations, query_rotations, queries)
        prior = torch.einsum("qed,qef,qf->qd", query_rotations, query_rotations, queries)
        met = torch.cat([prior[:, None], tokens], dim=1)
    return met if key_scales is None else met * key_scales


def key_norm_scales(norm, keys, head):
    """D_n [K, d] of an RMS norm on the projected keys [K, G, d] of untouched components: gain / rms(k_n).

    OLMo-2's has a gain for each head and one rms for all of them; elsewhere every head has its own.
    """
    heads, d = keys.shape[1:]
    whole = norm.weight.numel() == heads * d and heads > 1
    gain, scales = rms_gain(norm).reshape(-1, d)[head if whole else 0], []
    for key in keys:
        epsilon = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon
        scales.append(gain / torch.sqrt(((key if whole else key[head]) ** 2).mean() + epsilon))
    return torch.stack(scales)


def score_terms(u, means, variances, log_alpha, r):
    """The four terms of a score from u [Q, K, P]: "match" [Q, K], "log_alpha", "norm", "log_variance" [K].

    match = u.(mu/S), norm = -1/2 sum mu^2/S, log_variance = -1/2 sum log S, where S = r + var.
    """
    S = r + variances
    return {
        "match": torch.einsum("qkp,kp->qk", u, means / S),
        "log_alpha": log_alpha,
        "norm": -0.5 * (means**2 / S).sum(-1),
        "log_variance": -0.5 * torch.log(S).sum(-1),
    }


def scores(u, means, variances, log_alpha, r):
    """score(m, n) [Q, K], the sum of `score_terms`, from u [Q, K, P], means and variances [K, P]."""
    return sum(score_terms(u, means, variances, log_alpha, r).values())


def values(u, means, variances, r):
    """value(m, n) [Q, K, P] = (var/S) u + (r/S) mu."""
    S = r + variances
    return variances / S * u + r / S * means


def softmax(score, visible, sink=None):
    """Weights [Q, K] over the visible components; a row without any is zero, as in torch's own kernel.

    sink: the score [] of a component more, whose weight is left out.
    """
    score = score.masked_fill(~visible, -math.inf)
    weights = torch.zeros_like(score)
    for m, row in enumerate(score):
        if row.max() > -math.inf:
            mass = torch.exp(row - row.max())
            weights[m] = mass / (mass.sum() + (0 if sink is None else torch.exp(sink - row.max())))
    return weights


def sink_score(variance, log_alpha, r):
    """The score [] of a learned sink: a Gaussian of mean 0, of variance [P] and log_alpha [], whatever the query."""
    nowhere = torch.zeros(1, 1, len(variance), dtype=torch.float64)
    return scores(nowhere, nowhere[0], variance[None], log_alpha[None], r)[0, 0]


def attend(queries, W_K, b_K, W_V, b_V, means, variances, log_alpha, visible, r,
           query_rotations=None, key_rotations=None, position_bias=None, key_scales=None, exact=False,
           sink=None):  # fmt: skip
    """One head: out [Q, d] and weights [Q, K].

    queries [Q, d] unscaled, W_K and W_V [d, P], biases [d] or None, means and variances [K, P],
    log_alpha [K], visible [Q, K] bool, rotations [Q, d, d] and [N, d, d] or None, key_scales [K, d] or None.
    A key bias counts only under rotation; elsewhere it adds the same amount to every score.
    exact: with the query norm that the published formula leaves out. sink: variance [P] and log_alpha [] of a
    component of mean 0 without a value, or None.
    """
    met = turned_back(queries, len(means), query_rotations, key_rotations, key_scales)  # [Q, K, d]
    u = torch.einsum("dp,qkd->qkp", W_K, met)
    score = scores(u, means, variances, log_alpha, r)
    if exact:
        score = score - 0.5 * torch.einsum("qkp,kp->qk", u**2, 1 / (r + variances))
    if query_rotations is not None and b_K is not None:
        score = score + torch.einsum("qkd,d->qk", met, b_K) / r
    if position_bias is not None:  # [Q, N]; the prior has no position
        score = score + torch.cat([torch.zeros(len(score), 1, dtype=score.dtype), position_bias], dim=1)
    weights = softmax(score, visible, None if sink is None else sink_score(*sink, r))
    mixed = torch.einsum("qk,qkp->qp", weights, values(u, means, variances, r))
    out = torch.einsum("dp,qp->qd", W_V, mixed)
    if b_V is not None:
        out = out + weights.sum(-1, keepdim=True) * b_V
    return out, weights


# ---- Dirichlet and Gaussian closed forms -----------------------------------------------------------------


def dirichlet_mean(log_alpha):
    """Mean weights [..., K] of Dirichlet(exp(log_alpha)), in log space: nothing overflows."""
    log_alpha = log_alpha.double()
    return torch.exp(log_alpha - torch.logsumexp(log_alpha, -1, keepdim=True))


def dirichlet_std(log_alpha):
    """Standard deviation [..., K] of each weight, sqrt(m (1 - m) / (A + 1)) for the mean m and the total A."""
    log_alpha = log_alpha.double()
    mean, log_total = dirichlet_mean(log_alpha), torch.logsumexp(log_alpha, -1, keepdim=True)
    others = torch.stack([drop(log_alpha, n).logsumexp(-1) for n in range(log_alpha.shape[-1])], -1)
    return torch.sqrt(mean * torch.exp(others - log_total)) * torch.exp(-0.5 * torch.nn.functional.softplus(log_total))


def drop(x, n):
    """x [..., K] without its entry n: [..., K - 1]."""
    return torch.cat([x[..., :n], x[..., n + 1 :]], -1)


def symmetric_dirichlet_kl(total, prior_total, k):
    """KL in nats of Dirichlet(A/k, ..., A/k) from Dirichlet(A_p/k, ...), over k components.

    The published Dirichlet part. Literal, so terms of size A log A cancel: off by 3e-9 at A = 1e6, 1e-3 at 1e12.
    """
    A, A_p = (torch.as_tensor(value, dtype=torch.float64) for value in (total, prior_total))
    slope = -torch.digamma(A) + torch.digamma(A / k)
    return (
        torch.lgamma(A) - torch.lgamma(A_p) + (A - A_p) * slope
        + k * (torch.lgamma(A_p / k) - torch.lgamma(A / k))
    )  # fmt: skip


def dirichlet_kl(log_alpha, log_beta):
    """KL in nats of Dirichlet(alpha) from Dirichlet(beta), both [K]; literal, as above."""
    a, b = log_alpha.double().exp(), log_beta.double().exp()
    A, B = a.sum(), b.sum()
    normalisers = torch.lgamma(A) - torch.lgamma(B) - torch.lgamma(a).sum() + torch.lgamma(b).sum()
    return normalisers + ((a - b) * (torch.digamma(a) - torch.digamma(A))).sum()


def gaussian_kl(means, variances, log_alpha, prior):
    """The Gaussian part of the KL in nats: components [K, P] from N(mean_p, var_p), weighted by alpha/total.

    Infinite where a component that has weight has variance 0.
    """
    total = torch.zeros((), dtype=torch.float64)
    for weight, mean, variance in zip(dirichlet_mean(log_alpha), means, variances, strict=True):
        ratio = variance / prior["var"]
        if weight > 0:
            total += weight * 0.5 * (ratio + (mean - prior["mean"]) ** 2 / prior["var"] - 1 - ratio.log()).sum()
    return total


# ---- A whole model ---------------------------------------------------------------------------------------


@dataclass
class Result:
    """What a run saw. Every dict maps the kinds that the model has to a list over layers.

    attentions [B, H, Q, N + 1], column 0 the prior; log_alpha [B, N] of the tokens; prior_mass [B, Q], the
    prior's attention averaged over heads; inputs x [B, N, P]. All float64; padding is left in place.
    """

    logits: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    attentions: dict = field(default_factory=dict)
    log_alpha: dict = field(default_factory=dict)
    prior_mass: dict = field(default_factory=dict)
    inputs: dict = field(default_factory=dict)


@dataclass
class Layer:
    """One attention module of our private copy: where it is, how to regularise it, what it saw."""

    kind: str
    prior: dict | None  # None: the layer is not regularised
    tau: dict
    protected: int
    layer_type: str | None
    rotary: torch.nn.Module | None  # what makes the tables, if the layer turns its queries and keys
    exact: bool
    source: torch.Tensor | None = None  # [B, N, P], what keys and values are made of
    target: torch.Tensor | None = None  # [B, Q, P], what queries are made of
    weights: torch.Tensor | None = None
    log_alpha: torch.Tensor | None = None


def run(model, inputs, prior, setting):
    """A forward pass of a float64 copy of `model` (BERT, Llama, Qwen2, BART, Marian) under `setting` -> Result.

    setting: "mu", "alpha" and "sigma" (a number, or a dict by kind, of a number or a list by layer), and optionally
    "protected", "prior_mean_scale", "prior_variance_scale", "pseudo_count_shift", and "layers": None for all, a
    collection of layer indices, or a dict from kind to such a collection (a kind left out is not regularised).
    prior: flat dict "encoder.0.mean", ".var", ".log_alpha", ".log_alpha_std", "cross.mean", "decoder.0.mean".
    It may be empty where no layer is regularised.
    """
    model = double(model)
    implement(model, "textbook")
    modules = {kind: [] for kind in KINDS}
    for name, module in attention_modules(model):
        kind = attention_kind(name, module)
        layer = new_layer(model, kind, len(modules[kind]), prior, setting)
        if not hasattr(module, "textbooks"):
            module.textbooks = []
            module.register_forward_pre_hook(remember_inputs, with_kwargs=True)
        module.textbooks.append(layer)
        modules[kind].append(layer)
    exact = {key: x.double() if x.is_floating_point() else x for key, x in inputs.items()}
    with torch.no_grad():
        output = model(**exact, use_cache=False)
    logits = output.get("logits", output.get("start_logits"))
    result = Result(logits=logits, last_hidden_state=output.get("last_hidden_state"))
    for kind in KINDS:
        layers = [layer for layer in modules[kind] if layer.weights is not None]
        if layers:
            result.attentions[kind] = [layer.weights for layer in layers]
            result.log_alpha[kind] = [layer.log_alpha for layer in layers]
            result.prior_mass[kind] = [layer.weights[..., 0].mean(1) for layer in layers]
            result.inputs[kind] = [layer.source for layer in layers]
    return result


def untouched(model, inputs):
    """Logits, or the last hidden state, of the float64 copy with the library's own attention."""
    model = double(model)
    implement(model, "sdpa" if model._supports_sdpa else "eager")
    exact = {key: x.double() if x.is_floating_point() else x for key, x in inputs.items()}
    with torch.no_grad():
        output = model(**exact, use_cache=False)
    return output["logits"] if "logits" in output else output["last_hidden_state"]


def implement(model, name):
    """Choose an attention function, in modules that keep a config of their own too."""
    model.set_attn_implementation(name)
    for module in model.modules():
        if projections(module) is not None:
            module.config._attn_implementation = name


def double(model):
    """A copy in float64 throughout: transformers' RMS norms and rotary tables fall back to float32 otherwise."""
    model = copy.deepcopy(model).double().eval()
    if getattr(model.config, "_experts_implementation", None):
        model.set_experts_implementation("eager")  # the fused one knows no float64
    for module in model.modules():
        if type(module).__name__.endswith(("RMSNorm", "T5LayerNorm")):
            module.forward = types.MethodType(rms_norm, module)
        if type(module).__name__ in ("CohereLayerNorm", "OlmoLayerNorm"):
            module.forward = types.MethodType(layer_norm, module)
        if type(module).__name__.endswith("RotaryEmbedding"):
            module.forward = types.MethodType(rotary_tables, module)
    return model


def rms_norm(module, x):
    """RMS norm of x [..., P]."""
    epsilon = module.eps if hasattr(module, "eps") else module.variance_epsilon
    return rms_gain(module) * x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)


def layer_norm(module, x):
    """Layer norm of x [..., P] without a shift."""
    centred = x - x.mean(-1, keepdim=True)
    normed = centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + getattr(module, "variance_epsilon", 1e-5))
    return normed * getattr(module, "weight", 1.0)


def rms_gain(module):
    """The factor per dimension; the Gemmas store it less 1."""
    return 1 + module.weight if type(module).__name__.startswith("Gemma") else module.weight


def rotary_tables(module, x, position_ids, layer_type=None):
    """cos and sin [B, N, w] for the untouched model; `turn` does not use them, but the positions."""
    module.positions = position_ids
    rope = rope_of(module.config, layer_type, position_ids)
    angles = position_ids[..., None] * torch.tensor(rope.frequencies, dtype=torch.float64)
    if not type(module).__name__.startswith("GptOss"):  # whose tables are of one half
        angles = angles.repeat_interleave(2, -1) if rope.pairs else angles.repeat(1, 1, 2)
    return rope.scale * angles.cos(), rope.scale * angles.sin()


def head_width(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def rope_of(config, layer_type, position_ids):
    """The Rope of a layer; Gemma3 and ModernBERT have one for each type of layer."""
    rope = config.rope_parameters
    if "rope_type" not in rope:
        rope = rope[layer_type]
    w = int(head_width(config) * rope.get("partial_rotary_factor", 1.0))
    base, kind, scale = rope["rope_theta"], rope["rope_type"], 1.0
    if kind == "dynamic":  # the base grows with the text, once it is longer than any in training
        trained = config.max_position_embeddings
        length = max(int(position_ids.max()) + 1, trained)
        base = base * (rope["factor"] * length / trained - (rope["factor"] - 1)) ** (w / (w - 2))
    frequencies = [base ** (-2 * i / w) for i in range(w // 2)]
    if kind == "linear":
        frequencies = [f / rope["factor"] for f in frequencies]
    elif kind == "llama3":
        frequencies = [llama3_frequency(f, rope) for f in frequencies]
    elif kind == "yarn":
        frequencies = [yarn_frequency(f, i, w, base, rope) for i, f in enumerate(frequencies)]
        scale = 0.1 * math.log(rope["factor"]) + 1
    elif kind == "longrope":  # of a text that is no longer than those of the training
        frequencies = [f / divided for f, divided in zip(frequencies, rope["short_factor"], strict=True)]
        scale = math.sqrt(1 + math.log(rope["factor"]) / math.log(rope["original_max_position_embeddings"]))
    elif kind not in ("default", "dynamic"):
        raise ValueError(f"the textbook does not know the rope {kind!r}")
    return Rope(frequencies, scale, pairs=config.model_type == "cohere")


def llama3_frequency(f, rope):
    """Kept where the training texts held many turns, divided by the factor where few, between the two in between."""
    turns = rope["original_max_position_embeddings"] * f / (2 * math.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = min(max((turns - low) / (high - low), 0), 1)
    return f * (kept + (1 - kept) / rope["factor"])


def yarn_frequency(f, plane, w, base, rope):
    """Likewise, linear in the number of the plane between the ones with 32 turns and with one turn."""

    def plane_with(turns):
        return w * math.log(rope["original_max_position_embeddings"] / (turns * 2 * math.pi)) / (2 * math.log(base))

    first, last = plane_with(32), plane_with(1)
    if rope.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, w - 1)
    divided = min(max((plane - first) / (last - first), 0), 1)
    return f * (1 - divided + divided / rope["factor"])


def attention_modules(model):
    """Every attention with its path; ALBERT's shared ones once for each layer."""
    for name, module in model.named_modules():
        if type(module).__name__ == "AlbertTransformer":
            layers, groups = module.config.num_hidden_layers, len(module.albert_layer_groups)
            for layer in range(layers):
                yield name, module.albert_layer_groups[layer * groups // layers].albert_layers[0].attention
        elif projections(module) is not None and type(module).__name__ != "AlbertAttention":
            yield name, module


def projections(module):
    """(query, key, value) projections of an attention module, else None."""
    for names in (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), tuple("qkv")):
        if all(hasattr(module, name) for name in names):
            return tuple(getattr(module, name) for name in names)
    if type(module).__name__ == "GPT2Attention":
        if module.is_cross_attention:
            return third(module.q_attn, 0), third(module.c_attn, 0), third(module.c_attn, 1)
        return tuple(third(module.c_attn, i) for i in range(3))
    if type(module).__name__ == "GPTNeoXAttention":  # query, key and value of one head after the other
        rows = torch.arange(module.query_key_value.out_features).view(-1, 3, module.head_size)
        return tuple(some_rows(module.query_key_value, rows[:, i].flatten()) for i in range(3))
    if type(module).__name__ == "ModernBertAttention":
        return tuple(some_rows(module.Wqkv, rows) for rows in torch.arange(module.Wqkv.out_features).chunk(3))
    if type(module).__name__ == "Phi3Attention":
        heads, grouped = module.config.num_attention_heads, module.config.num_key_value_heads
        rows = torch.arange(module.qkv_proj.out_features).split(
            [n * module.head_dim for n in (heads, grouped, grouped)]
        )
        return tuple(some_rows(module.qkv_proj, part) for part in rows)
    return None


def some_rows(fused, rows):
    """A Linear of some outputs of another."""
    linear = torch.nn.Linear(fused.in_features, len(rows), bias=fused.bias is not None, dtype=torch.float64)
    linear.weight = torch.nn.Parameter(fused.weight[rows].clone())
    if fused.bias is not None:
        linear.bias = torch.nn.Parameter(fused.bias[rows].clone())
    return linear


def third(fused, i):
    """Columns i P to (i + 1) P of GPT-2's fused projections, whose weights are [P, 3 P], as a Linear."""
    P = fused.weight.shape[0]
    linear = torch.nn.Linear(P, P, dtype=torch.float64)
    linear.weight = torch.nn.Parameter(fused.weight[:, i * P : (i + 1) * P].T.clone())
    linear.bias = torch.nn.Parameter(fused.bias[i * P : (i + 1) * P].clone())
    return linear


def attention_kind(name, module):
    if "encoder_attn" in name or "crossattention" in name or "EncDecAttention" in name:
        return "cross"
    return "decoder" if module.is_causal else "encoder"


def new_layer(model, kind, index, prior, setting):
    """The Layer of module `index` of its kind: identity without a prior where it is not regularised."""
    layers = setting.get("layers")
    if isinstance(layers, dict):
        layers = layers.get(kind, ())
    protected = setting.get("protected", 0) if kind == "decoder" else 0
    layer_types = getattr(model.config, "layer_types", None)
    layer_type = layer_types and layer_types[index]
    rotary = next((m for m in model.modules() if type(m).__name__.endswith("RotaryEmbedding")), None)
    turning = getattr(model.config, "no_rope_layers", None)  # 1 where there is rope, in spite of its name
    if turning and not turning[index]:
        rotary = None
    exact = setting.get("exact_posterior", False)
    never_called = f"{'cross' if kind == 'cross' else f'{kind}.{index}'}.mean" not in prior
    if never_called or (layers is not None and index not in layers):
        return Layer(kind, None, IDENTITY, protected, layer_type, rotary, False)
    tau = {name: of_layer(setting[name], kind, index) for name in ("mu", "alpha", "sigma")}
    return Layer(kind, layer_prior(prior, kind, index, setting), tau, protected, layer_type, rotary, exact)


def of_layer(value, kind, index):
    of_kind = value[kind] if isinstance(value, dict) else value
    return of_kind[index] if isinstance(of_kind, list) else of_kind


def remember_inputs(module, args, kwargs):
    """Forward pre-hook: keep the states that enter the projections."""
    module.textbooks.append(module.textbooks.pop(0))  # the last is the layer that we are in
    layer = module.textbooks[-1]
    layer.target = args[0] if args else kwargs["hidden_states"]
    layer.source = layer.target
    if layer.kind == "cross":
        states = kwargs.get("key_value_states")
        layer.source = kwargs["encoder_hidden_states"] if states is None else states


def textbook_attention(module, query, key, value, attention_mask, **kwargs):
    """Registered as "textbook": out [B, Q, H, d], computed anew from the module's input states."""
    layer = module.textbooks[-1]
    x, (batch, length, width) = layer.source, layer.source.shape
    heads, d = query.shape[1], query.shape[3]
    bias = kwargs.get("position_bias")  # T5's, [1, H, Q, N]; with it dot products are not scaled
    r = noise(module.config, d) if bias is None else 1.0
    W_q, W_k, W_v = projections(module)
    queries = W_q(layer.target)
    norm = getattr(module, "k_norm", None)
    if norm is not None:
        whole = module.q_norm.weight.numel() == queries.shape[-1]  # OLMo-2
        queries = module.q_norm(queries if whole else queries.unflatten(-1, (heads, d))).reshape(queries.shape)
    queries = queries.unflatten(-1, (heads, d))  # [B, Q, H, d]
    groups = W_k.weight.shape[0] // d
    W_K, W_V = (W.weight.reshape(groups, d, width) for W in (W_k, W_v))
    b_K, b_V = ([None] * groups if W.bias is None else W.bias.reshape(groups, d) for W in (W_k, W_v))

    sinks = kwargs.get("s_aux")  # gpt-oss's, [H]
    prior = layer.prior or nothing(width)
    tau_alpha, tau_sigma, tau_mu = (layer.tau[name] for name in ("alpha", "sigma", "mu"))
    out = torch.zeros(batch, queries.shape[1], heads, d, dtype=torch.float64)
    layer.weights = torch.zeros(batch, heads, queries.shape[1], length + 1, dtype=torch.float64)
    layer.log_alpha = torch.zeros(batch, length, dtype=torch.float64)
    for b in range(batch):
        means, variances, log_alpha = posterior(x[b], prior, tau_alpha, tau_sigma, tau_mu, r)
        everything = torch.ones(queries.shape[1], length, dtype=torch.bool)  # a model that masks nothing
        visible = visible_components(everything if attention_mask is None else attention_mask[b, 0], layer.protected)
        turns = None if layer.rotary is None else rotations(layer, b, d)
        for h in range(heads):
            g = h // (heads // groups)
            scales = None
            if norm is not None:
                untouched = torch.cat([prior["mean"][None], x[b].double()])
                scales = key_norm_scales(norm, W_k(untouched).unflatten(-1, (groups, d)), g)
            out[b, :, h], layer.weights[b, h] = attend(
                queries[b, :, h], W_K[g], b_K[g], W_V[g], b_V[g], means, variances, log_alpha, visible, r, turns, turns,
                None if bias is None else bias[b if len(bias) > 1 else 0, h], scales, layer.exact,
                None if sinks is None else learned_sink(sinks[h], prior, tau_alpha, tau_sigma),
            )  # fmt: skip
        layer.log_alpha[b] = log_alpha[1:]
    return out, None


def noise(config, d):
    """r: sqrt(d), but for the Gemmas, which scale by a width of their own, and Granite, which has its own factor."""
    if config.model_type == "granite":
        return 1 / config.attention_multiplier
    return math.sqrt(getattr(config, "query_pre_attn_scalar", d))


def nothing(width):
    """Stands in for the prior of a layer that is not regularised; identity multiplies it by zero."""
    zeros, one = torch.zeros(width, dtype=torch.float64), torch.ones((), dtype=torch.float64)
    return {"mean": zeros, "var": zeros + 1, "log_alpha": one, "log_alpha_std": one}


def visible_components(mask, protected):
    """Token mask [Q, N] -> [Q, N + 1]: the prior is hidden from queries that see 1 to `protected` tokens."""
    prior = []
    for row in mask:
        prior.append(not 1 <= int(row.sum()) <= protected)
    return torch.cat([torch.tensor(prior)[:, None], mask], dim=1)


def rotations(layer, b, d):
    """R_n [N, d, d] at the positions of row b."""
    positions = layer.rotary.positions
    rope = rope_of(layer.rotary.config, layer.layer_type, positions)
    row = positions[b if len(positions) > 1 else 0]
    return torch.stack([turn(int(position), d, rope) for position in row])


def full_mask(*args, **kwargs):
    """bool [B, 1, Q, N], never skipped: True where the query sees the token."""
    kwargs |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return sdpa_mask(*args, **kwargs)


AttentionInterface.register("textbook", textbook_attention)
AttentionMaskInterface.register("textbook", full_mask)


# ---- The reference vectors -------------------------------------------------------------------------------


@dataclass
class Reference:
    """A small random model with the outputs of the published code; layout in shared/reference/README.md.

    expected[j] belongs to settings[j]: "logits" [3, 7, V], "greedy_ids" [3, 11], and
    "attentions": kind -> list over layers of [3, H, Q, N + 1].
    """

    model: transformers.PreTrainedModel
    inputs: dict
    prior: dict
    settings: list
    expected: list
    baseline_logits: torch.Tensor


def reference(name):
    """The Reference "bart" or "marian" from tests/data; the model is float32, in eval mode."""
    description = json.loads((DATA / f"{name}.json").read_text())
    tensors = load_file(DATA / f"{name}.safetensors")
    config_class, model_class = {
        "bart": (transformers.BartConfig, transformers.BartForConditionalGeneration),
        "marian": (transformers.MarianConfig, transformers.MarianMTModel),
    }[name]
    model = model_class(config_class.from_dict(description["config"])).eval()
    outcome = model.load_state_dict(without_prefix(tensors, "weights."), strict=False)
    assert not outcome.unexpected_keys, outcome.unexpected_keys
    model.tie_weights()
    expected = []
    for j in range(len(description["settings"])):
        found = without_prefix(tensors, f"setting.{j}.")
        attentions = {kind: in_order(without_prefix(found, f"attention.{kind}.")) for kind in KINDS}
        expected.append({"logits": found["logits"], "greedy_ids": found["greedy_ids"], "attentions": attentions})
    return Reference(
        model=model,
        inputs={key: tensors[key] for key in ("input_ids", "attention_mask", "decoder_input_ids")},
        prior=without_prefix(tensors, "prior."),
        settings=description["settings"],
        expected=expected,
        baseline_logits=tensors["baseline_logits"],
    )


def without_prefix(tensors, prefix):
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def in_order(layers):
    return [layers[str(i)] for i in range(len(layers))]
