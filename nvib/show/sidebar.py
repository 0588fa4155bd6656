"""The sidebar: every control of a scenario, labelled by what it does."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import streamlit as st

from nvib.errors import NVError
from nvib.lab import Scenario
from nvib.lab.examples import EXAMPLE_TEXTS
from nvib.lab.fields import layer_range, number
from nvib.lab.instead import in_words
from nvib.lab.model.shape import Shape
from nvib.lab.presets import Preset, presets
from nvib.lab.scenario import FIELDS, bounds, options
from nvib.models.catalogue import CATALOGUE, resolve
from nvib.show import lessons, pick, resources, session, switching
from nvib.show.boundary import choice
from nvib.show.components.layer_strip import layer_strip
from nvib.show.pick import forget_cell, head_name
from nvib.show.session import boxes, control, fit, key, place

ACROSS = {"layer": "this layer", "mean": "mean of all layers", "max": "largest of all layers"}
ALPHAS = [math.inf, 10.0, 8.0, 6.0, 5.0, 4.0, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0,
          -5.0, -6.0, -7.0, -8.0, -10.0, -12.0, -15.0]  # fmt: skip
TEXT_HELP = "Any text; the model continues it."
SIGMAS = [*(round(i * 0.05, 2) for i in range(21)), 1.25, 1.5, 1.75]
MUS = [round(1 - i * 0.05, 2) for i in range(21)]
SCALES = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0]
SHIFTS = [float(n) for n in range(-20, 21, 2)]
LEVELS = [0.5, 0.8, 0.9, 0.95, 0.99]
SOURCES = {
    "shipped": "Shipped", "broad": "Shipped, of three languages", "text": "From my text", "normal": "Standard normal",
    "own": "My file",
}  # fmt: skip
PEERS = ["", *(f"temperature:{value}" for value in (1.05, 1.1, 1.2, 1.5, 0.9)), "noise:0.1", "noise:0.5", "bits:8",
         "bits:4", "bits:3", "dropout:0.1"]  # fmt: skip
INSTEAD_FOLD = "instead-of-nv"
SETTING = {"temperatures", "prior", "scales", "device"}
PEER = {"peer", "against"}
# The controls that change something on a page, by its title; "maps": how the maps of Explore are drawn.
USED = {
    "Explore": {"chat", *SETTING, *PEER, "kind", "row", "layer", "head", "maps"},
    "Pseudo-counts": {"chat", *SETTING, "kind", "row", "layer", "head"},
    "Compare": {"chat", *SETTING, *PEER, "row of the output"},
    "Heads": {"chat", *SETTING, *PEER, "kind", "layer", "head"},
    "Sweep": {"protected", "prior"},
    "Prior": {"chat", "prior", "scales", "device", "kind"},
    "Method": {"chat", *SETTING, "kind", "row", "layer", "head"},
}


def model_and_text(before: Scenario, text: bool) -> None:
    """The model and, on a page that is of one, the text; before: what the last run showed."""
    offered = resources.LIMITS.offered
    current = st.session_state[key("model")] = resolve(st.session_state[key("model")] or before.model)
    if lessons.opens("model"):
        _model(current, offered)
    if text and lessons.opens("model") and offered is None:
        _placing()
    if text and lessons.opens("text"):
        _text(current)


def _model(current: str, offered: Collection[str] | None) -> None:
    """The choice of a model; offered: those of a server for strangers, None where it takes any."""
    names = list(offered or CATALOGUE)
    control(
        "model", st.selectbox, "Model", names if current in names else [*names, current],
        accept_new_options=offered is None,
        format_func=lambda name: CATALOGUE[name].title if name in CATALOGUE else name, on_change=_switch_model,
        help="One of the embedded models, or type a Hugging Face hub id or a local folder (safetensors only)."
        if offered is None else "One of the models of this server.",
    )  # fmt: skip


def _text(current: str) -> None:
    """The text, and the examples that a model has."""
    help_text = CATALOGUE[current].text_help if current in CATALOGUE else TEXT_HELP
    control("text", st.text_area, "Text", height=110, help=help_text, on_change=forget_cell)
    if current in EXAMPLE_TEXTS:
        st.selectbox(
            "Example texts", list(EXAMPLE_TEXTS[current]), index=None, key="example", on_change=_use_example,
            placeholder="Choose an example", label_visibility="collapsed",
        )  # fmt: skip


def _placing() -> None:
    """On which device the model runs, and how precise its weights are."""
    with st.expander("Device and precision", key="placing", on_change="rerun") as part:
        if not part.open:
            return
        own = {"device": "the best", "dtype": resources.LIMITS.dtype}
        for field, label in (("device", "Device"), ("dtype", "Precision")):
            control(field, st.selectbox, label, options(field), help=FIELDS[field].help,
                    format_func=lambda value, field=field: value or f"the server's own: {own[field]}")  # fmt: skip


@choice
def _switch_model() -> None:
    """Leave one model for another."""
    before = st.session_state["scenario"]
    left = replace(session.current(before), model=before.model)
    switching.switch(left, resolve(st.session_state[key("model")] or ""))


@choice
def _use_example() -> None:
    """Take the chosen example over, on its first row."""
    title, model = st.session_state["example"], st.session_state[key("model")]
    if title:
        place("text", EXAMPLE_TEXTS[model][title])
        place("row", 0)
        st.session_state["example"] = None
        forget_cell()


def _reset() -> None:
    """Every temperature back to identity."""
    session.put(session.current(st.session_state["scenario"]).at_identity())


def _use_preset(preset: Preset, shape: Shape) -> None:
    """A preset's temperatures."""
    session.put(preset.of(session.current(st.session_state["scenario"]), shape.kinds))


