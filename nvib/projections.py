"""A key or value projection as one linear map, whatever module makes it: plain, adapted, parametrised, wrapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from nvib.errors import NVError
from nvib.offloading import at_hand, own_forward, runs_on

PROBES = 3  # random inputs on which a projection is compared with what was read of it
BOUNDS = {torch.float64: 1e-4, torch.float32: 1e-4}  # of the greatest output, else ROUGH
ROUGH = 3e-2
WIDTHS = ("in_features", "nx")  # as linear modules and GPT-2's Conv1D name it


@dataclass(frozen=True)
class Projection:
    """A key or value projection: a linear module, or the output columns of a fused one.

    What is no plain module of transformers or torch, as a LoRA layer, is read off what it makes of unit vectors.
    computes: the precision of its inputs, where its weights are packed into whole numbers and do not tell.
    """

    module: nn.Module
    columns: slice | Sequence[int] | None = None
    computes: torch.dtype = torch.float32

    @property
    def weight(self) -> torch.Tensor:
        """[G*d, P]."""
        if not self._plain:
            return self._read_off()
        with at_hand(self.module):
            weight: torch.Tensor = self.module.weight  # type: ignore[assignment]
        weight = weight.T if isinstance(self.module, Conv1D) else weight
        return weight if self.columns is None else weight[self.columns]

    @property
    def bias(self) -> torch.Tensor | None:
        """[G*d], or None."""
        if not self._plain:
            return self._run(torch.zeros(1, self.width, device=self.device, dtype=self.dtype))[0]
        with at_hand(self.module):
            bias: torch.Tensor | None = self.module.bias  # type: ignore[assignment]
        return bias if self.columns is None or bias is None else bias[self.columns]

    def of(self, x: torch.Tensor) -> torch.Tensor:
        """What it makes of hidden states [..., P], its hooks left out: [..., G*d]."""
        return nn.functional.linear(x, self.weight, self.bias) if self._plain else self._run(x)

    @property
    def width(self) -> int:
        """P. Raises NVError where the module does not say."""
        found = (getattr(part, name, None) for part in self.module.modules() for name in WIDTHS)
        width = next((int(value) for value in found if isinstance(value, int)), None)
        if width is None:
            name = type(self.module).__name__
            raise NVError(f"The projection {name} does not say how wide its input is; give it in_features.")
        return width

    @property
    def size(self) -> int:
        """How many numbers come out of the whole module."""
        if self._plain:
            weight: torch.Tensor = self.module.weight  # type: ignore[assignment]
            return weight.shape[int(isinstance(self.module, Conv1D))]
        return Projection(self.module).bias.shape[-1]  # type: ignore[union-attr]

    @property
    def device(self) -> torch.device:
        """Where it runs; the meta device where its weights are offloaded and nothing brings them."""
        return runs_on(self.module)

    @property
    def dtype(self) -> torch.dtype:
        """Its precision: of the first of its parameters that are real numbers."""
        found = (part.dtype for part in self.module.parameters() if part.is_floating_point())
        return next(found, self.computes)

    def state(self) -> tuple[Any, ...]:
        """What differs as soon as the map does: where its parameters are, how often they were written, what it says."""
        written = tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.module.parameters())
        if self._plain:
            return written
        with torch.no_grad():
            said = self._run(_probe(1, self.width).to(self.dtype).to(self.device))
        return *written, *said[0].float().tolist()

    def agrees(self) -> bool:
        """Whether the module, its hooks included, makes of random inputs what the weight and bias read of it do."""
        if self.device.type == "meta":
            return True  # offloaded out of reach: planning refuses it
        try:
            with torch.no_grad():
                x = _probe(PROBES, self.width).to(self.dtype).to(self.device)
                said = self._part(self.module(x)).float()
                bias = self.bias
                read = nn.functional.linear(x.float(), self.weight.float(), None if bias is None else bias.float())
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):  # whatever a wrapper may raise
            return False
        bound = BOUNDS.get(self.dtype, ROUGH)
        return torch.allclose(said, read, rtol=bound, atol=bound * float(read.abs().nan_to_num().max()), equal_nan=True)

    @property
    def _plain(self) -> bool:
        """Whether the module is its weight and its bias and nothing else, but for hooks."""
        return type(self.module) in (nn.Linear, Conv1D) and own_forward(self.module)

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        return self._part(self.module.forward(x))

    def _part(self, out: torch.Tensor) -> torch.Tensor:
        return out if self.columns is None else out[..., self.columns]

    def _read_off(self) -> torch.Tensor:
        """The weight, in float32 at least; the unit vectors are long, so that half precision rounds no small weight."""
        length = 1.0 if self.dtype in BOUNDS else 1024.0
        with torch.no_grad():
            vectors = length * torch.eye(self.width, device=self.device, dtype=self.dtype)
            wide = torch.promote_types(self.dtype, torch.float32)
            rows = self._run(vectors).to(wide) - self._run(vectors[:1] * 0).to(wide)
        return (rows / length).T


@lru_cache(32)
def _probe(rows: int, width: int) -> torch.Tensor:
    """Random inputs, the same for the same shape, of about the size of normed hidden states."""
    with torch.inference_mode(False):
        return torch.randn(rows, width, generator=torch.Generator().manual_seed(0))
