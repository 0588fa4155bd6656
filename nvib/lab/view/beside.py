"""Two settings of one text side by side: the untouched model, A, which is pinned, and B, which the controls have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nvib.lab.model.bench import Bench
from nvib.lab.model.labels import labels
from nvib.lab.view.forwards import Side
from nvib.lab.view.observation import Observation
from nvib.lab.view.outputs import divergences, likeliest
from nvib.precision import exact


@dataclass(frozen=True)
class NextTokens:
    """The next token after one text under several settings. S sides, T tokens; numpy.

    tokens: the most probable under any; shares [S, T]: their probabilities; js [S, S]: Jensen-Shannon divergence of
    each side's whole distribution to each other's, in nats.
    """

    tokens: list[str]
    shares: np.ndarray
    js: np.ndarray


def next_tokens(bench: Bench, sides: Sequence[Side]) -> NextTokens:
    """The next token of decoders' sides, all of one vocabulary."""
    found = [exact(side.output).log_softmax(-1) for side in sides]
    top = likeliest(*found)
    js = [[float(divergences(p, q)[1]) for q in found] for p in found]
    shares = torch.stack([p[top].exp() for p in found]).numpy()
    return NextTokens(labels(bench.loaded.tokenizer, top), shares, np.array(js))


def one_vocabulary(*benches: Bench) -> bool:
    """Whether the models write the same tokens by the same numbers."""
    first, *others = (bench.loaded.target_tokenizer.get_vocab() for bench in benches)
    return all(other == first for other in others)


def same_tokens(*seen: Observation) -> bool:
    """Whether the maps of the observations have the same rows and columns."""
    first, *others = ((each.queries, each.keys) for each in seen)
    return all(other == first for other in others)
