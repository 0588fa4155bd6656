"""What the numbers of a view say, a sentence each: the answer, the heads that changed, why a weight moved, a KL."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nvib.lab.model.bench import Bench
from nvib.lab.model.labels import isolated, shortened
from nvib.lab.scenario import Scenario
from nvib.lab.view.axes import Axis, whole_map
from nvib.lab.view.forwards import both_sides
from nvib.lab.view.observation import ROUNDING, Observation
from nvib.lab.view.outputs import Generated, NextToken, Output, neighbours
from nvib.mixture import Layer, row_scores, score_terms

MOST_HEADS = 5
LONGEST = 60  # characters of a text that a sentence quotes
KL_SCALE = {0.001: "none to speak of", 0.05: "slight", 0.5: "clear", 2.0: "strong", math.inf: "another distribution"}
NORMS = "norm and pseudo-count together"  # the norm of a hidden state is in both, and nearly cancels
TERM_WORDS = {
    "match": "match with the query", "log_alpha": NORMS, "norm": NORMS, "log_variance": "variance term",
    "key_bias": "key bias", "position": "position bias",
}  # fmt: skip
UNSEEN = "The query does not see this key: its weight is 0 on both sides."
NO_PRIOR = (
    "The prior is no part of this row: identity of τα removes it, layers that are left alone have none, and protected "
    "tokens do not see it."
)


def percent(*values: float) -> list[str]:
    """Shares, 0 to 1, as percent: with the fewest decimals, two at most, that tell them apart and from 0 and 100."""
    rounded = [round(value, 4) for value in values]
    digits = next(
        (n for n in (0, 1) if len({f"{100 * v:.{n}f}" for v in (0, 1, *rounded)}) == len({0, 1, *rounded})), 2
    )
    return [_percent(value, digits) for value in values]


def _percent(value: float, digits: int) -> str:
    if 0 < value < 0.5e-4:
        return "less than 0.01 %"
    if 1 - 0.5e-4 < value < 1:
        return "more than 99.99 %"
    return f"{100 * value:.{digits}f} %"


def kl_in_words(kl: float) -> str:
    """What a KL divergence from the baseline, in nats, comes to; KL_SCALE has the upper bounds of its words."""
    word = next(word for bound, word in KL_SCALE.items() if kl < bound)
    (kept,) = percent(math.exp(-kl))
    return f"{word}: tokens that the baseline would say keep {kept} of their probability, in the geometric mean"


# The answer


def same(output: Output) -> bool:
    """Whether both models give the same answer: the likeliest token, every text, or every nearest neighbour."""
    if isinstance(output, NextToken):
        return bool(output.baseline.argmax() == output.regularised.argmax())
    if isinstance(output, Generated):
        return output.baseline == output.regularised
    return bool((neighbours(output.baseline) == neighbours(output.regularised)).all())


def answer(output: Output) -> str:
    """What both models answer, in one sentence."""
    if isinstance(output, NextToken):
        return _next_token(output)
    if isinstance(output, Generated):
        return _texts(output.sources, output.baseline, output.regularised)
    before, after = neighbours(output.baseline), neighbours(output.regularised)
    moved = int(output.moved.argmin())
    if len(before) == 1:
        return f"NV's embedding of the sentence has cosine {output.moved[0]:.3f} to the baseline's."
    if len(before) == 2:
        old, new = output.baseline[0, 1], output.regularised[0, 1]
        return f"The cosine of the two sentences is {old:.3f} under the baseline and {new:.3f} under NV."
    changed = np.flatnonzero(before != after)
    if not changed.size:
        return (
            f"Every sentence keeps its nearest neighbour; sentence {moved + 1} moves most, to cosine "
            f"{output.moved[moved]:.3f} of its own baseline."
        )
    first = int(changed[0])
    return (
        f"{changed.size} of {len(before)} sentences have another nearest neighbour; the nearest of sentence "
        f"{first + 1} was {before[first] + 1} and is {after[first] + 1}."
    )


def _next_token(output: NextToken) -> str:
    old, new = int(output.baseline.argmax()), int(output.regularised.argmax())
    if old == new:
        before, after = percent(float(output.baseline[old]), float(output.regularised[old]))
        return f"Both models continue with {quoted(output.tokens[old])}: {before} under the baseline, {after} under NV."
    was, comes = quoted(output.tokens[old]), quoted(output.tokens[new])
    shares = [float(side[token]) for token in (old, new) for side in (output.baseline, output.regularised)]
    old_before, old_after, new_before, new_after = percent(*shares)
    return (
        f"The next token changes from {was} to {comes}: NV gives {was} {old_after} instead of {old_before}, and "
        f"{comes} {new_after} instead of {new_before}."
    )


def _texts(sources: Sequence[str], baseline: Sequence[str], regularised: Sequence[str]) -> str:
    changed = [n for n, texts in enumerate(zip(baseline, regularised, strict=True)) if texts[0] != texts[1]]
    if not changed and len(baseline) == 1:
        return f"Both models write {quoted(baseline[0])}."
    if not changed:
        return f"Both models write the same for all {len(baseline)} rows."
    first = changed[0]
    return (
        f"The output of {len(changed)} of {len(baseline)} row{'s' * (len(baseline) > 1)} changes; that of "
        f"{quoted(sources[first])} from {quoted(baseline[first])} to {quoted(regularised[first])}."
    )


def quoted(text: str) -> str:
    """A token or text as a sentence can hold it: cut where it is long, and whichever way it is written."""
    return f"“{isolated(shortened(' '.join(text.splitlines()), LONGEST))}”"


# The heads that changed most


@dataclass(frozen=True)
class Taken:
    """What took a head's attention, mean over the text's queries: the component that gained most, and who lost most.

    taker, loser: 0 for the prior, n + 1 for token n. gained, lost: their shares under the baseline and under NV.
    """

    taker: int
    gained: tuple[float, float]
    loser: int
    lost: tuple[float, float]


def most_changed(seen: Observation, most: int = MOST_HEADS) -> list[tuple[int, int]]:
    """(layer, head) of those that changed, the most first; of those that changed alike, in their own order."""
    changes = np.round(seen.change.ravel() / ROUNDING)
    order = np.argsort(-changes, kind="stable")[:most]
    return [divmod(int(n), seen.change.shape[1]) for n in order if changes[n] >= 1]


@torch.inference_mode()
def taken(bench: Bench, scenario: Scenario, seen: Observation, layer: int, head: int) -> Taken:
    """What took the attention of a head of the observation's kind."""
    queries = Axis(seen.batch_queries, seen.query_tokens, seen.query_group, seen.queries)
    keys = Axis(seen.batch_keys, seen.tokens, seen.key_group, seen.keys)
    layers = [side.capture.layers[seen.kind, layer] for side in both_sides(bench, scenario)]
    before, after = (whole_map(each, seen.row, queries, keys, str(head))[0].mean(0) for each in layers)
    taker, loser = int((after - before).argmax()), int((after - before).argmin())
    shares = [(float(before[n]), float(after[n])) for n in (taker, loser)]
    return Taken(taker, shares[0], loser, shares[1])