def shown(scenario: Scenario, title: str) -> Scenario:
    """What the page of this title is of: NV alone, where it is of prior and pseudo-counts, which no peer has.

    A sweep is of the server's own device and precision: what its file has is not told apart by them.
    """
    used = USED[title]
    placed = scenario if "device" in used else replace(scenario, device="", dtype="")
    return placed if "peer" in used else replace(placed, peer="", against="")


def controls(shape: Shape, title: str) -> None:
    """What a model is run with and what is shown of it, as far as the page of this title depends on it."""
    used = USED[title]
    peer = st.session_state[key("peer")] if "peer" in used else ""
    if "chat" in used:
        _chat(shape)
    if "temperatures" in used and lessons.opens("temperatures"):
        _temperatures(shape, peer)
        if not peer:
            _by_layer(shape)
            _where(shape)
    elif "protected" in used and "decoder" in shape.kinds and lessons.opens("temperatures"):
        _protected()
    if "peer" in used and lessons.opens("peers"):
        _instead()
    _prior(shape, "scales" in used, peer)
    if "chat" in used:
        _view(shape, used if lessons.opens("view") else ())
    if (at := lessons.place()) and (words := lessons.closed(at.step)):
        st.caption(f"This lesson has closed: {words}. To have all controls, leave it.")


def _chat(shape: Shape) -> None:
    """Whether the text is a chat turn, where the model has a template for it."""
    fit("chat", lambda chat: shape.chat or not chat, False)
    if shape.chat and lessons.opens("text"):
        control("chat", st.toggle, "As a chat turn", help=FIELDS["chat"].help, on_change=forget_cell)


def _slider(label: str, field: str, stops: Sequence[float]) -> None:
    """A slider that runs from identity on its left to more regularised on its right; words where it is by layer."""
    value = st.session_state[key(field)]
    if isinstance(value, tuple):
        row = st.container(horizontal=True, gap="small", vertical_alignment="center")
        row.markdown(f":small[{label}: {number(value)}]", width="stretch")
        row.button("Identity", key=f"one_{field}", help="Back to identity in every layer.",
                   on_click=place, args=(field, FIELDS[field].default))  # fmt: skip
        return
    control(field, st.select_slider, label, stops, format_func=number, help=FIELDS[field].help)


