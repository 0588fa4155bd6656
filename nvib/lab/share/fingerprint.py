"""A result as a few numbers that fit into a link, and whether another machine's numbers are the same."""

from __future__ import annotations

import base64
import binascii

import numpy as np

from nvib.errors import NVError
from nvib.lab.view.observation import Observation

RELATIVE, ABSOLUTE = 1e-3, 1e-4  # what rounding on another machine may move


def numbers(seen: Observation) -> dict[str, float]:
    """The numbers that stand for a result, by name: of the output first, then of the attention in view."""
    beside = {
        "distance to the baseline": seen.change.mean(),
        "attention on the prior": seen.prior_mass.mean(),
        "entropy": seen.entropy.mean(),
        "largest weight shown": seen.regularised.max(),
        "mean log α": seen.log_alpha[np.isfinite(seen.log_alpha)].mean() if np.isfinite(seen.log_alpha).any() else 0.0,
        "weights shown": seen.regularised.size,
    }
    return {name: float(value) for name, value in (seen.output.numbers | beside).items()}


def fingerprint(seen: Observation) -> str:
    """The numbers in a form that fits into a link: float32, base64, 43 characters."""
    data = np.array(list(numbers(seen).values()), "<f4").tobytes()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def differences(seen: Observation, text: str) -> list[str]:
    """What differs between a result and a fingerprint, in words; empty where they agree.

    Raises NVError when the text is no fingerprint of such a result.
    """
    here = numbers(seen)
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        there = np.frombuffer(data, "<f4").astype(float)
    except (ValueError, binascii.Error):
        there = np.empty(0)
    if len(there) != len(here):
        raise NVError("The link's fingerprint cannot be read, so its numbers were not compared; copy the whole link.")
    return [
        f"{name} {value:.5g} here, {float(other):.5g} there"
        for (name, value), other in zip(here.items(), there, strict=True)
        if not abs(value - other) <= ABSOLUTE + RELATIVE * abs(value)
    ]
