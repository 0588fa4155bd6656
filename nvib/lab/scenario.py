"""The whole state of a view as one frozen value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from nvib.settings import KINDS, Regularisation, Temperature

PRIOR_SOURCES = ("shipped", "broad", "text", "normal", "own")
METRICS = ("change", "prior mass", "entropy")
SCALES = ("linear", "sqrt", "log")
EFFECTS = ("total", "local")
ACROSS = ("layer", "mean", "max")
TASKS = ("", "language", "language-start", "phonemes", "retrieval", "own")
SEARCHES = ("grid", "random", "adaptive")
VIEW = (
    "kind", "layer", "head", "across", "row", "cell", "metric", "scale", "special", "merge", "with_prior", "level",
    "seed", "other_text", "path", "target", "length", "sampled", "listing", "task", "grid", "search", "trials",
    "examples", "measured",
)  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """Model, text, setting and view. Every default is neutral: identity, all heads, the first layer.

    text: one text, or one sentence or word a line; *_alpha, *_sigma: temperatures of each kind of attention (alpha =
    inf removes the prior); *_layers: "" for all, or "2-5"; mu: shared by all kinds; effect: "total", or "local" for
    each layer on the baseline's own inputs; prior: "shipped", "broad" (of several languages), "text" (estimated from
    prior_text), "normal" or "own" (a visitor's file, known by prior_id); kind, layer, head, row: which attention map is
    shown, head "mean", "max" or a number; across: that layer, or the "mean" or "max" of all; cell: the weight that is
    explained, "query,key" by position with key "prior" for the prior, "" for the one that changed most; metric: what
    the overview shows; scale: of the maps; special, with_prior: whether the maps show special tokens and the prior;
    merge: pieces of a word as one; level: of the intervals; seed: of the draws and of sampled text; other_text: what
    the Prior page compares with; path: whether Explore walks from identity to the setting; target: reference outputs, a
    line for each row; length: the most tokens that are generated; sampled: from the model's distribution, not greedy;
    listing: the texts that Compare goes through, one a line, a reference after a tab; task: what the page Sweep
    measures, "" for the model's first one; grid: the settings that it tries, "" for the model's own; search: how;
    trials: how many, where that is no grid; examples: of each set, 0 for as many as the page proposes; measured: the
    metric that is shown, "" for the task's first.
    """

    model: str = "smollm2"
    text: str = ""
    encoder_alpha: float = math.inf
    encoder_sigma: float = 0.0
    cross_alpha: float = math.inf
    cross_sigma: float = 0.0
    decoder_alpha: float = math.inf
    decoder_sigma: float = 0.0
    mu: float = 1.0
    encoder_layers: str = ""
    cross_layers: str = ""
    decoder_layers: str = ""
    effect: str = "total"
    protected: int = 0
    prior: str = "shipped"
    prior_text: str = ""
    prior_id: str = ""
    prior_mean_scale: float = 1.0
    prior_variance_scale: float = 1.0
    pseudo_count_shift: float = 0.0
    kind: str = ""
    layer: int = 0
    head: str = "mean"
    across: str = "layer"
    row: int = 0
    cell: str = ""
    metric: str = "change"
    scale: str = "sqrt"
    special: bool = True
    merge: bool = False
    with_prior: bool = True
    level: float = 0.95
    seed: int = 0
    other_text: str = ""
    path: bool = False
    target: str = ""
    length: int = 24
    sampled: bool = False
    listing: str = ""
    task: str = ""
    grid: str = ""
    search: str = "grid"
    trials: int = 24
    examples: int = 0
    measured: str = ""

    def regularisation(self, counts: Mapping[str, int] | None = None) -> Regularisation:
        """The setting as the library takes it; counts: the model's layers by kind, needed where some are chosen.

        Raises ValueError for a value out of range.
        """
        return Regularisation(
            **{kind: self.temperature(kind) for kind in KINDS},  # type: ignore[arg-type]
            layers=self._layers(counts or {}),
            protected=self.protected,
            prior_mean_scale=self.prior_mean_scale,
            prior_variance_scale=self.prior_variance_scale,
            pseudo_count_shift=self.pseudo_count_shift,
        )

    def _layers(self, counts: Mapping[str, int]) -> dict[str, range] | None:
        """The layers that are regularised, by kind; None when all are."""
        chosen = {kind: layer_range(getattr(self, f"{kind}_layers")) for kind in KINDS}
        if all(layers is None for layers in chosen.values()):
            return None
        return {kind: range(counts.get(kind, 0)) if r is None else r for kind, r in chosen.items()}

    def without_view(self) -> Scenario:
        """What the model is run on and with: the same for every view of one run."""
        neutral = Scenario()
        return replace(self, **{name: getattr(neutral, name) for name in VIEW})

    def temperature(self, kind: str) -> Temperature:
        return Temperature(getattr(self, f"{kind}_alpha"), getattr(self, f"{kind}_sigma"), self.mu)

    def at_identity(self) -> Scenario:
        """The same view with every temperature, and the prior's scales, back at their neutral values."""
        neutral = Scenario()
        kept = {"model", "text", "prior", "prior_text", "prior_id", "protected", *VIEW}
        changed = {f.name: getattr(neutral, f.name) for f in fields(self) if f.name not in kept}
        return replace(self, **changed)

    def at_share(self, share: float) -> Scenario:
        """The setting at a share of the way from identity, 0, to what it is, 1.

        Variances and mean temperatures move in proportion. The prior's pseudo-count is multiplied by the share, and
        with it the odds of every query's attention to it; at 0 it is removed.
        """
        if share <= 0:
            return self.at_identity()
        if share >= 1:
            return self
        sigmas = {f"{kind}_sigma": share * getattr(self, f"{kind}_sigma") for kind in KINDS}
        prior = any(self.temperature(kind).has_prior for kind in KINDS)
        shift = self.pseudo_count_shift + (math.log(share) if prior else 0.0)
        return replace(self, **sigmas, mu=1 + share * (self.mu - 1), pseudo_count_shift=shift)


def layer_range(text: str) -> range | None:
    """ "2-5" as layers 2, 3, 4 and 5, "" as None for all. Raises ValueError for anything else."""
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,3})-(\d{1,3})", text, re.ASCII)
    if found is None or int(found[1]) > int(found[2]):
        raise ValueError(f"layers={text!r} is no range of layers; write 2-5, or nothing for all.")
    return range(int(found[1]), int(found[2]) + 1)
