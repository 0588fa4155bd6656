"""Compare: what the untouched and the regularised model say, and what each makes of the other's text."""

import pandas as pd
import streamlit as st

from nvib import NVError
from nvib.lab.view import outputs
from nvib.lab.view.comparison import compare
from nvib.lab.view.forwards import both_sides
from nvib.lab.view.outputs import NextToken, Similarity
from nvib.show import controls, resources, share
from nvib.show import draw as parts
from nvib.show.figures import bars as figures
from nvib.show.sections import batch as listing
from nvib.show.sections import comparison, output

bench, scenario = controls.page("Compare")
if scenario.effect == "local":
    st.info("A local effect leaves the output as it is, so both sides are equal: choose the total effect to compare.")
try:
    seen = resources.observation(bench, scenario)
    prior = resources.prior(bench, scenario)
except (NVError, ValueError) as error:
    controls.stop(str(error))

if isinstance(seen.output, Similarity):
    comparison.nearest(seen.output, seen)
    output.output_change(seen, scenario)
    before, after = both_sides(bench, scenario)
    for n, answer in enumerate(outputs.head_outputs(bench, before, after, seen.row)):
        what = "Classes" if answer.place is None else f"What stands at the mask, token {answer.place}"
        st.header(f"{what}, row {seen.row + 1}")
        parts.chart(figures.answers(answer), f"head-{n}", title=what)
else:
    if isinstance(seen.output, NextToken):
        comparison.next_tokens(seen.output)
    st.header("Generated text")
    comparison.generation_controls(bench)
    try:
        if comparison.stream(bench, scenario, prior):
            found = compare(bench, scenario, prior)
            if bench.task == "generated text":
                comparison.outputs_table(bench, scenario, found, seen.rows)
                st.markdown(f"**Row {seen.row + 1}**: {controls.plain(seen.rows[seen.row])}")
            else:
                parts.drawn().tables["Generated text"] = lambda: pd.DataFrame({"text": seen.rows, **found.outputs})
            comparison.aligned(found)
            comparison.forced(found)
    except (NVError, ValueError) as error:
        controls.refuse(str(error))
listing.panel(bench, scenario, prior)
share.toolbar("Compare", bench.shape, scenario, seen)
