"""Both models on both texts: what each generates, and how likely each finds its own and the other's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from unicodedata import combining

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

from nvib.errors import NVError
from nvib.lab import calibration
from nvib.lab.calibration import CHUNK, Answers, answers
from nvib.lab.model import decoding
from nvib.lab.model.bench import Batch, Bench
from nvib.lab.model.labels import labels, meet_in_a_word
from nvib.lab.scenario import Scenario
from nvib.lab.view.generation import generate
from nvib.lab.view.outputs import divergences
from nvib.models.tokens import tokens_of
from nvib.precision import exact
from nvib.prior import Prior

SIDES = ("baseline", "NV")


@dataclass(frozen=True)
class Forced:
    """One text forced through both models: of each token, given what stands before it. T tokens.

    tokens: their labels; start: the first that was generated, the ones before it are the prompt's. answers: of both
    models, held against the tokens; kl: KL(baseline || NV) and js: Jensen-Shannon divergence of the distributions at
    its place, nats [T].
    """

    tokens: list[str]
    start: int
    answers: tuple[Answers, Answers]
    kl: np.ndarray
    js: np.ndarray

    @property
    def baseline(self) -> np.ndarray:
        """log p under the baseline, nats [T]."""
        return self.answers[0].log_prob

    @property
    def regularised(self) -> np.ndarray:
        """log p under NV, nats [T]."""
        return self.answers[1].log_prob

    @property
    def change(self) -> np.ndarray:
        """log p under NV minus the baseline's, nats [T]."""
        change: np.ndarray = self.regularised - self.baseline
        return change

    @property
    def totals(self) -> tuple[float, float]:
        """log p of the generated part under the baseline and under NV, nats."""
        return float(self.baseline[self.start :].sum()), float(self.regularised[self.start :].sum())


@dataclass(frozen=True)
class Comparison:
    """What both models generate from each row of a text, and one row in detail.

    outputs: text of each side, [rows] each; distance: edit operations between the two, in tokens [rows].
    tokens: the detailed row's generated tokens of each side; edits: (operation, from, to, from, to) that turn the
    baseline's tokens into NV's; first_divergence: the first place at which they differ, or None.
    forced: the detailed row's texts, "baseline", "NV" and, where one is given, "reference", through both models.
    """

    outputs: dict[str, list[str]]
    distance: np.ndarray
    tokens: dict[str, list[str]]
    edits: list[tuple[str, int, int, int, int]]
    first_divergence: int | None
    forced: dict[str, Forced]


def compare(bench: Bench, scenario: Scenario, prior: Prior) -> Comparison:
    """Compare what a scenario generates with what the untouched model does. Raises NVError with one sentence."""
    ids = _ids(bench, scenario, prior)
    rows = bench.rows(scenario.text)
    row = min(scenario.row, len(rows) - 1)
    tokenizer = bench.loaded.target_tokenizer
    pairs = list(zip(ids["baseline"], ids["NV"], strict=True))
    before, after = pairs[row]
    texts = {side: ids[side][row] for side in SIDES}
    reference = target_of(scenario, row)
    forced = {name: force(bench, scenario, prior, rows[row], found) for name, found in texts.items()}
    if reference:
        forced["reference"] = force_reference(bench, scenario, prior, rows[row], reference)
    return Comparison(
        outputs={side: tokenizer.batch_decode(ids[side], skip_special_tokens=True) for side in SIDES},
        distance=np.array([Levenshtein.distance(a, b) for a, b in pairs]),
        tokens={side: labels(tokenizer, ids[side][row]) for side in SIDES},
        edits=[tuple(op) for op in Levenshtein.opcodes(before, after)],  # type: ignore[misc]
        first_divergence=_first_difference(before, after),
        forced=forced,
    )


def _ids(bench: Bench, scenario: Scenario, prior: Prior) -> dict[str, list[list[int]]]:
    """What each side generates from each row, without start token, up to and with the end token."""
    return {
        side: [_until_end(bench, row) for row in generate(bench, scenario, used)]
        for side, used in zip(SIDES, (None, prior), strict=True)
    }


def outputs_of(bench: Bench, scenario: Scenario, prior: Prior) -> dict[str, list[str]]:
    """What each side generates from each row, as text."""
    decode = bench.loaded.target_tokenizer.batch_decode
    return {side: decode(ids, skip_special_tokens=True) for side, ids in _ids(bench, scenario, prior).items()}


def target_of(scenario: Scenario, row: int) -> str:
    """The reference of a row: its line of the target, or nothing."""
    lines = scenario.target.splitlines()
    return lines[row].strip() if row < len(lines) else ""


def force(
    bench: Bench, scenario: Scenario, prior: Prior, row: str, ids: Sequence[int], before: Sequence[int] | None = None
) -> Forced:
    """The tokens `ids` after a row of the text (for an encoder-decoder: as its output), under both models.

    before: the row's tokens, where they are not those that it has alone.
    """
    key = ("forced", bench.run_of(replace(scenario, text="")), row, tuple(ids), before and tuple(before))
    forced: Forced = bench.results.get(key, lambda: _force(bench, scenario, prior, row, ids, before))
    return forced


def force_reference(bench: Bench, scenario: Scenario, prior: Prior, row: str, reference: str) -> Forced:
    """A reference after a row of the text, as `parted` splits the two, under both models."""
    before, ids = parted(bench, row, reference, scenario.chat)
    return force(bench, scenario, prior, row, ids, before)


