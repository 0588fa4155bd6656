"""What a model's answers on one text are held against: its own next tokens, a reference, a label, hidden tokens."""

from __future__ import annotations

import numpy as np
import torch

from nvib.errors import NVError
from nvib.lab import calibration
from nvib.lab.calibration import Answers
from nvib.lab.model.bench import Batch, Bench
from nvib.lab.scenario import Scenario
from nvib.lab.view.comparison import Forced, force_reference
from nvib.lab.view.outputs import ONE_OF, label_measure
from nvib.models.tokens import special_ids
from nvib.prior import Prior

HIDDEN = 64  # tokens of a text that are masked, each in its turn
TOKENS = 1024  # of the copies of a text that are in a forward together


def both_sums(sides: tuple[Answers, Answers], start: int = 0) -> np.ndarray:
    """Both models' sums [2, SUMS] of their answers from a place on."""
    return np.stack([calibration.sums(side.after(start)) for side in sides])


def of_reference(bench: Bench, scenario: Scenario, prior: Prior, row: str, reference: str) -> np.ndarray | None:
    """Of a reference's tokens, each given those before it: sums [2, SUMS]; None where it cannot be forced."""
    try:
        forced: Forced = force_reference(bench, scenario, prior, row, reference)
    except NVError:
        return None
    return both_sums(forced.answers, forced.start)


def label_of(bench: Bench, target: str) -> int | None:
    """The class that a target names, in capitals or small letters; None where it names none, or several may hold."""
    if label_measure(bench.model.config) != ONE_OF:
        return None
    names = {str(name).casefold(): int(number) for number, name in (bench.model.config.id2label or {}).items()}
    return names.get(target.strip().casefold())


def of_head(bench: Bench, scenario: Scenario, prior: Prior, batch: Batch, target: str) -> np.ndarray | None:
    """Of an encoder's head on a batch of one: its label, or each token masked in its turn; sums [2, SUMS].

    None without a head, or where nothing is known to be true.
    """
    if bench.head == "classification":
        label = label_of(bench, target)
        if label is None:
            return None
        return both_sums(bench.both(scenario, prior, lambda: classes(bench, batch, label)))
    if bench.head == "masked token":
        return both_sums(bench.both(scenario, prior, lambda: hidden(bench, batch)))
    return None


def _scores(bench: Bench, batch: Batch) -> torch.Tensor:
    """The head's logits."""
    scores = bench.hidden_states(batch)[1]
    assert scores is not None
    return scores


def classes(bench: Bench, batch: Batch, label: int) -> Answers:
    """What a classifier holds of one text, whose class is known."""
    return calibration.of_logits(_scores(bench, batch), torch.tensor([label]))


def hidden(bench: Bench, batch: Batch) -> Answers:
    """What the model holds of the first HIDDEN tokens of one text, each masked in its turn, the others in sight.

    Special tokens are no truth: they are never masked.
    """
    tokenizer = bench.loaded.tokenizer
    (ids,), special = batch["input_ids"], special_ids(tokenizer)
    places = [n for n, number in enumerate(ids.tolist()) if number not in special][:HIDDEN]
    if tokenizer.mask_token_id is None:
        places = []
    size, found = max(1, TOKENS // len(ids)), []
    for start in range(0, len(places), size):
        at = torch.tensor(places[start : start + size], device=ids.device)
        rows, each = ids.repeat(len(at), 1), torch.arange(len(at), device=ids.device)
        rows[each, at] = tokenizer.mask_token_id
        logits = _scores(bench, {"input_ids": rows, "attention_mask": torch.ones_like(rows)})
        found.append(calibration.of_logits(logits[each, at], ids[at]))
    return calibration.joined(found)
