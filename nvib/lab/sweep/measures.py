"""What a task measures: sums over its examples, and the values that sums of them stand for.

A measure gives each example a row of sums. A metric turns the rows' total into a set's value, so that a set can be
drawn anew from its examples without running the model again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein

from nvib.lab import calibration
from nvib.lab.bootstrap import Metric
from nvib.lab.calibration import Answers, of_logits
from nvib.lab.metrics import UNSMOOTHED, bleus, composed, rouges
from nvib.lab.model.bench import Bench
from nvib.lab.view import outputs
from nvib.lab.view.comparison import joined
from nvib.lab.view.truths import HIDDEN, classes, hidden, label_of
from nvib.models.tokens import tokens_of
from nvib.precision import exact

TOKENS = 128  # of each text whose likelihood is taken
EMBEDDED = 64  # of each text whose embedding is taken
BATCH = 8
ORDERS = 4  # of the longest n-grams of BLEU
Tell = Callable[[int, Answers], None]  # an example's place, and the model's answers to it


@dataclass(frozen=True)
class Example:
    """One text, and what should come of it where the task has that."""

    text: str
    target: str = ""


@dataclass(frozen=True)
class Measure:
    """run: a model under the active setting and examples to their sums [examples, sums]; metrics: the first counts.

    targets: whether an example needs one; told: how it counts, in words; counting: which way of counting, so that a
    file of results of an earlier one is not added to. truth: what the model's probabilities can be held against, in
    words, where there is that: then `run` takes a `Tell` as `tell`, which is called with each example's.
    """

    run: Callable[..., np.ndarray]
    metrics: tuple[Metric, ...]
    targets: bool = False
    told: str = ""
    counting: int = 1
    truth: str = ""


def judged(bench: Bench, measure: Measure, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
    """A measure's sums, and from the same run those of the model's calibration [examples, calibration.SUMS]."""
    found = np.zeros((len(examples), calibration.SUMS))

    def tell(n: int, answers: Answers) -> None:
        found[n] = calibration.sums(answers)

    return measure.run(bench, examples, tell=tell), found


def _share(place: int, weight: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda sums: 100 * sums[..., place] / sums[..., weight]


# Likelihood


@torch.inference_mode()
def likelihood(bench: Bench, examples: Sequence[Example], start: bool = False, tell: Tell | None = None) -> np.ndarray:
    """Negative log-likelihood in nats, tokens and bytes foretold of the first TOKENS of each text: [examples, 3].

    start: put the tokenizer's start token in front, so that the first token is foretold too.
    """
    found = np.zeros((len(examples), 3))
    rows, longest = foretold_ids(bench, examples, start)
    for n, example in enumerate(examples):
        found[n, 2] = _foretold(bench.loaded.tokenizer, example.text, rows[n], longest, start)
    for chosen in batches([len(row) for row in rows]):
        ids = torch.tensor([rows[n] for n in chosen], device=bench.loaded.place)
        logits = bench.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").sum(1)
        found[chosen, 0] = exact(loss).numpy()
        found[chosen, 1] = ids.shape[1] - 1
        if tell:
            for row, n in enumerate(chosen):
                tell(n, of_logits(logits[row], ids[row, 1:]))
    return found


def foretold_ids(bench: Bench, examples: Sequence[Example], start: bool) -> tuple[list[list[int]], int]:
    """The token ids of each text that count, the start token first where it is asked for; and how many at most."""
    front = [bench.loaded.tokenizer.bos_token_id] if start else []
    longest = min(TOKENS, (bench.loaded.source_positions or sys.maxsize) - len(front))
    found = bench.loaded.ids([example.text for example in examples], longest)
    return [ids if ids[:1] == front else front + ids for ids in found], longest


def _foretold(tokenizer: Any, text: str, ids: Sequence[int], longest: int, start: bool) -> int:
    """How many bytes of the text come after its first token, or after a start token, up to the cut."""
    if not tokenizer.is_fast:  # which does not know where its tokens stand
        return len(tokenizer.decode(list(ids[1:]), skip_special_tokens=True).encode())
    spans = tokens_of(tokenizer, [text], longest, return_offsets_mapping=True)["offset_mapping"][0]
    ends = [end for _, end in spans]
    return len(text[(0 if start or not ends else ends[0]) : max(ends, default=0)].encode())


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Places of equal lengths, BATCH at most together; a text of one token foretells nothing and is in none."""
    found = []
    for length in sorted({length for length in lengths if length > 1}):
        places = [n for n, found_length in enumerate(lengths) if found_length == length]
        found += [places[start : start + BATCH] for start in range(0, len(places), BATCH)]
    return found


