"""Method: the equations, what each symbol is on the pages, one weight worked out, limits, and how to cite."""

import re
from collections.abc import Iterator

import numpy as np
import streamlit as st

from nvib import assets
from nvib.lab import Observation
from nvib.lab.calibration import CONVENTIONS
from nvib.lab.share.citation import PAPERS
from nvib.show import introduction, menu, page, resources, session, share, terms
from nvib.show.sections import without_prior

# Equations break into lines where they do not fit: a box that scrolls could not be reached from the keyboard.
WRAPPED = """<style>
.stMarkdown .katex-display, .stMarkdown .katex { overflow: visible !important; white-space: normal; }
</style>"""
# The tables that benchmarks/headline.py prints, and under each what it says.
(OUTCOME, _, FINDINGS), (FITTED, _, OF_FITS) = (
    assets.shipped("assets", name).read_text("utf-8").partition("\n\n") for name in ("headline.md", "fits.md")
)


def section(name: str, heading: str) -> str:
    """What stands under a heading of a page of docs/, up to the next one that is as high or higher."""
    _, _, rest = f"\n{assets.shipped('docs', name).read_text('utf-8')}".partition(f"\n{heading}\n")
    found = re.split(rf"^#{{1,{heading.count('#')}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()
    return re.sub(r"\[([^\]]+)\]\((?!https://)[^)]+\)", r"\1", found)  # the app serves no other page of docs/


def symbols() -> Iterator[tuple[str, str]]:
    """The glossary's tables of symbols, by the page that shows them: symbol, meaning, and what it is shown as."""
    for part in section("glossary.md", "## Symbols").split("\n### ")[1:]:
        title, _, table = part.partition("\n")
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
        yield title, "\n".join(f"| {' | '.join(row[1:4])} |" for row in rows)


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


with page.guarded():
    bench, scenario = page.begin("Method")
st.html(WRAPPED)
introduction.tour_again(session.address(scenario))
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
st.markdown(
    "**Learned sinks.** A head of gpt-oss has a logit $s_h$ that takes attention and gives no value. It is a component "
    "of that head beside the prior: mean 0, the tokens' variance, no value, and"
)
st.latex(r"\log\alpha_h = s_h + \tau_\alpha\, s \qquad c_h = s_h + \tau_\alpha\, s - \tfrac12\sum_p\log (S_p/r)")
st.markdown(
    "No query matches a mean of 0, so that $c_h$ is its whole score: at identity $s_h$ itself. This is ours; compared "
    "with the model's own attention at identity, and with a float64 version in embedding space under every setting."
)

st.header("What the temperatures mean")
st.markdown(
    "| temperature | identity | 0 | 1 |\n|---|---|---|---|\n"
    "| τα | ∞: the prior component is removed | an average token counts as much as the prior | "
    "one spread s more than the prior |\n"
    "| τσ | 0 | tokens are points | tokens are as wide as the prior |\n"
    "| τμ | 1 | every token's mean is the prior's | the token's own |\n\n"
    "The paper uses τα = 10 for identity. It is not identity in general: where a layer's pseudo-counts hardly vary, "
    "s is tiny, ten of it are little, and the prior keeps real attention. Here identity removes the prior.\n\n"
    "The paper has one value of each for a kind of attention. A value for each layer is ours, and so is its gradient: "
    "compared with a float64 version by layer, and with differences of the loss, in every family. A fit by gradient "
    "tunes three numbers for each layer on a few texts: it is no longer without training in the paper's sense, and "
    "much depends on the choice of texts. So Sweep, which has it in a fold of its own, measures it on test texts, of "
    "sets that were fitted on and of sets that were not, beside a plain attention temperature that is fitted alike."
)

st.header("Does it help on text unlike the prior's?")
st.markdown(
    "Regularised after training, without any training: for each task the setting with the best mean change out of "
    "domain on the validation texts, and the best of some peers, chosen alike; both measured on test texts that had no "
    "part in the choice, and NV against the peer on the same texts. Language by its perplexity, phonemes by their "
    "phoneme error rate, retrieval by its mean reciprocal rank; changes of the last two in points. 95 % paired "
    "bootstrap intervals; the texts of a set in brackets. `make headline` measures it anew."
)
st.markdown(OUTCOME)
st.caption(FINDINGS)
page.link("Sweep", "Try it on Sweep")

st.header("Would anything else do the same?")
st.markdown(
    "A plain attention temperature is what one would try first. Here it and NV have values of their own for each of "
    "SmolLM2's 30 layers, 30 and 90 numbers, fitted by gradient on the validation texts of the sets that are named. "
    "That is no longer without training, and much depends on the choice of texts: so each set is also left out of a "
    "fit, and measured. Change of the perplexity on test texts; `make headline` measures it anew."
)
st.markdown(FITTED)
st.caption(OF_FITS)

st.header("Can its probabilities be believed?")
st.markdown(
    "A Bayesian reading should know what it does not know. So Sweep and a list on Compare hold probabilities against "
    "what is true, where that is known: the next token of a text, the tokens of a reference, a label, a masked token. "
    "Answers are sorted by their confidence, the probability of the likeliest one, into bins $B_b$; of $N$ answers"
)
st.latex(r"\text{ECE} = \sum_b \frac{|B_b|}{N}\,\bigl|\text{accuracy}(B_b) - \text{mean confidence}(B_b)\bigr|")
st.latex(r"\text{Brier} = \frac1N \sum_i \sum_k (p_{ik} - y_{ik})^2")
st.latex(r"\text{log loss} = -\frac1N \sum_i \log p_{i y_i}")
st.markdown(
    f"{CONVENTIONS} Brier's score is summed over all classes, from 0 to 2. Intervals draw whole texts anew, and what "
    "changes is paired on the same texts. A temperature on the logits of the output would calibrate too; "
    "regularised attention is no such temperature, and can also change which answer is the likeliest."
)

st.header("One weight, worked out")
with page.told():
    if not without_prior.asked_for(bench, scenario):
        seen = resources.observation(bench, scenario)
        worked(seen, bench.shape.called)
        share.toolbar("Method", bench.shape, scenario, seen)
page.link("Explore", "Open this cell on Explore")

st.header("Symbols, and where the app shows them")
for title, table in symbols():
    if title in menu.PAGES.values():
        page.link(title)
    else:
        st.markdown(title)
    st.markdown(table)
with st.expander("Words, and what they mean", icon=":material/dictionary:"):
    st.markdown("\n".join(f"- {terms.explained(term)}" for term in terms.SPELLED))
st.caption("Rows of every map are queries, columns are keys. Logarithms are natural, and divergences in nats.")
st.header("Limits")
st.markdown(section("limits.md", "# Limits"))
st.header("How to cite")
st.markdown("The method: [arXiv:2312.00662](https://arxiv.org/abs/2312.00662), "
            "[arXiv:2207.13529](https://arxiv.org/abs/2207.13529).")  # fmt: skip
st.code(PAPERS.strip(), language="bibtex")