def heads_in_words(seen: Observation, found: Taken | None = None) -> str:
    """Which head changed most, and what took its attention; found: of that head, where it is known."""
    heads = most_changed(seen, 1)
    if not heads:
        return "No head attends otherwise than the baseline's does."
    layer, head = heads[0]
    which = f"Layer {layer}, head {head} changed most," if seen.change.size > 1 else "The only head changed"
    return f"{which} by {seen.change[layer, head]:.3f}: {_took(seen, layer, head, found)}"


def _took(seen: Observation, layer: int, head: int, found: Taken | None) -> str:
    mass = float(seen.prior_mass[layer, head])
    if found is not None and found.gained[1] - found.gained[0] >= ROUNDING:
        before, after = percent(*found.gained)
        said = f"{named(seen.tokens, found.taker)} now takes {after} of its attention"
        said += "" if found.taker == 0 else f", up from {before}"
        before, after = percent(*found.lost)
        return f"{said}; {named(seen.tokens, found.loser)} loses most, from {before} to {after}."
    if found is None and mass >= ROUNDING:
        return f"the prior now takes {percent(mass)[0]} of its attention."
    old, new = float(seen.baseline_entropy[layer, head]), float(seen.entropy[layer, head])
    how = "more spread" if new > old else "more peaked"
    return f"its attention is {how}, from {old:.3f} to {new:.3f} nats of entropy."


