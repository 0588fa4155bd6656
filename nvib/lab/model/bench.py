"""A loaded model on the bench: reinterpreted once, with the priors that its visitors have asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from inspect import signature
from itertools import compress
from typing import Any, TypeVar

import torch

from nvib.errors import NVError
from nvib.families import kinds
from nvib.lab.instead import peer_of
from nvib.lab.model import decoding, readout
from nvib.lab.model.mode import head_of, mode_of, require_output, unshown_head
from nvib.lab.model.priors import Priors
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import RUN, Scenario
from nvib.memory import Memory, Pool, size_of
from nvib.models import hub, loading
from nvib.models.tokens import has_chat_template
from nvib.prior import Prior, standard_normal_prior
from nvib.reinterpretation import reinterpret
from nvib.shelf import Shelf

T = TypeVar("T")
MAX_TOKENS = 1024
ANSWER = 64  # new tokens of an answer, at most
BYTES_KEPT = 600 * 2**20  # of forwards and results
REPEATABLE = {"do_sample": False, "max_time": None, "num_return_sequences": 1, "return_dict_in_generate": False}
Batch = dict[str, torch.Tensor]


class Bench:
    """One model, ready to be observed by many visitors at once; nothing on it depends on a visitor.

    ready: called before the weights are read, with the bytes that they will take; what it raises is raised. kept: where
    it keeps what it said, of its own unless it is given. most: tokens of a text. called: a name for others, who are not
    told where the model lies. shelf: where visitors' own priors lie for other processes too.

    Raises NVError when the name cannot be loaded or the architecture is not supported.
    """

    def __init__(
        self,
        name: str,
        device: str = "cpu",
        dtype: str = "float32",
        progress: Callable[[float, str], None] | None = None,
        ready: Callable[[int], None] | None = None,
        kept: Pool | None = None,
        most: int = MAX_TOKENS,
        called: str = "",
        shelf: Shelf | None = None,
    ) -> None:
        self.state = hub.state(name)  # of the files, before they are read
        loaded = loading.load(name, device, dtype, progress=progress, ready=ready)
        self.source, self.most = loaded.name, most
        self.loaded = replace(loaded, name=called or loaded.name)
        self.model = self.loaded.model
        found = kinds(self.model)
        self.mode = mode_of(found)
        require_output(self.model, self.loaded.name, self.mode)
        self.head = head_of(self.model, self.mode)
        pool = kept or Pool(BYTES_KEPT)
        self.sides: Memory[Any] = Memory(pool, size_of)  # forwards, by what they are of
        self.results: Memory[Any] = Memory(pool, size_of)  # walks and generated texts, by what they are of
        first = self.loaded.prior or standard_normal_prior(self.model)
        self.nv = reinterpret(self.model, first).__enter__()
        self._watching = readout.watch(self.model) if self.mode.writes else []
        self.shape = self._shape(found)
        self.kinds, self.layers, self.heads = self.shape.kinds, self.shape.layers, self.shape.heads
        self.priors = Priors(self.loaded, self.shape.words, self.training_batch, shelf)

    def close(self) -> None:
        """Take NV attention out of the model again, and forget what it said."""
        self.nv.__exit__()
        for hook in self._watching:
            hook.remove()
        self.sides.clear()
        self.results.clear()

    def _shape(self, found: tuple[str, ...]) -> Shape:
        loaded, config = self.loaded, self.model.config
        return Shape(
            name=loaded.name,
            revision=loaded.revision,
            kinds=found,
            layers={kind: self.nv.layers[kind] for kind in found},
            heads=getattr(config, "num_attention_heads", None) or config.encoder_attention_heads,
            shipped=loaded.prior is not None,
            broad=loaded.broad is not None,
            experimental=self.nv.experimental or "",
            device=loaded.device,
            dtype=loaded.dtype,
            unshown=unshown_head(self.model, self.mode, self.head),
            sinks=any(site.sinks is not None for site in self.nv.sites),
            chat=self.mode.writes and has_chat_template(loaded.tokenizer),
            output_head=self.head,
        )

    def hidden_states(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """An encoder's last hidden states [rows, N, P], and its head's logits or None."""
        bare = not self.head and not self.shape.unshown
        out = self.model(**batch, output_hidden_states=not bare)
        return out.last_hidden_state if bare else out.hidden_states[-1], out.logits if self.head else None

    def output(self, batch: Batch, **options: Any) -> torch.Tensor:
        """What the model says of a batch: logits [rows, tokens, V], or an encoder's last hidden states [rows, N, P].

        options: of the model's own forward, for logits.
        """
        if self.mode.writes:
            logits: torch.Tensor = self.model(**batch, use_cache=False, **options).logits
            return logits
        return self.hidden_states(batch)[0]

    def last_logits(self, batch: Batch) -> torch.Tensor:
        """What a model that continues its text says behind a batch's last token, padding or not: logits [rows, V]."""
        last = {"logits_to_keep": 1} if "logits_to_keep" in signature(self.model.forward).parameters else {}
        return self.output(batch, **last)[:, -1]

    # Text

    def rows(self, text: str) -> list[str]:
        """The separate inputs in a text, see `Shape.rows`."""
        return self.shape.rows(text)

    def encode(self, rows: Sequence[str], chat: bool = False) -> Batch:
        """Token ids and attention mask [rows, tokens] on the model's device, padded on the right.

        chat: each row as a chat turn. Raises NVError for a row without tokens, or with more than fit.
        """
        if chat and not self.shape.chat:
            raise NVError(f"{self.shape.called} takes no chat turn; leave chat off, or choose an instruct model.")
        found = self.loaded.ids(rows, chat=chat)
        self.require_fits(found, rows)
        return self.loaded.padded(found)

    def require_fits(self, found: Sequence[Sequence[int]], rows: Sequence[str]) -> None:
        """Raise NVError for a row whose token ids are none, or more than fit."""
        worst, cap = max(found, key=len), self.longest
        if len(worst) > cap:
            said = rows[found.index(worst)]
            raise NVError(f"“{said[:24]}…” is {len(worst):,} tokens long; this page takes {cap} at most: shorten it.")
        if not all(found):
            raise NVError("The text has no tokens for this model; type letters.")

    @property
    def longest(self) -> int:
        """The most tokens a text may have here: the page's cap, or the model's own limit."""
        return min(self.most, self.loaded.source_positions or self.most)

    @property
    def longest_target(self) -> int:
        """The most tokens that an encoder-decoder's output may have here, without its start token."""
        return min(self.most, self.loaded.target_positions or self.most)

    def run_of(self, scenario: Scenario) -> Scenario:
        """What both forwards of a scenario depend on: the key of what is kept of them."""
        return scenario.key(RUN, self.kinds)

    def under(
        self, scenario: Scenario, prior: Prior, layers: Mapping[str, Collection[int]] | None = None
    ) -> AbstractContextManager[None]:
        """The model under a scenario's setting, or its peer, in this thread and inside the `with` only.

        layers: of the setting's those by kind, and no other; None for all of its own.
        """
        if scenario.peer:
            return self.nv.instead(peer_of(scenario.peer, self.layers))
        setting = scenario.regularisation(self.layers)
        chosen = setting if layers is None else replace(setting, layers=layers)
        return self.nv.regularised(chosen, prior, local=scenario.effect == "local")

    def first(self, scenario: Scenario) -> AbstractContextManager[None]:
        """A scenario's baseline, in this thread and inside the `with` only: untouched, or what it is held against."""
        return self.nv.instead(peer_of(scenario.against, self.layers)) if scenario.against else nullcontext()

    def both(self, scenario: Scenario, prior: Prior, make: Callable[[], T]) -> tuple[T, T]:
        """The same of a scenario's baseline and under its setting."""
        with self.first(scenario):
            before = make()
        with self.under(scenario, prior):
            return before, make()

    # Inputs of an estimate

    def training_batch(self, texts: Sequence[str], targets: Sequence[str] | None = None) -> Batch:
        """Inputs for estimate_prior; an encoder-decoder without targets reads its own greedy output.

        A text without tokens is left out.
        """
        whole = self.truncated(texts)
        kept = whole["attention_mask"].any(1)
        batch = {name: tensor[kept] for name, tensor in whole.items()}
        targets = targets and list(compress(targets, kept.tolist()))
        if self.mode.answers and len(batch["input_ids"]):
            if targets:
                ids, real = self._targets(targets)
            else:
                ids = self.generate(batch)
                real = self.target_mask(ids)
            batch["decoder_input_ids"], batch["decoder_attention_mask"] = ids[:, :-1], real[:, 1:]
        return batch

    def truncated(self, texts: Sequence[str], longest: int | None = None) -> Batch:
        """Token ids and attention mask [texts, tokens], cut where a text is longer than `longest` or the cap."""
        return self.loaded.encode(texts, min(longest or self.longest, self.longest))

    # Generated text

    def room(self, batch: Mapping[str, torch.Tensor]) -> int:
        """How many tokens fit behind a batch's: after the text, or in a decoder of its own."""
        used = batch["input_ids"].shape[1] if self.mode.continues else 2
        fits = self.loaded.target_positions
        return sys.maxsize if fits is None else fits - used

    @torch.no_grad()
    def generate(self, batch: Mapping[str, torch.Tensor], most: int = ANSWER, **options: Any) -> torch.Tensor:
        """Greedy output ids, with the text or the start token first, under whatever setting is active.

        most: new tokens, fewer where they do not fit; options: of transformers' own, on top of `decoding.neutral`.
        """
        wanted = decoding.neutral(self.model) | {"max_new_tokens": min(most, self.room(batch))} | options
        ids: torch.Tensor = self.nv.generate(**batch, **wanted)
        return ids

    @torch.no_grad()
    def generate_as_saved(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Output ids as the checkpoint generates by itself, no longer than the model has positions.

        It is never drawn, nor stopped by a clock, so that it can be repeated.
        """
        saved, fits = self.model.generation_config, self.room(batch)
        wanted = saved.max_new_tokens or (saved.max_length or 0) - 1
        length = {"max_new_tokens": fits} if wanted > fits else {}
        ids: torch.Tensor = self.nv.generate(**batch, **REPEATABLE | length)
        return ids

    def target_ids(self, texts: Sequence[str]) -> torch.Tensor:
        """Decoder ids of given outputs, start token first and, where the tokenizer has one, end token last."""
        return self._targets(texts)[0]

    def _targets(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """The decoder ids of given outputs, and which of them hold output: [rows, tokens] each."""
        rows, start = self.loaded.target_ids(texts, self.longest_target - 1), decoding.start(self.model)
        made = self.loaded.padded([[start, *row] for row in rows], target=True)
        return made["input_ids"], made["attention_mask"]

    def target_mask(self, ids: torch.Tensor) -> torch.Tensor:
        """Which positions of generated ids hold output, up to and with the end token: [rows, tokens], 0 or 1."""
        ended = torch.isin(ids[:, 1:], torch.tensor(decoding.ends(self.model), device=ids.device)).long().cumsum(1)
        before = torch.cat((torch.zeros_like(ids[:, :2]), ended[:, :-1]), dim=1)[:, : ids.shape[1]]
        return (before == 0).long()
