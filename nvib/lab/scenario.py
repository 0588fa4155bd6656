"""The whole state of a view as one frozen value; each of its fields is declared here, and nowhere else."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Any

from nvib.characters import HALF
from nvib.lab.fields import (
    ByLayer,
    Choice,
    Field,
    Flag,
    Layers,
    Number,
    Pattern,
    Several,
    Value,
    Whole,
    by_kind,
    declare,
    layer_range,
)
from nvib.lab.instead import Peers
from nvib.settings import KINDS, Regularisation, Temperature

ANY = Pattern("text without lone surrogates", f"[^{HALF}]*")
ALPHA, SIGMA, LAYERS = ByLayer(-100, 100, also=math.inf), ByLayer(0, 100), Layers()
HEADS = Choice(("previous token", "first token", "self", "induction", "distance", "entropy", "change", "prior mass"))
LONGEST_NOTE = 400  # characters
NOTE = Pattern(f"at most {LONGEST_NOTE} characters", rf"[^\x00{HALF}]{{0,{LONGEST_NOTE}}}")
SETS = Pattern("names of sets, one per line", rf"[^\x00\t\r{HALF}]{{0,300}}")
LONGEST_GRID = 1000  # characters
UPLOAD = rf"(inside|outside|prior) \d{{1,5}} [0-9a-f]{{12}} [^\x00-\x1f\x7f-\x9f\u2028\u2029{HALF}]{{1,60}}"
PARAMETER = r"[a-z_]{1,40}=[A-Za-z0-9_.~%+-]*"
DIGITS = 12  # of a prior's identity, those of its numbers
ALPHA_HELP = (
    "How many standard deviations above the prior a token's pseudo-count starts. Smaller gives the prior more "
    "attention; identity removes the prior component. log αₙ = |xₙ|²/2r + τα·s."
)
SIGMA_HELP = "Each token's share of the prior's standard deviation. 0 is identity. σₙ² = σₚ²·τσ²."
LAYERS_HELP = "The layers that are regularised; nothing for all."


@dataclass(frozen=True)
class Scenario:
    """Model, text, setting and view. Every default is neutral: identity, all heads, the first layer.

    Raises ValueError, with one sentence, for a value that a field does not take.
    """

    model: str = declare("input", "smollm2", ANY, "An embedded model, a Hugging Face hub id or a local folder.")
    text: str = declare("input", "", ANY, "One text, or one sentence or word a line, as the model takes it.")
    chat: bool = declare(
        "input", False, Flag(),
        "As a chat turn: the text is what a user says, in the model's own chat template, and the model is to answer. "
        "Its special tokens are tokens like others, also for protected first tokens.",
    )  # fmt: skip

    device: str = declare(
        "input", "", Choice(("", "auto", "cpu", "cuda", "mps", "split")),
        "Where the model runs; nothing for the server's own choice, auto for the best device there is. Split: over all "
        "devices, memory and disk, for a model that is larger than one. In private mode alone, and not in a sweep.",
    )  # fmt: skip
    dtype: str = declare(
        "input", "", Choice(("", "float32", "bfloat16", "float16", "int8", "int4")),
        "The precision of the weights; nothing for the server's own. Fewer bits take less memory and are less exact; "
        "int8 and int4 need the package bitsandbytes. In private mode alone, and not in a sweep.",
    )  # fmt: skip

    encoder_alpha: float | tuple[float, ...] = declare("setting", math.inf, ALPHA, ALPHA_HELP)
    encoder_sigma: float | tuple[float, ...] = declare("setting", 0.0, SIGMA, SIGMA_HELP)
    cross_alpha: float | tuple[float, ...] = declare("setting", math.inf, ALPHA, ALPHA_HELP)
    cross_sigma: float | tuple[float, ...] = declare("setting", 0.0, SIGMA, SIGMA_HELP)
    decoder_alpha: float | tuple[float, ...] = declare("setting", math.inf, ALPHA, ALPHA_HELP)
    decoder_sigma: float | tuple[float, ...] = declare("setting", 0.0, SIGMA, SIGMA_HELP)
    mu: float | tuple[float, ...] = declare(
        "setting",
        1.0,
        ByLayer(0, 1),
        "The share of the token that its mean keeps. 1 is identity. μₙ = τμ·xₙ + (1 − τμ)·μₚ. By layer it is first "
        "of the encoder's, then of the cross attention's and the decoder's, as far as the model has them.",
    )  # fmt: skip
    encoder_layers: str = declare("setting", "", LAYERS, LAYERS_HELP)
    cross_layers: str = declare("setting", "", LAYERS, LAYERS_HELP)
    decoder_layers: str = declare("setting", "", LAYERS, LAYERS_HELP)
    effect: str = declare(
        "setting", "total", Choice(("total", "local")),
        "Total: every layer sees what the layers before it changed, and the output changes. Local: each layer "
        "is regularised on the baseline's own inputs, and the output stays the baseline's.", swept=False,
    )  # fmt: skip
    protected: int = declare(
        "setting", 0, Whole(0, 8),
        "Leading positions that do not see the prior, so that the attention sink on the first token "
        "survives. Our extension, not the paper's: 0 is the published behaviour.", kept=True,
    )  # fmt: skip
    prior: str = declare(
        "setting", "shipped", Choice(("shipped", "broad", "text", "normal", "own")),
        "Shipped with the model, of one language or of several (broad), estimated from a text, the standard normal, or "
        "a file of your own.", kept=True,
    )  # fmt: skip
    prior_text: str = declare(
        "setting", "", ANY,
        "Text of the model's own domain, a paragraph a line; the prior is estimated from it.", swept=False, kept=True,
    )  # fmt: skip
    prior_id: str = declare(
        "setting", "",
        Pattern(
            "a prior's fingerprint, twelve hexadecimal digits, or its identity, twenty",
            r"([0-9a-f]{12}([0-9a-f]{8})?)?",
        ),
        "Which file of your own is the prior, by its fingerprint, with eight digits of its provenance behind.",
        swept=False, kept=True,
    )  # fmt: skip
    peer: str = declare(
        "setting", "", Peers(),
        "What stands in the place of NV, which then changes nothing: an attention temperature, noise on the scores, a "
        "matrix of lower rank, rounded weights or dropout.",
    )  # fmt: skip
    against: str = declare(
        "setting", "", Peers(),
        "What NV, or what stands in its place, is held against: nothing for the untouched model, or one of the same "
        "peers, which is then the baseline.", swept=False, kept=True,
    )  # fmt: skip
    prior_mean_scale: float = declare(
        "setting", 1.0, Number(-1000, 1000), "Multiplies the prior's mean. 1 leaves it alone."
    )
    prior_variance_scale: float = declare(
        "setting", 1.0, Number(0, 100, but=(0,)), "Multiplies the prior's variance. 1 leaves it alone."
    )
    pseudo_count_shift: float = declare(
        "setting", 0.0, Number(-1000, 1000), "Added to the prior's log pseudo-count. 0 leaves it alone."
    )

    kind: str = declare(
        "view", "", Choice(("", *KINDS)), "The attention that is shown; nothing for the model's last kind."
    )
    layer: int = declare("view", 0, Whole(0, 999), "The layer that is shown.")
    head: str = declare(
        "view", "mean", Pattern("mean, max or the number of a head", r"mean|max|\d{1,4}"),
        "The head that is shown, or the mean or the largest of all.",
    )  # fmt: skip
    across: str = declare(
        "view", "layer", Choice(("layer", "mean", "max")), "That layer, or the mean or the largest of all layers."
    )
    row: int = declare("view", 0, Whole(0, 999), "The row of the text whose attention is shown.")
    cell: str = declare(
        "view", "", Pattern("query,key by position, as 3,5 or 3,prior", r"(\d{1,4},(\d{1,4}|prior))?"),
        "The weight that is explained; nothing for the one that changed most.",
    )  # fmt: skip
    metric: str = declare(
        "view", "change", Choice(("change", "prior mass", "entropy")), "What the overview of all heads shows."
    )
    scale: str = declare("view", "sqrt", Choice(("linear", "sqrt", "log")), "How the colours of the maps grow.")
    colour_range: str = declare(
        "view", "fitted", Choice(("fitted", "fixed")),
        "Where the colours of the maps end: fitted to what is shown, or fixed at 0 to 1 and −1 to 1 in every view.",
    )  # fmt: skip
    glance: str = declare(
        "view", "heads", Choice(("heads", "layers", "all")),
        "Whose small maps stand side by side: every head of the layer that is shown, the head that is shown in every "
        "layer, or all of them.",
    )  # fmt: skip
    glance_side: str = declare(
        "view", "difference", Choice(("difference", "baseline", "nv")),
        "What the small maps show: NV minus baseline, or the attention of one of them.",
    )  # fmt: skip
    glance_order: str = declare(
        "view", "place", Choice(("place", "change", "prior mass", "entropy")),
        "What the small maps are sorted by, the most first: their places, or what the overview of all heads measures.",
    )  # fmt: skip
    lens_at: str = declare(
        "view", "", Pattern("the position of a token, counted from 0", r"\d{0,4}"),
        "The token at whose place the logit lens is read layer by layer; nothing for the last.",
    )  # fmt: skip
    heads_x: str = declare("view", "first token", HEADS, "What the scatter of all heads has from left to right.")
    heads_y: str = declare("view", "change", HEADS, "What the scatter of all heads has from below to above.")
    heads_side: str = declare(
        "view", "baseline", Choice(("baseline", "nv")),
        "Whose patterns, distance and entropy the page Heads shows: the baseline's or NV's.",
    )  # fmt: skip
    special: bool = declare("view", True, Flag(), "Off: their rows and columns are left out of the maps.")
    merge: bool = declare(
        "view", False, Flag(),
        "Pieces of a word become one: the sum of the attention to them, the mean of the attention from them. "
        "In scripts without spaces, as Chinese or Thai, each character with its marks is a word.",
    )  # fmt: skip
    with_prior: bool = declare("view", True, Flag(), "Off: each NV row is divided by what the tokens got in all.")
    level: float = declare(
        "view", 0.95, Number(0, 1, but=(0, 1)), "The probability that the intervals of the weights hold."
    )
    seed: int = declare("generation", 0, Whole(0, 999_999), "Of draws, of sampled text and of a search.")
    other_text: str = declare("view", "", ANY, "Another text, whose distance to the prior the page Prior shows beside.")
    path: bool = declare("view", False, Flag(), "Whether Explore walks from identity to the setting.")
    variants: str = declare(
        "view", "", ANY, "Variants of the text that Explore sets side by side, one a line; ⏎ stands for a line's end."
    )
    pinned: str = declare(
        "view", "", Pattern("a model and a setting, written as in a link", rf"({PARAMETER}(&{PARAMETER})*)?"),
        "The model and the setting that are pinned as A beside those of the controls, B; nothing for none.",
    )  # fmt: skip
    note: str = declare("view", "", NOTE, "What the link says to whoever opens it; in a lesson, the view's sentence.")

    uploads: str = declare(
        "view", "",
        Pattern("a line for each file, as: inside 120 0123456789ab corpus.txt", rf"({UPLOAD}(\n{UPLOAD})*)?"),
        "Files of your own that the view needs and a link cannot hold: what each is for (inside, outside, prior), its "
        "texts, its fingerprint and its name.",
    )  # fmt: skip

    target: str = declare("generation", "", ANY, "What should come out, a line for each row of the text.")
    length: int = declare("generation", 24, Whole(1, 200), "The most tokens that are generated.")
    sampled: bool = declare(
        "generation", False, Flag(),
        "Sampled: from the model's own distribution. Both models draw with the same noise, so that two models "
        "that agree write the same text.",
    )  # fmt: skip
    sampling_temperature: float = declare(
        "generation", 1.0, Number(0.01, 100),
        "What sampled text divides the logits by, on both sides: below 1 likely tokens become likelier still, above 1 "
        "all more alike. 1 is the model's own distribution. It is no temperature of the attention.",
    )  # fmt: skip
    top_p: float = declare(
        "generation", 1.0, Number(0, 1, but=(0,)),
        "Sampled text draws from the likeliest tokens alone, as few as have this much probability together, after the "
        "sampling temperature, on both sides. 1 leaves none out.",
    )  # fmt: skip
    listing: str = declare(
        "generation", "", ANY, "Texts that Compare and Heads go through, one per line, a reference after a tab."
    )

    task: str = declare(
        "sweep", "", Choice(("", "language", "language-start", "phonemes", "retrieval", "own")),
        "What is measured; nothing for the model's first task.",
    )  # fmt: skip
    grid: str = declare(
        "sweep", "", Pattern(f"at most {LONGEST_GRID:,} characters", rf"[^\x00{HALF}]{{0,{LONGEST_GRID}}}"),
        "The settings that are tried, as decoder_alpha=inf,1; nothing for the model's own.",
    )  # fmt: skip
    search: str = declare(
        "sweep",
        "grid",
        Choice(("grid", "random", "adaptive")),
        "Every point, random ones, or what those before hint at.",
    )
    trials: int = declare("sweep", 24, Whole(1, 500), "How many points, where the search is no grid.")
    examples: int = declare("sweep", 0, Whole(0, 4000), "Texts of each set; 0 for as many as the page proposes.")
    measured: str = declare(
        "sweep", "", Pattern("the name of a metric", r"[A-Za-z0-9 -]{0,40}"),
        "The metric that is shown; nothing for the task's first.",
    )  # fmt: skip
    calibration_set: str = declare("sweep", "", SETS, "The set whose calibration is shown; nothing for the first.")

    fit_way: str = declare(
        "sweep", "", Choice(("", "temperature:1.0")),
        "What is fitted by gradient: nothing for NV's temperatures, or the peer that is fitted in their place.",
    )  # fmt: skip
    fit_by: str = declare(
        "sweep", "layer", Choice(("layer", "group", "all")),
        "What has a value of its own in a fit: each layer, each third of a kind's layers, or a kind as a whole.",
    )  # fmt: skip
    fit_steps: int = declare("sweep", 40, Whole(1, 100_000), "Steps of a fit, at most.")
    fit_seed: int = declare("sweep", 0, Whole(0, 999_999), "Of a fit: it draws the order of the texts.")
    fit_penalty: float = declare(
        "sweep", 0.0, Number(0, 1000), "Added to a fit's loss, times the mean distance from identity."
    )
    fit_protected: str = declare(
        "sweep", "", Choice(("", *map(str, range(9)))),
        "Leading positions that do not see the prior in a fit; nothing for as many as the page proposes.",
    )  # fmt: skip
    fit_sets: str = declare(
        "sweep", "", SETS, "The sets that are fitted on, one per line; nothing for those outside of the domain."
    )

    def __post_init__(self) -> None:
        for name, declared in FIELDS.items():
            object.__setattr__(self, name, declared.checked(getattr(self, name)))

    def regularisation(self, counts: Mapping[str, int] | None = None) -> Regularisation:
        """The setting as the library takes it.

        counts: the model's layers by kind, needed where some are chosen, or have a mean temperature of their own. Under
        a peer it is of no layer.
        """
        if self.peer:
            return Regularisation(layers={})
        return Regularisation(
            **{kind: self.temperature(kind, counts) for kind in KINDS},  # type: ignore[arg-type]
            **{name: getattr(self, name) for name in SCALES_OF_SETTING},
            layers=self._layers(counts or {}),
        )

    def _layers(self, counts: Mapping[str, int]) -> dict[str, range] | None:
        """The layers that are regularised, by kind; None when all are."""
        chosen = {kind: layer_range(getattr(self, f"{kind}_layers")) for kind in KINDS}
        if all(layers is None for layers in chosen.values()):
            return None
        return {kind: range(counts.get(kind, 0)) if r is None else r for kind, r in chosen.items()}

    def temperature(self, kind: str, counts: Mapping[str, int] | None = None) -> Temperature:
        """The temperature of one kind of attention; counts: as `regularisation` takes them."""
        mu = self.mu
        if isinstance(mu, tuple):
            mu = by_kind(mu, counts or {})[kind] or 1.0
        return Temperature(getattr(self, f"{kind}_alpha"), getattr(self, f"{kind}_sigma"), mu)

    @property
    def dice(self) -> tuple[int, float, float] | None:
        """What sampled text is drawn by, seed, sampling temperature and top-p; None where text is greedy."""
        return (self.seed, self.sampling_temperature, self.top_p) if self.sampled else None

    def changed(self) -> dict[str, Value]:
        """The values of the fields that are off their defaults, by name."""
        return {name: value for name, f in FIELDS.items() if (value := getattr(self, name)) != f.default}

    def without_view(self) -> Scenario:
        """What the model is run on and with: the same for every view of one run."""
        return self.only(RUN)

    def only(self, names: Collection[str], kinds: Collection[str] = KINDS) -> Scenario:
        """The named fields as they are; at its default is every other, and whatever of them is not in use.

        Not in use are a prior's text and file that are not its source, and what is of attention that a model with these
        kinds of it does not have.
        """
        idle = {name for name, source in (("prior_text", "text"), ("prior_id", "own")) if self.prior != source}
        absent = [kind for kind in KINDS if kind not in kinds]
        idle.update(f"{kind}_{of}" for kind in absent for of in ("alpha", "sigma", "layers"))
        idle.update({"protected"} if "decoder" in absent else ())
        return self._neutral([name for name in FIELDS if name not in names or name in idle])

    def key(self, names: Collection[str], kinds: Collection[str] = KINDS) -> Scenario:
        """As `only`, for numbers that are kept: a prior's text is a digest, and of a file's identity the numbers count.

        Two scenarios with one key have the same numbers, as far as these depend on the named fields.
        """
        kept = self.only(names, kinds)
        text = digest_of(kept.prior_text) if kept.prior == "text" else ""
        return replace(kept, prior_text=text, prior_id=kept.prior_id[:DIGITS])

    def effective(self) -> Scenario:
        """The setting's key by the fewest fields: that of the untouched model for every way to write identity.

        It is of outputs alone; distances and pseudo-counts depend on a prior that no temperature asks for.
        """
        kept = self.key([name for name in RUN if name not in (*INPUT, "against")])
        if kept.peer:
            return kept._neutral([name for name in FIELDS if name != "peer"])
        at = {kind: self.temperature(kind) for kind in KINDS}
        has_prior = any(temperature.has_prior for temperature in at.values())
        asked = {
            "prior_mean_scale": has_prior or self.mu != 1,
            "prior_variance_scale": has_prior or any(temperature.has_variance for temperature in at.values()),
            "pseudo_count_shift": has_prior,
            "protected": at["decoder"].has_prior,
            **{f"{kind}_layers": not temperature.is_identity for kind, temperature in at.items()},
            **dict.fromkeys(("effect", *PRIOR), not all(temperature.is_identity for temperature in at.values())),
        }
        return kept._neutral([name for name, counts in asked.items() if not counts])

    def at_identity(self) -> Scenario:
        """The same view with every temperature, and the prior's scales, back at their neutral values."""
        return self._neutral([f.name for f in FIELDS.values() if not f.kept])

    def _neutral(self, names: Collection[str]) -> Scenario:
        """The same with some fields at their defaults."""
        made = copy(self)  # defaults are legal: nothing is checked anew
        for name in names:
            object.__setattr__(made, name, FIELDS[name].default)
        return made

    def at_share(self, share: float) -> Scenario:
        """The setting at a share of the way from identity, 0, to what it is, 1.

        Variances and mean temperatures move in proportion. The prior's pseudo-count is multiplied by the share, and
        with it the odds of every query's attention to it; at 0 it is removed.
        """
        if share <= 0:
            return self.at_identity()
        if share >= 1:
            return self
        sigmas = {
            name: mapped(lambda value: share * value, getattr(self, name)) for name in (f"{k}_sigma" for k in KINDS)
        }
        prior = any(self.temperature(kind).has_prior for kind in KINDS)
        shift = self.pseudo_count_shift + (math.log(share) if prior else 0.0)
        mu = mapped(lambda value: 1 + share * (value - 1), self.mu)
        return replace(self, **sigmas, mu=mu, pseudo_count_shift=shift)


