"""A prior of the visitor's own: estimated from a file of theirs, or uploaded as they downloaded it."""

from __future__ import annotations

import math

import streamlit as st

from nvib import Prior
from nvib.lab import Bench
from nvib.lab.uploads import ENDINGS, Upload, texts
from nvib.show import boundary, page
from nvib.show.boundary import choice

WORKING = "prior_file_taken"
UNSURE = 0.05  # of a standard deviation: two hundred tokens


def upload_panel(bench: Bench) -> None:
    """The file box; a file's prior becomes the scenario's when it is ready."""
    with st.expander("Make or upload a prior of your own", icon=":material/upload_file:"):
        st.caption(
            "Text of the model's own domain, .txt with one text per line, or .csv, .jsonl and .xlsx with a column "
            "“text”, is read by the untouched model once; a .safetensors file is a prior that this page made. Short "
            "texts can also be pasted: Prior, Source, From my text."
        )
        file = st.file_uploader("Text or prior", type=[*ENDINGS, "safetensors"], key="prior_file", on_change=_new_file)
        if file is None or not st.session_state.get(WORKING):
            return
        spot = st.empty()
        spot.button("Cancel the estimate", on_click=_cancel)
        try:
            prior, count = _made(bench, file.name, file.getvalue())
            fingerprint = bench.priors.keep(prior)
        except Exception as error:
            page.refuse(boundary.sentence(error))
            return
        finally:
            spot.empty()
    st.session_state[WORKING] = False
    st.session_state["prior_taken"] = fingerprint, Upload.of(file.name, file.getvalue(), count)
    st.rerun()


def few_tokens(prior: Prior) -> str:
    """One sentence where a prior was estimated from so few tokens that its deviations are not worth much, else "".

    The standard error of a standard deviation of n independent Gaussian values is 1 / √(2n) of it.
    """
    told = prior.provenance.get("tokens", "")
    count = int(told) if told.isascii() and told.isdecimal() and len(told) < 10 else 0
    error = 1 / math.sqrt(2 * count) if count else 0.0
    if error <= UNSURE:
        return ""
    return (
        f"This prior was estimated from {count:,} tokens: each of its standard deviations has a standard error of "
        f"{100 * error:.0f} % of it, or more. A thousand tokens have 2 %."
    )


def _made(bench: Bench, name: str, data: bytes) -> tuple[Prior, int]:
    """The prior of a file, with progress while it is estimated, and the file's texts, 0 where it is a prior itself.

    Raises NVError or ValueError with one sentence.
    """
    if name.lower().endswith(".safetensors"):
        return Prior.from_bytes(name, data), 0
    lines = texts(name, data)
    with st.status("Estimating the prior …") as status:

        def tell(tokens: int) -> None:
            status.update(label=f"Estimating the prior: {tokens:,} tokens read")

        prior = bench.priors.estimate(lines, f"the file {name}", tell)
        status.update(label="The prior is estimated", state="complete")
    return prior, len(lines)


@choice
def _new_file() -> None:
    """A file was chosen that no prior was made of yet."""
    st.session_state[WORKING] = True


def _cancel() -> None:
    """Leave the file."""
    st.session_state[WORKING] = False
