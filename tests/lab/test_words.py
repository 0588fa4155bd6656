"""What a view says in words: its numbers against the textbook, its reasons against what would be without them."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from nvib.lab import EXAMPLES, Scenario, observe
from nvib.lab.view import words
from nvib.lab.view.cell import TERMS, Cell
from nvib.lab.view.outputs import Generated, NextToken, Similarity
from tests.support.folders import ROOT
from tests.support.scenes import SHORT, exact

TOKENS = ["The", "cat", "sat", "on"]


def made(shifts, prior=None, key=1, sink=None, terms=("match", "norm")):
    """An observation's cell and row of four tokens with the given change of each term, and a prior's score under NV."""
    shifts = np.atleast_2d(np.array(shifts, float))
    before = np.vstack([[2.0, 3.0, 1.0, 0.5], np.zeros((len(terms) - 1, 4))])
    after = before.copy()
    after[: len(shifts)] += shifts
    totals = [
        np.log(np.exp(side.sum(0)).sum() + (math.exp(sink) if sink is not None else 0.0)) for side in (before, after)
    ]
    column = np.full((len(terms), 1), np.nan)
    new = column.copy()
    if prior is not None:
        new[:] = 0.0
        new[0] = prior
        totals[1] = np.logaddexp(totals[1], prior)
    row = words.Row(list(terms), np.hstack([column, before]), np.hstack([new, after]), tuple(totals))
    sides = row.baseline[:, key + 1], row.regularised[:, key + 1]
    cell = Cell(3, key, 0, [TERMS[term] for term in terms], *sides, *totals)

    class Seen:
        tokens = TOKENS

    Seen.cell = cell
    return Seen, row


def test_the_prior_is_the_reason_where_it_took_the_weight():
    seen, row = made(np.zeros(4), prior=4.0)
    scores, prior = np.exp([2.0, 3.0, 1.0, 0.5]), math.exp(4)
    shares = scores[1] / scores.sum(), scores[1] / (scores.sum() + prior), prior / (scores.sum() + prior)
    old, new, mass = (f"{100 * share:.0f} %" for share in shares)
    assert words.why(seen, row) == f"The weight fell from {old} to {new} because the prior takes {mass} of this row."


def test_another_token_is_the_reason_where_it_took_the_weight():
    seen, row = made([0, 0, 3.0, 0], prior=-8.0)
    told = words.why(seen, row)
    before, after = row.weights
    share = [f"{100 * side[3]:.0f} %" for side in (before, after)]
    assert told.endswith(f" because “sat” (token 2) rose from {share[0]} to {share[1]}.")
    assert "prior" not in told


def test_a_token_that_lost_is_the_reason_where_the_weight_rose():
    seen, row = made([0, 0, -4.0, 0], key=0)
    assert "The weight rose from" in words.why(seen, row)
    assert "because “sat” (token 2) fell from" in words.why(seen, row)


@pytest.mark.parametrize(
    ("terms", "term"),
    [
        (("match", "norm"), "norm and pseudo-count together"),
        (("match", "log_variance"), "variance term"),
        (("norm", "match"), "match with the query"),
        (("norm", "position"), "position bias"),
    ],
)
def test_the_scores_own_term_is_the_reason_where_it_moved(terms, term):
    seen, row = made([[0.1] * 4, [0, -2.0, 0, 0]], prior=-8.0, terms=terms)
    assert words.why(seen, row).endswith(
        f"because its own score fell by 2.00 nats beside the row's median token, most by its {term}."
    )


def test_norm_and_pseudo_count_that_cancel_are_no_reason():
    seen, row = made([[0, -1.0, 0, 0], [0, 30.0, 0, 0], [0, -30.1, 0, 0]], terms=("match", "log_alpha", "norm"))
    assert "fell by 1.10 nats beside the row's median token, most by its match with the query." in words.why(seen, row)


def test_what_moves_a_whole_row_changes_nothing():
    seen, row = made([7.5] * 4)
    assert words.why(seen, row) == "The weight stays at 63 %: no weight of this row changed."
    seen, row = made([0, 0, 0, 0], key=1)
    assert words.why(seen, row) == "The weight stays at 63 %: no weight of this row changed."


def test_what_else_changed_is_told_where_the_cell_did_not():
    seen, row = made([0, 0, math.log(2), -5.0], key=0, prior=None)
    moved = np.exp([2.0, 3.0, 1.0 + math.log(2), -4.5])
    shift = math.log(moved.sum() / np.exp([2.0, 3.0, 1.0, 0.5]).sum())
    seen, row = made([shift, 0, math.log(2), -5.0], key=0)
    while abs(row.weights[1][1] - row.weights[0][1]) >= 1e-5:  # the cell's own score makes up for the others'
        shift += math.log(row.weights[0][1] / row.weights[1][1])
        seen, row = made([shift, 0, math.log(2), -5.0], key=0)
    assert words.why(seen, row).startswith("The weight stays at 23 %; in this row “")


def test_a_learned_sink_may_be_what_took():
    seen, row = made(np.zeros(4), sink=0.0)
    row = replace(row, totals=(row.totals[0], np.log(np.exp(row.totals[1]) + 40.0)))
    seen.cell = replace(seen.cell, regularised_total=row.totals[1])
    assert "because the learned sink rose from" in words.why(seen, row)


def test_many_small_takers_are_told_as_others():
    seen, row = made([2.0, 0.0, 2.0, 2.0], prior=-9.0)
    told = words.why(seen, row)
    assert "own score fell by 2.00 nats" in told  # three of four moved: the fourth is the odd one
    found = words.causes(row, 2)
    assert found.others == pytest.approx(math.log(row.weights[1][2] / row.weights[0][2]) - found.own - found.prior)


def test_a_key_that_is_not_seen_and_a_prior_that_is_none():
    seen, row = made(np.zeros(4))
    seen.cell = replace(seen.cell, baseline=np.full(2, np.nan), regularised=np.full(2, np.nan))
    assert words.why(seen, row) == "The query does not see this key: its weight is 0 on both sides."
    seen.cell = replace(seen.cell, key=-1)
    assert words.why(seen, row).startswith("The prior is no part of this row: identity of τα removes it")


def test_what_the_prior_takes_and_from_whom():
    seen, row = made(np.zeros(4), prior=4.0)
    seen.cell = replace(seen.cell, key=-1, baseline=np.full(2, np.nan), regularised=np.array([4.0, 0.0]))
    mass = row.weights[1][0]
    old, new = (round(100 * side[2]) for side in row.weights)
    assert words.why(seen, row) == (
        f"The prior takes {100 * mass:.0f} % of this row, and the baseline has no such component. “cat” (token 1) lost "
        f"most, from {old} % to {new} %."
    )


def weights_said(told):
    """The two weights that a sentence says."""
    return [float(each) / 100 for each in re.search(r"from ([\d.]+) % to ([\d.]+) %", told).groups()]


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize(
    "changes", [{}, {"decoder_alpha": math.inf, "encoder_alpha": math.inf, "cross_alpha": math.inf}]
)
def test_reasons_hold_on_real_models(benches, name, changes):
    """Weights are the textbook's, and without the reason that is given most of the change is gone."""
    bench, scenario = benches(name), replace(SHORT[name], head=SHORT[name].head if SHORT[name].head != "mean" else "0")
    scenario = replace(scenario, **changes)
    _, untouched, regularised = exact(bench, scenario)
    seen = observe(bench, scenario)
    before, after = (
        side.attentions[seen.kind][seen.layer][0, int(scenario.head)].numpy() for side in (untouched, regularised)
    )
    reasons = set()
    for query in (0, len(seen.query_tokens) - 1):
        for key in range(len(seen.tokens)):
            scenario = replace(scenario, cell=f"{query},{key}")
            seen = observe(bench, scenario)
            row = words.row_of(bench, scenario, seen)
            np.testing.assert_allclose(row.weights[0], before[query], atol=2e-4)
            np.testing.assert_allclose(row.weights[1], after[query], atol=2e-4)
            told = words.why(seen, row)
            old, new = before[query, key + 1], after[query, key + 1]
            if "because" not in told:
                assert abs(new - old) < 3e-4
                continue
            np.testing.assert_allclose(weights_said(told), [old, new], atol=6e-3)
            assert ("fell" if new < old else "rose") == told.split()[2]
            change = math.log(new / old)
            first = told.split("because ")[1].split(", and ")[0]
            if first.startswith("the prior takes"):
                left = math.log(new / (1 - after[query, 0]) / old)  # as if the prior took nothing
                reasons.add("prior")
            elif first.startswith("its own score"):
                reasons.add("own")
                amount = float(re.search(r"by ([\d.]+) nats", first)[1]) * math.copysign(1, change)
                odds = new / max(1e-12, 1 - new) * math.exp(-amount)
                left = math.log(odds / (1 + odds) / old)  # as if its score had moved as the median token's
                if abs(amount) < 0.01:
                    continue
            else:
                reasons.add("others")
                continue
            assert left * math.copysign(1, change) < abs(change)
    assert reasons


