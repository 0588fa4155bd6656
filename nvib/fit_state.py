"""Where a fit of temperatures is: its steps, its parameters, Adam's moments and the best so far, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize

from nvib.errors import NVError

EVERY, PATIENCE = 4, 4  # steps between two looks at what is held out, and looks without a better one before it stops


@dataclass(frozen=True)
class Step:
    """One step: its loss in nats a token before it was made, and where it was looked at, that of what is held out."""

    loss: float
    held_out: float | None = None


def is_over(history: Sequence[Step], steps: int) -> bool:
    """Whether all steps are made, or the last looks at what is held out found nothing better."""
    looks = [step.held_out for step in history if step.held_out is not None]
    tired = len(looks) > PATIENCE and min(looks[-PATIENCE:]) >= min(looks[:-PATIENCE])
    return tired or len(history) >= steps


def history_of(data: bytes) -> list[Step]:
    """The steps that a file of `State.to_bytes` has. Raises NVError for what is none."""
    with _readable():
        deserialize(data)
        return [Step(**step) for step in _about(data)[1]["history"]]


@dataclass
class State:
    """Where a fit is. tensors: its parameters, by name, each with a gradient; rate: Adam's."""

    tensors: Mapping[str, torch.Tensor]
    rate: float
    history: list[Step] = field(default_factory=list)
    skipped: int = 0
    best: int = 0
    optimiser: torch.optim.Adam = field(init=False)
    kept: dict[str, torch.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.optimiser = torch.optim.Adam(list(self.tensors.values()), lr=self.rate)
        self.keep()

    def keep(self) -> None:
        """What is there now is the best so far."""
        self.kept = {name: tensor.detach().clone() for name, tensor in self.tensors.items()}
        self.best = len(self.history)

    def go_back(self) -> None:
        """To the best so far."""
        for name, tensor in self.tensors.items():
            tensor.data.copy_(self.kept[name])

    def to_bytes(self, of: str) -> bytes:
        """All of it, exactly; of: what fit it is."""
        tensors = {f"best.{name}": tensor for name, tensor in self.kept.items()}
        for name, tensor in self.tensors.items():
            tensors[f"now.{name}"] = tensor.detach()
            for part, value in self.optimiser.state.get(tensor, {}).items():
                tensors[f"{part}.{name}"] = value
        told = {"history": [asdict(step) for step in self.history], "skipped": self.skipped, "best": self.best}
        whole = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
        return serialize(whole, metadata={"fit": of, "told": json.dumps(told)})

    def read(self, data: bytes, of: str) -> None:
        """Go on from what `to_bytes` wrote. Raises NVError for another fit's, and for what is none."""
        with _readable():
            tensors = deserialize(data)
            mine, told = _about(data)
            if mine == of:
                self._take(tensors, told)
        if mine != of:
            raise NVError("The file of the fit's state is of another model, text, start or seed; name another one.")

    def _take(self, tensors: dict[str, torch.Tensor], told: Any) -> None:
        for name, tensor in self.tensors.items():
            tensor.data.copy_(tensors[f"now.{name}"])
            self.kept[name] = tensors[f"best.{name}"].to(tensor.device)
            parts = {part: tensors[f"{part}.{name}"] for part in ("step", "exp_avg", "exp_avg_sq")
                     if f"{part}.{name}" in tensors}  # fmt: skip
            if parts:
                self.optimiser.state[tensor] = {
                    part: value if part == "step" else value.to(tensor.device) for part, value in parts.items()
                }
        self.history = [Step(**step) for step in told["history"]]
        self.skipped, self.best = int(told["skipped"]), int(told["best"])


@contextmanager
def _readable() -> Iterator[None]:
    """Whatever a file that is none makes of it, in one sentence."""
    try:
        yield
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise NVError("The file of the fit's state cannot be read; name another one.") from error


def _about(data: bytes) -> tuple[str | None, Any]:
    """What fit a file is of, and what its header tells of it; safetensors gives the metadata of files alone."""
    about = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    return about.get("fit"), json.loads(about.get("told", "{}"))
