"""Lessons and notes on the pages: a link leads, controls are closed, a lesson is made of one's own views."""

import json
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from nvib.lab.share import lesson, link
from nvib.lab.share.lesson import CONTROLS, PLACES, Lesson, Step
from nvib.show import lessons, session, sidebar
from nvib.show.draw import verbatim
from nvib.show.lessons import Place
from tests.support.folders import ROOT
from tests.support.pages import opened
from tests.support.scenes import SHORT

WORDS = "Look *here*, <b>now</b> at $x$."
FIRST = replace(SHORT["minilm"], kind="encoder", note=WORDS)
SECOND = replace(FIRST, encoder_alpha=0.0, layer=2, note="And at this.")
TWO = Lesson("Two [views]", (Step("Explore", FIRST, ("view",)), Step("Pseudo-counts", SECOND, ("temperatures",))))


def led(at=1, found=TWO, **query):
    return opened("Explore", lesson=lesson.to_word(found), step=str(at), **query)


def told(app):
    """What stands about a lesson or of a note below the title."""
    return [m.value for m in app.markdown if m.value.startswith(("**Two", "**Note.**", "**Sinks**"))]


def pages(app, label):
    """(page, parameters) of the links with a label."""
    found = [link.proto for link in app.main.get("page_link") if link.proto.label == label]
    return [(proto.page, dict(parse_qsl(proto.query_string, keep_blank_values=True))) for proto in found]


def pressed(app, page, query):
    """Go where a link leads."""
    app.switch_page(str(ROOT / page))
    app.query_params.clear()
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def test_a_lessons_link_opens_its_view_and_says_its_sentence():
    app = led()
    assert not app.exception
    assert not app.warning
    assert app.session_state["scenario"] == FIRST
    assert told(app) == [f"**{verbatim(TWO.title)}**, 1 of 2. {verbatim(WORDS)}"]
    query = {name: values if isinstance(values, str) else values[0] for name, values in app.query_params.items()}
    assert query == link.encode(FIRST) | {"lesson": lesson.to_word(TWO), "step": "1"}
    assert pages(app, "Previous") == pages(app, "Back to the lesson's view") == []


def test_the_next_view_is_one_link_away_and_a_changed_one_comes_back():
    app = led()
    [(page, query)] = pages(app, "Next")
    app = pressed(app, "pages/2_Pseudo-counts.py", query)
    assert "Pseudo-counts" in page
    assert app.session_state["scenario"] == SECOND
    assert told(app) == [f"**{verbatim(TWO.title)}**, 2 of 2. And at this."]
    assert not pages(app, "Next")
    app.select_slider(session.key("encoder_alpha")).set_value(1.0).run()
    assert "You have changed the view since." in [caption.value for caption in app.caption]
    assert app.session_state["scenario"] == replace(SECOND, encoder_alpha=1.0)
    [(_, query)] = pages(app, "Back to the lesson's view")
    app = pressed(app, "pages/2_Pseudo-counts.py", query)
    assert app.session_state["scenario"] == SECOND
    assert "You have changed the view since." not in [caption.value for caption in app.caption]


GROUPS = {  # a control of each group, on a model that has all of them drawn
    "model": "model", "text": "text", "temperatures": "encoder_sigma", "prior": "prior", "view": "head",
}  # fmt: skip


@pytest.mark.parametrize("left", [(), *((name,) for name in CONTROLS), tuple(CONTROLS)])
def test_a_view_has_the_controls_that_it_leaves_open(left):
    app = led(found=Lesson("Two", (Step("Explore", FIRST, left),)))
    keys = {widget.key for kind in ("selectbox", "text_area", "select_slider") for widget in app.sidebar.get(kind)}
    for name, field in GROUPS.items():
        assert (session.key(field) in keys) == (name in left), name
    folds = [fold.label for fold in app.sidebar.expander]
    assert ("Would anything else do?" in folds) == ("peers" in left)
    assert ("Layers and effect" in folds) == ("temperatures" in left)
    closed = [words for name, words in CONTROLS.items() if name not in left]
    said = [caption.value for caption in app.sidebar.caption if caption.value.startswith("This lesson has closed")]
    sentence = f"This lesson has closed: {'; '.join(closed)}. To have all controls, leave it."
    assert said == ([sentence] if closed else [])
    assert app.session_state["scenario"] == FIRST  # what is not drawn keeps its value


def test_who_leaves_a_lesson_keeps_the_view_and_has_all_controls():
    app = led()
    app.button("leave-lesson").click().run()
    assert app.session_state["scenario"] == FIRST
    assert told(app) == [f"**Note.** {verbatim(WORDS)}"]
    assert "lesson" not in app.query_params
    assert app.select_slider(session.key("encoder_sigma")).value == FIRST.encoder_sigma


