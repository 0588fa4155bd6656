"""Both models side by side: what they generate, what each makes of the other's text, and a list of texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
import torch

from nvib.lab import Bench, Observation, Scenario
from nvib.lab.metrics import SMOOTHED, against_references
from nvib.lab.model.decoding import set_aside
from nvib.lab.scenario import FIELDS, bounds
from nvib.lab.view import words
from nvib.lab.view.comparison import SIDES, Comparison, Forced, target_of
from nvib.lab.view.generation import generate
from nvib.lab.view.outputs import NextToken, Similarity, neighbours
from nvib.prior import Prior
from nvib.show import draw, page, resources
from nvib.show.components.marked import Marked, draw_marked
from nvib.show.figures import bars
from nvib.show.sections import output as output_section
from nvib.show.session import control, key

STOPPED = "generation_stopped"
PARTIAL = "generation_partial"
BOTH = "in both"
TEMPERATURES = [*(round(n * 0.1, 1) for n in range(1, 21)), 3.0, 5.0, 10.0]
TOP_PS = [round(n * 0.05, 2) for n in range(1, 21)]


def generation_controls(bench: Bench) -> None:
    """Length, greedy or sampled and how, and the reference; and what of the checkpoint's own settings does not hold."""
    length, way, seed, _ = st.columns([2, 2, 2, 2], vertical_alignment="bottom")
    least, most = bounds("length")
    most = min(most, int(resources.LIMITS.new_tokens))
    control("length", length.number_input, "New tokens, at most", least, most)
    control(
        "sampled", way.segmented_control, "Choice of each token", (False, True),
        format_func=lambda s: "sampled" if s else "greedy", required=True, help=FIELDS["sampled"].help,
    )  # fmt: skip
    if st.session_state[key("sampled")]:
        control("seed", seed.number_input, "Seed", *bounds("seed"))
        softer, fewer, _ = st.columns([2, 2, 4])
        _slider("sampling_temperature", softer, "Sampling temperature", TEMPERATURES)
        _slider("top_p", fewer, "Top-p", TOP_PS)
    aside = set_aside(bench.model)
    if aside:
        st.caption(
            f"Set aside on both sides, though the model's checkpoint asks for them: {', '.join(aside)}. "
            "Greedy takes the likeliest token at every step, sampled draws from the model's own distribution."
        )
    lines = bench.mode.answers
    control(
        "target", st.text_area, "References, one per line" if lines else "Reference", height=68,
        help="What should come out, a line for each row of the text." if lines else
        "How the text should go on; a space is put before it where letters meet.",
    )  # fmt: skip


def _slider(field: str, place: Any, label: str, stops: list[float]) -> None:
    """A slider over the stops of a field."""
    control(field, place.select_slider, label, stops, format_func="{:g}".format, help=FIELDS[field].help)


def prompt(bench: Bench, scenario: Scenario) -> None:
    """The text that a model goes on with, before what it writes; one that answers in rows has them in its table."""
    if bench.mode.continues:
        st.markdown("**The text**")
        st.code(scenario.text, language=None, wrap_lines=True)


def stream(bench: Bench, scenario: Scenario, prior: Prior) -> bool:
    """Generate with both models and show the text as it comes; whether both came to their end."""
    state = st.session_state
    at = repr((scenario.without_view(), scenario.length, scenario.dice))
    if state.get(PARTIAL, {}).get("at") != at:
        state[PARTIAL] = {"at": at, **{side: [] for side in SIDES}}
        state[STOPPED] = False
    partial = state[PARTIAL]
    whole = st.empty()
    if partial.get("same"):  # known to be: nothing is drawn twice that is said once
        _both(bench, whole, generate(bench, scenario, prior))
        return True
    columns, texts = [column.container() for column in whole.columns(2)], []
    spots = []
    for column, side in zip(columns, SIDES, strict=True):
        column.markdown(f"**{side}**")
        spots.append(column.empty())
    if state[STOPPED]:
        for spot, side in zip(spots, SIDES, strict=True):
            _partial(bench, spot, partial[side])
        st.info("Stopped before both texts were whole.")
        st.button("Go on", on_click=_go_on)
        return False
    cancel = st.empty()
    cancel.button("Cancel", on_click=_stop, key="cancel-generation")
    for spot, side, used in zip(spots, SIDES, (None, prior), strict=True):
        partial[side] = []

        def tell(ids: torch.Tensor, spot: Any = spot, side: str = side) -> None:
            partial[side].append(ids.cpu())
            _partial(bench, spot, partial[side])

        ids = generate(bench, scenario, used, tell)
        texts.append(bench.loaded.target_tokenizer.batch_decode(ids, skip_special_tokens=True))
        _show(spot, texts[-1])
    cancel.empty()
    partial["same"] = texts[0] == texts[1]
    if partial["same"]:
        _both(bench, whole, ids)
    return True


