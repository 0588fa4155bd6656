"""Variants of one text beside each other, for who swaps a word and looks what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nvib.errors import NVError
from nvib.lab.scenario import Scenario
from nvib.lab.view.observation import Observation

MOST = 6  # variants
LARGEST = 64  # rows and columns of a map that is drawn beside others
BREAK = "⏎"  # stands for a line's end, as in the names of tokens


@dataclass(frozen=True)
class Maps:
    """The maps of n variants in one size: NaN where a variant has no such row or column. numpy.

    baseline, regularised [n, G, K]: attention to the tokens under both; prior [n, G]: NV's attention to the prior.
    """

    baseline: np.ndarray
    regularised: np.ndarray
    prior: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """NV minus baseline over the tokens: [n, G, K]."""
        moved: np.ndarray = self.regularised - self.baseline
        return moved


def line_of(text: str) -> str:
    """A text as a line of the variants."""
    return BREAK.join(text.splitlines())


def views(scenario: Scenario) -> list[Scenario]:
    """The scenario with each of its variants as the text. Raises NVError for too many."""
    lines = [line.strip() for line in scenario.variants.splitlines() if line.strip()]
    if len(lines) > MOST:
        raise NVError(f"There are {len(lines)} variants; give {MOST} at most, one a line.")
    return [replace(scenario, text=line.replace(BREAK, "\n"), row=0, cell="") for line in lines]


def maps_of(seen: Sequence[Observation]) -> Maps | None:
    """The maps of the observations; None where one is too large to be drawn beside others."""
    shapes = [each.baseline.shape for each in seen]
    high, wide = (max(sizes) for sizes in zip(*shapes, strict=True))
    if max(high, wide) > LARGEST:
        return None
    size = len(seen), high, wide
    baseline, regularised = (np.full(size, np.nan, np.float32) for _ in range(2))
    prior = np.full(size[:2], np.nan, np.float32)
    for n, (each, (rows, columns)) in enumerate(zip(seen, shapes, strict=True)):
        baseline[n, :rows, :columns] = each.baseline
        regularised[n, :rows, :columns] = each.regularised[:, 1:]
        prior[n, :rows] = each.regularised[:, 0]
    return Maps(baseline, regularised, prior)
