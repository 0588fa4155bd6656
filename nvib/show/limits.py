"""What one server gives: how much at once, for how long and how large, set by environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import psutil

from nvib.errors import NVError
from nvib.models.loading import DTYPES

MB = 10**6
PREFIX = "NVIB_"


def _limit(default: str, says: str) -> str:
    """A field with its variable's default and a sentence on it."""
    made: str = field(default=default, metadata={"says": says})
    return made


@dataclass(frozen=True)
class Limits:
    """The variables as they are set, each as text; the properties are what they say.

    Raises NVError, in one sentence, for a value that is none.
    """

    pages: str = _limit("2", "pages that are made at once: one that draws beside one that has the model")
    forwards: str = _limit("1", "forwards of a model at once: 1 fills the cores of a processor")
    line: str = _limit("24", "visitors who may wait in line; those who come then are told to come back")
    patience: str = _limit("120", "seconds of a wait in line, after which it is given up")
    models_mb: str = _limit("", "megabytes of weights that are kept; half of the machine's memory unless it is set")
    results_mb: str = _limit("800", "megabytes of what models said that are kept for all visitors, texts among them")
    dtype: str = _limit("float32", f"of the weights: {', '.join(DTYPES)}")

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise NVError(f"NVIB_DTYPE={self.dtype!r} is not one of {', '.join(DTYPES)}.")
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name != "dtype" and value and not (value.isdecimal() and 0 < int(value) < 10**9):
                raise NVError(f"{variable(each.name)}={value!r} is no whole number above 0.")

    @property
    def models_bytes(self) -> int:
        """Bytes of weights that are kept."""
        return int(self.models_mb) * MB if self.models_mb else psutil.virtual_memory().total // 2

    @property
    def results_bytes(self) -> int:
        """Bytes of what models said that are kept."""
        return int(self.results_mb) * MB


def variable(name: str) -> str:
    """The environment variable of a limit."""
    return PREFIX + name.upper()


def limits(environment: Mapping[str, str] = os.environ) -> Limits:
    """The limits that an environment sets; a variable that is empty is not set. Raises NVError with one sentence."""
    found = {each.name: environment.get(variable(each.name), "").strip() for each in fields(Limits)}
    return Limits(**{name: value for name, value in found.items() if value})