PERPLEXITY = Metric("perplexity", "", False, True, lambda sums: np.exp(sums[..., 0] / sums[..., 1]))
BITS = Metric("bits per byte", "bits", False, True, lambda sums: sums[..., 0] / np.log(2) / sums[..., 2])
OWN_TOKENS = f"each token of a text given those before it, the first {TOKENS} at most"
LIKELIHOOD = Measure(likelihood, (PERPLEXITY, BITS), truth=OWN_TOKENS)
LIKELIHOOD_AFTER_START = Measure(partial(likelihood, start=True), (PERPLEXITY, BITS), truth=OWN_TOKENS)


@torch.inference_mode()
def target_likelihood(bench: Bench, examples: Sequence[Example], tell: Tell | None = None) -> np.ndarray:
    """log p, in nats, of each target given its text, forced, and the tokens that were scored: [examples, 2].

    Of a target its first TOKENS, after as much of the end of its text as the model takes with them.
    """
    found, parts = np.zeros((len(examples), 2)), target_ids(bench, examples)
    for places in batches([len(before) + len(target) for before, target in parts]):
        length = sum(map(len, parts[places[0]]))
        size = max(1, BATCH * TOKENS // length)  # no more logits at once than elsewhere
        for chosen in (places[n : n + size] for n in range(0, len(places), size)):
            ids = torch.tensor([[*parts[n][0], *parts[n][1]] for n in chosen], device=bench.loaded.place)
            logits = bench.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
            loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            for row, n in enumerate(chosen):
                count = len(parts[n][1])
                found[n] = (-float(exact(loss[row, length - 1 - count :]).sum()), count)
                if tell:
                    tell(n, of_logits(logits[row, length - 1 - count :], ids[row, length - count :]))
    return found


def target_ids(bench: Bench, examples: Sequence[Example]) -> list[tuple[list[int], list[int]]]:
    """The token ids of each text, as much of its end as the model takes, and of its target."""
    parts = []
    for example in examples:
        _, before, target = joined(bench, example.text, example.target)
        if not before:  # one token holds the end of the text and the beginning of the target
            before, target = target[:1], target[1:]
        target = target[: min(TOKENS, bench.longest - 1)]
        parts.append((before[-(bench.longest - len(target)) :], target))
    return parts


TARGET_LOG_PROB = Metric(
    "log-probability of the target", "nats per token", True, False, lambda sums: sums[..., 0] / sums[..., 1]
)
TARGET_PERPLEXITY = Metric(
    "perplexity of the target", "", False, True, lambda sums: np.exp(-sums[..., 0] / sums[..., 1])
)
TARGETS = Measure(
    target_likelihood, (TARGET_LOG_PROB, TARGET_PERPLEXITY), targets=True, counting=2,
    told=f"Each target is forced after its text: its first {TOKENS} tokens, after as much of the end of the text as "
    "the model takes with them.",
    truth=f"each token of a target given its text and those before it, the first {TOKENS} at most",
)  # fmt: skip

# Generated text


def _generated(bench: Bench, examples: Sequence[Example], own: bool = False, size: int = 64) -> list[str]:
    """The model's outputs, texts of like length together; own: as its checkpoint generates, else greedily.

    Its own generation is never drawn, nor stopped by a clock, so that a sweep can be repeated.
    """
    said = [""] * len(examples)
    order = sorted(range(len(examples)), key=lambda n: len(examples[n].text))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        batch = bench.truncated([examples[n].text for n in chosen])
        ids = bench.generate_as_saved(batch) if own else bench.generate(batch)
        answers = bench.loaded.target_tokenizer.batch_decode(ids, skip_special_tokens=True)
        for n, text in zip(chosen, answers, strict=True):
            said[n] = text
    return said


@torch.inference_mode()
def _force_targets(bench: Bench, examples: Sequence[Example], tell: Tell) -> None:
    """Tell of each token of an encoder-decoder's targets, given its text and the target's tokens before it."""
    empty = {n for n, ids in enumerate(bench.loaded.ids([example.text for example in examples])) if not ids}
    order = sorted(set(range(len(examples))) - empty, key=lambda n: len(examples[n].text) + len(examples[n].target))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        texts, targets = ([getattr(examples[n], part) for n in chosen] for part in ("text", "target"))
        batch, ids = bench.training_batch(texts, targets), bench.target_ids(targets)
        logits = bench.model(**batch, use_cache=False).logits
        for row, (n, count) in enumerate(zip(chosen, batch["decoder_attention_mask"].sum(1).tolist(), strict=True)):
            tell(n, of_logits(logits[row, :count], ids[row, 1 : 1 + count]))


def phoneme_edits(bench: Bench, examples: Sequence[Example], tell: Tell | None = None) -> np.ndarray:
    """Edits between the greedy output and the target, and the target's symbols: [examples, 2]."""
    if tell:
        _force_targets(bench, examples, tell)
    said = _generated(bench, examples)
    pairs = [(composed(text), composed(e.target)) for text, e in zip(said, examples, strict=True)]
    return np.array([(Levenshtein.distance(text, target), len(target)) for text, target in pairs], float)


def generation_scores(bench: Bench, examples: Sequence[Example], tell: Tell | None = None) -> np.ndarray:
    """ROUGE-1, -2 and -L, 1, and the counts of two BLEUs of the model's own generation: [examples, 4 + 2 x 10]."""
    if tell:
        _force_targets(bench, examples, tell)
    said = _generated(bench, examples, own=True, size=BATCH)
    return np.array([[*rouges(t, e.target), 1.0, *bleus(t, e.target)] for t, e in zip(said, examples, strict=True)])


def _bleu(first: int) -> Callable[[np.ndarray], np.ndarray]:
    """Papineni et al. 2002, without smoothing: 0 where no n-gram of some n is found.

    n goes up to 4, or to the most that any output has.
    """

    def of(sums: np.ndarray) -> np.ndarray:
        counts, totals = sums[..., first : first + ORDERS], sums[..., first + ORDERS : first + 2 * ORDERS]
        written, wanted = sums[..., first + 2 * ORDERS], sums[..., first + 2 * ORDERS + 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            written_at_all = totals > 0
            precision = np.where(written_at_all, np.log(counts / totals), 0).sum(-1) / written_at_all.sum(-1)
            brevity = np.minimum(0.0, 1 - wanted / written)
            scores: np.ndarray = np.nan_to_num(100 * np.exp(precision + brevity))
            return scores

    return of


ERRORS = Metric("phoneme error rate", "%", False, False, _share(0, 1))
FORCED = "each {} of a target given its text and those before it, the end included where the model writes one"
PHONEMES = Measure(phoneme_edits, (ERRORS,), targets=True, truth=FORCED.format("symbol"))
ROUGE_L, ROUGE_1, ROUGE_2 = (Metric(f"ROUGE-{n}", "", True, False, _share(p, 3)) for n, p in (("L", 2), (1, 0), (2, 1)))
BLEU_SPACES, BLEU_WORDS = (Metric(name, "", True, False, _bleu(n)) for name, n in (("BLEU", 4), ("sacreBLEU", 14)))
_scored = partial(Measure, generation_scores, targets=True, told=UNSMOOTHED, counting=2, truth=FORCED.format("token"))
SUMMARIES = _scored((ROUGE_L, ROUGE_1, ROUGE_2, BLEU_SPACES, BLEU_WORDS))
TRANSLATIONS = _scored((BLEU_SPACES, BLEU_WORDS, ROUGE_L, ROUGE_1, ROUGE_2))

# Embeddings


def retrieved(bench: Bench, examples: Sequence[Example]) -> np.ndarray:
    """1 where an example's target is the nearest of all targets to its text, by cosine, else 0;

    1 over the place of its target among them, by nearness; and 1: [examples, 3].
    """
    texts, targets = (embedded(bench, side) for side in zip(*((e.text, e.target) for e in examples), strict=True))
    cosine = np.nan_to_num(texts @ targets.T, nan=-np.inf)  # a setting that breaks the model finds nothing
    own = np.diag(cosine)
    place = (cosine >= own[:, None]).sum(1)
    right = (cosine.argmax(1) == np.arange(len(examples))) & np.isfinite(own)
    return np.stack((right.astype(float), 1 / place, np.ones(len(examples))), 1)


@torch.inference_mode()
def embedded(bench: Bench, texts: Sequence[str]) -> np.ndarray:
    """Mean-pooled embeddings [texts, P] of the first EMBEDDED of each text, those of like length together."""
    found = np.zeros((len(texts), bench.model.config.hidden_size))
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    for start in range(0, len(order), 4 * BATCH):
        chosen = order[start : start + 4 * BATCH]
        batch = bench.truncated([texts[n] for n in chosen], EMBEDDED)
        found[chosen] = outputs.embeddings(batch, bench.hidden_states(batch)[0]).numpy()
    return found


NEAREST = Metric("retrieval accuracy", "%", True, False, _share(0, 2))
RANK = Metric("mean reciprocal rank", "%", True, False, _share(1, 2))
RETRIEVAL = Measure(retrieved, (RANK, NEAREST), targets=True)

# An encoder's head


@torch.inference_mode()
def masked_likelihood(bench: Bench, examples: Sequence[Example], tell: Tell | None = None) -> np.ndarray:
    """Negative log-likelihood in nats of the tokens that are masked, each in its turn, and their number: [examples, 2].

    Of a text its first HIDDEN tokens, as Salazar et al. (2020) score a masked language model.
    """
    found = np.zeros((len(examples), 2))
    for n, example in enumerate(examples):
        answers = hidden(bench, bench.truncated([example.text], TOKENS))
        found[n] = (-answers.log_prob.sum(), len(answers.log_prob))
        if tell:
            tell(n, answers)
    return found


@torch.inference_mode()
def classified(bench: Bench, examples: Sequence[Example], tell: Tell | None = None) -> np.ndarray:
    """1 where the likeliest class is the one that the target names, else 0; −log p of that; and 1: [examples, 3].

    A target that names no class counts for nothing.
    """
    found = np.zeros((len(examples), 3))
    for n, example in enumerate(examples):
        label = label_of(bench, example.target)
        if label is None:
            continue
        answers = classes(bench, bench.truncated([example.text], TOKENS), label)
        found[n] = (answers.right[0], -answers.log_prob[0], 1)
        if tell:
            tell(n, answers)
    return found


MASKED_PERPLEXITY = Metric(
    "perplexity of masked tokens", "", False, True, lambda sums: np.exp(sums[..., 0] / sums[..., 1])
)
RIGHT_CLASS = Metric("accuracy of the class", "%", True, False, _share(0, 2))
CLASS_LOSS = Metric("log loss of the class", "nats", False, False, lambda sums: sums[..., 1] / sums[..., 2])
MASKED = Measure(
    masked_likelihood, (MASKED_PERPLEXITY,), truth=f"each of a text's first {HIDDEN} tokens, masked in its turn"
)
CLASSES = Measure(
    classified, (RIGHT_CLASS, CLASS_LOSS), targets=True, truth="the class that a target names",
    told="A target names a class as the model calls it, in capitals or small letters; others count for nothing.",
)  # fmt: skip
