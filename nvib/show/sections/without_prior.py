"""A view that has no prior: why, the box for one, and the untouched model alone; no number of NV is shown."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st
import torch

from nvib.errors import NVError
from nvib.lab import Bench, Scenario
from nvib.lab.scenario import FIELDS
from nvib.lab.view import outputs
from nvib.lab.view.generation import generate
from nvib.lab.view.outputs import Generated, NextToken, Output, Similarity
from nvib.lab.view.untouched import Untouched, untouched
from nvib.show import draw, page, pick, resources, session, share
from nvib.show.boundary import choice
from nvib.show.figures import bars, maps
from nvib.show.sections import comparison, own_prior
from nvib.show.sections.output import HEADS

BOX = "prior_box"
ALONE = "Until there is a prior, this page shows the untouched model alone."
ELSEWHERE = "Until there is a prior, Explore and Compare show the untouched model alone."
CANCELLED = "The estimate of the prior was cancelled; press the button to begin it again."


def asked_for(bench: Bench, scenario: Scenario, meanwhile: str = ELSEWHERE, upload: bool = True) -> bool:
    """Whether a scenario has no prior; then the page says why in one sentence, and has the box for one.

    meanwhile: what the page or another shows until there is one; upload: whether a file can be given here too.
    """
    try:
        if session.gave_up(scenario):
            raise NVError(CANCELLED)
        resources.prior(bench, scenario)
    except NVError as error:
        st.info(page.verbatim(f"{error} {meanwhile}"), icon=":material/info:")
    else:
        return False
    with st.form("prior-form"):
        st.text_area(
            "Text for the prior", scenario.prior_text, key=BOX, height=110, help=FIELDS["prior_text"].help,
            placeholder="Text of the model's own domain, a paragraph a line",
        )  # fmt: skip
        st.form_submit_button("Estimate the prior", on_click=_estimate, type="primary")
    st.button("Take the standard normal", on_click=_standard, help="A mean of 0 and a variance of 1 in every layer.")
    if upload:
        own_prior.upload_panel(bench)
    return True


@choice
def _estimate() -> None:
    """Take the text of the box for the prior."""
    session.take_up_prior_text(st.session_state[BOX])


@choice
def _standard() -> None:
    """Take the prior that needs no text."""
    session.place("prior", "normal")


def alone(bench: Bench, scenario: Scenario) -> Untouched:
    """What the untouched model gives for the text."""
    seen = untouched(bench, scenario)
    st.header("What the untouched model gives")
    _output(seen.output, seen)
    for n, answer in enumerate(seen.head_outputs):
        what = HEADS[answer.measure] if answer.place is None else f"What stands at the mask, token {answer.place}"
        st.header(f"{what}, row {seen.row + 1}")
        draw.chart(bars.answers(answer, alone=True), f"head-{n}", title=what)
        columns = {"answer": answer.answers, f"{answer.measure}, baseline": answer.baseline}
        draw.table_behind(f"head-{n}", f"{what} as a table", partial(pd.DataFrame, columns))
    return seen


def _output(output: Output, seen: Untouched) -> None:
    """The baseline's part of an output."""
    if isinstance(output, NextToken):
        st.caption("Next token after the text: :gray[■] baseline.")
        draw.chart(bars.next_token_shares(output, alone=True), "next-token", title="Next token")
        columns = {"token": output.tokens, "probability, baseline": output.baseline, "rank": output.baseline_rank}
        draw.table_behind("next-token", "Next tokens as a table", lambda: pd.DataFrame(columns))
    elif isinstance(output, Generated):
        st.caption("Greedy output of each row, and its log p in nats.")
        texts = {"text": output.sources, "baseline": output.baseline, "log p, baseline": output.baseline_log_prob}
        draw.show_table(pd.DataFrame(texts), "Outputs")
    else:
        _similarity(output, seen)


def _similarity(output: Similarity, seen: Untouched) -> None:
    """How alike the sentences are to the untouched model."""
    if len(seen.rows) == 1:
        st.caption("One sentence has no other to be compared with; write more, one per line.")
        return
    st.caption("Cosine similarity of the sentences' mean-pooled embeddings.")
    draw.chart(maps.similarities(output, page.theme())[0], "similarity-baseline", title="Cosine similarity, baseline")
    st.caption(" · ".join(f"{i + 1}: {page.verbatim(row[:120])}" for i, row in enumerate(seen.rows)))
    nearest = outputs.neighbours(output.baseline)
    columns = {
        "sentence": seen.rows, "nearest, baseline": [seen.rows[n] for n in nearest],
        "cosine, baseline": [float(output.baseline[at, n]) for at, n in enumerate(nearest)],
    }  # fmt: skip
    draw.table_behind("similarity", "Nearest neighbours as a table", lambda: pd.DataFrame(columns))


def baseline_map(seen: Untouched, scenario: Scenario) -> None:
    """The baseline's map of the head that is shown."""
    place = f"{seen.kind} layer {seen.layer}, {pick.head_name(seen.head)}"
    st.header(f"Attention of the untouched model, {place}")
    st.caption("Rows are queries, columns are keys; the scale is fixed, 0 to 1.")
    figure = maps.attention(seen.attention, seen.queries, seen.keys, page.theme(), scenario.scale)
    draw.chart(figure, "map-baseline", title=f"Baseline: {place}")
    draw.table_behind(
        "maps", "The map as a table", lambda: draw.map_frame(seen.attention, seen.queries, seen.keys, "query")
    )


def generated(bench: Bench, scenario: Scenario) -> None:
    """What the untouched model writes, as it comes; nothing for a model that writes no text."""
    if not bench.mode.writes:
        return
    st.header("Generated text")
    comparison.generation_controls(bench)
    comparison.prompt(bench, scenario)
    st.markdown("**baseline**")
    spot = st.empty()
    steps: list[torch.Tensor] = []

    def show(ids: torch.Tensor) -> None:
        texts = bench.loaded.target_tokenizer.batch_decode(ids, skip_special_tokens=True)
        spot.code("\n".join(texts) or " ", language=None, wrap_lines=True)

    def tell(ids: torch.Tensor) -> None:
        steps.append(ids.cpu())
        show(torch.stack(steps, 1))

    show(generate(bench, scenario, None, tell))


def toolbar(title: str, bench: Bench, scenario: Scenario) -> None:
    """The bar of a page without a prior: its files say that they are of the untouched model, and no code makes NV."""
    words = {
        "setting": "none, for there is no prior: the untouched model",
        "text": " ".join(scenario.text.split())[:200],
    }
    share.toolbar(title, bench.shape, scenario, None, code="", words=words)
