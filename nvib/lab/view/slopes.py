"""Where a text, or a list of texts, wants to be regularised: how its loss would change with temperatures by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

import numpy as np

from nvib import fitting
from nvib.errors import NVError
from nvib.lab.model.bench import Batch, Bench
from nvib.lab.scenario import Scenario
from nvib.lab.view.forwards import untouched_side
from nvib.prior import Prior

NAMES = ("τα", "τσ", "τμ")
MORE = (-1, 1, -1)  # which way each is more regularised


@dataclass(frozen=True)
class Slopes:
    """values: by kind [rows, layers, 3], d loss / d (τα, τσ, τμ), nats a token for a unit; nan where there is none.

    what: of what the loss is, in words; skipped: texts of a list that have none.
    """

    values: dict[str, np.ndarray]
    what: str
    skipped: int = 0

    def towards_more(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the rows [layers, 3], for a unit towards more regularisation.

        Below 0 the text becomes likelier. Of one row there is no deviation: nan.
        """
        signed = self.values[kind] * np.array(MORE)
        with np.errstate(invalid="ignore"):
            spread = signed.std(0, ddof=1) if len(signed) > 1 else np.full(signed.shape[1:], np.nan)
        return signed.mean(0), spread


def slopes(
    bench: Bench,
    scenario: Scenario,
    prior: Prior,
    progress: Callable[[int, int], None] | None = None,
    turn: fitting.Turn = nullcontext,
) -> Slopes:
    """The slopes of a scenario's text at its setting; at identity beside it, as `nvib.fitting.slopes` takes them.

    The loss of a model that continues is that of the text; of one that answers, of its own untouched answer. Raises
    NVError for a model that writes nothing, and under a peer.
    """
    _require_likelihood(bench, scenario)
    setting = scenario.regularisation(bench.layers)
    found = fitting.slopes(bench.nv, _batch(bench, scenario), setting, prior=prior, progress=progress, turn=turn)
    what = "of a text's own untouched answer" if bench.mode.answers else "of a text's tokens after the first"
    return Slopes({kind: values.numpy() for kind, values in found.items()}, what)


def slopes_of_list(
    bench: Bench,
    scenario: Scenario,
    prior: Prior,
    texts: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
    turn: fitting.Turn = nullcontext,
) -> Slopes:
    """The slopes of each text of a list, the mean over its rows: values [texts, layers, 3].

    A text that cannot be run, or whose loss is not finite, is left out and counted. Raises NVError where none is left,
    and as `slopes` does.
    """
    _require_likelihood(bench, scenario)
    found: list[Slopes] = []
    for n, text in enumerate(texts):
        with suppress(NVError, ValueError):
            found.append(slopes(bench, replace(scenario, text=text), prior, turn=turn))
        if progress is not None:
            progress(n + 1, len(texts))
    means = [{kind: values.mean(0) for kind, values in each.values.items()} for each in found]
    kept = [by_kind for by_kind in means if any(np.isfinite(values).any() for values in by_kind.values())]
    if not kept:
        raise NVError("No text of the list has a loss that NV could change; write other texts.")
    stacked = {kind: np.stack([by_kind[kind] for by_kind in kept]) for kind in kept[0]}
    return Slopes(stacked, found[0].what, len(texts) - len(kept))


def _require_likelihood(bench: Bench, scenario: Scenario) -> None:
    if not bench.mode.writes or scenario.peer:
        raise NVError(f"{bench.shape.called} has no likelihood here that NV could change; choose a model that writes.")


def _batch(bench: Bench, scenario: Scenario) -> Batch:
    """The text's rows, of an encoder-decoder with the untouched answer as the decoder's inputs and as labels."""
    if not bench.mode.answers:
        return dict(bench.encode(bench.rows(scenario.text), scenario.chat))
    side = untouched_side(bench, scenario.text, scenario.chat)
    assert side.generated is not None
    labels = side.generated[:, 1:].clone()
    labels[side.inputs["decoder_attention_mask"] == 0] = fitting.IGNORED
    return {**side.inputs, "labels": labels}
