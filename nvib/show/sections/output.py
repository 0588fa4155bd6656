"""What changes in the output: next token, generated text or similarity, and the path that leads there."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd
import streamlit as st

from nvib.lab import Bench, Observation, Scenario
from nvib.lab.model.shape import Shape
from nvib.lab.view import outputs, words
from nvib.lab.view.forwards import both_sides
from nvib.lab.view.outputs import EACH, ONE_OF, SCORE, Generated, NextToken, Similarity
from nvib.show import draw, page, pick, resources
from nvib.show.figures import bars, maps
from nvib.show.sections import flips

KL_HELP = "In words: " + "; ".join(
    f"{word} {f'below {bound:g} nats' if bound < math.inf else 'above'}" for bound, word in words.KL_SCALE.items()
)
HEADS = {ONE_OF: "Classes", EACH: "Labels, each by itself", SCORE: "Score"}


def output_change(seen: Observation, scenario: Scenario, shape: Shape | None = None) -> None:
    """What the model gives under both settings, by the kind of its output; in words too where its shape is given."""
    st.header("What changes in the output")
    if shape is not None:
        draw.say(words.answer(seen.output))
        flips.offers(seen.output, scenario, shape)
    if scenario.effect == "local":
        st.caption("Local effect: each layer is measured on the baseline's own inputs, and the output stays its own.")
    if isinstance(seen.output, NextToken):
        _next_token(seen.output)
    elif isinstance(seen.output, Generated):
        _generated(seen.output)
    else:
        _similarity(seen.output, seen)


def _next_token(output: NextToken) -> None:
    """The likeliest next tokens."""
    st.caption(f"Next token after the text: :gray[■] baseline, :blue[■] NV. {divergence(output)}", help=KL_HELP)
    draw.chart(bars.next_token_shares(output), "next-token", title="Next token")
    columns = {"token": output.tokens, "probability, baseline": output.baseline, "probability, NV": output.regularised}
    draw.table_behind("next-token", "Next tokens as a table", lambda: pd.DataFrame(columns))


def divergence(output: NextToken) -> str:
    """How far NV's next token is from the baseline's, in numbers and in words."""
    js = f"Jensen–Shannon divergence {output.js:.4f} nats"
    return f"KL(baseline ‖ NV) {output.kl:.4f} nats, {words.kl_in_words(output.kl)}. {js}."


def _generated(output: Generated) -> None:
    """What both models write for each row."""
    changed = sum(a != b for a, b in zip(output.baseline, output.regularised, strict=True))
    st.caption(
        f"Greedy output of each row; {changed} of {len(output.sources)} changed. "
        "log p, in nats, is that of the baseline's output, forced through both models."
    )
    frame = outputs_frame(output)
    if changed:
        draw.show_table(frame, "Outputs")
    else:
        draw.table_behind("outputs", "Outputs as a table, the same on both sides", lambda: frame)


def outputs_frame(output: Generated) -> pd.DataFrame:
    """The outputs as a table, with what the baseline's costs under both models."""
    changed = ["yes" if a != b else "" for a, b in zip(output.baseline, output.regularised, strict=True)]
    columns = {
        "text": output.sources, "baseline": output.baseline, "NV": output.regularised, "changed": changed,
        "log p, baseline": output.baseline_log_prob, "log p, NV": output.regularised_log_prob,
    }  # fmt: skip
    return pd.DataFrame(columns)


def _similarity(output: Similarity, seen: Observation) -> None:
    """How alike the sentences are to both models."""
    st.caption(
        "Cosine similarity of the sentences' mean-pooled embeddings; in the difference blue is more alike, red less. "
        f"Cosine of each embedding to its own baseline: {', '.join(f'{c:.3f}' for c in output.moved)}."
    )
    if len(seen.rows) == 1:
        return
    titles = {"baseline": "Baseline", "nv": "NV", "difference": "NV − baseline"}
    drawn = maps.similarities(output, page.theme())
    cards = st.container(key="cards-similarity")
    for (key, title), figure in zip(titles.items(), drawn, strict=True):
        column = cards.container(key=f"card-similarity-{key}")
        column.markdown(f"**{title}**")
        draw.chart(figure, f"similarity-{key}", column, title=f"Cosine similarity, {title}")
    st.caption(" · ".join(f"{i + 1}: {page.verbatim(row[:120])}" for i, row in enumerate(seen.rows)))
    draw.table_behind("similarity", "Similarities as a table", lambda: _similarity_table(output))


def _similarity_table(output: Similarity) -> pd.DataFrame:
    """A pair of sentences a row."""
    pairs = [(a, b) for a in range(len(output.baseline)) for b in range(a)]
    rows = [[b + 1, a + 1, float(output.baseline[a, b]), float(output.regularised[a, b])] for a, b in pairs]
    table = pd.DataFrame(rows, columns=["sentence", "and", "cosine, baseline", "cosine, NV"])
    table["NV − baseline"] = table["cosine, NV"] - table["cosine, baseline"]
    return table


def head_answers(bench: Bench, scenario: Scenario, seen: Observation) -> None:
    """What an encoder's own head says of the row in view, where it has one: labels, a score, or what a mask hides."""
    if not bench.head:
        return
    for n, answer in enumerate(outputs.head_outputs(bench, *both_sides(bench, scenario), seen.row)):
        what = HEADS[answer.measure] if answer.place is None else f"What stands at the mask, token {answer.place}"
        st.header(f"{what}, row {seen.row + 1}")
        draw.chart(bars.answers(answer), f"head-{n}", title=what)
        columns = {
            "answer": answer.answers, f"{answer.measure}, baseline": answer.baseline,
            f"{answer.measure}, NV": answer.regularised, "NV − baseline": answer.regularised - answer.baseline,
        }  # fmt: skip
        draw.table_behind(f"head-{n}", f"{what} as a table", partial(pd.DataFrame, columns))


def path_from_identity(bench: Bench, scenario: Scenario) -> None:
    """The walk from identity to the setting, when the visitor asked for it; made last, for it takes its time."""
    if scenario.effect == "local":
        st.info("A local effect leaves the output as it is: choose the total effect to walk the path.")
        return
    if scenario.peer:
        st.info("The path leads from identity to a setting of NV: go back to NV to walk it.")
        return
    bar = st.progress(0.0, "Walking from identity to this setting")
    place = st.empty()
    place.button("Cancel the walk", on_click=pick.close_path)

    def tell(share: float) -> None:
        bar.progress(share)

    walked = resources.walk(bench, scenario, tell)
    bar.empty()
    place.empty()
    st.caption(
        "From the untouched model, 0, to this setting, 1: variances and mean temperatures grow in proportion, the "
        "prior's pseudo-count is multiplied by the share. Kept: tokens whose pseudo-count exceeds the prior's, over "
        "the regularised layers."
        + (
            f" First flip at {walked.first_flip:.2f}: {page.verbatim(walked.flip)}."
            if walked.first_flip is not None
            else " The answer does not flip on the way."
        )
    )
    for n, (column, figure) in enumerate(zip(st.columns(3), bars.path_curves(walked), strict=True)):
        draw.chart(figure, f"path-{n}", column, title=f"From identity to the setting, {n + 1}")
    columns = {
        "share of the setting": walked.share, walked.measure: walked.change, "prior mass": walked.prior_mass,
        "kept tokens": walked.kept,
    }  # fmt: skip
    draw.table_behind("path", "The path as a table", lambda: pd.DataFrame(columns))
