"""Pseudo-counts: how much each token counts in the mixture, layer by layer, beside the prior."""

import numpy as np
import streamlit as st

from nvib import NVError
from nvib.lab.dirichlet import mean_weights
from nvib.show import controls, figures, resources

CHART = {"displaylogo": False}

bench, scenario = controls.page("Pseudo-counts")
st.title("Pseudo-counts")
try:
    seen = resources.observation(bench, scenario)
except (NVError, ValueError) as error:
    controls.stop(str(error))

row = f" Row {seen.row + 1}: {controls.plain(seen.rows[seen.row][:120])}." if len(seen.rows) > 1 else ""
st.caption(
    f"{bench.loaded.name}, {seen.kind} attention. A token's pseudo-count α says how much its component weighs "
    f"in the layer's mixture of Gaussians; all heads of the layer share it.{row}"
)
without_prior = bool(np.isnan(seen.prior_log_alpha).all())
if without_prior:
    st.info("The prior component is removed: τα is at identity. Move the pseudo-count temperature to bring it in.")

st.subheader("log α by layer and token")
st.caption("In nats; each step of 1 multiplies the pseudo-count by e. The prior's own is the amber column.")
st.plotly_chart(figures.pseudo_count_map(seen, controls.theme()), key="alpha-map", config=CHART)

weights = mean_weights(seen.log_alpha[seen.layer], seen.prior_log_alpha[seen.layer])
st.subheader(f"Dirichlet mean weights, {seen.kind} layer {seen.layer}")
st.caption(
    "E[πₙ] = αₙ / Σ α: the share of each component before any query is asked"
    + ("." if without_prior else f"; the prior's is {weights[0]:.3g}.")
)
st.plotly_chart(figures.dirichlet_weights(seen, weights), key="weights", config=CHART)

st.subheader("Attention on the prior by layer")
st.caption("Percent of attention, mean over queries. Bars: mean of the heads; points: single heads.")
st.plotly_chart(figures.prior_mass(seen), key="prior-mass", config=CHART)