def _both(bench: Bench, place: Any, ids: torch.Tensor) -> None:
    """The text that both models write, once."""
    with place.container():
        st.markdown("**Both models**")
        _show(st, bench.loaded.target_tokenizer.batch_decode(ids, skip_special_tokens=True))


def _partial(bench: Bench, spot: Any, steps: list[torch.Tensor]) -> None:
    """The text that there is so far."""
    if steps:
        _show(spot, bench.loaded.target_tokenizer.batch_decode(torch.stack(steps, 1), skip_special_tokens=True))


def _show(spot: Any, texts: list[str]) -> None:
    """Texts as they were written."""
    spot.code("\n".join(texts) or " ", language=None, wrap_lines=True)


def _stop() -> None:
    """End the generation."""
    st.session_state[STOPPED] = True


def _go_on() -> None:
    """Take the generation up again."""
    st.session_state[STOPPED] = False


def next_token_table(output: NextToken) -> None:
    """The next-token table: probability, rank, change."""
    st.header("Next token")
    draw.say(words.answer(output))
    st.caption(output_section.divergence(output), help=output_section.KL_HELP)
    columns = {
        "token": output.tokens, "probability, baseline": output.baseline, "probability, NV": output.regularised,
        "NV − baseline": output.regularised - output.baseline, "rank, baseline": output.baseline_rank,
        "rank, NV": output.regularised_rank,
    }  # fmt: skip
    draw.show_table(pd.DataFrame(columns), "Next token")


def aligned(both: Comparison) -> None:
    """The two texts token by token, with what one has and the other has not."""
    where = both.first_divergence
    if where is None:
        draw.say("Both models generate the same tokens.")
        draw.drawn().tables["Edits, token by token"] = lambda: _edits(both)
        with st.expander("The tokens", key="same-tokens", on_change="rerun") as opened:
            if opened.open:
                tokens = both.tokens[SIDES[0]]
                draw_marked("aligned", [Marked("", tokens, np.zeros(len(tokens)), [BOTH] * len(tokens))], page.theme())
        return
    n = sum(max(b - a, d - c) for op, a, b, c, d in both.edits if op != "equal")
    st.caption(
        f"First divergence, framed in amber: token {where}, counted from 0; {n} edit "
        f"{'operation' if n == 1 else 'operations'} on tokens. Red: only the baseline has it; blue: only NV."
    )
    draw.drawn().tables["Edits, token by token"] = lambda: _edits(both)
    gone, come = (np.zeros(len(both.tokens[side])) for side in SIDES)
    for op, a, b, c, d in both.edits:
        if op != "equal":
            gone[a:b], come[c:d] = -0.45, 0.45
    texts = [
        Marked(side, both.tokens[side], values, ["only here" if v else BOTH for v in values], where)
        for side, values in zip(SIDES, (gone, come), strict=True)
    ]
    draw_marked("aligned", texts, page.theme())


def _edits(both: Comparison) -> pd.DataFrame:
    """What leads from the baseline's output to NV's, an operation a row."""
    one, other = (both.tokens[side] for side in SIDES)
    rows = [[op, " ".join(one[a:b]), " ".join(other[c:d])] for op, a, b, c, d in both.edits]
    return pd.DataFrame(rows, columns=["operation", *SIDES])


def forced_texts(both: Comparison) -> None:
    """Each text through both models: totals, token by token, and the divergence at every position."""
    st.header("What each model makes of each text")
    st.caption(
        "Each text is forced through both models: log p of each token given what stands before it, in nats. "
        "A model that would rather write the other's text gives it the higher log p."
    )
    forced = both.forced if both.first_divergence is not None else _once(both.forced)
    rows = [[_title(name), *text.totals, text.totals[1] - text.totals[0],
             text.kl.mean() if len(text.kl) else np.nan, text.js.mean() if len(text.js) else np.nan]
            for name, text in forced.items()]  # fmt: skip
    columns = [
        "text",
        "log p, baseline",
        "log p, NV",
        "NV − baseline",
        "mean KL, nats",
        "mean Jensen–Shannon divergence, nats",
    ]
    draw.show_table(pd.DataFrame(rows, columns=columns), "What each model makes of each text")
    for name, text in forced.items():
        if len(text.tokens):
            _forced(name, text, both.first_divergence)