@pytest.mark.parametrize("name", SHORT)
def test_what_took_a_heads_attention_agrees_with_the_textbook(benches, name):
    bench, scenario = benches(name), SHORT[name]
    seen = observe(bench, scenario)
    layer, head = words.most_changed(seen)[0]
    _, untouched, regularised = exact(bench, scenario)
    before, after = (side.attentions[seen.kind][layer][0, head].mean(0).numpy() for side in (untouched, regularised))
    found = words.taken(bench, scenario, seen, layer, head)
    gained = after - before
    assert gained[found.taker] == pytest.approx(gained.max(), abs=2e-4)
    assert gained[found.loser] == pytest.approx(gained.min(), abs=2e-4)
    np.testing.assert_allclose(found.gained, [before[found.taker], after[found.taker]], atol=2e-4)
    told = words.heads_in_words(seen, found)
    which = "The only head changed by" if seen.change.size == 1 else f"Layer {layer}, head {head} changed most, by"
    assert told.startswith(which)
    share = float(re.search(r"now takes ([\d.]+) %", told)[1]) / 100
    assert share == pytest.approx(after[found.taker], abs=6e-3)
    assert ("the prior now takes" in told) == (found.taker == 0)


def test_heads_come_by_change_and_those_that_changed_alike_in_their_order(benches):
    seen = observe(benches("smollm2"), EXAMPLES["smollm2"])
    found = words.most_changed(seen)
    assert len(found) == 5
    every = sorted(np.ndindex(*seen.change.shape), key=lambda at: (-round(float(seen.change[at]) * 1e4), at))
    assert [tuple(at) for at in found] == every[:5]
    assert words.most_changed(replace(seen, change=np.ones((3, 4)))) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]


