"""Compare: what the untouched and the regularised model say, and what each makes of the other's text."""

import pandas as pd
import streamlit as st

from nvib.lab.view.comparison import compare
from nvib.lab.view.outputs import NextToken, Similarity
from nvib.show import draw, page, resources, share
from nvib.show.sections import batch, beside, comparison, flips, output, without_prior

with page.guarded():
    bench, scenario = page.begin("Compare")
    if scenario.effect == "local":
        st.info(
            "A local effect leaves the output as it is, so both sides are equal: choose the total effect to compare."
        )
    if without_prior.asked_for(bench, scenario, without_prior.ALONE):
        without_prior.alone(bench, scenario)
        without_prior.generated(bench, scenario)
        without_prior.toolbar("Compare", bench, scenario)
        st.stop()
    seen = resources.observation(bench, scenario)
    prior = resources.prior(bench, scenario)

    if isinstance(seen.output, Similarity):
        comparison.nearest(seen.output, seen)
        flips.offers(seen.output, scenario, bench.shape)
        flip = st.container()
        output.output_change(seen, scenario)
        output.head_answers(bench, scenario, seen)
    else:
        if isinstance(seen.output, NextToken):
            comparison.next_token_table(seen.output)
        flips.offers(seen.output, scenario, bench.shape)
        flip = st.container()
        st.header("Generated text")
        comparison.generation_controls(bench)
        comparison.prompt(bench, scenario)
        with page.told():
            if comparison.stream(bench, scenario, prior):
                both = compare(bench, scenario, prior)
                if bench.mode.answers:
                    comparison.outputs_table(bench, scenario, both, seen.rows)
                    st.markdown(f"**Row {seen.row + 1}**: {page.verbatim(seen.rows[seen.row])}")
                else:
                    draw.drawn().tables["Generated text"] = lambda: pd.DataFrame({"text": seen.rows, **both.outputs})
                comparison.aligned(both)
                comparison.forced_texts(both)
    with flip:
        flips.search(bench, scenario)
    if bench.mode.writes:
        beside.fill(beside.fold(scenario), bench, scenario, seen, writes=True)
    batch.list_panel(bench, scenario, prior)
    share.toolbar("Compare", bench.shape, scenario, seen)