FIELDS: dict[str, Field] = {f.name: Field(name=f.name, default=f.default, **f.metadata) for f in fields(Scenario)}  # type: ignore[arg-type]
VIEW = tuple(f.name for f in FIELDS.values() if f.group not in ("input", "setting"))
RUN = tuple(name for name in FIELDS if name not in VIEW)
INPUT = tuple(f.name for f in FIELDS.values() if f.group == "input")
PRIOR = ("prior", "prior_text", "prior_id")  # which it is
SWEPT = tuple(f.name for f in FIELDS.values() if f.swept)  # what a sweep may vary
SCALES_OF_SETTING = tuple(f.name for f in fields(Regularisation) if f.name in FIELDS)  # by the library's own names


def digest_of(text: str) -> str:
    """Thirty-two hexadecimal digits of a prior's text, by its lines that are not empty: what the prior depends on."""
    lines = "\n".join(line for line in text.splitlines() if line.strip())
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def mapped(change: Callable[[float], float], value: float | Several) -> Any:
    """A temperature with a change of its value, or of each layer's."""
    return tuple(map(change, value)) if isinstance(value, tuple) else change(value)


def options(name: str) -> tuple[str, ...]:
    """The words that a field takes, in their order."""
    takes = FIELDS[name].takes
    assert isinstance(takes, Choice)
    return takes.options


def bounds(name: str) -> tuple[int, int]:
    """The least and the greatest whole number that a field takes."""
    takes = FIELDS[name].takes
    assert isinstance(takes, Whole)
    return takes.low, takes.high