def named(tokens: Sequence[str], component: int) -> str:
    """A component in words: the prior, 0, or a token with its position."""
    return "the prior" if component == 0 else f"{quoted(tokens[component - 1])} (token {component - 1})"


# One weight


@dataclass(frozen=True)
class Row:
    """One query's row of one head, taken apart. T terms, K components, the prior first, then the text's tokens.

    terms: their names. baseline, regularised [T, K]: nats, NaN where the query does not see the component. totals: the
    row's log normaliser on both sides, a learned sink included.
    """

    terms: list[str]
    baseline: np.ndarray
    regularised: np.ndarray
    totals: tuple[float, float]

    @property
    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """The weights [K] under the baseline and under NV, 0 for what the query does not see."""
        sides = zip((self.baseline, self.regularised), self.totals, strict=True)
        before, after = (np.nan_to_num(np.exp(side.sum(0) - total)) for side, total in sides)
        return before, after


@torch.inference_mode()
def row_of(bench: Bench, scenario: Scenario, seen: Observation) -> Row:
    """The row of the observation's cell."""
    query = int(seen.batch_queries[seen.cell.query])
    components = [0, *(int(n) + 1 for n in seen.batch_keys)]
    layers = [side.capture.layers[seen.kind, seen.layer] for side in both_sides(bench, scenario)]
    found = [_side(layer, seen.row, seen.cell.head, query, components) for layer in layers]
    names = list(dict.fromkeys(name for terms, _ in found for name in terms))
    sides = [np.stack([terms.get(n, 0 * next(iter(terms.values()))) for n in names]) for terms, _ in found]
    return Row(names, sides[0], sides[1], (found[0][1], found[1][1]))


def _side(
    layer: Layer, row: int, number: int, query: int, components: list[int]
) -> tuple[dict[str, np.ndarray], float]:
    """Each term's values of the components, NaN of those that are not seen, and the row's log normaliser."""
    head, mixture, rows = layer.head(row, number), layer.mixture(row), slice(query, query + 1)
    seen = (head.visible[query] & mixture.log_alpha.isfinite().cpu())[components].numpy()
    count = len(mixture.log_alpha)
    terms = {name: term.expand(1, count)[0].cpu().numpy() for name, term in score_terms(head, mixture, rows).items()}
    values = {name: np.where(seen, term[components], np.nan) for name, term in terms.items()}
    return values, float(row_scores(head, mixture, rows).logsumexp(-1))


@dataclass(frozen=True)
class Causes:
    """What moved one token's weight: log(NV / baseline) is the sum of the three, in nats.

    prior: what the prior took from the whole row. own: the token's score, beside the median of the row's tokens.
    others: the rest, what the row's other tokens (and a learned sink) gained or lost. term: of the row's, the one that
    moved the token's own score most in the direction of `own`.
    """

    prior: float
    own: float
    others: float
    term: str


def causes(row: Row, component: int) -> Causes:
    """The causes of a token's change; component: its place in the row, 1 or more, which the query sees."""
    tokens = np.arange(row.baseline.shape[1]) > 0
    tokens &= np.isfinite(row.baseline.sum(0)) & np.isfinite(row.regularised.sum(0))
    shifts = row.regularised - row.baseline

    def beside(shift: np.ndarray) -> float:
        return float(shift[component] - np.median(shift[tokens]))

    own = beside(shifts.sum(0))
    parts: dict[str, np.ndarray] = {}
    for name, shift in zip(row.terms, shifts, strict=True):
        parts[TERM_WORDS[name]] = parts.get(TERM_WORDS[name], np.zeros_like(shift)) + shift
    term = max(parts, key=lambda name: math.copysign(1.0, own) * beside(parts[name]))
    prior = math.log(max(1.0 - row.weights[1][0], 1e-300))
    whole = float(shifts[:, component].sum()) - (row.totals[1] - row.totals[0])
    return Causes(prior, own, whole - prior - own, term)


