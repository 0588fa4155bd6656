"""Two settings side by side: the untouched model, A, which the visitor pinned, and B, which the controls have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from nvib.lab import Bench, Observation, Scenario
from nvib.lab.share.pinned import pin, pinned
from nvib.lab.view import beside, variants, words
from nvib.lab.view.comparison import outputs_of
from nvib.lab.view.forwards import both_sides
from nvib.lab.view.outputs import Generated, NextToken, Similarity
from nvib.lab.view.variants import LARGEST
from nvib.lab.view.walk import Path
from nvib.show import draw, page, pick, resources, session, view_line
from nvib.show.boundary import choice
from nvib.show.figures import bars
from nvib.show.sections import small_maps
from nvib.show.sections.folds import at_work
from nvib.show.sections.small_maps import shown

FOLD = "beside"
LEAD = (
    "Pin the setting that the controls have now as A, and move them: the untouched model, A and B, the controls' own "
    "setting, then stand side by side here. A stays for other texts and pages, and travels with the link."
)


LEGEND = ":gray[■] untouched, :green[■] A, :blue[■] B"


@dataclass(frozen=True)
class _Side:
    """A setting on its model: its letter, and what it shows."""

    letter: str
    bench: Bench
    scenario: Scenario
    seen: Observation


def fold(scenario: Scenario) -> Any:
    """The fold, empty, and open where a setting is pinned; `fill` fills it once the page is drawn."""
    return st.expander(
        "Two settings side by side", expanded=bool(scenario.pinned), key=FOLD, on_change="rerun",
        icon=":material/compare:",
    )  # fmt: skip


def fill(opened: Any, bench: Bench, scenario: Scenario, seen: Observation, writes: bool = False) -> None:
    """A and B beside each other, if the fold is open; writes: what they write, in the place of what they look at."""
    if opened.open:
        with opened, page.told():
            _draw(bench, scenario, seen, writes)


def _draw(bench: Bench, scenario: Scenario, seen: Observation, writes: bool) -> None:
    if not scenario.pinned:
        st.caption(LEAD)
        st.button("Pin this setting as A", on_click=_pin, args=(pin(scenario),), icon=":material/keep:")
        return
    held = None
    with page.told():
        held = pinned(scenario)
    _bar(scenario, held)
    if held is None:
        return
    if resources.LIMITS.is_public:  # which chooses these itself
        held = replace(held, device="", dtype="")
    other = resources.bench(held.model, held.device, held.dtype)
    held = _placed(held, other)
    _say_which("A", "pinned", held, other)
    _say_which("B", "the controls'", scenario, bench)
    if pin(held) == pin(scenario):
        st.caption("A and B are the same now: move a control, or choose another model.")
        return
    if other.mode != bench.mode or other.rows(scenario.text) != bench.rows(scenario.text):
        what = f"A's model gives {other.mode.name}, B's {bench.mode.name}"
        st.caption(f"{what}: what they say is not set side by side; swap the two to see A.")
        return
    with at_work("Running A", "Stop running A", FOLD) as tell:
        tell(0, 1)
        a, b = _Side("A", other, held, resources.observation(other, held)), _Side("B", bench, scenario, seen)
        texts = _written(a, b) if writes else []
        walks = [] if writes else _walks(a, b, tell)
    if writes:
        _texts(a, b, texts)
        return
    for side in (a, b):
        draw.say(f"{side.letter}: {words.answer(side.seen.output)}")
    _output(a, b)
    _maps(a, b)
    if scenario.path:
        _paths(walks)


def _bar(scenario: Scenario, held: Scenario | None) -> None:
    """What can be done with A; held: its view, None where it cannot be read."""
    with st.container(horizontal=True, gap="small"):
        if held is not None:
            swapped = replace(held, pinned=pin(scenario))
            st.button("Swap A and B", on_click=_show, args=(swapped,), icon=":material/swap_horiz:")
        st.button("Pin the controls' setting instead", on_click=_pin, args=(pin(scenario),), icon=":material/keep:")
        st.button("Unpin A", on_click=_pin, args=("",), icon=":material/keep_off:", key="unpin")


def _placed(held: Scenario, bench: Bench) -> Scenario:
    """The view as A's model has it, which may have fewer kinds of attention, layers and heads."""
    kind = held.kind if held.kind in bench.kinds else bench.kinds[-1]
    layer = min(held.layer, bench.layers[kind] - 1)
    head = held.head if not held.head.isdecimal() or int(held.head) < bench.heads else "mean"
    return replace(held, kind=kind, layer=layer, head=head)


