"""What a page is, in its first sentences, and the tour of Explore: offered once, and begun again from Method."""

from __future__ import annotations

import secrets

import streamlit as st

from nvib.show import draw
from nvib.show.components.tour import Step, offer_tour

PAPER = "[Fehr & Henderson, COLM 2024, arXiv:2312.00662](https://arxiv.org/abs/2312.00662)"
FIRST = {
    "Explore": "Nonparametric variational regularisation (NV) has a pretrained Transformer attend less to the words it "
    "reads and more to a prior, the average of a corpus; sliders, called temperatures, set how much, and nothing is "
    f"trained. It was published to help on text unlike the corpus ({PAPER}). Below is one text twice, untouched in "
    "grey and under NV in blue: first what changes in the output, then where.",
    "Gallery": "Lessons lead through a few views, a sentence each. Scenarios are single views worth a look: each opens "
    "Explore on exactly this view; its numbers were stored beforehand, and are checked against your server's own as "
    "soon as the model is loaded.",
    "Pseudo-counts": "A token's pseudo-count says how much it weighs in a layer before any query is asked; this page "
    "sets the tokens of your text beside the prior, layer by layer.",
    "Compare": "What the untouched model (baseline) and the regularised one (NV) make of the same text, and how likely "
    "each finds what the other says.",
    "Heads": "What kind of head is each one, over many texts, and which ones does NV touch? Some look at the token "
    "before, some at the first, some for what followed when a token stood there earlier.",
    "Sweep": "Which temperatures help on text unlike the prior's? A sweep measures a task in the prior's domain "
    "and outside of it at many settings, each against the untouched model on the same texts.",
    "Prior": "The prior says what a hidden state looks like before any text is read; here is what it is, where it came "
    "from, and how far your text is from it.",
    "Method": "How nonparametric variational attention works: the equations, one weight worked out with its numbers, "
    "what every symbol and word means, the limits, and how to cite.",
}
STEPS = (
    Step("The view in one line", "Model, text, setting and prior. Press a part to go to its control.",
         (".st-key-view-line",)),
    Step("The temperatures", "At the left end of every slider the model is untouched; further right it is more "
         "regularised. Move one, and the page follows.",
         ("[class*='st-key-scenario_'][class*='_alpha']", '[data-testid="stExpandSidebarButton"]')),
    Step("What changes in the output", "The answer comes first: the untouched model in grey, NV in blue.",
         (".st-key-slot-next-token", ".st-key-slot-similarity-nv", '[data-testid="stDataFrame"]')),
    Step("Where it acts", "Every head of every layer is a square, the darker the more it changed. Click one to open "
         "it.", (".st-key-slot-overview",)),
    Step("The attention of a head", "Rows are queries, columns are keys, and the prior is the amber column. Click a "
         "cell to see why its weight changed.", (".st-key-slot-map-nv", ".st-key-tokens")),
    Step("Take it along", "The link holds all that you set: whoever opens it sees this very view. Export has the "
         "figures and numbers, and Gallery has more to open.", (".st-key-copy-link",)),
)  # fmt: skip
BEGUN = "tour_begun"  # a word for each time that the tour was asked for


def draw_first(title: str) -> None:
    """Draw a page's first sentences, and on Explore the offer of the tour."""
    with draw.drawn().lead:
        st.markdown(FIRST[title])
        if title == "Explore":
            offer_tour(STEPS, st.session_state.get(BEGUN, ""))


def tour_again(query: dict[str, str]) -> None:
    """A button that begins the tour on Explore, whether it was taken or declined before; query: Explore's address."""
    if st.button("Take the tour", icon=":material/explore:", help="Six steps on the page Explore."):
        st.session_state[BEGUN] = secrets.token_hex(4)
        st.switch_page("app.py", query_params=query)
