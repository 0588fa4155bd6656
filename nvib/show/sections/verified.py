"""Whether this is really the visitor's model: the verdict under the title, and the whole check when it is asked for."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from nvib.lab import Bench, IdentityProof, Scenario
from nvib.lab.view.check import LINES, Finding
from nvib.show import draw, page, resources

PRESSED = "check pressed"
VERDICTS = {True: "✓ holds", False: "✗ fails", None: "– not for this model"}


def badge(proof: IdentityProof, found: list[Finding], foreign: bool = False) -> str:
    """The verdict in words and colour; its numbers are `numbers`.

    found: what of the check is known, of which each line that fails is named; foreign: whether the prior is another's.
    """
    verdict = (
        ":green-badge[✓ identity verified: at identity this is exactly your model]"
        if proof.holds
        else ":red-badge[✗ identity does not hold: at identity this is not your model]"
    )
    for line in found:
        if line.holds is False:
            verdict += f" :red-badge[✗ {line.name}: {page.verbatim(line.told)}]"
    return verdict + (" :orange-badge[prior of another model]" if foreign else "")


def numbers(proof: IdentityProof, found: list[Finding], compared: str) -> str:
    """What the verdict is made of. compared: what the proof compares."""
    parts = [f"max |Δ {compared}| {proof.max_delta:.1g}, {proof.relative:.1g} of its range"]
    if proof.top1 is not None:
        parts.append(f"top-1 agreement {100 * proof.top1:.0f} %")
    if proof.same_text is not None:
        parts.append(f"greedy text {'equal' if proof.same_text else 'DIFFERS'}")
    parts.append(f"prior mass {proof.prior_mass:.1g}")
    held, known = sum(line.holds is True for line in found), sum(line.holds is not None for line in found)
    so_far = "" if len(found) == len(LINES) else " so far; the button below checks the others"
    return (
        f"At identity, against the untouched model on this text: {', '.join(parts)}; "
        f"{held} of {known} lines of the check hold{so_far}."
    )


def _press() -> None:
    st.session_state[PRESSED] = True


def whole_check(bench: Bench, scenario: Scenario) -> None:
    """Every line of the check, kept for all visitors of the model; made when the button is pressed."""
    found = resources.checked(bench)
    if not found:
        st.caption(
            "Loads the model once more and compares: with its own code in transformers, with itself row by row and "
            "without a cache, and with the formula in float64. Seconds for a small model, about a minute for SmolLM2. "
            "The same from a terminal: " + f"`nvib check {page.verbatim(scenario.model)}`."
        )
        pressed = st.session_state.pop(PRESSED, False)
        st.button("Check this model", type="primary", on_click=_press, disabled=pressed)
        if not pressed:
            return
        bar = st.progress(0.0, "Checking …")
        st.button("Cancel the check")
        done: list[Finding] = []

        def tell(line: Finding) -> None:
            done.append(line)
            bar.progress(len(done) / len(LINES), f"{line.name}: {VERDICTS[line.holds]}")

        resources.check(bench, tell)
        st.rerun()  # the badge knows all of it then
    rows = [(line.name, VERDICTS[line.holds], line.told) for line in found]
    frame = pd.DataFrame(rows, columns=["line", "verdict", "found"])
    draw.drawn().tables["The check of this model"] = lambda: frame
    st.table(frame.map(page.verbatim).set_index("line"))
