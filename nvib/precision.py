"""Where float64 is made: off the device first, for some devices have none (Apple's MPS)."""

from __future__ import annotations

import torch


def exact(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in float64 on the CPU, without gradients: any shape."""
    return tensor.detach().cpu().double()