def _say_which(letter: str, whose: str, scenario: Scenario, bench: Bench) -> None:
    """A side in words, as the line under the title says it."""
    parts = [part.words for part in view_line.parts(scenario, bench.kinds)]
    model, _, *setting = parts
    how = [choice for choice in (scenario.device, scenario.dtype) if choice]
    draw.say(f"{letter}, {whose}: {', '.join([model, *how, *setting])}.")


# Output


def _output(a: _Side, b: _Side) -> None:
    """What both say: the next token, the texts of an encoder-decoder, or how alike sentences are."""
    if isinstance(b.seen.output, NextToken) and isinstance(a.seen.output, NextToken):
        _next_tokens(a, b)
    elif isinstance(b.seen.output, Generated) and isinstance(a.seen.output, Generated):
        columns = {"text": b.seen.output.sources} | _by_name(a, b, _outputs)
        draw.show_table(pd.DataFrame(columns), "Outputs, untouched, A and B")
    elif isinstance(b.seen.output, Similarity) and isinstance(a.seen.output, Similarity):
        _similarities(a, b)


def _by_name(a: _Side, b: _Side, of: Callable[[_Side], tuple[Any, Any]]) -> dict[str, Any]:
    """What the untouched model, or each side's own, A and B have; of: a side's, untouched and not."""
    (first, held), (second, own) = of(a), of(b)
    if a.bench is b.bench:
        return {"untouched": first, "A": held, "B": own}
    return {"A's untouched": first, "A": held, "B's untouched": second, "B": own}


def _outputs(side: _Side) -> tuple[Any, Any]:
    """What a side says untouched and under its setting."""
    output = side.seen.output
    return output.baseline, output.regularised


def _next_tokens(a: _Side, b: _Side) -> None:
    """The likeliest next tokens under all sides, where the models write the same tokens."""
    if not beside.one_vocabulary(a.bench, b.bench):
        st.caption("The two models write tokens of different vocabularies, so their likeliest ones are not set side by "
                   "side.")  # fmt: skip
        return
    sides = _by_name(a, b, lambda side: both_sides(side.bench, side.scenario))
    names = list(sides)
    found = beside.next_tokens(b.bench, list(sides.values()))
    apart = ", ".join(f"{names[m]} and {names[n]} {found.js[m, n]:.4f}" for m, n in combinations(range(len(names)), 2))
    st.caption(f"Next token after the text: {LEGEND}. Jensen–Shannon divergence in nats: {apart}.")
    draw.chart(bars.next_token_sides(found.tokens, found.shares, names), "beside-next-token",
               title="Next token, untouched, A and B")  # fmt: skip
    table = {"token": found.tokens} | {
        f"probability, {name}": shares for name, shares in zip(names, found.shares, strict=True)
    }
    draw.table_behind("beside-next-token", "Next tokens of A and B as a table", lambda: pd.DataFrame(table))


def _similarities(a: _Side, b: _Side) -> None:
    """A pair of sentences a row."""
    pairs = list(combinations(range(len(b.seen.rows)), 2))
    if not pairs:
        return
    at = tuple(np.array(pairs).T)
    columns = {"sentence": at[0] + 1, "and": at[1] + 1} | {
        f"cosine, {name}": values[at] for name, values in _by_name(a, b, _outputs).items()
    }
    draw.show_table(pd.DataFrame(columns), "Similarities, untouched, A and B")


def _written(a: _Side, b: _Side) -> list[dict[str, list[str]]]:
    """What each side writes, beside its untouched model."""
    return [outputs_of(each.bench, each.scenario, resources.prior(each.bench, each.scenario)) for each in (a, b)]


