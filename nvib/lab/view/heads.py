"""What kind of head each one is, over many texts: whom it attends to by place and by content, and what NV changes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

import numpy as np
import pandas as pd
import torch

from nvib.capturing import Capture, capture
from nvib.lab.model.bench import Batch, Bench
from nvib.lab.scenario import RUN, Scenario, options
from nvib.lab.view.axes import axes, whole_map
from nvib.lab.view.forwards import fresh_sides
from nvib.models.tokens import special_ids
from nvib.prior import Prior
from nvib.shelf import Shelf

MEASURES, SIDES = options("heads_x"), options("heads_side")
PATTERNS, OF_NV = MEASURES[:4], MEASURES[-2:]  # shares of the attention; what the baseline has none of
INDUCTION = PATTERNS.index("induction")
KIND_FROM = 0.4  # of its attention that a head gives to a pattern on average, to be called by it
MIXED = "mixed"  # a head of no pattern
BATCH, CHARACTERS = 8, 4096  # texts, and characters with what pads them, that run at once
REPEATED = 24  # tokens of a text that are written twice for induction
LOUDEST = 5  # texts
VERSION = 1  # of the numbers of a text, as they are kept


@dataclass(frozen=True)
class Heads:
    """The heads of one kind of attention over T texts, numpy.

    values [T, 2, M, L, H]: of each text under baseline and NV the `MEASURES`, means over its queries. Patterns are
    shares of a query's attention, 0 to 1; distance is in tokens, entropy in nats; change is the Jensen-Shannon distance
    to the baseline, 0 to 1, and prior mass the prior's attention, both 0 for the baseline. NaN where there is no such
    number: a text that was skipped or is not measured yet, patterns of cross-attention, induction of a model that does
    not continue its text. skipped: what is wrong with a text, by its place.
    """

    kind: str
    texts: list[str]
    values: np.ndarray
    skipped: dict[int, str] = field(default_factory=dict)

    @property
    def measured(self) -> int:
        """How many texts have numbers."""
        return int(np.isfinite(self.values[:, 0, MEASURES.index("entropy"), 0, 0]).sum())

    def mean(self, measure: str, side: str = "baseline") -> np.ndarray:
        """A measure's mean over the texts that have it, [L, H]; change and prior mass are NV's, whichever side."""
        found = self._of(measure, side)
        there = np.isfinite(found)
        total, count = np.where(there, found, 0.0).sum(0), there.sum(0)
        means: np.ndarray = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return means

    def kinds(self) -> np.ndarray:
        """What each head of the untouched model is called by, a pattern or `MIXED`: [L, H].

        Induction where it is one, for such a head attends to the first token where nothing repeats; else the pattern
        that gets most of its attention, if that is enough.
        """
        means = np.nan_to_num(np.stack([self.mean(pattern) for pattern in PATTERNS]))
        most = np.where(means[INDUCTION] >= KIND_FROM, INDUCTION, means.argmax(0))
        enough = np.take_along_axis(means, most[None], 0)[0] >= KIND_FROM
        return np.where(enough, np.array(PATTERNS, object)[most], MIXED)

    def loudest(self, measure: str, side: str, layer: int, head: int) -> list[tuple[int, float]]:
        """The places of the texts where a head has most of a measure, and how much, the most first."""
        found = self._of(measure, side)[:, layer, head]
        order = [int(n) for n in np.argsort(-found, kind="stable") if np.isfinite(found[n])]
        return [(n, float(found[n])) for n in order[:LOUDEST]]

    def table(self) -> pd.DataFrame:
        """A row for each head: its kind and the means of all measures, of the patterns on both sides."""
        count, heads = self.values.shape[3:]
        columns = {
            "layer": np.repeat(np.arange(count), heads),
            "head": np.tile(np.arange(heads), count),
            "kind": self.kinds().ravel(),
        }
        for measure in MEASURES:
            for side in SIDES[1:] if measure in OF_NV else SIDES:
                columns[in_words(measure, side)] = self.mean(measure, side).ravel()
        return pd.DataFrame(columns)

    def touched(self) -> pd.DataFrame:
        """A row for each kind of head, the most changed first: how many, change, prior mass, and which most."""
        kinds, change, mass = self.kinds(), self.mean("change"), self.mean("prior mass")
        rows = []
        for kind in (*PATTERNS, MIXED):
            those = kinds == kind
            if those.any():
                most = np.unravel_index(np.where(those, change, -1.0).argmax(), change.shape)
                rows.append(
                    {
                        "kind": kind,
                        "heads": int(those.sum()),
                        "change": change[those].mean(),
                        "prior mass": mass[those].mean(),
                        "most changed": f"layer {most[0]}, head {most[1]}",
                    }
                )
        return pd.DataFrame(rows).sort_values("change", ascending=False, kind="stable", ignore_index=True)

    def _of(self, measure: str, side: str) -> np.ndarray:
        """[T, L, H]"""
        number = 1 if measure in OF_NV else SIDES.index(side)
        found: np.ndarray = self.values[:, number, MEASURES.index(measure)]
        return found


def in_words(measure: str, side: str) -> str:
    """A measure with whose it is and its unit; change and prior mass are NV's."""
    side = "nv" if measure in OF_NV else side
    unit = {"distance": ", tokens", "entropy": ", nats"}.get(measure, "")
    return f"{measure}, {'NV' if side == 'nv' else 'baseline'}{unit}"


