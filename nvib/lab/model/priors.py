"""The priors that the visitors of a model ask for: shipped, estimated from their text, standard, or files of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial

import torch

from nvib.assets import public_name
from nvib.errors import NVError
from nvib.estimation import estimate_prior
from nvib.lab.scenario import DIGITS, Scenario, digest_of
from nvib.lab.uploads import Upload, uploaded
from nvib.memory import Memory
from nvib.models.loading import Loaded
from nvib.prior import Prior, standard_normal_prior, weights_of
from nvib.shelf import Shelf

MAX_PRIOR_CHARACTERS = 1_000_000
PRIORS_KEPT = 16  # estimated priors, and as many files
BATCH = 8
Batches = Callable[[Sequence[str]], Mapping[str, torch.Tensor]]


class Priors:
    """The priors of one loaded model. words: whether each word of a text is an input of its own.

    batch: texts to the inputs from which a prior is estimated; shelf: where visitors' own lie for other processes too,
    or None.
    """

    def __init__(self, loaded: Loaded, words: bool, batch: Batches, shelf: Shelf | None = None) -> None:
        self._loaded, self._words, self._batch, self._shelf = loaded, words, batch, shelf
        self._made: Memory[Prior] = Memory(PRIORS_KEPT)
        self._own: Memory[dict[str, Prior]] = Memory(
            PRIORS_KEPT
        )  # by fingerprint, those of the same numbers by identity

    def of(self, scenario: Scenario, progress: Callable[[int], None] | None = None) -> Prior:
        """The prior that a scenario names; estimated ones are kept. Raises NVError when there is none."""
        if scenario.prior == "own":
            return self._kept(scenario.prior_id, uploaded(scenario).get("prior"))
        if scenario.prior == "normal":
            return self._made.get("normal", lambda: standard_normal_prior(self._loaded.model))
        if scenario.prior == "text":
            texts = scenario.prior_text.splitlines()
            return self._made.get(_key(scenario), lambda: self.estimate(texts, "the visitor's text", progress))
        return self._shipped(scenario.prior)

    def has(self, scenario: Scenario) -> bool:
        """Whether the prior from a scenario's text is at hand."""
        return _key(scenario) in self._made

    def estimate(self, texts: Iterable[str], corpus: str, progress: Callable[[int], None] | None = None) -> Prior:
        """A prior from texts of the model's own domain; what progress raises stops it. Raises NVError for no text."""
        lines = [piece for text in texts for piece in (text.split() if self._words else [text])]
        lines = [line for line in lines if line.strip()]
        if not lines:
            raise NVError("The prior's text is empty; paste text of the model's own domain, a paragraph a line.")
        characters = sum(len(line) for line in lines)
        if characters > MAX_PRIOR_CHARACTERS:
            raise NVError(f"The prior's text has {characters:,} characters; {MAX_PRIOR_CHARACTERS:,} are enough.")
        batches = (self._batch(lines[i : i + BATCH]) for i in range(0, len(lines), BATCH))
        model = f"{public_name(self._loaded.name)}, {self._loaded.revision}"
        about = {"corpus": corpus, "texts": str(len(lines)), "model": model}
        return estimate_prior(self._loaded.model, batches, provenance=about, progress=progress)

    def keep(self, prior: Prior) -> str:
        """Take in a visitor's prior; the answer names it in a scenario. Raises NVError when it does not fit.

        Another visitor's with the same numbers has its own provenance, and so another name.
        """
        prior.check(self._loaded.model)
        _add(self._own.get(prior.fingerprint, dict), prior)
        if self._shelf:
            self._shelf.put(prior.identity, prior.to_bytes())
        return prior.identity

    def _kept(self, name: str, file: Upload | None) -> Prior:
        """A visitor's prior by its identity; file: what it was made of, where that is known.

        By its numbers alone it is the one that has them, or of several none's: what one visitor's file says of itself
        is not told of another's.
        """
        alike = self._own.get(name[:DIGITS], partial(self._shelved, name[:DIGITS], file))
        if name not in alike and self._shelf and len(name) > DIGITS:  # another process may have taken it in since
            for prior in self._whole(name):
                _add(alike, prior)
        if name in alike:
            return alike[name]
        first, *others = list(alike.values())
        if len(name) == DIGITS and not others:
            return first
        return Prior(first.layers, {field: said for field, said in first.provenance.items() if field == "weights"})

    def _shelved(self, fingerprint: str, file: Upload | None) -> dict[str, Prior]:
        """The priors of these numbers that other processes took in. Raises NVError where there is none."""
        found: dict[str, Prior] = {}
        for prior in self._whole(fingerprint):
            _add(found, prior)
        return found or _unknown(file)

    def _whole(self, digits: str) -> Iterator[Prior]:
        """The priors on the shelf whose identity begins so, that are what was put there, and fit."""
        for data in self._shelf.beginning(digits) if self._shelf else ():
            with suppress(NVError):
                prior = Prior.from_bytes("shared", data)
                prior.check(self._loaded.model)
                if prior.identity.startswith(digits):
                    yield prior

    def told(self, prior: Prior) -> str:
        """One sentence where a prior is of another model, else nothing."""
        return prior.of_another(self._loaded.model, self._weights)

    @cached_property
    def _weights(self) -> str:
        """What is known of the model's weights, which stay as they are."""
        return weights_of(self._loaded.model)

    def _shipped(self, source: str) -> Prior:
        name = self._loaded.name
        prior = self._loaded.prior if source == "shipped" else self._loaded.broad
        if prior is None and source == "shipped":
            raise NVError(
                f"{name} has no shipped prior; give text to estimate one from, or choose the standard normal."
            )
        if prior is None:
            raise NVError(f"{name} has no prior of several languages; choose another source.")
        return prior


def _add(alike: dict[str, Prior], prior: Prior) -> None:
    """Take a prior in among those of the same numbers; the first goes where they are many."""
    alike[prior.identity] = prior
    if len(alike) > PRIORS_KEPT:
        alike.pop(next(iter(alike)), None)


def _key(scenario: Scenario) -> tuple[str, str]:
    return "text", digest_of(scenario.prior_text)


def _unknown(file: Upload | None) -> dict[str, Prior]:
    raise NVError(
        f"The prior that this view was made with is a file of its maker's{f', {file}' if file else ''}, and this "
        "server does not have it: upload it on the page Prior, or choose another source."
    )