def test_a_link_with_a_view_of_its_own_keeps_it_in_the_lesson():
    changed = replace(FIRST, encoder_sigma=0.25)
    app = led(**link.encode(changed))
    assert app.session_state["scenario"] == changed
    assert "You have changed the view since." in [caption.value for caption in app.caption]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"lesson": "x"}, "The link's lesson cannot be read and was left out; copy the whole link."),
        ({"lesson": "0123456789abcdef"}, lessons.FORGOTTEN),
        ({"lesson": "sinks", "step": "9"},
         "The link's step='9' is no view of the lesson, which has 5; the first is shown."),
        ({"lesson": "sinks", "step": "-1"},
         "The link's step='-1' is no view of the lesson, which has 5; the first is shown."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_lessons_link_is_one_sentence(query, sentence):
    app = opened("Gallery", **query)
    assert [warning.value.replace("\\", "") for warning in app.warning] == [sentence]
    assert not app.exception


def test_a_view_that_cannot_be_shown_leaves_the_way_out():
    app = led(found=Lesson("Two", (Step("Explore", replace(FIRST, model="no/such")), Step("Explore", FIRST))))
    assert app.error
    assert told(app)
    assert pages(app, "Next")


def test_the_gallery_lists_the_lesson_and_begins_those_that_ship():
    app = opened("Gallery", lesson=lesson.to_word(TWO))
    assert [label for label in ("1. Explore", "2. Pseudo-counts") if not pages(app, label)] == []
    assert verbatim(WORDS) in [caption.value for caption in app.caption]
    begun = [query["lesson"] for n in (5, 7) for _, query in pages(app, f"Begin, {n} views")]
    assert sorted(begun) == sorted(lesson.SHIPPED)
    app.button("leave-lesson-listed").click().run()
    assert not pages(app, "1. Explore")


def test_a_note_is_written_on_the_page_and_read_as_it_is():
    app = opened("Explore", **link.encode(replace(FIRST, note="")))
    assert told(app) == []
    app.session_state["note"] = True
    app.run()
    app.text_area(session.key("note")).set_value(WORDS).run()
    assert told(app) == [f"**Note.** {verbatim(WORDS)}"]
    assert app.session_state["scenario"] == FIRST
    assert WORDS in app.query_params["note"]


def added(app):
    app.session_state["note"] = True
    app.run()
    next(button for button in app.button if button.label == "Add this view to my lesson").click().run()
    return app


def saved(app):
    """The lesson that the page would save."""
    [button] = [b for b in app.get("download_button") if b.proto.label == "Save it, .json"]
    assert not button.proto.disabled
    return Lesson(app.session_state[lessons.DRAFT].title, tuple(app.session_state[lessons.DRAFT].steps.values()))


def test_a_lesson_is_made_of_ones_own_views():
    app = added(added(opened("Explore", **link.encode(FIRST))))
    app = pressed(app, "pages/6_Gallery.py", {})
    app.session_state["own-lesson"] = True
    app.run()
    assert saved(app) == Lesson("A lesson", (Step("Explore", FIRST, ("temperatures", "view")),) * 2)
    app.text_input("lesson_title_2").set_value(" Mine ").run()
    app.text_area("lesson_note_2").set_value("The second.").run()
    app.multiselect("lesson_opens_2").set_value(["text"]).run()
    app.button("lesson_up_2").click().run()
    edited = Step("Explore", replace(FIRST, note="The second."), ("text",))
    assert saved(app) == Lesson("Mine", (edited, Step("Explore", FIRST, ("temperatures", "view"))))
    app.button("lesson_remove_1").click().run()
    assert saved(app) == Lesson("Mine", (edited,))
    [(_, query)] = pages(app, "Try it")
    assert lesson.from_word(query["lesson"]) == saved(app)
    app.text_input("lesson_title_2").set_value(" ").run()
    assert [error.value for error in app.error] == ["A lesson's title is one line of 1 to 80 characters; mend it."]


def test_a_lesson_has_twelve_views_at_most():
    app = opened("Explore", **link.encode(FIRST))
    app.session_state[lessons.DRAFT] = lessons.Draft("T", {n: Step("Explore", FIRST) for n in range(12)}, 12)
    app.session_state["note"] = True
    app.run()
    [button] = [button for button in app.button if button.label == "Add this view to my lesson"]
    assert button.disabled


def test_a_lesson_is_opened_from_a_file_to_go_on_with():
    app = opened("Gallery")
    app.session_state["own-lesson"] = True
    app.run()
    app.file_uploader("lesson_file").upload("l.json", lesson.to_json(TWO).encode(), "application/json").run()
    assert saved(app) == TWO
    app.file_uploader("lesson_file").upload("l.json", b"{}", "application/json").run()
    assert [error.value for error in app.error] == ["The file 'l.json' is no lesson; give one that this app saved."]
    assert saved(app) == TWO


def test_a_lesson_too_long_for_a_link_is_led_through_by_a_name_of_this_servers():
    noise = "".join(map(chr, range(0x4E00, 0x4E00 + 4000)))
    long = Lesson("Two", (Step("Explore", FIRST), Step("Explore", replace(SECOND, other_text=noise))))
    app = opened("Explore", **lessons.parameters(Place(long, 1)))
    assert not app.warning
    assert app.session_state["scenario"] == long.steps[1].scenario


def test_a_lesson_may_be_on_every_page_that_has_a_scenario():
    assert set(PLACES) == set(sidebar.USED)
    assert json.loads(lesson.to_json(TWO))["views"][1]["page"] == "Pseudo-counts"