def _temperatures(shape: Shape, peer: str) -> None:
    """How far from identity, by kind of attention; or the peer in their place."""
    st.header("Temperature", divider="gray")
    if peer:
        said = in_words(peer)
        st.markdown(f"{said[0].upper()}{said[1:]}, in the place of NV")
        st.button("Back to NV", on_click=place, args=("peer", ""))
        return
    st.caption("Left end: identity, the untouched model. Further right: more regularised.")
    row = st.container(horizontal=True, gap="small", key="presets")
    row.button("Reset to identity", on_click=_reset)
    for preset in presets(shape.kinds):
        row.button(preset.title, help=preset.help, on_click=_use_preset, args=(preset, shape))
    for kind in shape.kinds:
        name = f" · {kind}" if len(shape.kinds) > 1 else ""
        _slider(f"Pseudo-counts *τα*{name}", f"{kind}_alpha", ALPHAS)
        _slider(f"Variance *τσ*{name}", f"{kind}_sigma", SIGMAS)
    _slider("Mean *τμ*", "mu", MUS)
    if "decoder" in shape.kinds:
        _protected()


def _by_layer(shape: Shape) -> None:
    """A value of its own for each layer, drawn as bars."""
    with st.expander("Temperatures by layer", key="temperatures-by-layer", on_change="rerun") as part:
        if not part.open:
            return
        st.caption("Draw over the bars, or press ↑ and ↓ on one. The higher, the more regularised.")
        for kind in shape.kinds:
            names, of = _layer_names(shape, (kind,)), f" · {kind}" if len(shape.kinds) > 1 else ""
            _strip(f"Pseudo-counts τα{of}", f"{kind}_alpha", ALPHAS, names)
            _strip(f"Variance τσ{of}", f"{kind}_sigma", SIGMAS, names)
        _strip("Mean τμ", "mu", MUS, _layer_names(shape, shape.kinds))


def _layer_names(shape: Shape, kinds: Sequence[str]) -> list[str]:
    """What the layers of these kinds are called, one kind after the other."""
    return [f"{kind} layer {layer}" if len(shape.kinds) > 1 else f"layer {layer}"
            for kind in kinds for layer in range(shape.layers[kind])]  # fmt: skip


def _strip(label: str, field: str, stops: Sequence[float], names: Sequence[str]) -> None:
    """The strip of one temperature; of a list for another model, that of its first value."""
    value = st.session_state[key(field)]
    several = value if isinstance(value, tuple) and len(value) == len(names) else None
    values = several or (value[0] if isinstance(value, tuple) else value,) * len(names)

    @choice
    def keep(drawn: tuple[float, ...]) -> None:
        place(field, drawn[0] if len(set(drawn)) == 1 else drawn)

    layer_strip(f"strip_{field}", label, names, stops, values, keep)


def _protected() -> None:
    """How many first tokens do not see the prior."""
    control("protected", st.number_input, "Protected first tokens", *bounds("protected"), help=FIELDS["protected"].help)


def _where(shape: Shape) -> None:
    """Which layers are regularised, and whether each sees what the layers before it changed."""
    with st.expander("Layers and effect", key="layers-and-effect", on_change="rerun") as part:
        if not part.open:
            return
        for kind in shape.kinds:
            last = shape.layers[kind] - 1
            if last > 0:
                _layer_range(kind, last)
        control("effect", st.segmented_control, "Effect", options("effect"), required=True, help=FIELDS["effect"].help)


def _instead() -> None:
    """What stands in the place of NV, so that one can see whether anything would do the same."""
    with st.expander("Would anything else do?", key=INSTEAD_FOLD, on_change="rerun") as part:
        if not part.open:
            return
        for name, label, nothing in (("peer", "What changes the model", "NV regularisation"),
                                     ("against", "Against", "the untouched model")):  # fmt: skip
            current = st.session_state[key(name)]
            offered = PEERS if current in PEERS else [*PEERS, current]
            control(name, st.selectbox, label, offered, help=FIELDS[name].help,
                    format_func=lambda peer, nothing=nothing: in_words(peer) if peer else nothing)  # fmt: skip


