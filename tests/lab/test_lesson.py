"""Lessons: links and files of them come back as they were, hostile ones are one sentence, and what ships is so."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvib import NVError
from nvib.lab import Scenario, observe
from nvib.lab.share import lesson, link
from nvib.lab.share.lesson import CONTROLS, MOST, PLACES, Lesson, Step

VIEW = Scenario(model="g2p", text="thought\nchamomile", encoder_sigma=0.5, kind="cross", note="“Look” <b>here</b>")
TITLES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1, max_size=80).filter(
    lambda title: title.strip()
)
STEPS = st.builds(
    Step, st.sampled_from(PLACES),
    st.builds(
        Scenario, model=st.sampled_from(["g2p", "some/model"]), text=st.text(st.characters(codec="utf-8"), max_size=60),
        note=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=400),
        mu=st.sampled_from([1.0, (0.5, 0.25)]), layer=st.integers(0, 999),
    ),
    st.sets(st.sampled_from(list(CONTROLS))).map(tuple),
)  # fmt: skip


def made(*steps, title="A title"):
    return Lesson(title, steps or (Step("Explore", VIEW),))


@given(st.builds(Lesson, TITLES, st.lists(STEPS, min_size=1, max_size=MOST).map(tuple)))
def test_a_lesson_comes_back_from_its_link_and_its_file(found):
    assert lesson.from_json("x.json", lesson.to_json(found).encode()) == found
    word = lesson.to_word(found)
    assert len(word) <= lesson.LONGEST
    if word:
        assert lesson.from_word(word) == found


def test_a_control_that_is_named_twice_is_open_once():
    data = file([{**GOOD, "open": ["text", "view", "text"] * 1000}])
    assert lesson.from_json("x.json", data).steps[0].opens == ("text", "view")


def test_a_lesson_that_is_too_long_has_no_word():
    noise = "".join(map(chr, range(0x4E00, 0x4E00 + 4000)))
    assert lesson.to_word(made(Step("Explore", replace(VIEW, text=noise)))) == ""
    views = [Step("Compare", replace(VIEW, layer=n, note=f"{n} " + "What is said of a view in a lesson. " * 5))
             for n in range(MOST)]  # fmt: skip
    assert 0 < len(lesson.to_word(made(*views))) < lesson.LONGEST


def file(views, **changes):
    return json.dumps({"format": lesson.FORM, "version": "1", "title": "T", "views": views} | changes).encode()


GOOD = {"page": "Explore", "open": ["text"], "scenario": {}}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"[", "The file 'x.json' is no JSON; give a lesson that this app saved."),
        (b"[" * 200_000, "is no JSON"),
        (b"{}", "The file 'x.json' is no lesson; give one that this app saved."),
        (link.to_json(VIEW, link.Made()).encode(), "is no lesson; give one"),
        (file([GOOD], version="2"), "is of another version; this app reads up to 1."),
        (file([GOOD], version=[]), "is of another version"),
        (file([GOOD], title=3), "holds no title, or no list of views; give a lesson that this app saved."),
        (file({}), "holds no title, or no list of views"),
        (file([GOOD], title=" "), "A lesson's title is one line of 1 to 80 characters; mend it."),
        (file([GOOD], title="x" * 81), "A lesson's title is one line"),
        (file([GOOD], title="a\nb"), "A lesson's title is one line"),
        (file([GOOD], title="\ud800"), "A lesson's title is one line"),
        (file([]), "A lesson has 1 to 12 views, not 0; mend it."),
        (file([GOOD] * 40), "A lesson has 1 to 12 views, not 13; mend it."),
        (file(["x"]), "holds a view without page, open and scenario; give a lesson that this app saved."),
        (file([{**GOOD, "open": "text"}]), "holds a view without page, open and scenario"),
        (file([{**GOOD, "page": None}]), "holds a view without page, open and scenario"),
        (file([{**GOOD, "page": "../x"}]), "View 1 is on '../x'; give one of Explore, Pseudo-counts, Compare, Heads"),
        (file([GOOD, {**GOOD, "open": ["<b>"]}]), "View 2 leaves '<b>' open; give some of model, text, temperatures"),
        (file([{**GOOD, "open": [[1]]}]), "View 1 leaves '[1]' open; give some of"),
        (file([{**GOOD, "scenario": {"__class__": 1}}]), "holds '__class__', which is no control of this app"),
        (file([{**GOOD, "scenario": {"note": "x" * 401}}]), "holds 'note', which"),
        (file([{**GOOD, "scenario": {"layer": -1}}]), "holds 'layer', which = '-1' is not legal; mend it."),
        (b" " * (link.MOST_BYTES + 1), "a lesson has 4,194,304 at most."),
    ],
)  # fmt: skip
def test_a_hostile_lesson_file_is_one_sentence(data, sentence):
    with pytest.raises(NVError) as told:
        lesson.from_json("x.json", data)
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "content",
    [None, 3, [], ["T"], ["T", 3], ["T", [3]], ["T", [["Explore", ["text"]]]], ["T", [["Explore", 1, {}]]], {"T": []},
     ["T", [["Explore", [], {"layer": "x"}]]], ["T", [["Explore", [], {"layer": []}]]], ["T", []], [3, []]],
)  # fmt: skip
def test_a_hostile_lesson_link_is_one_sentence(content):
    with pytest.raises(NVError, match=r"^(The link's lesson|A lesson) .*\.$"):
        lesson.from_word(link.packed(content))


@pytest.mark.parametrize("word", ["", "x", "sink", "../sinks", "eNq", "=", "é", "A" * 3000])
def test_what_is_no_lesson_in_a_link(word):
    with pytest.raises(NVError, match=r"The link's lesson cannot be read and was left out; copy the whole link\."):
        lesson.from_word(word)


def test_shipped_lessons_are_links_by_their_names():
    for name in lesson.SHIPPED:
        found = lesson.from_word(name)
        assert lesson.to_word(found) == name
        assert lesson.from_json(name, lesson.to_json(found).encode()) == found
        assert all(step.scenario.note for step in found.steps)
        assert all(link.encode(step.scenario) for step in found.steps)


def seen_of(name, bench):
    """What each view of a shipped lesson on Explore's page or Pseudo-counts shows."""
    return [observe(bench, step.scenario) for step in lesson.shipped(name).steps]


