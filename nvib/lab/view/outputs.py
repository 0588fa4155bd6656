"""What the model says, untouched and regularised: next token, generated text, or similarity of sentences."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nvib.lab.model.bench import Batch, Bench
from nvib.lab.model.labels import labels
from nvib.lab.view.forwards import Side
from nvib.precision import exact

LIKELIEST = 8


@dataclass(frozen=True)
class NextToken:
    """The next token after a text. tokens: the most probable under either model; probabilities [tokens] of each.

    baseline_rank, regularised_rank [tokens]: 1 for the most probable of the whole vocabulary. kl: KL(baseline || NV)
    and js: Jensen-Shannon divergence of the whole vocabulary, in nats.
    """

    tokens: list[str]
    baseline: np.ndarray
    regularised: np.ndarray
    baseline_rank: np.ndarray
    regularised_rank: np.ndarray
    kl: float
    js: float

    @property
    def numbers(self) -> dict[str, float]:
        """What stands for it in a fingerprint, by name."""
        return {"KL of the next token": self.kl, "highest next-token probability": self.regularised.max()}

    @property
    def change(self) -> float:
        """How far NV is from the baseline, as `Mode.change` says."""
        return self.kl

    @property
    def answer(self) -> tuple[Hashable, str]:
        """What the regularised model says, to compare, and in words."""
        token = self.tokens[int(self.regularised.argmax())]
        return token, f"“{token}”"


@dataclass(frozen=True)
class Generated:
    """Greedy output of each row, and log p (nats) of the baseline's output forced through both models."""

    sources: list[str]
    baseline: list[str]
    regularised: list[str]
    baseline_log_prob: np.ndarray
    regularised_log_prob: np.ndarray

    @property
    def numbers(self) -> dict[str, float]:
        """As `NextToken.numbers`."""
        return {
            "log p of the output, baseline": self.baseline_log_prob.sum(),
            "log p of the output, NV": self.regularised_log_prob.sum(),
        }

    @property
    def change(self) -> float:
        """As `NextToken.change`."""
        return float((self.baseline_log_prob - self.regularised_log_prob).mean())

    @property
    def answer(self) -> tuple[Hashable, str]:
        """As `NextToken.answer`."""
        changed = [text for old, text in zip(self.baseline, self.regularised, strict=True) if old != text]
        return tuple(self.regularised), f"“{changed[0]}”" if changed else "the baseline's output"


@dataclass(frozen=True)
class Similarity:
    """Cosine similarity of the rows' mean-pooled embeddings [rows, rows]; moved: cosine of each to its baseline."""

    baseline: np.ndarray
    regularised: np.ndarray
    moved: np.ndarray

    @property
    def numbers(self) -> dict[str, float]:
        """As `NextToken.numbers`."""
        return {"mean cosine, NV": self.regularised.mean(), "cosine to the baseline": self.moved.mean()}

    @property
    def change(self) -> float:
        """As `NextToken.change`."""
        return float(1 - self.moved.mean())

    @property
    def answer(self) -> tuple[Hashable, str]:
        """As `NextToken.answer`; of two sentences each is the other's nearest whatever happens."""
        nearest = tuple(int(n) for n in neighbours(self.regularised))
        if len(nearest) <= 2:
            return 0, ""
        return nearest, "nearest neighbours " + " ".join(str(n + 1) for n in nearest)


Output = NextToken | Generated | Similarity
OUTPUTS: dict[str, type[Output]] = {"next token": NextToken, "generated text": Generated, "similarity": Similarity}


def output_pair(bench: Bench, before: Side, after: Side) -> Output:
    """The output pair that fits the model's mode, from both forwards on the same inputs."""
    if not bench.mode.writes:
        return similarity_of(before.inputs, before.output, after.output)
    if before.generated is None or after.generated is None:
        return next_token_of(bench, before.output, after.output)
    ids = before.generated, after.generated
    return _generated(bench, before.inputs, before.output, after.output, ids)


def change_of(bench: Bench, before: Side, output: torch.Tensor) -> float:
    """How far an output on a side's inputs is from the side's own, as `Mode.change` says."""
    if not bench.mode.writes:
        return similarity_of(before.inputs, before.output, output).change
    if before.generated is None:
        p, q = (exact(logits).log_softmax(-1) for logits in (before.output, output))
        return float(kl(p, q))
    return _generated(bench, before.inputs, before.output, output, (before.generated, before.generated)).change


def next_token_of(bench: Bench, baseline: torch.Tensor, regularised: torch.Tensor) -> NextToken:
    """Two logit vectors [V] as probabilities of the most likely tokens, and their divergences."""
    p, q = (exact(logits).log_softmax(-1) for logits in (baseline, regularised))
    top = likeliest(p, q)
    kl, js = divergences(p, q)
    return NextToken(
        tokens=labels(bench.loaded.tokenizer, top),
        baseline=p[top].exp().numpy(),
        regularised=q[top].exp().numpy(),
        baseline_rank=_ranks(p, top),
        regularised_rank=_ranks(q, top),
        kl=float(kl),
        js=float(js),
    )