def _once(forced: dict[str, Forced]) -> dict[str, Forced]:
    """The texts with the one that both models write told once."""
    return {BOTH if name == SIDES[0] else name: text for name, text in forced.items() if name != SIDES[1]}


def _title(name: str) -> str:
    """Whose text it is."""
    return {BOTH: "Both models' text", "reference": "Reference"}.get(name, f"{name}'s text")


def _forced(name: str, text: Forced, divergence: int | None) -> None:
    """One text under both models, token by token."""
    title = _title(name)
    st.subheader(title)
    reach = max(0.5, float(np.abs(text.change).max()))
    st.caption(
        f"Background: log p under NV minus baseline, blue likelier under NV, red less, full at {reach:.2f} nats. "
        "Bars: baseline grey, NV blue; KL blue, Jensen–Shannon divergence green."
        + (" The dashed line is where the generated part begins." if text.start else "")
    )
    words = [f"log p {a:.3f} baseline, {b:.3f} NV" for a, b in zip(text.baseline, text.regularised, strict=True)]
    at = text.start + divergence if divergence is not None and name in SIDES else None
    draw_marked(f"forced-{name}", [Marked("", text.tokens, text.change / reach * 0.7, words, at)], page.theme())
    drawn = bars.forced_text(text)
    for column, figure, what in zip(st.columns(2), drawn, ("log-p", "divergence"), strict=True):
        draw.chart(figure, f"{what}-{name}", column, title=f"{title}, {what}")
    columns = {
        "token": text.tokens, "part": ["text" if n < text.start else "generated" for n in range(len(text.tokens))],
        "log p, baseline": text.baseline, "log p, NV": text.regularised, "NV − baseline": text.change,
        "KL, nats": text.kl, "Jensen–Shannon divergence, nats": text.js,
    }  # fmt: skip
    draw.table_behind(f"forced-{name}", f"{title} as a table", lambda: pd.DataFrame(columns))


def outputs_table(bench: Bench, scenario: Scenario, both: Comparison, rows: list[str]) -> None:
    """Every row's output of both models, with edits, and how far each is from its reference."""
    references = [target_of(scenario, n) for n in range(len(rows))]
    columns: dict[str, Any] = {"text": rows, **both.outputs, "edits, tokens": both.distance}
    if any(references):
        columns["reference"] = references
        given = [n for n, reference in enumerate(references) if reference]
        scores = {
            side: against_references(
                bench.shape.symbols, [both.outputs[side][n] for n in given], [references[n] for n in given]
            )
            for side in SIDES
        }
        scored = [
            f"{name}: baseline {value:.2f}, NV {scores['NV'][name]:.2f}" for name, value in scores["baseline"].items()
        ]
        st.caption(
            f"Against {len(given)} reference{'s' if len(given) > 1 else ''}. {'; '.join(scored)}.",
            help=SMOOTHED if "BLEU" in scores["NV"] else None,
        )
    frame = pd.DataFrame(columns)
    if both.outputs[SIDES[0]] != both.outputs[SIDES[1]]:
        draw.show_table(frame, "Outputs of every row")
        return
    draw.say(f"Both models write the same for {'all ' if len(rows) > 1 else ''}{len(rows)} row{'s' * (len(rows) > 1)}.")
    draw.table_behind("outputs-of-rows", "Outputs of every row as a table", lambda: frame)


def nearest(output: Similarity, seen: Observation) -> None:
    """Each sentence's nearest neighbour under both models."""
    st.header("Nearest neighbours")
    if len(seen.rows) < 2:
        st.caption("One sentence has no neighbours; write more, one per line.")
        return
    before, after = neighbours(output.baseline), neighbours(output.regularised)
    draw.say(words.answer(output))
    st.caption(f"By cosine of mean-pooled embeddings; {int((before != after).sum())} of {len(before)} change.")
    at = np.arange(len(before))
    columns = {
        "sentence": seen.rows, "nearest, baseline": [seen.rows[n] for n in before],
        "cosine, baseline": output.baseline[at, before], "nearest, NV": [seen.rows[n] for n in after],
        "cosine, NV": output.regularised[at, after], "changed": ["yes" if c else "" for c in before != after],
        "cosine to the own baseline": output.moved,
    }  # fmt: skip
    frame = pd.DataFrame(columns)
    if (before != after).any():
        draw.show_table(frame, "Nearest neighbours")
    else:
        draw.table_behind("neighbours", "Nearest neighbours as a table, the same on both sides", lambda: frame)