def share(output, side, token):
    return getattr(output, side)[output.tokens.index(token)]


def test_what_the_lesson_on_pseudo_counts_says_is_so(benches):
    seen = seen_of("pseudo-count", benches("smollm2"))
    notes = [step.scenario.note for step in lesson.shipped("pseudo-count").steps]
    first, counts, joined, taken, strong, prior = seen[:6]
    assert "Nothing is regularised here, so grey and blue say the same: Paris." in notes[0]
    np.testing.assert_allclose(first.output.baseline, first.output.regularised, atol=1e-6)
    assert first.output.tokens[int(first.output.baseline.argmax())] == "·Paris"
    assert "In layer 11 all eight lie between 1.7 and 2.0 nats." in notes[1]
    states = np.array(counts.log_alpha[11])
    assert len(states) == 8
    assert (round(float(states.min()), 1), round(float(states.max()), 1)) == (1.7, 2.0)
    assert "At τα = 0 it counts about as much as a token, 1.9 nats in layer 11." in notes[2]
    assert round(float(joined.prior_log_alpha[11]), 1) == 1.9
    assert "takes 4 % of all attention, and nearly 10 % in layer 11" in notes[3]
    assert round(100 * float(taken.prior_mass.mean())) == 4
    assert 0.09 < taken.prior_mass[11].mean() < 0.1
    assert "Paris falls from 96 % to 91 %" in notes[3]
    falls = [round(100 * float(share(taken.output, side, "·Paris"))) for side in ("baseline", "regularised")]
    assert falls == [96, 91]
    assert "At τα = −4 it takes over a fifth of the attention, and Paris has 49 % left" in notes[4]
    assert 0.2 < strong.prior_mass.mean() < 0.25
    assert round(100 * float(share(strong.output, "regularised", "·Paris"))) == 49
    assert "640 summaries of the English Wikipedia" in notes[5]
    assert "640 English Wikipedia summaries" in prior.provenance["corpus"]
    asked = replace(lesson.shipped("pseudo-count").steps[4].scenario, decoder_alpha=-6.0)
    further = observe(benches("smollm2"), asked).output  # "where does Paris stop being first?"
    assert further.tokens[int(further.regularised.argmax())] != "·Paris"


def test_what_the_lesson_on_sinks_says_is_so(benches):
    seen = seen_of("sinks", benches("smollm2"))
    notes = [step.scenario.note for step in lesson.shipped("sinks").steps]
    parked, drained, taken, kept = seen[:4]
    assert "In layer 3, head 3, every later token gives “one” more than half of its attention." in notes[0]
    assert (parked.layer, parked.head, parked.keys[0]) == (3, "3", "one")
    assert (parked.baseline[1:, 0] > 0.5).all()
    assert "leaves the first token 14 % of the attention of the later ones" in notes[1]
    assert round(100 * float(drained.regularised[1:, 1].mean())) == 14
    said = [drained.output.tokens[int(getattr(drained.output, s).argmax())] for s in ("baseline", "regularised")]
    assert said[0] == "·three" != said[1]
    assert "in layer 11 it has a third of all attention" in notes[2]
    assert taken.prior_mass[11].mean() == pytest.approx(1 / 3, abs=0.02)
    assert taken.prior_mass.mean(1).argmax() == 11
    assert "a sink again, of 97 %; “three” is back, and surer than it was: 41 % for 36 %." in notes[3]
    assert round(100 * float(kept.regularised[1:, 1].mean())) == 97
    shares = [round(100 * float(share(kept.output, side, "·three"))) for side in ("regularised", "baseline")]
    assert shares == [41, 36]
    assert kept.output.regularised.argmax() == kept.output.tokens.index("·three")