def test_heads_in_words_without_their_maps():
    class Seen:
        change = np.array([[0.1, 0.4]])
        prior_mass = np.array([[0.0, 0.176]])
        entropy, baseline_entropy = np.array([[1.0, 2.0]]), np.array([[1.5, 1.0]])
        tokens = TOKENS

    assert (
        words.heads_in_words(Seen)
        == "Layer 0, head 1 changed most, by 0.400: the prior now takes 18 % of its attention."
    )
    Seen.prior_mass = np.zeros((1, 2))
    assert words.heads_in_words(Seen).endswith("its attention is more spread, from 1.000 to 2.000 nats of entropy.")
    Seen.entropy = np.zeros((1, 2))
    assert "more peaked, from 1.000 to 0.000 nats" in words.heads_in_words(Seen)
    told = words.heads_in_words(Seen, words.Taken(2, (0.1, 0.3), 1, (0.5, 0.2)))
    assert told.endswith(
        "“cat” (token 1) now takes 30 % of its attention, up from 10 %; “The” (token 0) loses most, from 50 % to 20 %."
    )
    Seen.change, Seen.prior_mass = np.array([[0.179]]), np.array([[0.04]])
    assert words.heads_in_words(Seen) == "The only head changed by 0.179: the prior now takes 4 % of its attention."
    Seen.change = np.full((1, 2), 4e-5)
    assert words.heads_in_words(Seen) == "No head attends otherwise than the baseline's does."


def test_identity_changes_nothing(benches):
    scenario = Scenario(model="minilm", text="A good film.")
    seen = observe(benches("minilm"), scenario)
    assert words.most_changed(seen) == []
    assert "no weight of this row changed" in words.why(seen, words.row_of(benches("minilm"), scenario, seen))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.6, 0.19), ["60 %", "19 %"]), ((0.601, 0.604), ["60.1 %", "60.4 %"]), ((0.5, 0.5), ["50 %", "50 %"]),
        ((0.0, 0.004), ["0.0 %", "0.4 %"]), ((1.0, 0.9999), ["100.00 %", "99.99 %"]),
        ((0.2, 2e-5), ["20 %", "less than 0.01 %"]),
        ((0.99999,), ["more than 99.99 %"]), ((0.0,), ["0 %"]), ((1.0,), ["100 %"]),
    ],
)  # fmt: skip
def test_shares_are_told_apart(values, said):
    assert words.percent(*values) == said