def _ranks(scores: torch.Tensor, ids: list[int]) -> np.ndarray:
    return np.array([1 + int((scores > scores[n]).sum()) for n in ids])


def likeliest(*models: torch.Tensor) -> list[int]:
    """The ids that one of some models, probabilities or their logarithms [V] each, holds for most probable."""
    count = min(LIKELIEST, len(models[0]))
    top = dict.fromkeys(torch.cat([model.topk(count).indices for model in models]).tolist())
    return sorted(top, key=lambda n: -max(float(model[n]) for model in models))[:LIKELIEST]


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL(p || q) of log-probabilities [..., V], in nats [...], never negative."""
    return (p.exp() * (p - q)).sum(-1).clamp_min(0.0)


def divergences(p: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(p || q) and the Jensen-Shannon divergence of log-probabilities [..., V], in nats [...], never negative."""
    middle = torch.logaddexp(p, q) - np.log(2.0)
    return kl(p, q), (kl(p, middle) + kl(q, middle)) / 2


def _generated(
    bench: Bench, inputs: Batch, baseline: torch.Tensor, regularised: torch.Tensor, ids: tuple[torch.Tensor, ...]
) -> Generated:
    decode = bench.loaded.target_tokenizer.batch_decode
    targets, mask = ids[0][:, 1:].cpu(), bench.target_mask(ids[0])[:, 1:].cpu()
    return Generated(
        sources=bench.loaded.tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True),
        baseline=decode(ids[0], skip_special_tokens=True),
        regularised=decode(ids[1], skip_special_tokens=True),
        baseline_log_prob=_forced(baseline, targets, mask),
        regularised_log_prob=_forced(regularised, targets, mask),
    )


def _forced(logits: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """log p of each row's target tokens, summed: [rows]."""
    chosen = exact(logits).log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (chosen * mask).sum(-1).numpy()


def embeddings(inputs: Batch, hidden: torch.Tensor) -> torch.Tensor:
    """Mean over a row's tokens of hidden states [rows, N, P], of length 1: [rows, P] in float64 on the CPU."""
    weight = exact(inputs["attention_mask"].unsqueeze(-1))
    return torch.nn.functional.normalize((exact(hidden) * weight).sum(1) / weight.sum(1), dim=-1)


def similarity_of(inputs: Batch, baseline: torch.Tensor, regularised: torch.Tensor) -> Similarity:
    """Mean-pooled, normalised embeddings of hidden states [rows, N, P], compared."""
    a, b = embeddings(inputs, baseline), embeddings(inputs, regularised)
    return Similarity((a @ a.T).numpy(), (b @ b.T).numpy(), (a * b).sum(-1).numpy())


@dataclass(frozen=True)
class HeadOutput:
    """An encoder's head on one row, untouched and regularised [answers]: of the likeliest, or of every label.

    measure: what the numbers are, ONE_OF, EACH or SCORE. place: which mask of the row is answered, by its token's
    position; None for labels of the whole row.
    """

    place: int | None
    answers: list[str]
    baseline: np.ndarray
    regularised: np.ndarray
    measure: str


ONE_OF, EACH, SCORE = "probability", "probability of each label by itself", "score, without unit"


def label_measure(config: Any) -> str:
    """What a classifier's outputs stand for: its checkpoint's problem_type, and of a single label a score.

    As the model's own loss reads them: scores of a regression, a sigmoid each of several labels, else a softmax.
    """
    kind = getattr(config, "problem_type", None)
    if kind == "multi_label_classification":
        return EACH
    return SCORE if kind == "regression" or config.num_labels == 1 else ONE_OF


def head_outputs(bench: Bench, before: Side, after: Side, row: int) -> list[HeadOutput]:
    """What an encoder's head says of a row: one for each mask in it, or its classes; none where it has no head."""
    if before.scores is None or after.scores is None:
        return []
    p, q = (exact(side.scores[row]) for side in (before, after) if side.scores is not None)
    if bench.head == "classification":
        measure = label_measure(bench.model.config)
        if measure != SCORE:
            p, q = (x.sigmoid() if measure == EACH else x.softmax(-1) for x in (p, q))
        names: Mapping[Any, str] = bench.model.config.id2label or {}
        answers = [str(names.get(n, n)) for n in range(len(p))]
        return [HeadOutput(None, answers, p.numpy(), q.numpy(), measure)]
    p, q = p.softmax(-1), q.softmax(-1)
    mask = bench.loaded.tokenizer.mask_token_id  # which a tokenizer may lack
    masked = [n for n, number in enumerate(before.inputs["input_ids"][row].tolist()) if number == mask]
    answered = []
    for at in masked:
        top = likeliest(p[at], q[at])
        answers = labels(bench.loaded.tokenizer, top)
        answered.append(HeadOutput(at, answers, p[at][top].numpy(), q[at][top].numpy(), ONE_OF))
    return answered


def neighbours(similarity: np.ndarray) -> np.ndarray:
    """Each row's nearest other row by cosine [rows]; -1 where there is no other."""
    if len(similarity) < 2:
        return np.full(len(similarity), -1)
    nearest: np.ndarray = np.where(np.eye(len(similarity), dtype=bool), -np.inf, similarity).argmax(1)
    return nearest