@torch.inference_mode()
def _force(
    bench: Bench, scenario: Scenario, prior: Prior, row: str, ids: Sequence[int], before: Sequence[int] | None
) -> Forced:
    batch, text, first = _inputs(bench, row, ids, before, scenario.chat)
    return forced_of(bench, *both_logits(bench, scenario, prior, batch), text, first)


def forced_of(bench: Bench, before: torch.Tensor, after: torch.Tensor, text: torch.Tensor, start: int = 0) -> Forced:
    """Two models' logits [N, V] of one text, and the tokens [T] that their first T positions are to foretell."""
    chunks = [_at(before, after, text, n) for n in range(0, len(text), CHUNK)]
    sides = calibration.joined([each[0] for each in chunks]), calibration.joined([each[1] for each in chunks])
    divergent = np.concatenate([np.empty((2, 0)), *(each[2] for each in chunks)], axis=1)  # one token foretells nothing
    return Forced(labels(bench.loaded.target_tokenizer, text.tolist()), start, sides, *divergent)


def both_logits(bench: Bench, scenario: Scenario, prior: Prior, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [N, V] of a batch of one, of the baseline and regularised."""
    return bench.both(scenario, prior, lambda: bench.output(batch)[0])


def _inputs(
    bench: Bench, row: str, ids: Sequence[int], before: Sequence[int] | None, chat: bool
) -> tuple[Batch, torch.Tensor, int]:
    """Of one text: the batch [1, N], the token that each position is to foretell [T], and where the new ones begin."""
    new = torch.tensor(list(ids), dtype=torch.long, device=bench.loaded.place)
    batch = bench.encode([row], chat)
    if bench.mode.answers:
        start = torch.full((1, 1), decoding.start(bench.model), device=new.device)
        return batch | {"decoder_input_ids": torch.cat((start, new[None, :-1]), 1)}, new, 0
    text = batch["input_ids"] if before is None else new.new_tensor([list(before)])
    whole = torch.cat((text, new[None]), 1)
    return {"input_ids": whole, "attention_mask": torch.ones_like(whole)}, whole[0, 1:], text.shape[1] - 1


def _at(
    before: torch.Tensor, after: torch.Tensor, text: torch.Tensor, start: int
) -> tuple[Answers, Answers, np.ndarray]:
    """At positions of one chunk both models' answers, and KL and Jensen-Shannon divergence [2, positions]."""
    span = slice(start, min(start + CHUNK, len(text)))
    p, q = (exact(logits[span]).log_softmax(-1) for logits in (before, after))
    truth = text[span].cpu()
    return answers(p, truth), answers(q, truth), torch.stack(divergences(p, q)).numpy()


def _until_end(bench: Bench, ids: torch.Tensor) -> list[int]:
    """A generated row without its start token, up to and with the first end token."""
    found = ids.tolist()[0 if bench.mode.continues else 1 :]
    ends = decoding.ends(bench.model)
    last = next((n for n, number in enumerate(found) if number in ends), len(found) - 1)
    return found[: last + 1]


def reference_ids(bench: Bench, row: str, text: str, chat: bool = False) -> list[int]:
    """A reference's tokens, as the model would have to write them after a row of the text; see `parted`."""
    return parted(bench, row, text, chat)[1]


def parted(bench: Bench, row: str, text: str, chat: bool = False) -> tuple[list[int] | None, list[int]]:
    """The tokens of a row and those of the reference that follows it; None for a row that is tokenised alone.

    A decoder's are those of both as one text, with a space between where letters or digits of a script with spaces
    meet: apart, a tokenizer may put a space before the reference that nobody wrote. A token that reaches beyond the row
    is the reference's, so that all of the reference is scored. chat: the row is a chat turn, which the reference
    answers. Raises NVError when it has no tokens or more than fit,
    or when no token stands before it.
    """
    before: list[int] | None = None
    if bench.mode.answers:
        (found,), fits = bench.loaded.target_ids([text]), bench.longest_target
    else:
        whole, before, found = joined(bench, row, text, chat)
        fits = bench.room(bench.encode([row], chat))
    if not found:
        raise NVError("The reference has no tokens for this model; type letters, or leave it empty.")
    if before is not None and not before:
        raise NVError("The text and the reference begin with one token together; write more text before it.")
    if len(found) > fits:
        raise NVError(f"The reference is {len(found):,} tokens long, and the model has room for {fits:,}: shorten it.")
    if before is not None:
        bench.require_fits(bench.loaded.ids([whole], special=not chat), [whole])
    return before, found


def joined(bench: Bench, row: str, text: str, chat: bool = False) -> tuple[str, list[int], list[int]]:
    """A row and what follows it as one text for a decoder, and the tokens of each as `parted` splits them."""
    said, plain = bench.loaded.said(row, chat), {"add_special_tokens": not chat}
    whole = f"{said} {text}" if meet_in_a_word(said, text) else said + text
    spans = tokens_of(bench.loaded.tokenizer, [whole], return_offsets_mapping=True, **plain)["offset_mapping"][0]
    (ids,), ends = bench.loaded.ids([whole], special=not chat), [end for _, end in spans]
    border = len(said) - bool(combining(whole[len(said) :][:1] or " "))  # an accent takes its letter along
    first = next((n for n, end in enumerate(ends) if end > border), len(ids))
    found = [number for number, end in zip(ids[first:], ends[first:], strict=True) if end]  # an end is no text
    return whole, ids[:first], found


def _first_difference(a: Sequence[int], b: Sequence[int]) -> int | None:
    if list(a) == list(b):
        return None
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
