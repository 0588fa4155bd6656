"""Calibration: how far the probabilities of the untouched model, NV and a peer can be believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from nvib.lab import Bench
from nvib.lab.bootstrap import ENOUGH, LEVEL, Change, paired
from nvib.lab.bootstrap import interval as interval_of
from nvib.lab.calibration import (
    ACCURACY,
    CELLS,
    CONFIDENCE,
    CONVENTIONS,
    ECE,
    FEWEST,
    METRICS,
    Curve,
    coverage,
    reliability,
)
from nvib.lab.sweep.run import Findings, Plan
from nvib.lab.view.batch import Row
from nvib.lab.view.comparison import SIDES
from nvib.lab.view.outputs import ONE_OF, label_measure
from nvib.lab.view.truths import HIDDEN
from nvib.show import draw, page, session
from nvib.show.figures import reliability as figures
from nvib.show.figures.sweeps import interval
from nvib.show.sections import sweep_run
from nvib.show.session import control

Sides = Mapping[str, np.ndarray]  # sums [texts, SUMS] by side, the untouched model first
CALLED = {"untouched": "the untouched model", "peer": "the peer", "baseline": "the baseline"}
BINNED = (
    "Is what a model holds for 70 % right in 70 %? Above the diagonal it is underconfident, below it overconfident; a "
    "larger mark has more of the answers. With few answers the calibration error is too high: chance alone moves bins "
    "off the diagonal."
)
COVERED = "Accuracy where only answers of some confidence or more are given."
WHISKERS = f"{LEVEL} % bootstrap over the texts, where {FEWEST} texts or more have an answer there."


def of_sweep(bench: Bench, plan: Plan, path: Path, kept: Findings) -> None:
    """The points that validation chose, on test, for a set that the visitor chooses."""
    task = plan.task
    st.header("Calibration")
    if not task.measure.truth:
        st.caption(f"Nothing to calibrate: {task.metric.name} is made of similarities, which are no probabilities.")
        return
    found = sweep_run.calibration(bench, plan, path, kept)
    if not found:
        st.caption("Not measured on the test texts yet: that comes at the end of the sweep.")
        return
    names = sorted(found, key=lambda name: name in task.inside)
    name = names[0]
    if len(names) > 1:
        session.fit("calibration_set", ["", *names].__contains__, "")
        control("calibration_set", st.selectbox, "Test texts of", ["", *names[1:]],
                format_func=lambda name: name or names[0])  # fmt: skip
        name = st.session_state[session.key("calibration_set")] or names[0]
    _shown("sweep", found[name], f"Truth: {task.measure.truth}; the test texts of {name}.")
    draw.table_behind("calibration-sets", "Calibration of every set as a table", lambda: _every_set(found))


def _every_set(found: Mapping[str, Sides]) -> pd.DataFrame:
    """The table of each set, one under the other."""
    return pd.concat([table(sides).assign(set=name) for name, sides in found.items()])


def of_list(bench: Bench, rows: Sequence[Row]) -> None:
    """Both sides on the texts of a list whose truth is known."""
    st.subheader("Calibration")
    found = [row.calibration for row in rows if row.calibration is not None]
    known = [sums for sums in found if sums[0, :CELLS].any() and np.isfinite(sums).all()]
    if not known:
        st.caption(without_truth(bench))
        return
    _shown("list", dict(zip(SIDES, np.stack(known, 1), strict=True)), f"Truth: {truth_of(bench)}.")


def truth_of(bench: Bench) -> str:
    """What the answers of a list are held against, in words."""
    if bench.mode.continues:
        return "each token of a reference, or of a text that has none, given those before it"
    if bench.mode.answers:
        return "each symbol of a reference given those before it, the end included where the model writes one"
    if bench.head == "classification":
        return "the label that stands after a text"
    return f"each of a text's first {HIDDEN} tokens, masked in its turn while all others are in sight"


def without_truth(bench: Bench) -> str:
    """Why a list of texts has nothing to hold an answer against."""
    if bench.mode.continues:
        return "Nothing to calibrate: a text of a single token foretells none."
    if bench.mode.answers:
        return "Nothing to calibrate yet: give a reference after each text and a tab, to hold probabilities against."
    if bench.head == "classification" and label_measure(bench.model.config) == ONE_OF:
        return "Nothing to calibrate yet: give one of the model's labels after each text and a tab."
    if bench.head == "masked token":
        return "Nothing to calibrate: the tokenizer has no mask, or no text has a token to put it on."
    return "Nothing to calibrate: what this model gives are no probabilities of answers of which one is right."


def _shown(key: str, sides: Sides, truth: str) -> None:
    """Words, the two figures and what is behind them."""
    texts = len(next(iter(sides.values())))
    answers = int(next(iter(sides.values()))[:, :CELLS].sum())
    for sentence in verdict(sides):
        draw.say(sentence)
    bins = {side: reliability(sums) for side, sums in sides.items()}
    curves = {side: coverage(sums) for side, sums in sides.items()}
    drawn = (
        ("reliability", "Reliability diagram", figures.reliability(bins, page.theme()), f"{BINNED} Whiskers"),
        ("coverage", "Coverage against accuracy", figures.coverage(curves, page.theme()), f"{COVERED} Bands"),
    )
    for column, (name, title, figure, says) in zip(st.columns(2), drawn, strict=True):
        column.markdown(f"**{title}**")
        draw.chart(figure, f"{name}-{key}", column, title=title, says=f"{says}: {WHISKERS} {truth}")
    few = f" Intervals of fewer than {ENOUGH} texts are too narrow." if texts < ENOUGH else ""
    st.caption(
        f"{answers:,} answers in {texts:,} {'text' if texts == 1 else 'texts'}. {truth} {BINNED} Coverage: "
        f"{COVERED[0].lower()}{COVERED[1:]} Whiskers and bands: {WHISKERS}{few}"
    )
    st.caption(CONVENTIONS)
    draw.show_table(table(sides), "Calibration")
    named = {"bins": ("Reliability diagram", bins), "coverage": ("Coverage against accuracy", curves)}
    for part, (title, found) in named.items():
        draw.table_behind(f"calibration-{part}", f"{title} as a table", _maker(part, found))


def _maker(part: str, found: Mapping[str, Curve]) -> Callable[[], pd.DataFrame]:
    """A figure's numbers, a point a row."""
    least = "mean confidence, %" if part == "bins" else "confidence from, %"

    def make() -> pd.DataFrame:
        return pd.concat([
            pd.DataFrame({
                "side": side, least: curve.confidence, "answers": curve.count.astype(int),
                "answers, %": curve.share, "accuracy, %": curve.accuracy, "from": curve.low, "to": curve.high,
            })
            for side, curve in found.items()
        ])  # fmt: skip

    return make


