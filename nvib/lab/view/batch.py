"""The same comparison for each text of a list, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from rapidfuzz.distance import Levenshtein

from nvib.errors import NVError
from nvib.lab import metrics
from nvib.lab.bootstrap import Metric, paired
from nvib.lab.model.bench import Bench
from nvib.lab.scenario import Scenario
from nvib.lab.view import outputs
from nvib.lab.view.comparison import SIDES, both_logits, force_reference, forced_of, outputs_of
from nvib.lab.view.outputs import neighbours, next_token_of, similarity_of
from nvib.lab.view.truths import both_sums, of_head, of_reference
from nvib.prior import Prior

MOST_ROWS = 500
NOTHING = "there is no text"
CHANGED = ("changed", "nearest changed")  # the columns that say whether a text's answer did
MEAN = Metric("mean", "", True, False, lambda sums: sums[..., 0] / sums[..., 1])


@dataclass(frozen=True)
class Row:
    """One text's comparison: columns by name; problem: one sentence where it was skipped; embeddings [2, P].

    calibration: sums [2, SUMS] of both models' answers where the truth is known, see `nvib.lab.calibration`.
    """

    text: str
    columns: dict[str, str | float] = field(default_factory=dict)
    problem: str = ""
    embeddings: np.ndarray | None = None
    calibration: np.ndarray | None = None


def entries(listing: str, most: int = MOST_ROWS) -> list[tuple[str, str]]:
    """The list's texts, each with its reference, which stands after a tab; empty lines are none.

    Raises NVError for more than fit into one go.
    """
    lines = [line for line in listing.splitlines() if line.strip()]
    if len(lines) > most:
        raise NVError(f"The list has {len(lines):,} texts; {most} are compared at most: shorten it.")
    return [(text.strip(), target.strip()) for text, _, target in (line.partition("\t") for line in lines)]


def go_through(
    bench: Bench,
    scenario: Scenario,
    prior: Prior,
    found: Sequence[tuple[str, str]],
    sentence: Callable[[Exception], str] = str,
) -> Iterator[Row]:
    """Compare each text; a text that cannot be compared is a row with its problem, and the rest goes on.

    sentence: what is said of an error.
    """
    one = {"next token": _next_token, "generated text": _generated, "similarity": _similarity}[bench.mode.name]
    for text, target in found:
        if not text:
            yield Row(text, problem=NOTHING)
            continue
        try:
            with torch.inference_mode():
                yield one(bench, replace(scenario, text=text, target=target, row=0), prior)
        except Exception as error:  # a model's own code, torch and tokenizers raise what they like
            yield Row(text, {"reference": target} if target else {}, problem=sentence(error))


def as_table(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as a table, a column a measure; a sentence in "skipped" where there is no comparison."""
    frame = pd.DataFrame([{"text": row.text, **row.columns} for row in rows])
    embedded = [n for n, row in enumerate(rows) if row.embeddings is not None]
    if len(embedded) > 1:
        both = np.stack([row.embeddings for row in rows if row.embeddings is not None], 1)  # [2, rows, P]
        for side, vectors in zip(SIDES, both, strict=True):
            cosine = vectors @ vectors.T
            nearest = neighbours(cosine)
            frame.loc[embedded, f"nearest, {side}"] = [rows[embedded[n]].text for n in nearest]
            frame.loc[embedded, f"cosine of the nearest, {side}"] = cosine[np.arange(len(nearest)), nearest]
        before, after = (frame.loc[embedded, f"nearest, {side}"] for side in SIDES)
        frame["nearest changed"] = ""
        frame.loc[embedded, "nearest changed"] = np.where(before != after, "yes", "")
    if any(row.problem for row in rows):
        frame["skipped"] = [row.problem for row in rows]
    return frame


