"""What one server gives: how much at once, for how long and how large, set by environment variables."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from ipaddress import ip_address

from nvib.assets import public_name
from nvib.errors import NVError
from nvib.lab.model.bench import MAX_TOKENS
from nvib.lab.scenario import bounds
from nvib.lab.sweep.space import MOST_POINTS
from nvib.lab.view.batch import MOST_ROWS
from nvib.machine import memory
from nvib.models.catalogue import CATALOGUE
from nvib.models.placing import PRECISIONS

MB = 10**6
PREFIX = "NVIB_"
WORDS = {"public", "models", "dtype", "log", "shared"}  # limits that are no number


def _limit(private: str, says: str, public: str | None = None) -> str:
    """A field: what it is unless its variable is set, in public mode too unless that has its own, and a sentence."""
    metadata = {"private": private, "public": private if public is None else public, "says": says}
    made: str = field(default=private, metadata=metadata)
    return made


@dataclass(frozen=True)
class Limits:
    """The variables as they are set, each as text; "" is no limit. The properties are what they say.

    Raises NVError, in one sentence, for a value that is none.
    """

    public: str = _limit(
        "0", "1 for visitors who are strangers: only models that you name, and less work; 0 for people you trust"
    )
    models: str = _limit(
        "", "in public mode: hub ids and folders that may be chosen beside the embedded models, parted by semicolons"
    )
    pages: str = _limit("2", "pages that are made at once: one that draws beside one that has the model")
    forwards: str = _limit("1", "forwards of a model at once: 1 fills the cores of a processor")
    line: str = _limit("24", "visitors who may wait in line; those who come then are told to come back")
    patience: str = _limit("120", "seconds of a wait in line, after which it is given up")
    models_mb: str = _limit("", "megabytes of weights that are kept; half of the machine's memory unless it is set")
    results_mb: str = _limit("800", "megabytes of what models said that are kept for all visitors, texts among them")
    dtype: str = _limit("float32", f"of the weights: {', '.join(PRECISIONS)}")
    upload_mb: str = _limit("5", "megabytes of a file that is uploaded", "2")
    tokens: str = _limit(str(MAX_TOKENS), "tokens of a text", "512")
    new_tokens: str = _limit(str(bounds("length")[1]), "tokens that are generated", "64")
    listed: str = _limit(str(MOST_ROWS), "texts of a list on Compare and Heads", "50")
    points: str = _limit(str(MOST_POINTS), "points of a sweep", "50")
    fit_steps: str = _limit("1000", "steps of a fit", "40")
    fit_texts: str = _limit("4000", "texts that are fitted, or looked at meanwhile", "200")
    log: str = _limit(
        "",
        "where a line of JSON goes for each run of a page: a file, - for standard error, nowhere unless it is set",
        "-",
    )
    shared: str = _limit(
        "0", "1 for several replicas: views too long for a link and uploaded priors lie in the cache folder, for all"
    )
    work: str = _limit("", "seconds of the models that a visitor, a browser's session, has within an hour", "600")

    def __post_init__(self) -> None:
        if self.dtype not in PRECISIONS:
            raise NVError(f"NVIB_DTYPE={self.dtype!r} is not one of {', '.join(PRECISIONS)}.")
        if self.public not in ("0", "1"):
            raise NVError(f"NVIB_PUBLIC={self.public!r} is neither 1, for strangers, nor 0, for people you trust.")
        if self.shared not in ("0", "1"):
            raise NVError(f"NVIB_SHARED={self.shared!r} is neither 1, for replicas that share the cache folder, nor 0.")
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in WORDS and value and not (value.isdecimal() and 0 < int(value) < 10**9):
                raise NVError(f"{variable(each.name)}={value!r} is no whole number above 0.")
        if self.offered and len(self.offered) != len(CATALOGUE) + len(self._named):
            raise NVError(f"NVIB_MODELS={self.models!r} has two models of one name; name each once, folders apart.")

    @property
    def is_public(self) -> bool:
        """Whether the visitors are strangers."""
        return self.public == "1"

    @property
    def offered(self) -> dict[str, str] | None:
        """In public mode the models that may be chosen, by the name that visitors know: of a folder its last part."""
        if not self.is_public:
            return None
        return {name: name for name in CATALOGUE} | {public_name(name): name for name in self._named}

    @property
    def words(self) -> str:
        """The mode, as the pages tell it."""
        if not self.is_public:
            return "A private server: hub models and the folders of its machine may be chosen."
        hour = f"; {self.work} seconds of the models within an hour" if self.work else ""
        return (
            f"A public server, with the models in the box above alone. At most {self.tokens} tokens in a text, "
            f"{self.new_tokens} new ones, {self.listed} texts in a list, {self.points} points in a sweep, "
            f"{self.fit_steps} steps in a fit and {self.fit_texts} texts, {self.upload_mb} MB in a file{hour}."
        )

    @property
    def _named(self) -> list[str]:
        return [name.strip() for name in self.models.split(";") if name.strip()] if self.is_public else []

    @property
    def models_bytes(self) -> int:
        """Bytes of weights that are kept."""
        return int(self.models_mb) * MB if self.models_mb else memory()[1] // 2

    @property
    def results_bytes(self) -> int:
        """Bytes of what models said that are kept."""
        return int(self.results_mb) * MB

    @property
    def work_seconds(self) -> float:
        """Seconds of the models for a visitor within an hour."""
        return float(self.work or math.inf)


def variable(name: str) -> str:
    """The environment variable of a limit."""
    return PREFIX + name.upper()


def limits(environment: Mapping[str, str] = os.environ) -> Limits:
    """The limits that an environment sets; a variable that is empty is not set. Raises NVError with one sentence."""
    found = {each.name: environment.get(variable(each.name), "").strip() for each in fields(Limits)}
    mode = "public" if found["public"] == "1" else "private"
    return Limits(**{each.name: found[each.name] or each.metadata[mode] for each in fields(Limits)})


def check_mode(address: str | None, environment: Mapping[str, str] = os.environ) -> None:
    """Raises NVError where others reach a server of this address, and nobody said who they are."""
    if environment.get(variable("public"), "").strip() or (address or "").startswith("unix:"):
        return
    with suppress(ValueError):  # another name than an address's
        if address and (address == "localhost" or ip_address(address).is_loopback):
            return
    raise NVError(
        f"Others would reach this server at {address or 'every address of this machine'}, and may choose any folder of "
        "it as a model: set NVIB_PUBLIC=1 for strangers, who get the embedded models and those in NVIB_MODELS alone, "
        "or NVIB_PUBLIC=0 for people you trust with it."
    )