def verdict(sides: Sides) -> list[str]:
    """What the numbers say: who is better calibrated, and who is too confident."""
    first, *others = sides
    pairs = [(first, side) for side in others] + ([("peer", "NV")] if {"NV", "peer"} <= set(others) else [])
    return [*(_between(sides, *pair) for pair in pairs), _confidence(sides)]


def _between(sides: Sides, before: str, after: str) -> str:
    change = paired(ECE, sides[before], sides[after])
    numbers = f"expected calibration error {change.baseline:.1f} % → {change.value:.1f} %"
    one, other = (CALLED.get(side, side) for side in (after, before))
    if len(sides[before]) < FEWEST:
        return f"{_capital(one)} against {other}: {numbers}; these are too few texts to tell more."
    better = "better" if change.change < 0 else "worse"
    said = f"{_capital(one)} is {better} calibrated than {other}" if change.clear else (
        f"Calibration does not tell {one} and {other} apart")  # fmt: skip
    return f"{said}: {numbers}, {interval(change)} points."


def _confidence(sides: Sides) -> str:
    """How far the mean confidence is from the accuracy."""
    parts = []
    for side, sums in sides.items():
        confidence, accuracy = (float(metric.of(sums.sum(0))) for metric in (CONFIDENCE, ACCURACY))
        low, high = (float(end) for end in interval_of(_gap, sums))
        how = f"{'over' if confidence > accuracy else 'under'}confident by {abs(confidence - accuracy):.1f} points"
        if len(sums) >= FEWEST and low <= 0 <= high:
            how = "as often right as it is confident, as far as these texts tell"
        parts.append(
            f"{CALLED.get(side, side)} is {how} (mean confidence {confidence:.1f} %, accuracy {accuracy:.1f} %)"
        )
    return f"{_capital('; '.join(parts))}."


def _gap(totals: np.ndarray) -> np.ndarray:
    """Mean confidence less accuracy, in points."""
    gap: np.ndarray = CONFIDENCE.of(totals) - ACCURACY.of(totals)
    return gap


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def table(sides: Sides) -> pd.DataFrame:
    """A measure a row: each side, and its change from the first with the interval."""
    first, *others = sides
    rows = []
    for metric in METRICS:
        row: dict[str, str | float] = {
            "measure": f"{metric.name}, {metric.unit}".removesuffix(", "),
            "texts": len(sides[first]),
            first: float(metric.of(sides[first].sum(0))),
        }
        for side in others:
            change: Change = paired(metric, sides[first], sides[side])
            ends = (np.nan, np.nan) if len(sides[first]) < FEWEST else (change.low, change.high)
            row |= {side: change.value, f"{side} − {first}": change.change}
            row |= {f"{side}, {end}": value for end, value in zip(("from", "to"), ends, strict=True)}
        rows.append(row)
    return pd.DataFrame(rows)
