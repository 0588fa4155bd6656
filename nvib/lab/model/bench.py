"""A loaded model on the bench: reinterpreted once, with the priors that its visitors have asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch

from nvib.errors import NVError
from nvib.estimation import estimate_prior
from nvib.families import kinds
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import Scenario
from nvib.memory import Memory
from nvib.models import loading
from nvib.prior import Prior, standard_normal_prior
from nvib.reinterpretation import Reinterpretation, reinterpret

MAX_TOKENS = 1024
MAX_PRIOR_CHARACTERS = 1_000_000
PRIORS_KEPT = 16
RESULTS_KEPT = 128
BYTES_KEPT = 600 * 2**20  # of forwards, for each model
Batch = dict[str, torch.Tensor]


class Bench:
    """One model, ready to be observed by many visitors at once; nothing on it depends on a visitor.

    Raises NVError when the name cannot be loaded or the architecture is not supported.
    """

    def __init__(
        self,
        name: str,
        device: str = "cpu",
        dtype: str = "float32",
        progress: Callable[[float, str], None] | None = None,
    ) -> None:
        self.loaded = loading.load(name, device, dtype, progress=progress)
        self.model = self.loaded.model
        self.kept: Memory[Any] = Memory(BYTES_KEPT, lambda side: side.nbytes)
        self.small: Memory[Any] = Memory(RESULTS_KEPT)  # paths and generated texts, by what they are of
        self._priors: Memory[Prior] = Memory(PRIORS_KEPT)
        self._own: Memory[Prior] = Memory(PRIORS_KEPT)
        self._open = ExitStack()
        first = self.loaded.prior or standard_normal_prior(self.model)
        self.nv: Reinterpretation = self._open.enter_context(reinterpret(self.model, first))
        self.shape = self._shape()
        self.kinds, self.layers, self.heads = self.shape.kinds, self.shape.layers, self.shape.heads

    def close(self) -> None:
        """Take NV attention out of the model again."""
        self._open.close()

    def _shape(self) -> Shape:
        loaded, config, found = self.loaded, self.model.config, kinds(self.model)
        return Shape(
            name=loaded.name,
            revision=loaded.revision,
            kinds=found,
            layers={kind: sum(site.kind == kind for site in self.nv.sites) for kind in found},
            heads=getattr(config, "num_attention_heads", None) or config.encoder_attention_heads,
            shipped=loaded.prior is not None,
            broad=loaded.broad is not None,
            experimental=self.nv.experimental or "",
            device=loaded.device,
            dtype=loaded.dtype,
        )

    @property
    def task(self) -> str:
        """What the model's output is: "next token", "generated text" or "similarity"."""
        return self.shape.task

    @property
    def measure(self) -> str:
        """What an output's symbols are: "phonemes", or "text"."""
        return "phonemes" if self.loaded.name == "g2p" else "text"

    @property
    def head(self) -> str:
        """What an encoder's head gives, "masked token" or "classification"; "" for a model without one."""
        name = type(self.model).__name__
        if self.task != "similarity" or not name.endswith(("ForMaskedLM", "ForSequenceClassification")):
            return ""
        return "masked token" if name.endswith("ForMaskedLM") else "classification"

    def hidden_states(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """An encoder's last hidden states [rows, N, P], and its head's logits or None."""
        out = self.model(**batch, output_hidden_states=bool(self.head))
        return (out.hidden_states[-1], out.logits) if self.head else (out.last_hidden_state, None)

    # Text

    def rows(self, text: str) -> list[str]:
        """The separate inputs in a text, see `Shape.rows`."""
        return self.shape.rows(text)

    def encode(self, rows: Sequence[str]) -> Batch:
        """Token ids and attention mask [rows, tokens] on the model's device, padded on the tokenizer's side."""
        batch = self.loaded.tokenizer(list(rows), return_tensors="pt", padding=len(rows) > 1)
        batch = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
        longest, cap = batch["input_ids"].shape[1], self.longest
        if longest > cap:
            worst = max(rows, key=len)
            raise NVError(f"“{worst[:24]}…” is {longest:,} tokens long; this page takes {cap} at most: shorten it.")
        if longest == 0:
            raise NVError("The text has no tokens for this model; type letters.")
        return {name: tensor.to(self.model.device) for name, tensor in batch.items()}

    @property
    def longest(self) -> int:
        """The most tokens a text may have here: the page's cap, or the model's own limit."""
        return min(MAX_TOKENS, getattr(self.model.config, "max_position_embeddings", MAX_TOKENS))

    def regularised(self, scenario: Scenario, prior: Prior) -> AbstractContextManager[None]:
        """The model under a scenario's setting, in this thread and inside the `with` only."""
        return self.nv.regularised(scenario.regularisation(self.layers), prior, local=scenario.effect == "local")

    # Prior

    def prior(self, scenario: Scenario, progress: Callable[[int], None] | None = None) -> Prior:
        """The prior that a scenario names; estimated ones are kept. Raises NVError when there is none."""
        if scenario.prior == "shipped":
            if self.loaded.prior is None:
                raise NVError(
                    f"{self.loaded.name} has no shipped prior; give text to estimate one from, "
                    "or choose the standard normal."
                )
            return self.loaded.prior
        if scenario.prior == "broad":
            if self.loaded.broad is None:
                raise NVError(f"{self.loaded.name} has no prior of several languages; choose another source.")
            return self.loaded.broad
        if scenario.prior == "own":
            return self._own.get(scenario.prior_id, self._unknown)
        if scenario.prior == "normal":
            return self._priors.get("normal", lambda: standard_normal_prior(self.model))
        text = scenario.prior_text
        return self._priors.get(
            ("text", text), lambda: self.estimate(text.splitlines(), "the visitor's text", progress)
        )

    def has_prior(self, scenario: Scenario) -> bool:
        """Whether the prior from a scenario's text is at hand."""
        return ("text", scenario.prior_text) in self._priors

    def estimate(self, texts: Sequence[str], corpus: str, progress: Callable[[int], None] | None = None) -> Prior:
        """A prior from texts of the model's own domain; what progress raises stops it. Raises NVError for no text."""
        lines = [piece for text in texts for piece in (text.split() if self.loaded.name == "g2p" else [text])]
        lines = [line for line in lines if line.strip()]
        if not lines:
            raise NVError("The prior's text is empty; paste text of the model's own domain, a paragraph a line.")
        characters = sum(len(line) for line in lines)
        if characters > MAX_PRIOR_CHARACTERS:
            raise NVError(f"The prior's text has {characters:,} characters; {MAX_PRIOR_CHARACTERS:,} are enough.")
        batches = (self.training_batch(lines[i : i + 8]) for i in range(0, len(lines), 8))
        about = {"corpus": corpus, "texts": str(len(lines)), "model": f"{self.loaded.name}, {self.loaded.revision}"}
        return estimate_prior(self.model, batches, provenance=about, progress=progress)

    def keep_prior(self, prior: Prior) -> str:
        """Take in a visitor's prior; the answer names it in a scenario. Raises NVError when it does not fit."""
        prior.check(self.model)
        self._own.get(prior.fingerprint, lambda: prior)
        return prior.fingerprint

    def _unknown(self) -> Prior:
        raise NVError(
            "The prior that this view was made with is a file of its maker's, and this server does not have it: "
            "upload it on the page Prior, or choose another source."
        )

    def training_batch(self, texts: Sequence[str], targets: Sequence[str] | None = None) -> Batch:
        """Inputs for estimate_prior; an encoder-decoder without targets reads its own greedy output."""
        batch = self.truncated(texts)
        if self.task == "generated text":
            ids = self.target_ids(targets) if targets else self.generate(batch)
            batch["decoder_input_ids"] = ids[:, :-1]
            batch["decoder_attention_mask"] = self.target_mask(ids)[:, 1:]
        return batch

    def truncated(self, texts: Sequence[str], longest: int | None = None) -> Batch:
        """Token ids and attention mask [texts, tokens], cut where a text is longer than `longest` or the cap."""
        cap = min(longest or self.longest, self.longest)
        encoded = self.loaded.tokenizer(
            list(texts), return_tensors="pt", padding=True, truncation=True, max_length=cap
        )  # fmt: skip
        return {name: encoded[name].to(self.model.device) for name in ("input_ids", "attention_mask")}

    # Encoder-decoder targets

    @torch.no_grad()
    def generate(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Greedy output ids [rows, 1 + tokens], start token first, under whatever setting is active."""
        room = getattr(self.model.config, "max_position_embeddings", 128)
        return self.nv.generate(**batch, do_sample=False, num_beams=1, max_new_tokens=min(64, room - 2))

    def target_ids(self, texts: Sequence[str]) -> torch.Tensor:
        """Decoder ids of given outputs, start token first and end token last: [rows, tokens]."""
        tokenizer = self.loaded.target_tokenizer
        said = {"text_target" if tokenizer is self.loaded.tokenizer else "text": list(texts)}
        cut = {"truncation": True, "max_length": self.longest - 1}
        ids = tokenizer(**said, return_tensors="pt", padding=True, **cut)["input_ids"]
        start = torch.full((len(ids), 1), self.model.config.decoder_start_token_id)
        return torch.cat((start, ids), dim=1).to(self.model.device)

    def target_mask(self, ids: torch.Tensor) -> torch.Tensor:
        """Which decoder positions hold output, up to and with the end token: [rows, tokens], 0 or 1."""
        ended = (ids[:, 1:] == self.model.config.eos_token_id).long().cumsum(1)
        before = torch.cat((torch.zeros_like(ids[:, :2]), ended[:, :-1]), dim=1)[:, : ids.shape[1]]
        return (before == 0).long()