def _layer_range(kind: str, last: int) -> None:
    """The first and the last layer, kept in the scenario as "2-5", and as nothing where it is all of them."""
    state, field = st.session_state, f"{kind}_layers"
    chosen = layer_range(state[key(field)]) or range(last + 1)
    ends = {"First": min(chosen[0], last), "Last": min(chosen[-1], last)}

    def keep(*chosen: int) -> None:
        low, high = sorted(chosen)
        place(field, "" if (low, high) == (0, last) else f"{low}-{high}")

    shown = boxes(field, keep, *ends.values())
    for column, box, (name, end) in zip(st.columns(2), shown, ends.items(), strict=True):
        column.selectbox(f"{name} layer · {kind}", range(last + 1), index=end, **box)


def _prior(shape: Shape, scales: bool, peer: str) -> None:
    """Where the prior comes from and, on a page that scales it, how; a peer has none, and nothing to choose."""
    absent = {"shipped": not shape.shipped, "broad": not shape.broad, "own": not st.session_state[key("prior_id")]}
    sources = [source for source in SOURCES if not absent.get(source, False)]
    fit("prior", sources.__contains__, sources[0])
    if peer or not lessons.opens("prior"):
        return
    st.header("Prior", divider="gray")
    control("prior", st.selectbox, "Source", sources, format_func=SOURCES.__getitem__)
    if st.session_state[key("prior")] == "text":
        control("prior_text", st.text_area, "Text for the prior", height=110, help=FIELDS["prior_text"].help)
    if not scales:
        return
    with st.expander("Scales of the prior", key="prior-scales", on_change="rerun") as part:
        if not part.open:
            return
        _slider("Mean scale", "prior_mean_scale", SCALES)
        _slider("Variance scale *σ²ₚ*", "prior_variance_scale", SCALES[1:])
        _slider("Pseudo-count shift, nats", "pseudo_count_shift", SHIFTS)


def _view(shape: Shape, used: Collection[str]) -> None:
    """What of the model is shown, and how; every choice is one that the model and the text have, drawn or not."""
    state, rows = st.session_state, text_rows(shape)
    fit("kind", shape.kinds.__contains__, shape.kinds[-1])
    if rows:
        fit("row", lambda row: row < len(rows), len(rows) - 1)
    layers = shape.layers[state[key("kind")]]
    fit("layer", lambda layer: layer < layers, layers - 1)
    heads = pick.heads(shape.heads)
    fit("head", heads.__contains__, "mean")
    row = "row" if "row" in used or not (shape.mode.answers or shape.output_head) else "row of the output"
    there = {"kind": len(shape.kinds) > 1, row: len(rows) > 1, "layer": layers > 1, "head": True, "maps": True}
    drawn = {name for name, found in there.items() if found and name in used}
    if drawn:
        st.header("View", divider="gray")
    if "kind" in drawn:
        control("kind", st.segmented_control, "Attention", shape.kinds, required=True, on_change=forget_cell)
    if row in drawn:
        named = [f"{n}: {row}" for n, row in enumerate(rows, 1)]
        control("row", st.selectbox, "Row of the text", range(len(rows)), format_func=named.__getitem__,
                on_change=forget_cell)  # fmt: skip
    if "layer" in drawn:
        control("layer", st.select_slider, "Layer", range(layers))
    if "head" in drawn:
        control("head", st.selectbox, "Head", heads, format_func=head_name)
    if "maps" in drawn:
        _maps(layers)


def _maps(layers: int) -> None:
    """How the maps are drawn."""
    if layers > 1:
        control("across", st.selectbox, "Layers in the maps", ACROSS, format_func=ACROSS.__getitem__)
    scales = {"linear": "linear", "sqrt": "square root", "log": "log"}
    control("scale", st.segmented_control, "Colour scale", scales, format_func=scales.__getitem__, required=True)
    control("colour_range", st.segmented_control, "Colour range", options("colour_range"), required=True,
            help=FIELDS["colour_range"].help)  # fmt: skip
    toggles = {"special": "Special tokens", "merge": "Join word pieces", "with_prior": "Prior column"}
    for field, label in toggles.items():
        control(field, st.toggle, label, help=FIELDS[field].help)


def text_rows(shape: Shape) -> list[str]:
    """The rows of the text, or none while the text is one that the page will refuse."""
    try:
        return shape.rows(st.session_state[key("text")])
    except NVError:
        return []
