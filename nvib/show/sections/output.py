"""What changes in the output: next token, generated text or similarity, and the path that leads there."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from nvib.lab import Bench, Observation, Scenario
from nvib.lab.view.outputs import Generated, NextToken, Similarity
from nvib.show import controls, resources
from nvib.show import draw as parts
from nvib.show.figures import bars as figures
from nvib.show.figures import maps


def output_change(seen: Observation, scenario: Scenario) -> None:
    st.header("What changes in the output")
    if scenario.effect == "local":
        st.caption("Local effect: each layer is measured on the baseline's own inputs, and the output stays its own.")
    if isinstance(seen.output, NextToken):
        _next_token(seen.output)
    elif isinstance(seen.output, Generated):
        _generated(seen.output)
    else:
        _similarity(seen.output, seen)


def _next_token(output: NextToken) -> None:
    st.caption(
        f"Next token after the text: :gray[■] baseline, :blue[■] NV. "
        f"KL(baseline ‖ NV) {output.kl:.4f} nats, Jensen–Shannon {output.js:.4f} nats."
    )
    parts.chart(figures.next_token(output), "next-token", title="Next token")
    columns = {"token": output.tokens, "probability, baseline": output.baseline, "probability, NV": output.regularised}
    parts.numbers("next-token", "Next tokens as a table", lambda: pd.DataFrame(columns))


def _generated(output: Generated) -> None:
    changed = sum(a != b for a, b in zip(output.baseline, output.regularised, strict=True))
    st.caption(
        f"Greedy output of each row; {changed} of {len(output.sources)} changed. "
        "log p, in nats, is that of the baseline's output, forced through both models."
    )
    parts.table(outputs_frame(output), "Outputs")


def outputs_frame(output: Generated) -> pd.DataFrame:
    """What both models write for each row."""
    changed = ["yes" if a != b else "" for a, b in zip(output.baseline, output.regularised, strict=True)]
    columns = {
        "text": output.sources, "baseline": output.baseline, "NV": output.regularised, "changed": changed,
        "log p, baseline": output.baseline_log_prob, "log p, NV": output.regularised_log_prob,
    }  # fmt: skip
    return pd.DataFrame(columns)


def _similarity(output: Similarity, seen: Observation) -> None:
    st.caption(
        "Cosine similarity of the sentences' mean-pooled embeddings; in the difference blue is more alike, red less. "
        f"Cosine of each embedding to its own baseline: {', '.join(f'{c:.3f}' for c in output.moved)}."
    )
    if len(seen.rows) == 1:
        return
    titles = {"baseline": "Baseline", "nv": "NV", "difference": "NV − baseline"}
    drawn = maps.similarity(output, controls.theme())
    for column, (key, title), figure in zip(st.columns(3), titles.items(), drawn, strict=True):
        column.markdown(f"**{title}**")
        parts.chart(figure, f"similarity-{key}", column, title=f"Cosine similarity, {title}")
    st.caption(" · ".join(f"{i + 1}: {controls.plain(row[:120])}" for i, row in enumerate(seen.rows)))
    parts.numbers("similarity", "Similarities as a table", lambda: _similarity_table(output))


def _similarity_table(output: Similarity) -> pd.DataFrame:
    pairs = [(a, b) for a in range(len(output.baseline)) for b in range(a)]
    rows = [[b + 1, a + 1, float(output.baseline[a, b]), float(output.regularised[a, b])] for a, b in pairs]
    table = pd.DataFrame(rows, columns=["sentence", "and", "cosine, baseline", "cosine, NV"])
    table["NV − baseline"] = table["cosine, NV"] - table["cosine, baseline"]
    return table


def path(bench: Bench, scenario: Scenario) -> None:
    """The walk from identity to the setting, when the visitor asked for it; made last, for it takes its time."""
    if scenario.effect == "local":
        st.info("A local effect leaves the output as it is: choose the total effect to walk the path.")
        return
    bar = st.progress(0.0, "Walking from identity to this setting")
    place = st.empty()
    place.button("Cancel the walk", on_click=controls.close_path)

    def tell(share: float) -> None:
        bar.progress(share)

    walked = resources.path(bench, scenario, tell)
    bar.empty()
    place.empty()
    st.caption(
        "From the untouched model, 0, to this setting, 1: variances and mean temperatures grow in proportion, the "
        "prior's pseudo-count is multiplied by the share. Kept: tokens whose pseudo-count exceeds the prior's, over "
        "the regularised layers."
        + (
            f" First flip at {walked.first_flip:.2f}: {controls.plain(walked.flip)}."
            if walked.first_flip is not None
            else " The answer does not flip on the way."
        )
    )
    for n, (column, figure) in enumerate(zip(st.columns(3), figures.path(walked), strict=True)):
        parts.chart(figure, f"path-{n}", column, title=f"From identity to the setting, {n + 1}")
    columns = {
        "share of the setting": walked.share, walked.measure: walked.change, "prior mass": walked.prior_mass,
        "kept tokens": walked.kept,
    }  # fmt: skip
    parts.numbers("path", "The path as a table", lambda: pd.DataFrame(columns))
