"""What a field of a scenario takes, and how it is written: one declaration serves link, file, command line and grid."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from nvib.characters import half, near
from nvib.settings import KINDS, is_number, is_whole, listed, plain

Several = tuple[float, ...]
Value = str | int | float | bool | Several
BETWEEN = "/"  # the values of layers
MOST_LAYERS = 999


class Values:
    """The values that a field takes: texts, unless a subclass says otherwise. words: those values in words."""

    words: str
    kind: Callable[[str], Value] = str

    def read(self, text: str) -> Value:
        """The value of a text. Raises ValueError when it is none."""
        if self.kind is not str and not text.isascii():
            raise ValueError(text)
        return self.kind(text)

    def holds(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return isinstance(value, str)

    def of(self, value: Any) -> Any:
        """What numpy, torch or a list has for a value as Python's own."""
        return plain(value)


@dataclass(frozen=True)
class Number(Values):
    """A number from low to high, both included; but: ends that are not; also: one beyond them."""

    low: float
    high: float
    but: tuple[float, ...] = ()
    also: float | None = None
    kind = float

    @property
    def words(self) -> str:  # type: ignore[override]
        ends = f" except {' and '.join(f'{end:g}' for end in self.but)}" if self.but else ""
        other = "" if self.also is None else f", or {self.also:g}"
        return f"a number from {self.low:g} to {self.high:g}{ends}{other}"

    def holds(self, value: Any) -> bool:
        if not is_number(value):
            return False
        return value == self.also or (self.low <= value <= self.high and value not in self.but)


@dataclass(frozen=True)
class ByLayer(Number):
    """A number, or one for each layer; the same for each is one."""

    @property
    def words(self) -> str:  # type: ignore[override]
        return f"{super().words}; or one for each layer, as 1{BETWEEN}0.5"

    def read(self, text: str) -> Value:
        if BETWEEN not in text:
            return super().read(text)
        if not text.isascii():
            raise ValueError(text)
        found: Value = self.of([float(part) for part in text.split(BETWEEN)])
        return found

    def holds(self, value: Any) -> bool:
        if isinstance(value, tuple):
            return 0 < len(value) <= MOST_LAYERS and all(map(super().holds, value))
        return super().holds(value)

    def of(self, value: Any) -> Any:
        values = listed(value)
        if values is None:
            return plain(value)
        if not all(map(is_number, values)):
            return values
        numbers = tuple(map(float, values))
        return numbers[0] if len(set(numbers)) == 1 else numbers


@dataclass(frozen=True)
class Whole(Values):
    """A whole number from low to high, both included."""

    low: int
    high: int
    kind = int

    @property
    def words(self) -> str:  # type: ignore[override]
        return f"a whole number from {self.low:,} to {self.high:,}"

    def holds(self, value: Any) -> bool:
        return is_whole(value) and self.low <= value <= self.high


class Flag(Values):
    """Yes or no."""

    words = "True or False"

    def read(self, text: str) -> Value:
        return {"True": True, "False": False}.get(text, text)

    def holds(self, value: Any) -> bool:
        return isinstance(value, bool)


@dataclass(frozen=True)
class Choice(Values):
    """One of a few words."""

    options: tuple[str, ...]

    @property
    def words(self) -> str:  # type: ignore[override]
        return "one of " + ", ".join(option or "nothing" for option in self.options)

    def holds(self, value: Any) -> bool:
        return value in self.options


@dataclass(frozen=True)
class Pattern(Values):
    """Text that matches a pattern as a whole."""

    words: str
    pattern: str

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(self.pattern, value, re.ASCII) is not None


class Layers(Values):
    """Layers of one kind of attention: "2-5", or nothing for all."""

    words = "a range of layers such as 2-5, or nothing for all"

    def holds(self, value: Any) -> bool:
        if isinstance(value, str):
            with suppress(ValueError):
                layer_range(value)
                return True
        return False


def layer_range(text: str) -> range | None:
    """ "2-5" as layers 2, 3, 4 and 5, "" as None for all. Raises ValueError for anything else."""
    if not text:
        return None
    ends = re.fullmatch(r"(\d{1,3})-(\d{1,3})", text, re.ASCII)
    if ends is None or int(ends[1]) > int(ends[2]):
        raise ValueError(f"layers={text!r} is no range of layers; write 2-5, or nothing for all.")
    return range(int(ends[1]), int(ends[2]) + 1)


@dataclass(frozen=True)
class Field:
    """One field of a scenario. group: what it is of, "input", "setting", "view", "generation" or "sweep".

    swept: whether a sweep may vary it; kept: whether a reset to identity leaves it alone.
    """

    name: str
    default: Value
    takes: Values
    group: str
    help: str
    swept: bool
    kept: bool

    def parse(self, text: str) -> Value:
        """The value of a text. Raises ValueError, with a sentence that says what is legal, when it has none."""
        with suppress(ValueError):
            value = self.takes.read(text)
            if self.takes.holds(value):
                return value
        raise ValueError(f"{self.name}={near(text)!r} is not a legal value; give {self.takes.words}.")

    def checked(self, value: Any) -> Value:
        """A value of the field's own type, numpy's and torch's scalars included.

        Raises ValueError, with a sentence, for one that it does not take.
        """
        value = self.takes.of(value)
        if not self.takes.holds(value):
            shown = value if not isinstance(value, str) or half(value) is None else near(value)
            shown = near(repr(value)) if isinstance(value, tuple) else shown
            raise ValueError(f"Scenario {self.name}={shown!r} is not a legal value; give {self.takes.words}.")
        return float(value) if isinstance(self.default, float) and not isinstance(value, tuple) else value


def by_kind(values: Several, counts: Mapping[str, int]) -> dict[str, Several]:
    """The values of each kind's layers, of one after the other in the order of KINDS; counts: the layers by kind.

    All of them for each kind where they are not as many as the layers: whoever uses them says so.
    """
    if len(values) != sum(counts.values()):
        return dict.fromkeys(KINDS, values)
    found, first = {}, 0
    for kind in KINDS:
        found[kind] = values[first : first + counts.get(kind, 0)]
        first += counts.get(kind, 0)
    return found


def written(value: Value) -> str:
    """A value as links, files and the command line write it."""
    if isinstance(value, tuple):
        return BETWEEN.join(map(repr, value))
    return repr(value) if isinstance(value, float) else str(value)


def number(value: float | Sequence[float]) -> str:
    """A number as it is read, with a minus of its own; of layers the least and the greatest."""
    if isinstance(value, Sequence):
        return f"{number(min(value))} to {number(max(value))} by layer"
    return "identity" if value == math.inf else f"{value:g}".replace("-", "−")


def declare(
    group: str, default: Any, takes: Values, help: str, *, swept: bool | None = None, kept: bool = False
) -> Any:  # as dataclasses.field, whose type is that of the default
    """Declare a field; a setting is swept unless it says that it is not."""
    return field(default=default, metadata={
        "group": group, "takes": takes, "help": help, "swept": group == "setting" if swept is None else swept,
        "kept": kept or group != "setting",
    })  # fmt: skip