def why(seen: Observation, row: Row | None) -> str:
    """Why the observation's cell has the weight that it has; row: its whole row, where it is at hand."""
    cell = seen.cell
    if np.isnan(cell.baseline).any() and np.isnan(cell.regularised).any():
        return NO_PRIOR if cell.key < 0 else UNSEEN
    before, after = cell.weights
    old, new = percent(before, after)
    if cell.key < 0:
        return f"The prior takes {new} of this row, and the baseline has no such component." + _lost(seen, row)
    if abs(after - before) < ROUNDING:
        return f"The weight stays at {new}" + _elsewhere(seen, row)
    moved = f"The weight {'fell' if after < before else 'rose'} from {old} to {new}"
    if row is None:
        score = cell.regularised.sum() - cell.baseline.sum()
        total = cell.regularised_total - cell.baseline_total
        return f"{moved}: its score moved by {score:+.2f} nats, and the normaliser of its row by {total:+.2f}."
    return f"{moved} because {', and '.join(_reasons(seen, row))}."


def _reasons(seen: Observation, row: Row) -> list[str]:
    """What moved the cell's weight, the most first, and what did at least half as much."""
    component = seen.cell.key + 1
    found = causes(row, component)
    way = math.copysign(1.0, seen.cell.weights[1] - seen.cell.weights[0])
    moved = f"{'rose' if way > 0 else 'fell'} by {abs(found.own):.2f} nats"
    own = f"its own score {moved} beside the row's median token, most by its {found.term}"
    share = percent(float(row.weights[1][0]))[0]
    told = {
        f"the prior takes {share} of this row": way * found.prior,
        own: way * found.own,
        _others(seen, row, component, way): way * found.others,
    }
    told.pop("", None)
    reasons = sorted(((size, text) for text, size in told.items() if size > 0), reverse=True)
    return [text for size, text in reasons[:2] if size >= reasons[0][0] / 2]


def _others(seen: Observation, row: Row, component: int, way: float) -> str:
    """Which other token took what the cell lost, or lost what it took; nothing where none did."""
    before, after = row.weights
    before, after = (np.append(side, max(0.0, 1.0 - side.sum())) for side in (before, after))  # a learned sink's
    change = -way * (after - before)
    change[[0, component]] = -np.inf
    most = int(change.argmax())
    if change[most] < ROUNDING:
        return ""
    old, new = percent(float(before[most]), float(after[most]))
    name = "the learned sink" if most == len(change) - 1 else named(seen.tokens, most)
    moved = f"{'rose' if way < 0 else 'fell'} from {old} to {new}"
    if change[most] >= abs(after[component] - before[component]) / 2:
        return f"{name} {moved}"
    return f"others {'rose' if way < 0 else 'fell'}, most of all {name}, which {moved}"


def _lost(seen: Observation, row: Row | None) -> str:
    """Whom the prior took most from."""
    if row is None:
        return ""
    before, after = row.weights
    change = (before - after)[1:]
    most = int(change.argmax())
    if change[most] < ROUNDING:
        return ""
    old, new = percent(float(before[most + 1]), float(after[most + 1]))
    lost = named(seen.tokens, most + 1)
    return f" {lost[0].upper()}{lost[1:]} lost most, from {old} to {new}."


def _elsewhere(seen: Observation, row: Row | None) -> str:
    """What else changed in a row whose cell did not."""
    if row is None:
        return "."
    before, after = row.weights
    most = int(np.abs(after - before).argmax())
    if abs(after[most] - before[most]) < ROUNDING:
        return ": no weight of this row changed."
    old, new = percent(float(before[most]), float(after[most]))
    return f"; in this row {named(seen.tokens, most)} changed most, from {old} to {new}."
