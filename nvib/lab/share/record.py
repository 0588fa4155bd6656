"""An observation as plain values that JSON can hold, and back."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import numpy as np

from nvib.errors import NVError
from nvib.lab.view.cell import Cell
from nvib.lab.view.observation import Observation
from nvib.lab.view.outputs import OUTPUTS

NAME_OF = {kind: name for name, kind in OUTPUTS.items()}


def record(seen: Observation) -> dict[str, Any]:
    """An observation's fields by name: lists for arrays, null for a number that is none, "inf" for infinity."""
    whole: dict[str, Any] = jsonable(seen)
    return whole | {"output": {"type": NAME_OF[type(seen.output)], **jsonable(seen.output)}}


def restore(found: dict[str, Any]) -> Observation:
    """The observation of a record. Raises NVError when it is none."""
    try:
        output = dict(found["output"])
        kind = OUTPUTS[output.pop("type")]
        made = {"output": _made(kind, output), "cell": _made(Cell, found["cell"])}
        return Observation(**{**_arrays(Observation, found), **made})
    except (KeyError, TypeError, ValueError) as error:
        raise NVError("The stored observation cannot be read; observe the scenario anew.") from error


def jsonable(value: Any) -> Any:
    """Dataclasses, arrays and numbers as what JSON holds: null for a number that is none, "inf" for infinity."""
    if is_dataclass(value):
        return {f.name: jsonable(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        short = value.dtype == np.float32  # the fewest digits that are this float32
        return [jsonable(float(str(item)) if short and np.ndim(item) == 0 else item) for item in value]
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return {key: jsonable(item) for key, item in value.items()} if isinstance(value, dict) else value


def _made(kind: Any, found: dict[str, Any]) -> Any:
    return kind(**_arrays(kind, found))


def _arrays(kind: Any, found: dict[str, Any]) -> dict[str, Any]:
    """A record's fields with the lists of those that are arrays turned back into arrays."""
    hints = get_type_hints(kind)
    return {name: _array(value) if hints[name] is np.ndarray else value for name, value in found.items()}


def _array(values: list[Any]) -> np.ndarray:
    flat = np.array(values, dtype=object)
    whole = all(isinstance(item, int) for item in flat.ravel())
    return flat.astype(np.int64 if whole and flat.size else np.float64)
