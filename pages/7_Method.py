"""Method: the equations, what each symbol is on the pages, one weight worked out, limits, and how to cite."""

import numpy as np
import streamlit as st

from nvib import NVError, assets
from nvib.lab import Observation
from nvib.show import page, resources, share

SYMBOLS = {
    "Explore": [
        (
            "xₙ",
            "hidden state of token n that enters the layer's key and value projections",
            "a row or column of the maps",
        ),
        ("a(n)", "attention to component n; n = 0 is the prior", "a cell of the maps; the prior in amber"),
        ("u = W_Kᵀ q", "a head's query, carried into the space of the hidden states", "Why this weight, match"),
        ("r = √d", "noise variance of the query; d is the head's width; 1 in T5", "Why this weight, all terms"),
        ("μₙ, σₙ²", "mean and variance of token n's component", "Why this weight, norm and variance"),
    ],
    "Pseudo-counts": [
        ("αₙ", "pseudo-count of token n, shared by the layer's heads", "log α by layer and token"),
        ("E[πₙ] = αₙ / Σ α", "Dirichlet mean weight, before any query is asked", "Dirichlet weights"),
    ],
    "Prior": [
        ("μₚ, σₚ²", "mean and variance of the layer's prior, by dimension", "Mean, Standard deviation"),
        ("log αₚ, s", "the prior's log pseudo-count, and the spread of its corpus' own", "Pseudo-count, whiskers"),
    ],
    "Sidebar": [
        ("τα", "pseudo-count temperature, in spreads s above the prior", "Pseudo-counts"),
        ("τσ", "each token's share of the prior's standard deviation", "Variance"),
        ("τμ", "the share of the token that its mean keeps", "Mean"),
    ],
}
# Equations break into lines where they do not fit: a box that scrolls could not be reached from the keyboard.
WRAPPED = """<style>
.stMarkdown .katex-display, .stMarkdown .katex { overflow: visible !important; white-space: normal; }
</style>"""
LIMITS = """
- Attention is not explanation: read the change of the output first.
- One prior a layer, estimated from a small corpus; what is out of domain for it is not always so for the model.
- Rotary models (Llama, Qwen2) are our extension: the prior has no position, and meets each query at distance zero.
- Protected first tokens are our extension: at the first query of a decoder the prior takes mass from the attention
  sink, and the model breaks.
- Qwen3 and Gemma3 normalise their keys, which the formula does not know. There the norm's divisor stays that of the
  untouched token, and settings with variance are experimental.
- The published formula leaves out −½ Σ u²/S, which an exact posterior would have. The library offers it as an option.
- Pseudo-counts of real models are often astronomically large: then the Dirichlet has no width left.
"""
HEADLINE = assets.shipped("assets", "headline.md")  # what benchmarks/headline.py prints
OUTCOME = (
    "SmolLM2 improves in every language and in technical prose, also with the paper's protocol, a prior of the "
    "model's own language; most with a prior that has seen other texts in the three languages, for which Spanish and "
    "French are then not out of domain, only for the model. For phonemes an effect on proper names is at the edge of "
    "what 3,800 words can show, on words unseen in training there is none, and the mean over both does not exclude "
    "zero. For retrieval the changes point the right way and do not exclude zero. Protected tokens are our extension. "
    "Rows of one table are several looks at the data: a single interval that just misses zero is weak evidence."
)
CITATION = """
@inproceedings{fehr2024nonparametric,
  title     = {Nonparametric Variational Regularisation of Pretrained Transformers},
  author    = {Fehr, Fabio and Henderson, James},
  booktitle = {Conference on Language Modeling (COLM)},
  year      = {2024},
  note      = {arXiv:2312.00662}
}
@inproceedings{henderson2023vae,
  title     = {A {VAE} for Transformers with Nonparametric Variational Information Bottleneck},
  author    = {Henderson, James and Fehr, Fabio},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2023},
  note      = {arXiv:2207.13529}
}
"""


