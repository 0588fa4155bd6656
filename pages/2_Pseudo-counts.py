"""Pseudo-counts: how much each token counts in the mixture, layer by layer, beside the prior."""

import numpy as np
import pandas as pd
import streamlit as st

from nvib.lab.scenario import bounds
from nvib.lab.view import dirichlet
from nvib.show import draw, page, resources, share, sidebar
from nvib.show.figures import bars, maps
from nvib.show.sections import without_prior
from nvib.show.session import control

with page.guarded():
    bench, scenario = page.begin("Pseudo-counts")
    if without_prior.asked_for(bench, scenario):
        st.stop()
    seen = resources.observation(bench, scenario)

    row = f" Row {seen.row + 1}: “{page.verbatim(seen.rows[seen.row][:120])}”" if len(seen.rows) > 1 else ""
    st.caption(
        f"{page.verbatim(bench.shape.called)}, {seen.kind} attention. The layer is read as a mixture of Gaussians, a "
        f"component a token with a pseudo-count α; all heads of the layer share it.{row}"
    )
    left_alone = bool(np.isnan(seen.log_alpha[seen.layer]).all())
    if left_alone:
        page.stop(f"Layer {seen.layer} is left alone; choose a layer that is regularised, or widen the range.")
    removed = bool(np.isnan(seen.prior_log_alpha[seen.layer]))
    if removed:
        st.info("The prior component is removed: τα is at identity. Move the pseudo-count temperature to bring it in.")

    log_alpha = dirichlet.components(seen.log_alpha[seen.layer], seen.prior_log_alpha[seen.layer])
    weights = dirichlet.mean_weights(log_alpha)
    present = log_alpha[np.isfinite(log_alpha)]
    negligible = [t for t, a in zip(seen.tokens, log_alpha[1:], strict=True) if a < np.log(dirichlet.NEGLIGIBLE)]
    facts = st.columns(4)
    facts[0].metric("Effective number of vectors", f"{dirichlet.effective_number(log_alpha):.2f} of {len(present)}")
    facts[1].metric("Total, log Σ α", f"{np.logaddexp.reduce(present):.2f} nats")
    facts[2].metric("Prior's share", "removed" if removed else f"{100 * weights[0]:.3f} %")
    facts[3].metric(f"Below α = {dirichlet.NEGLIGIBLE}", f"{len(negligible)} of {len(seen.tokens)} tokens")
    st.caption(
        f"{seen.kind.capitalize()} layer {seen.layer}. The effective number is the exponential of the entropy of E[π]. "
        + (f"Negligible, but not dropped: {page.verbatim(' '.join(negligible[:12]))}." if negligible else "")
    )

    st.header("log α by layer and token")
    beside = "" if removed else " The prior's own is the amber column."
    st.caption(f"In nats; each step of 1 multiplies the pseudo-count by e.{beside}")
    draw.chart(maps.log_alpha_by_layer(seen, page.theme()), "alpha-map", title="log α by layer and token")
    layers = [f"layer {n}" for n in range(len(seen.log_alpha))]
    everything = np.concatenate((seen.prior_log_alpha[:, None], seen.log_alpha), 1)
    named = {"component": ["prior", *draw.numbered(seen.tokens)], **dict(zip(layers, everything, strict=True))}
    draw.table_behind("alpha-map", "log α as a table", lambda: pd.DataFrame(named))
    names = ["prior", *seen.tokens]

    st.header(f"Dirichlet weights, {seen.kind} layer {seen.layer}")
    control("level", st.select_slider, "Level of the intervals", sidebar.LEVELS, format_func=lambda p: f"{100 * p:g} %")
    st.caption(
        "Bars: E[πₙ] = αₙ / Σ α, the share of each component before any query is asked. Whiskers: the central "
        f"interval of πₙ ~ Beta(αₙ, Σ α − αₙ) that holds {100 * scenario.level:g} %, exact; large pseudo-counts leave "
        "it no width."
    )
    ends = dirichlet.intervals(log_alpha, scenario.level)
    draw.chart(
        bars.dirichlet_weights(seen, weights, ends),
        "weights",
        title=f"Dirichlet weights, {seen.kind} layer {seen.layer}",
    )
    columns = {
        "component": names,
        "log α, nats": log_alpha,
        "E[π]": weights,
        "lower end": ends[0],
        "upper end": ends[1],
    }
    draw.table_behind("weights", "Dirichlet weights as a table", lambda: pd.DataFrame(columns))

    cell = seen.cell
    st.header(f"Draws of one query's attention, layer {seen.layer}, head {cell.head}")
    control("seed", st.number_input, "Seed", *bounds("seed"))
    drawn = resources.draws(bench, scenario, seen)
    st.caption(
        f"Query {cell.query}: {page.verbatim(seen.query_tokens[cell.query])}, the one that Explore explains. "
        f"Bars: NV's attention, the mean of the mixture. Whiskers: the central {100 * scenario.level:g} % of "
        f"{len(drawn.rows)} draws of π and of every component, as in training, with their median. The two differ: a "
        "mean of softmaxes is no softmax of a mean."
    )
    draw.chart(
        bars.row_of_draws(seen, drawn.mean, drawn.rows, scenario.level),
        "draws",
        title=f"Draws of a row, layer {seen.layer}, head {cell.head}",
    )
    tails = np.quantile(drawn.rows, [(1 - scenario.level) / 2, 0.5, (1 + scenario.level) / 2], axis=0)
    shown = {"component": names, "NV": drawn.mean, "lower": tails[0], "median": tails[1], "upper": tails[2]}
    draw.table_behind("draws", "The draws as a table", lambda: pd.DataFrame(shown))

    st.header("KL of the posterior to the prior, by layer")
    if np.isnan(seen.kl_dirichlet).all():
        st.caption("Without the prior component there is nothing to diverge from.")
    else:
        gaussian, counts = st.columns(2)
        counts.markdown("**Dirichlet part**")
        draw.chart(
            bars.by_layer(seen.kl_dirichlet, "nats", "KL"),
            "kl-dirichlet",
            counts,
            title="KL to the prior, Dirichlet part",
        )
        gaussian.markdown("**Gaussian part**")
        if np.isinf(seen.kl_gaussian).any():
            gaussian.info("Infinite: at τσ = 0 the tokens have no variance.")
        else:
            draw.chart(
                bars.by_layer(seen.kl_gaussian, "nats", "KL"),
                "kl-gaussian",
                gaussian,
                title="KL to the prior, Gaussian part",
            )
        st.caption(
            "Of this text, in nats: the Gaussian part is weighted by E[π], the Dirichlet part is that of the totals."
        )

    st.header("Attention on the prior by layer")
    st.caption("Percent of attention, mean over queries. Bars: mean of the heads; points: single heads.")
    draw.chart(bars.prior_mass(seen), "prior-mass", title="Attention on the prior by layer")
    by_layer = {
        "layer": range(len(layers)), "prior mass, mean": seen.prior_mass.mean(1),
        "prior mass, largest head": seen.prior_mass.max(1),
        "KL, Gaussian part, nats": seen.kl_gaussian, "KL, Dirichlet part, nats": seen.kl_dirichlet,
    }  # fmt: skip
    draw.table_behind("by-layer", "Prior mass and KL by layer as a table", lambda: pd.DataFrame(by_layer))
    share.toolbar("Pseudo-counts", bench.shape, scenario, seen)