def answers_changed(table: pd.DataFrame) -> pd.Series | None:
    """Of each text whether its answer changed; None for a table that does not say."""
    found = [name for name in CHANGED if name in table]
    return table[found[0]] == "yes" if found else None


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A measure a row, over the texts that have it: mean under both models, mean change and its interval.

    A measure that is a change itself, as KL, has no means; the interval is by paired bootstrap over the texts.
    """
    found = []
    for name in table.select_dtypes("number"):
        stem, _, side = str(name).rpartition(", ")
        if side == SIDES[1]:
            continue
        both = side == SIDES[0]
        new = table[f"{stem}, {SIDES[1]}" if both else name].to_numpy(float)
        old = table[name].to_numpy(float) if both else np.zeros(len(new))
        there = np.isfinite(old) & np.isfinite(new)
        if not there.any():
            continue
        sums = [np.stack([side[there], np.ones(there.sum())], 1) for side in (old, new)]
        change = paired(MEAN, sums[0], sums[1])
        alone = there.sum() == 1
        found.append({
            "measure": stem if both else name, "texts": int(there.sum()),
            "mean, baseline": change.baseline if both else np.nan, "mean, NV": change.value if both else np.nan,
            "mean change": change.change,
            "from": np.nan if alone else change.low, "to": np.nan if alone else change.high,
        })  # fmt: skip
    return pd.DataFrame(found)


def _next_token(bench: Bench, scenario: Scenario, prior: Prior) -> Row:
    batch = bench.encode(bench.rows(scenario.text), scenario.chat)
    before, after = both_logits(bench, scenario, prior, batch)
    found = next_token_of(bench, before[-1], after[-1])
    columns: dict[str, str | float] = {
        "next, baseline": found.tokens[int(found.baseline.argmax())],
        "next, NV": found.tokens[int(found.regularised.argmax())],
        "KL, nats": found.kl,
        "Jensen–Shannon divergence, nats": found.js,
    }
    columns["changed"] = "yes" if columns["next, baseline"] != columns["next, NV"] else ""
    whole = forced_of(bench, before, after, batch["input_ids"][0, 1:])
    if len(whole.tokens):
        columns |= {"log p per token, baseline": float(whole.baseline.mean()),
                    "log p per token, NV": float(whole.regularised.mean())}  # fmt: skip
    if scenario.target:
        whole = force_reference(bench, scenario, prior, scenario.text, scenario.target)
        columns["reference"] = scenario.target
        columns |= {f"log p of the reference, {side}": value for side, value in zip(SIDES, whole.totals, strict=True)}
    return Row(scenario.text, columns, calibration=both_sums(whole.answers, whole.start))


def _generated(bench: Bench, scenario: Scenario, prior: Prior) -> Row:
    found = outputs_of(bench, scenario, prior)
    said = {side: " ".join(found[side]) for side in SIDES}
    columns: dict[str, str | float] = {
        **said,
        "edits": Levenshtein.distance(said["baseline"], said["NV"]),
        "changed": "yes" if said["baseline"] != said["NV"] else "",
    }
    if scenario.target:
        columns["reference"] = scenario.target
        for side in SIDES:
            scores = metrics.against_references(bench.shape.symbols, [said[side]], [scenario.target])
            columns |= {f"{name}, {side}": value for name, value in scores.items()}
    rows, sums = bench.rows(scenario.text), None
    if scenario.target and len(rows) == 1:
        sums = of_reference(bench, scenario, prior, rows[0], scenario.target)
    return Row(scenario.text, columns, calibration=sums)


def _similarity(bench: Bench, scenario: Scenario, prior: Prior) -> Row:
    batch = bench.encode(bench.rows(scenario.text))
    before, after = bench.both(scenario, prior, lambda: bench.hidden_states(batch)[0])
    pooled = outputs.embeddings(batch, before), outputs.embeddings(batch, after)
    moved = float(similarity_of(batch, before, after).moved[0])
    sums = of_head(bench, scenario, prior, batch, scenario.target) if len(batch["input_ids"]) == 1 else None
    vectors = torch.cat(pooled).numpy()
    return Row(scenario.text, {"cosine to the own baseline": moved}, embeddings=vectors, calibration=sums)