def worked(seen: Observation, name: str) -> None:
    """The weight that Explore takes apart, with its numbers in the equation."""
    cell = seen.cell
    query, key = seen.query_tokens[cell.query], "the prior" if cell.key < 0 else f"“{seen.tokens[cell.key]}”"
    st.markdown(
        f"{page.verbatim(name)}, {seen.kind} layer {seen.layer}, head {cell.head}: query "
        f"“{page.verbatim(query)}” attends to {page.verbatim(key)}. Explore picks the cell, the sidebar the setting."
    )
    if np.isnan(cell.regularised).any():
        st.info("The query does not see this key, or the prior is removed: choose another cell on Explore.")
    else:
        score = float(cell.regularised.sum())
        terms = r" \;".join(f"{value:+.4f}" for value in cell.regularised)
        st.latex(rf"\text{{score}} = {terms} = {score:.4f}")
        st.latex(
            rf"a = e^{{\,{score:.4f} - ({cell.regularised_total:.4f})}} = {cell.weights[1]:.4f}"
            rf"\qquad \text{{baseline }} {cell.weights[0]:.4f}"
        )
        st.caption("In the order " + ", ".join(cell.terms) + "; the amount taken off is the row's log Σ exp. In nats.")


bench, scenario = page.begin("Method")
st.html(WRAPPED)
st.markdown(
    "A query asks a noisy question about a mixture of Gaussians, one component a token and one for the **prior**; "
    "attention is the posterior over the components, and its value the expected answer. Read so, a pretrained layer "
    "has means and pseudo-counts already; its variances are zero. Temperatures move it from there towards the prior."
)

st.header("The posterior of a pretrained layer")
st.latex(r"\mu_n = \tau_\mu\, x_n + (1-\tau_\mu)\,\mu_p \qquad \sigma_n^2 = \tau_\sigma^2\,\sigma_p^2")
st.latex(r"\log\alpha_n = \frac{\lVert x_n\rVert^2}{2r} + \tau_\alpha\, s \qquad r=\sqrt d")
st.markdown("The prior's own component has mean μₚ, variance σₚ² and pseudo-count αₚ.")

st.header("Attention over it")
st.latex(r"S_n = r + \sigma_n^2 \qquad a(n) = \operatorname{softmax}_n\bigl(u\cdot(\mu_n/S_n) + c_n\bigr)")
st.latex(r"c_n = \log\alpha_n - \tfrac12\sum_p \mu_{n,p}^2/S_{n,p} - \tfrac12\sum_p\log (S_{n,p}/r)")
st.latex(r"\text{out} = W_V \sum_n a(n)\Bigl(\frac{\sigma_n^2}{S_n}\,u + \frac{r}{S_n}\,\mu_n\Bigr) + b_V")
st.markdown(
    "At identity log αₙ and the norm term cancel, and a(n) is the softmax of q·k/√d: the model's own attention."
)

st.header("What the temperatures mean")
st.markdown(
    "| temperature | identity | 0 | 1 |\n|---|---|---|---|\n"
    "| τα | ∞: the prior component is removed | an average token counts as much as the prior | "
    "one spread s more than the prior |\n"
    "| τσ | 0 | tokens are points | tokens are as wide as the prior |\n"
    "| τμ | 1 | every token's mean is the prior's | the token's own |\n\n"
    "The paper uses τα = 10 for identity. It is not identity in general: where a layer's pseudo-counts hardly vary, "
    "s is tiny, ten of it are little, and the prior keeps real attention. Here identity removes the prior."
)

st.header("Does it help where the model was not at home?")
st.markdown(
    "Regularised after training, without any training: for each task the setting with the best mean change out of "
    "domain on the validation texts, told on test texts that had no part in the choice, against the untouched model. "
    "95 % paired bootstrap intervals; the texts of a set in brackets. `make headline` measures it anew."
)
st.markdown(HEADLINE.read_text("utf-8"))
st.caption(OUTCOME)
page.link("Sweep", "Try it on Sweep")

st.header("One weight, worked out")
try:
    seen = resources.observation(bench, scenario)
    worked(seen, bench.loaded.name)
    share.toolbar("Method", bench.shape, scenario, seen)
except (NVError, ValueError) as error:
    page.refuse(str(error))
page.link("Explore", "Open this cell on Explore")

st.header("Symbols, and where the app shows them")
for title, symbols in SYMBOLS.items():
    if title in page.PAGES.values():
        page.link(title)
    else:
        st.markdown(title)
    rows = "".join(f"| {symbol} | {meaning} | {where} |\n" for symbol, meaning, where in symbols)
    st.markdown(f"| symbol | meaning | shown as |\n|---|---|---|\n{rows}")
st.caption("Rows of every map are queries, columns are keys. Logarithms are natural, and divergences in nats.")
st.header("Limits")
st.markdown(LIMITS)
st.header("How to cite")
st.markdown("The method: [arXiv:2312.00662](https://arxiv.org/abs/2312.00662), "
            "[arXiv:2207.13529](https://arxiv.org/abs/2207.13529).")  # fmt: skip
st.code(CITATION.strip(), language="bibtex")
