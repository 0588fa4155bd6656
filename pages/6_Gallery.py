"""Gallery: curated scenarios, each a link to one picture and one sentence on it."""

import numpy as np
import streamlit as st

from nvib import NVError
from nvib.lab.share import gallery, link
from nvib.lab.share.gallery import Entry, Stored
from nvib.lab.view.outputs import Generated, NextToken, Similarity
from nvib.models.catalogue import CATALOGUE
from nvib.show import draw, page, pick, session
from nvib.show.figures import bars, maps
from nvib.show.sections import attention, lesson
from nvib.show.sections.output import outputs_frame


def picture(entry: Entry, kept: Stored) -> None:
    """The figure that stands for an entry; of generated text, a table."""
    seen, theme, key = kept.seen, page.theme(), f"gallery-{entry.name}"
    tokens = (seen.queries, seen.keys, theme, entry.scenario.scale)
    top, most = attention.tops(seen, entry.scenario)
    if entry.shows == "overview":
        values = seen.prior_mass if entry.scenario.metric == "prior mass" else seen.change
        figure = maps.mosaic(values, entry.scenario.metric, (seen.layer, None), theme)
    elif entry.shows == "map":
        present = np.isfinite(seen.prior_log_alpha).any()
        figure = maps.attention(seen.regularised[:, 1:], *tokens, seen.regularised[:, 0] if present else None, top=top)
    elif entry.shows == "difference":
        figure = maps.difference(seen.difference, *tokens, top=most)
    elif isinstance(seen.output, NextToken):
        figure = bars.next_token_shares(seen.output)
    elif isinstance(seen.output, Similarity):
        figure = maps.similarities(seen.output, theme)[2]
    draw.chart(figure, key, title=entry.title)
    if isinstance(seen.output, Generated):
        st.table(outputs_frame(seen.output)[["text", "baseline", "NV"]])


def shown_as(entry: Entry, kept: Stored) -> str:
    """What the entry's figure is."""
    place = f"{kept.seen.kind} layer {kept.seen.layer}, {pick.head_name(kept.seen.head)}"
    if entry.shows == "overview":
        return f"{attention.METRICS[entry.scenario.metric]}, layers × heads"
    if entry.shows == "map":
        prior = np.isfinite(kept.seen.prior_log_alpha).any()
        return f"NV attention, {place}{', the prior in amber' if prior else ''}"
    if entry.shows == "difference":
        return f"NV − baseline, {place}"
    return "Baseline grey, NV blue" if kept.shape.mode.continues else "Cosine similarity, NV − baseline"


with page.guarded():
    page.bare("Gallery")
    lesson.shelf()
    st.header("Scenarios")
    for n in range(0, len(gallery.ENTRIES), 2):
        for column, entry in zip(st.columns(2), gallery.ENTRIES[n : n + 2], strict=False):
            with column.container(border=True, height="stretch"):
                st.subheader(entry.title)
                st.markdown(entry.sentence)
                kept: Stored | None = None
                try:
                    kept = gallery.stored(entry)
                except (NVError, OSError):
                    st.caption("Its stored picture is missing; open it to compute it.")
                if kept:
                    st.caption(f"{CATALOGUE[entry.scenario.model].title}. {shown_as(entry, kept)}.")
                    picture(entry, kept)
                query = session.opening(link.encode(entry.scenario, kept.made if kept else None))
                st.page_link("app.py", label="Open in Explore", icon=":material/arrow_forward:", query_params=query)
