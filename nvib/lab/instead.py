"""A peer of NV as scenarios, links and grids write it: "temperature:1.1", "noise:0.05", "rank:20.down_proj:0.5"."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nvib.lab.fields import BETWEEN, Value, Values, by_kind, number

if TYPE_CHECKING:  # torch is loaded by who runs something, not by who reads a link
    from nvib.peers import Peer

DRAWS = 8  # of dropout


@dataclass(frozen=True)
class Way:
    """One way to change a model without training. title: in words; legal: its numbers; subject: whether it has one."""

    title: str
    legal: Callable[[float], bool]
    subject: bool = False


WAYS = {
    "temperature": Way("attention temperature", lambda value: 0 < value < math.inf),
    "noise": Way("noise on the scores, nats", lambda value: 0 <= value < math.inf),
    "rank": Way("share of the rank kept in", lambda value: 0 < value <= 1, subject=True),
    "bits": Way("weights rounded to bits:", lambda value: value in range(2, 17)),
    "dropout": Way(f"dropout, mean of {DRAWS} draws,", lambda value: 0 <= value < 1),
}


def parted(text: str) -> tuple[str, str, tuple[float, ...]]:
    """A way's name, its subject, and its number or numbers. Raises ValueError where there is no such."""
    name, _, rest = text.partition(":")
    subject = ""
    if name in WAYS and WAYS[name].subject:
        subject, _, rest = rest.partition(":")
        layer, _, matrix = subject.partition(".")
        if not layer.isdecimal() or not matrix:
            raise ValueError(text)
    if name not in WAYS or not text.isascii():
        raise ValueError(text)
    numbers = tuple(map(float, rest.split(BETWEEN)))
    if not all(map(WAYS[name].legal, numbers)) or (len(numbers) > 1 and name != "temperature"):
        raise ValueError(text)
    return name, subject, numbers


def peer_of(text: str, counts: Mapping[str, int]) -> Peer:
    """The peer of a text; counts: the model's layers by kind, in whose order temperatures by layer are.

    Raises ValueError where the text is none.
    """
    from nvib import peers

    name, subject, numbers = parted(text)
    if name == "temperature":
        if len(numbers) == 1:
            return peers.AttentionTemperature(numbers[0])
        of_kinds = by_kind(numbers, counts)
        encoder, cross, decoder = (values or 1.0 for values in of_kinds.values())
        return peers.AttentionTemperature(encoder=encoder, cross=cross, decoder=decoder)
    layer, _, matrix = subject.partition(".")
    (number,) = numbers
    made: dict[str, Callable[[], Peer]] = {
        "noise": lambda: peers.LogitNoise(number),
        "rank": lambda: peers.LowRank(matrix, int(layer), number),
        "bits": lambda: peers.RoundedWeights(int(number)),
        "dropout": lambda: peers.McDropout(number, draws=DRAWS),
    }
    return made[name]()


def in_words(text: str) -> str:
    """ "temperature:1.1" as "attention temperature 1.1"."""
    name, subject, numbers = parted(text)
    value = number(numbers if len(numbers) > 1 else numbers[0])
    return f"{WAYS[name].title}{f' {subject}:' if subject else ''} {value}"


class Peers(Values):
    """A peer, or nothing for NV."""

    words = (
        "nothing for NV, or one of temperature:1.1, noise:0.05, rank:20.down_proj:0.5, bits:4, dropout:0.1, "
        f"the first also with a value for each layer, as temperature:1.1{BETWEEN}1.05"
    )

    def read(self, text: str) -> Value:
        return text

    def holds(self, value: object) -> bool:
        if not isinstance(value, str):
            return False
        with suppress(ValueError):
            return not value or bool(parted(value))
        return False
