"""The view in words, under the title: model, text, setting and prior, each with the control that sets it."""

from __future__ import annotations

from collections.abc import Iterator

from nvib.assets import public_name
from nvib.lab import Scenario
from nvib.lab.fields import number
from nvib.lab.instead import in_words
from nvib.models.catalogue import CATALOGUE
from nvib.show.components.view_line import Part, draw_line
from nvib.show.session import key
from nvib.show.sidebar import INSTEAD_FOLD, SOURCES

LINED = ("Explore", "Compare", "Pseudo-counts", "Prior")  # the pages of one text under one setting
LONGEST = 40  # characters of the text
LAYERS_FOLD, SCALES_FOLD = "layers-and-effect", "prior-scales"
SCALED = {
    "prior_mean_scale": "its mean × {}", "prior_variance_scale": "its variance × {}",
    "pseudo_count_shift": "its pseudo-count {} nats",
}  # fmt: skip


def draw(scenario: Scenario, kinds: tuple[str, ...], setting: bool = True) -> None:
    """Draw the line; kinds: the model's attention; setting: whether the page has the controls of one."""
    draw_line(list(parts(scenario, kinds, setting)))


def parts(scenario: Scenario, kinds: tuple[str, ...], setting: bool = True) -> Iterator[Part]:
    """The parts of the line, in their order."""
    name = scenario.model
    yield Part(CATALOGUE[name].title if name in CATALOGUE else public_name(name), key("model"))
    yield Part(f"“{_cut(text)}”" if (text := " ".join(scenario.text.split())) else "no text", key("text"))
    if scenario.chat:
        yield Part("as a chat turn", key("chat"))
    if setting:
        yield from _setting(scenario, kinds)
    if not (setting and scenario.peer):
        yield from _prior(scenario)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1].rstrip()}…"


def _setting(scenario: Scenario, kinds: tuple[str, ...]) -> Iterator[Part]:
    """What of the setting is off identity; where nothing is, that; or what stands in the place of NV; the baseline."""
    if scenario.against:
        yield Part(f"against {in_words(scenario.against)}", key("against"), INSTEAD_FOLD)
    if scenario.peer:
        yield Part(f"not NV, but {in_words(scenario.peer)}", key("peer"), INSTEAD_FOLD)
        return
    moved = False
    for kind in kinds:
        of, temperature = f"{kind} " * (len(kinds) > 1), scenario.temperature(kind)
        if temperature.has_prior:
            moved = True
            yield Part(f"{of}pseudo-counts τα {number(temperature.alpha)}", key(f"{kind}_alpha"))
        if temperature.has_variance:
            moved = True
            yield Part(f"{of}variance τσ {number(temperature.sigma)}", key(f"{kind}_sigma"))
    if scenario.mu != 1:
        moved = True
        yield Part(f"mean τμ {number(scenario.mu)}", key("mu"))
    if not moved:
        yield Part("identity: the untouched model", key(f"{kinds[-1]}_alpha"))
        return
    for kind in kinds:
        if layers := getattr(scenario, f"{kind}_layers"):
            first, _, last = layers.partition("-")
            which = f"layer {first} alone" if first == last else f"layers {first} to {last}"
            yield Part(f"{kind} {which}" if len(kinds) > 1 else which, key("effect"), LAYERS_FOLD)
    if scenario.effect == "local":
        yield Part("local effect", key("effect"), LAYERS_FOLD)
    if "decoder" in kinds and scenario.protected:
        many = scenario.protected > 1
        yield Part(f"first {scenario.protected} tokens protected" if many else "first token protected",
                   key("protected"))  # fmt: skip


def _prior(scenario: Scenario) -> Iterator[Part]:
    """Which prior it is, and how it is scaled."""
    source = SOURCES[scenario.prior]
    words = f"prior: {source[0].lower()}{source[1:]}"
    yield Part(f"{words} {scenario.prior_id[:12]}" if scenario.prior == "own" else words, key("prior"))
    for field, said in SCALED.items():
        value = getattr(scenario, field)
        if value != (0.0 if field == "pseudo_count_shift" else 1.0):
            plus = "+" if field == "pseudo_count_shift" and value > 0 else ""
            yield Part(said.format(plus + number(value)), key(field), SCALES_FOLD)
