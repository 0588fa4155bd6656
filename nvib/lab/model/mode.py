"""What a model's output is, and what follows from that: one record for each kind of output."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from nvib.errors import NVError


@dataclass(frozen=True)
class Mode:
    """One kind of output.

    name: as records and tables know it. continues: whether it writes on after the text, in the same row of ids;
    answers: whether it writes in a decoder of its own. lines: whether each line of a text is an input of its own.
    compared: what the proof of identity compares. change: what the walk from identity to a
    setting measures, with its unit. first_figure: the key of the page's first figure.
    """

    name: str
    continues: bool
    answers: bool
    lines: bool
    compared: str
    change: str
    first_figure: str

    @property
    def writes(self) -> bool:
        """Whether the output is text that the model generates."""
        return self.continues or self.answers


NEXT_TOKEN = Mode(
    "next token", continues=True, answers=False, lines=False,
    compared="logit", change="KL(baseline ‖ NV) of the next token, nats", first_figure="next-token",
)  # fmt: skip
GENERATED = Mode(
    "generated text", continues=False, answers=True, lines=False,
    compared="logit", change="log p that the baseline's output loses, nats, mean of the rows", first_figure="map-nv",
)  # fmt: skip
SIMILARITY = Mode(
    "similarity", continues=False, answers=False, lines=True,
    compared="hidden state", change="1 − cosine to the own baseline, mean of the rows", first_figure="similarity-nv",
)  # fmt: skip


def mode_of(kinds: tuple[str, ...]) -> Mode:
    """The mode of a model with these kinds of attention."""
    alone: dict[tuple[str, ...], Mode] = {("encoder",): SIMILARITY, ("decoder",): NEXT_TOKEN}
    return alone.get(kinds, GENERATED)


def require_output(model: nn.Module, name: str, mode: Mode) -> None:
    """Raise NVError where a model has the attention of a mode, but not its output."""
    kind = type(model).__name__
    if kind == "EncoderDecoderModel":
        raise NVError(
            f"The model {name!r} is an encoder-decoder made of two models, which the app cannot show; "
            "use it from Python, or choose one of a single model."
        )
    if mode.writes and not model.can_generate():  # type: ignore[operator]
        raise NVError(
            f"The model {name!r} ({kind}) has no language head, so it writes no text; "
            "choose one that was saved with its language head, or use it from Python."
        )


def unshown_head(model: nn.Module, mode: Mode, head: str) -> str:
    """One sentence where an encoder has a head whose output is not shown, as one that labels tokens; else nothing."""
    kind = type(model).__name__
    if mode.writes or head or "For" not in kind:
        return ""
    return f"{kind} has a head whose output is not shown: what you see is made of the hidden states below it."


def head_of(model: nn.Module, mode: Mode) -> str:
    """What an encoder's head gives, "masked token" or "classification"; "" for a model without one."""
    kind = type(model).__name__
    if mode.writes or not kind.endswith(("ForMaskedLM", "ForSequenceClassification")):
        return ""
    return "masked token" if kind.endswith("ForMaskedLM") else "classification"