@torch.inference_mode()
def over_texts(
    bench: Bench,
    scenario: Scenario,
    prior: Prior,
    texts: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
    shelf: Shelf | None = None,
    sentence: Callable[[Exception], str] = str,
) -> Heads:
    """Every head of the scenario's kind of attention over a list of texts, in batches; no map is kept.

    progress: called with the texts that are done, and how many there are; what it raises stops the work, and what is
    done is on the shelf. Without it nothing is measured: what is on the shelf is taken. sentence: what is said of an
    error of one text, which is skipped.
    """
    kind = scenario.kind or bench.kinds[-1]
    values = np.full((len(texts), len(SIDES), len(MEASURES), bench.layers[kind], bench.heads), np.nan, np.float32)
    names = [_digest(bench, replace(scenario, text=text, row=0), kind) for text in texts]
    skipped, left = {}, []
    for n, name in enumerate(names):
        kept = _read(shelf, name, values.shape[1:])
        if kept is None:
            left.append(n)
        else:
            values[n] = kept
    done = len(texts) - len(left)
    for those in _batches(scenario, texts, left if progress else []):
        try:
            values[those] = of_texts(bench, scenario, prior, [texts[n] for n in those], kind)
        except Exception:  # one of them cannot be run; a model's own code, torch and tokenizers raise what they like
            for n in those:
                try:
                    values[[n]] = of_texts(bench, scenario, prior, [texts[n]], kind)
                except Exception as error:
                    skipped[n] = sentence(error)
        for n in those:
            if n not in skipped:
                _keep(shelf, names[n], values[n])
        done += len(those)
        if progress:
            progress(done, len(texts))
    return Heads(kind, list(texts), values, skipped)


def _batches(scenario: Scenario, texts: Sequence[str], left: Sequence[int]) -> Iterator[list[int]]:
    """The places that are left, in batches of like length. Under a peer each is alone: its draws are of a batch."""
    batch: list[int] = []
    most = 1 if scenario.peer or scenario.against else BATCH
    for n in sorted(left, key=lambda n: len(texts[n])):
        if batch and (len(batch) == most or (len(batch) + 1) * len(texts[n]) > CHARACTERS):
            yield batch
            batch = []
        batch.append(n)
    if batch:
        yield batch


def of_texts(bench: Bench, scenario: Scenario, prior: Prior, texts: Sequence[str], kind: str) -> np.ndarray:
    """The measures of texts under both sides, in one batch: [T, 2, M, L, H]; of every token, however long they are."""
    rows = [(bench.rows(text) or [text])[0] for text in texts]
    sides = fresh_sides(bench, scenario, prior, rows)
    shown, inputs = replace(scenario, special=True, merge=False), sides[0].inputs
    at = [axes(bench, shown, inputs, kind, row) for row in range(len(rows))]
    twice, ends = _written_twice(bench, rows) if bench.mode.continues else (None, [(0, 0)] * len(rows))
    repeats = bench.both(scenario, prior, lambda: _seen(bench, twice)) if twice else (None, None)
    found = np.full((len(rows), len(SIDES), len(MEASURES), bench.layers[kind], bench.heads), np.nan, np.float32)
    for s, (side, repeat) in enumerate(zip(sides, repeats, strict=True)):
        for n in range(bench.layers[kind]):
            seen, place = side.capture, (kind, n)
            again = None if repeat is None else repeat.layers[place].scores.weights().float().cpu().numpy()
            for row, (queries, keys) in enumerate(at):
                of_row = found[row, s, :, n]
                pattern = patterns(whole_map(seen.layers[place], row, queries, keys, "all"), kind == "cross")
                of_row[:INDUCTION], of_row[INDUCTION + 1] = pattern[:3], pattern[3]
                end, period = ends[row]
                if again is not None and period > 1:
                    of_row[INDUCTION] = induction(again[row, :, :end], period)
                for m, values in enumerate((seen.entropy, seen.change, seen.prior_mass), INDUCTION + 2):
                    of_row[m] = _mean(values.get(place), row, queries.at)
    return found


