"""The proof of identity: NV attention at identity against the untouched model, on the text at hand."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nvib.capturing import capture
from nvib.lab.model.bench import ANSWER, Batch, Bench
from nvib.precision import exact
from nvib.settings import Regularisation

BAR = 1e-4
CONTINUED = 12  # tokens


@dataclass(frozen=True)
class IdentityProof:
    """max_delta: max |logit difference| (hidden states for encoders); relative: over the logits' range;

    top1: share of positions whose most likely token agrees; same_text: equal greedy text, None where the
    model generates none; prior_mass: the most attention that any query gives the prior.
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
    batch = bench.encode(bench.rows(text), chat)
    before = _generate(bench, batch)
    inputs = dict(batch)
    if bench.mode.answers and before is not None:
        inputs["decoder_input_ids"] = before[:, :-1]
    baseline = exact(bench.output(inputs))
    with bench.nv.regularised(Regularisation()):
        with capture() as seen:
            identity = exact(bench.output(inputs))
        after = _generate(bench, batch)
    real = batch["attention_mask"].bool().cpu() if "decoder_input_ids" not in inputs else slice(None)
    baseline, identity = baseline[real], identity[real]
    delta = float((baseline - identity).abs().max())
    same_top = (baseline.argmax(-1) == identity.argmax(-1)).double().mean()
    return IdentityProof(
        max_delta=delta,
        relative=delta / float(baseline.max() - baseline.min()),
        top1=float(same_top) if bench.mode.writes else None,
        same_text=None if before is None or after is None else torch.equal(before, after),
        prior_mass=max(float(mass.max()) for mass in seen.prior_mass.values()),
    )


def _generate(bench: Bench, batch: Batch) -> torch.Tensor | None:
    """Greedy ids, or None where the model writes none or has no room for them."""
    if not bench.mode.writes or bench.room(batch) < 1:
        return None
    return bench.generate(batch, ANSWER if bench.mode.answers else CONTINUED)
