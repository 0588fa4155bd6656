"""Prior: what the prior is, where it came from, how far a text is from it, and how to make one's own."""

from functools import partial

import pandas as pd
import streamlit as st

from nvib.lab.examples import OTHER_TEXTS
from nvib.lab.model.labels import shortened
from nvib.lab.view import words
from nvib.lab.view.distance import TextDistance, prior_summary
from nvib.show import draw, page, resources, share, sidebar
from nvib.show.figures import bars, maps
from nvib.show.sections import own_prior, without_prior
from nvib.show.session import control

NOTES = 20  # of a file on where its prior comes from, which may hold more


def distances_table(text: TextDistance) -> pd.DataFrame:
    """Every token's distance in every layer."""
    layers = {f"layer {n}": values for n, values in enumerate(text.distance)}
    return pd.DataFrame({"token": draw.numbered(text.tokens), **layers})


with page.guarded():
    bench, scenario = page.begin("Prior")
    name = page.verbatim(bench.shape.called)
    own_prior.upload_panel(bench)
    if without_prior.asked_for(bench, scenario, upload=False):
        st.stop()
    prior = resources.prior(bench, scenario)
    seen = resources.observation(bench, scenario)
    if told := bench.priors.told(prior):
        st.warning(page.verbatim(told))
    kind = scenario.kind or bench.kinds[-1]
    told_of = sorted(prior.provenance.items())[:NOTES]  # a file keeps no order
    st.caption(
        f"The prior of {name}: one Gaussian component with a pseudo-count for each layer. "
        f"{sidebar.SOURCES[scenario.prior]}: "
        + ", ".join(page.verbatim(f"{shortened(field, 40)} {shortened(value, 200)}") for field, value in told_of)
        + f". Fingerprint {prior.fingerprint}."
    )
    if few := own_prior.few_tokens(prior):
        st.warning(few)
    st.download_button(
        "Download the prior", prior.to_bytes, f"prior-{prior.fingerprint}.safetensors",
        on_click="ignore", icon=":material/download:",
        help="safetensors, with its provenance in the metadata; unscaled.",
    )  # fmt: skip

    st.header(f"By layer, {kind} attention")
    summary = prior_summary(bench, scenario, prior, kind)
    st.caption(
        "With the prior's scales of the sidebar applied. Mean: root mean square over the model's dimensions. Standard "
        "deviation: root of the mean variance. log α: the prior's pseudo-count, whiskers one spread s of the tokens' "
        "log α in its corpus." + (" All cross-attention layers share one prior." if kind == "cross" else "")
    )
    for column, (title, field) in zip(st.columns(3), bars.PRIOR_PARTS.items(), strict=True):
        column.markdown(f"**{title}**")
        draw.chart(bars.prior_by_layer(summary, field), f"prior-{field}", column, title=f"Prior by layer, {title}")
    draw.table_behind("prior", "The prior by layer as a table", lambda: pd.DataFrame(summary.columns()))

    st.header("How far is a text from it?")
    st.caption(
        "The untouched model's hidden state of each token: root mean square over the model's dimensions of its "
        "distance to the prior's mean, in the prior's standard deviations. Over the prior's own corpus the root mean "
        "square is 1 in every layer; a text of another domain lies above."
    )
    control(
        "other_text", st.text_area, "Another text to compare with", height=80,
        placeholder=OTHER_TEXTS.get(scenario.model, "Text of another domain or language"),
        help="Leave it empty for the example that is shown in grey.",
    )  # fmt: skip
    texts = {"This text": scenario.text, "Another text": scenario.other_text or OTHER_TEXTS.get(scenario.model, "")}
    distances_of = {}
    for title, text in texts.items():
        if not text.strip() and title == "Another text":
            continue
        with page.told(f"{title}: "):
            distances_of[title] = resources.text_distance(bench, scenario, text, kind)
    if not distances_of:
        st.stop()
    draw.chart(
        bars.distance_by_layer({title: d.by_layer for title, d in distances_of.items()}),
        "distance-by-layer",
        title="Distance to the prior by layer",
    )
    most = max(2.0, *(float(d.distance.max()) for d in distances_of.values()))
    for column, (title, distances) in zip(st.columns(2), distances_of.items(), strict=False):
        layer, token = divmod(int(distances.distance.argmax()), len(distances.tokens))
        column.markdown(f"**{title}**")
        column.caption(
            f"{page.verbatim(words.quoted(texts[title]))}; farthest: “{page.verbatim(distances.tokens[token])}”, "
            f"{distances.distance[layer, token]:.1f} standard deviations at layer {layer}."
        )
        draw.chart(
            maps.distance_to_prior(distances, most, page.theme()),
            f"distance-{title[:4]}",
            column,
            title=f"{title}: distance to the prior",
        )
    for title, distances in distances_of.items():
        draw.table_behind(
            f"distance-{title[:4]}", f"{title}: distances as a table", partial(distances_table, distances)
        )
    share.toolbar("Prior", bench.shape, scenario, seen)