@pytest.mark.parametrize(
    ("kl", "word", "kept"),
    [(0.0, "none to speak of", "100 %"), (0.03, "slight", "97 %"), (0.05, "clear", "95 %"), (0.7, "strong", "50 %"),
     (5.5, "another distribution", "0.4 %")],
)  # fmt: skip
def test_a_kl_in_words(kl, word, kept):
    assert (
        words.kl_in_words(kl)
        == f"{word}: tokens that the baseline would say keep {kept} of their probability, in the geometric mean"
    )


def test_the_share_that_a_kl_keeps_is_the_geometric_mean():
    p, q = (np.random.default_rng(n).dirichlet(np.ones(6)) for n in range(2))
    kl = float((p * np.log(p / q)).sum())
    kept = np.prod((q / p) ** p)
    assert f"keep {100 * kept:.0f} % of their" in words.kl_in_words(kl)


def test_the_scale_of_a_kl_stands_in_the_docs_once():
    text = (ROOT / "docs" / "pages.md").read_text("utf-8")
    low = 0.0
    for high, word in words.KL_SCALE.items():
        bounds = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more"
        assert text.count(f"| {bounds} | {word} |") == 1
        low = high


def next_token(old, new):
    return NextToken(["a", "b"], np.array(old), np.array(new), np.array([1, 2]), np.array([1, 2]), 0.1, 0.1)


@pytest.mark.parametrize(
    ("output", "same", "told"),
    [
        (next_token([0.6, 0.2], [0.5, 0.3]), True,
         "Both models continue with “a”: 60 % under the baseline, 50 % under NV."),
        (next_token([0.6, 0.2], [0.1, 0.3]), False,
         "The next token changes from “a” to “b”: NV gives “a” 10 % instead of 60 %, and “b” 30 % instead of 20 %."),
        (next_token([0.225, 0.224], [0.2, 0.3]), False,
         ("The next token changes from “a” to “b”: NV gives “a” 20.0 % instead of 22.5 %, and “b” 30.0 % instead of "
          "22.4 %.")),
        (Generated(["x"], ["y"], ["y"], np.zeros(1), np.zeros(1)), True, "Both models write “y”."),
        (Generated(["x", "z"], ["y", "w"], ["y", "w"], np.zeros(2), np.zeros(2)), True,
         "Both models write the same for all 2 rows."),
        (Generated(["x", "z"], ["y", "w"], ["y", "v"], np.zeros(2), np.zeros(2)), False,
         "The output of 1 of 2 rows changes; that of “z” from “w” to “v”."),
        (Similarity(np.eye(1), np.eye(1), np.array([0.9])), True,
         "NV's embedding of the sentence has cosine 0.900 to the baseline's."),
        (Similarity(np.eye(2) + 0.2, np.eye(2) + 0.3, np.ones(2)), True,
         "The cosine of the two sentences is 0.200 under the baseline and 0.300 under NV."),
        (Similarity(np.array([[1, 0.5, 0.2], [0.5, 1, 0.1], [0.2, 0.1, 1]]),
                    np.array([[1, 0.2, 0.5], [0.2, 1, 0.1], [0.5, 0.1, 1]]), np.ones(3)), False,
         "1 of 3 sentences have another nearest neighbour; the nearest of sentence 1 was 2 and is 3."),
        (Similarity(np.array([[1, 0.5, 0.2], [0.5, 1, 0.1], [0.2, 0.1, 1]]),
                    np.array([[1, 0.5, 0.2], [0.5, 1, 0.1], [0.2, 0.1, 1]]), np.array([1, 0.8, 0.9])), True,
         "Every sentence keeps its nearest neighbour; sentence 2 moves most, to cosine 0.800 of its own baseline."),
    ],
)  # fmt: skip
def test_the_answer_in_words(output, same, told):
    assert words.answer(output) == told
    assert words.same(output) is same


def test_a_quoted_text_is_one_short_line():
    assert words.quoted("a\nb") == "“a b”"
    assert len(words.quoted("x" * 500)) == words.LONGEST + 2
    assert words.quoted("שלום") == "“\u2068שלום\u2069”"