def patterns(attention: np.ndarray, cross: bool = False) -> np.ndarray:
    """Of maps [H, Q, K + 1], the prior in column 0: previous token, first token, self and distance, [4, H].

    Means over the queries; previous and first token count from the second query on, for the first one's is its own. The
    distance in tokens is to where the tokens' share of a row goes. cross: the queries are no keys, and the first token
    alone is a pattern, NaN the others.
    """
    tokens = attention[..., 1:]
    heads, count, _ = tokens.shape
    none = np.full(heads, np.nan, np.float32)
    if cross:
        return np.stack([none, tokens[:, :, 0].mean(1), none, none])
    at = np.arange(count)
    later = tokens[:, 1:]
    previous, first = (later[:, at[:-1], at[:-1]].mean(1), later[:, :, 0].mean(1)) if count > 1 else (none, none)
    share = tokens.sum(2)
    way = (tokens * np.abs(at[:, None] - at[None, :])).sum(2)
    distance = np.divide(way, share, out=np.zeros_like(way), where=share > 0).mean(1)
    return np.stack([previous, first, tokens[:, at, at].mean(1), distance])


def induction(attention: np.ndarray, period: int) -> np.ndarray:
    """Of maps [H, Q, K + 1] of tokens whose last `period` repeat the ones before: the attention to what comes next.

    That is, from each token of the repetition to the one that stood behind it the first time (Olsson et al. 2022, "In-
    context learning and induction heads", prefix matching), the mean over the repetition: [H].
    """
    at = np.arange(attention.shape[1] - period, attention.shape[1])
    found: np.ndarray = attention[:, at, 1 + at - period + 1].mean(1)
    return found


def _written_twice(bench: Bench, rows: Sequence[str]) -> tuple[Batch, list[tuple[int, int]]]:
    """The beginning of each row and the same again, behind its start tokens; where that ends, and how many repeat."""
    special, found, ends = special_ids(bench.loaded.tokenizer), [], []
    for ids in bench.loaded.ids(rows):
        start = list(takewhile(special.__contains__, ids))
        part = [number for number in ids if number not in special][: min(REPEATED, (bench.longest - len(start)) // 2)]
        found.append([*start, *part, *part])
        ends.append((len(found[-1]), len(part)))
    return bench.loaded.padded(found), ends


def _seen(bench: Bench, batch: Batch) -> Capture:
    """What a forward's capture has of every layer."""
    with capture(comparable=True) as seen:
        bench.last_logits(batch)
    return seen


def _mean(values: torch.Tensor | None, row: int, at: np.ndarray) -> np.ndarray | float:
    """A summary [B, H, Q] as its mean over a row's queries, [H]; 0 where a side has none."""
    if values is None:
        return 0.0
    found: np.ndarray = values[row].float().cpu().numpy()[:, at].mean(1)
    return found


def _digest(bench: Bench, scenario: Scenario, kind: str) -> str:
    """What the numbers of one text depend on, as a name that tells nobody the text."""
    shape = bench.shape
    whole = (VERSION, kind, shape.revision, bench.state, shape.device, shape.dtype, scenario.key(RUN, bench.kinds))
    return hashlib.sha256(repr(whole).encode()).hexdigest()


def _keep(shelf: Shelf | None, name: str, values: np.ndarray) -> None:
    if shelf is not None:
        file = io.BytesIO()
        np.save(file, values, allow_pickle=False)
        data = file.getvalue()
        shelf.put(name, hashlib.sha256(data).digest() + data)


def _read(shelf: Shelf | None, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """The numbers of this name, where they are there and every byte is what was written; else the file goes."""
    kept = shelf.get(name) if shelf is not None else None
    if shelf is None or kept is None:
        return None
    size = hashlib.sha256().digest_size
    if hashlib.sha256(kept[size:]).digest() != kept[:size]:
        shelf.drop(name)
        return None
    found: np.ndarray = np.load(io.BytesIO(kept[size:]), allow_pickle=False)
    return found if found.shape == shape else None