def _texts(a: _Side, b: _Side, found: list[dict[str, list[str]]]) -> None:
    """What the untouched model, A and B write."""
    st.caption(f"At most {b.scenario.length} new tokens, chosen as above.")
    both = {side.letter: (texts["baseline"], texts["NV"]) for side, texts in zip((a, b), found, strict=True)}
    texts = _by_name(a, b, lambda side: both[side.letter])
    if b.bench.mode.answers:
        draw.show_table(pd.DataFrame({"text": b.seen.rows, **texts}), "Generated text, untouched, A and B")
        return
    for name, (text, *_) in texts.items():
        st.markdown(f"**{name}**")
        st.code(text or " ", language=None, wrap_lines=True)
    draw.drawn().tables["Generated text, untouched, A and B"] = lambda: pd.DataFrame({"text": b.seen.rows, **texts})


# Attention and path


def _maps(a: _Side, b: _Side) -> None:
    """The map of the view under the untouched model, A and B, and the differences between each two."""
    found = variants.maps_of([a.seen, b.seen])
    where = f"{b.seen.kind} layer {b.seen.layer}, {pick.head_name(b.seen.head)}"
    if found is None:
        st.caption(f"A map has more than {LARGEST} tokens: open A and B one after the other to see them.")
        return
    if not beside.same_tokens(a.seen, b.seen):
        st.caption("The two models read this text as different tokens, so their maps are not set side by side.")
        return
    none = np.full_like(found.prior[0], np.nan)
    both = {
        letter: ((found.baseline[n], none), (found.regularised[n], found.prior[n])) for n, letter in enumerate("AB")
    }
    whole = _by_name(a, b, lambda side: both[side.letter])
    cells, priors = zip(*whole.values(), strict=True)
    present = b.scenario.with_prior and any(np.isfinite(side.seen.prior_log_alpha).any() for side in (a, b))
    weights = shown(b.scenario, np.stack(cells), np.stack(priors) if present else None)
    small_maps.beside("beside-maps", f"Untouched, A and B, {where}", weights, list(whole), b.scenario)
    differences = [
        ("A − untouched", found.difference[0]), ("B − untouched", found.difference[1]),
        ("B − A", found.regularised[1] - found.regularised[0]),
    ]  # fmt: skip
    names, cells = zip(*differences, strict=True)
    changes = shown(b.scenario, np.stack(cells), change=True)
    small_maps.beside("beside-difference", f"Differences of A and B, {where}", changes, names, b.scenario)
    if present:
        masses = [f"{100 * float(prior.mean()):.1f} % under {letter}"
                  for letter, prior in zip("AB", found.prior, strict=True)]  # fmt: skip
        st.caption(f"On the prior goes, on average over the queries shown, {' and '.join(masses)} of the attention.")


def _walks(a: _Side, b: _Side, tell: Callable[[int, int], None]) -> list[Path]:
    """The ways from identity to A and to B, where the page shows that to B."""
    if not b.scenario.path or any(side.scenario.effect == "local" or side.scenario.peer for side in (a, b)):
        return []
    return [resources.walk(side.bench, side.scenario, lambda share: tell(round(100 * share), 100)) for side in (a, b)]


def _paths(walks: list[Path]) -> None:
    """The ways to A and to B."""
    if not walks:
        st.caption("A path leads from identity to a setting of NV of total effect: A or B is none.")
        return
    a, b = walks
    flips = [
        f"{letter} has its first flip at {walk.first_flip:.2f}" if walk.first_flip is not None
        else f"the answer does not flip on the way to {letter}" for letter, walk in (("A", a), ("B", b))
    ]  # fmt: skip
    draw.say(f"From identity, 0, to A and to B, 1: {' and '.join(flips)}.")
    st.caption(f"{LEGEND.partition(', ')[2]}. Shares of each setting, as in the path above.")
    for n, (column, figure) in enumerate(zip(st.columns(3), bars.path_curves(b, a), strict=True)):
        draw.chart(figure, f"beside-path-{n}", column, title=f"From identity to A and B, {n + 1}")


@choice
def _pin(setting: str) -> None:
    """Pin a setting, or none."""
    session.place("pinned", setting)
    st.session_state[FOLD] = True


@choice
def _show(scenario: Scenario) -> None:
    """Have the controls and A exchange what they hold."""
    session.restore(scenario)
