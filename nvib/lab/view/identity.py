"""The proof of identity: NV attention at identity against the untouched model, on the text at hand."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nvib.capturing import capture
from nvib.lab.model import decoding
from nvib.lab.model.bench import ANSWER, Batch, Bench
from nvib.precision import exact
from nvib.settings import Regularisation

BAR = 1e-4
CONTINUED = 12  # tokens


@dataclass(frozen=True)
class IdentityProof:
    """max_delta: max |logit difference| (hidden states for encoders); relative: over the logits' range;

    top1: share of positions whose most likely token agrees; same_text: whether it picks the untouched model's token at
    every place of that one's greedy text, so that both write the same, None where the model generates none;
    prior_mass: the most attention that any query gives the prior.
    """

    max_delta: float
    relative: float
    top1: float | None
    same_text: bool | None
    prior_mass: float

    @property
    def holds(self) -> bool:
        agree = self.top1 in (None, 1.0) and self.same_text in (None, True)
        return self.relative <= BAR and agree and self.prior_mass == 0.0


@torch.inference_mode()
def prove_identity(bench: Bench, text: str, chat: bool = False) -> IdentityProof:
    """Compare the model with its own reinterpretation at identity: logits, top token, greedy text, prior mass.

    chat: on the text as a chat turn.
    """
    inputs: Batch = dict(bench.encode(bench.rows(text), chat))
    written = _generate(bench, inputs)
    places = None
    if written is not None:
        inputs, places = _through(bench, inputs, written)
    baseline = exact(bench.output(inputs))
    with bench.nv.regularised(Regularisation()), capture() as seen:
        identity = exact(bench.output(inputs))
    real = inputs["attention_mask"].bool().cpu() if "decoder_input_ids" not in inputs else slice(None)
    same = _picked(bench, baseline) == _picked(bench, identity) if bench.mode.writes else None
    delta = float((baseline - identity)[real].abs().max())
    return IdentityProof(
        max_delta=delta,
        relative=delta / float(baseline[real].max() - baseline[real].min()),
        top1=None if same is None else float(same[real].double().mean()),
        same_text=None if same is None or places is None else bool(same[places].all()),
        prior_mass=max(float(mass.max()) for mass in seen.prior_mass.values()),
    )


def _through(bench: Bench, batch: Batch, written: torch.Tensor) -> tuple[Batch, torch.Tensor]:
    """The inputs of one forward through a greedy text, and where it picks the tokens of that text: [rows, tokens]."""
    if bench.mode.answers:
        return batch | {"decoder_input_ids": written[:, :-1]}, bench.target_mask(written)[:, 1:].bool().cpu()
    whole = batch | {"input_ids": written, "attention_mask": torch.ones_like(written)}  # a text is one row
    places = torch.zeros_like(written, dtype=torch.bool)
    places[:, batch["input_ids"].shape[1] - 1 : -1] = True
    return whole, places.cpu()


def _picked(bench: Bench, logits: torch.Tensor) -> torch.Tensor:
    """The likeliest token everywhere, of those that the model may write."""
    never = [token for tokens in decoding.neutral(bench.model).get("bad_words_ids") or [] for token in tokens]
    allowed = logits.index_fill(-1, torch.tensor(never), -torch.inf) if never else logits  # a copy of all of them
    return allowed.argmax(-1)


def _generate(bench: Bench, batch: Batch) -> torch.Tensor | None:
    """Greedy ids, or None where the model writes none or has no room for them."""
    if not bench.mode.writes or bench.room(batch) < 1:
        return None
    return bench.generate(batch, ANSWER if bench.mode.answers else CONTINUED)
