"""Every page says what it shows, the gallery's words stay with its views, and the tour has six steps at most."""

import pytest

from nvib.lab.share import gallery, link
from nvib.lab.share.gallery import ENTRIES
from nvib.show import introduction, resources
from nvib.show.menu import PAGES
from tests.support.pages import opened

STARTS = {
    "Explore": "Nonparametric variational regularisation (NV) has a pretrained Transformer attend less to the words",
    "Pseudo-counts": "A token's pseudo-count says how much it weighs",
    "Compare": "What the untouched model (baseline) and the regularised one (NV) make of the same text",
    "Sweep": "Which temperatures help on text unlike the prior's?",
    "Prior": "The prior says what a hidden state looks like before any text is read",
    "Method": "How nonparametric variational attention works",
}


@pytest.mark.parametrize("page", STARTS)
def test_a_page_begins_with_what_it_shows(page):
    app = opened(page, model="g2p")
    first, *others = [each.value for each in app.markdown if not each.value.startswith("<style")]
    assert first.startswith(STARTS[page])
    assert first not in others
    assert ("https://arxiv.org/abs/2312.00662" in first) == (page == "Explore")


def test_no_page_lacks_its_sentences_and_gallery_is_the_second():
    assert set(introduction.FIRST) == set(PAGES.values())
    assert list(PAGES.values())[:2] == ["Explore", "Gallery"]


def test_the_tour_is_short_and_every_step_has_its_place():
    assert 0 < len(introduction.STEPS) <= 6
    assert all(step.title and step.words and step.places for step in introduction.STEPS)


def test_a_page_that_cannot_be_shown_has_its_first_sentence_too():
    app = opened("Explore", v="2", model="nonsense", text="x")
    assert app.markdown[0].value.startswith(STARTS["Explore"])
    assert len(app.error) == 1


def story(app):
    return [each.value for each in app.markdown if "in the gallery)" in each.value]


def ways(app):
    links = [each.proto for each in app.get("page_link")]
    return [found.label for found in links if found.label.startswith(("Previous", "Next", "Back to"))]


def test_the_gallerys_words_stay_with_its_view():
    at = next(n for n, entry in enumerate(ENTRIES) if entry.name == "negation")
    entry = ENTRIES[at]
    resources.bench(entry.scenario.model)  # else the page waits for a browser to show its poster
    app = opened("Explore", **link.encode(entry.scenario, gallery.made(entry)))
    assert not app.exception
    assert story(app) == [f"**{entry.title}** ({at + 1} of {len(ENTRIES)} in the gallery). {entry.sentence}"]
    assert ways(app) == [f"Previous: {ENTRIES[at - 1].title}", f"Next: {ENTRIES[at + 1].title}"]
    app.select_slider(key="scenario_layer").set_value(2).run()  # another look at the same
    assert story(app)
    told = "You have changed the setting since: the sentence is of the gallery's own."
    assert told not in [each.value for each in app.caption]
    app.select_slider(key="scenario_encoder_sigma").set_value(0.2).run()
    assert story(app)
    assert told in [each.value for each in app.caption]
    assert f"Back to: {entry.title}" in ways(app)
    app.text_area(key="scenario_text").set_value("my own words").run()
    assert not story(app)
    assert not ways(app)


def test_the_ends_of_the_gallery_lead_one_way_only():
    for entry, expected in ((ENTRIES[0], "Next"), (ENTRIES[-1], "Previous")):
        app = opened("Explore", **link.encode(entry.scenario, gallery.made(entry)))
        assert [way.partition(":")[0] for way in ways(app)] == [expected]


def test_an_entry_whose_numbers_are_missing_is_led_to_all_the_same(monkeypatch):
    def missing(entry):
        raise OSError

    monkeypatch.setattr(gallery, "stored", missing)
    assert gallery.made(ENTRIES[0]) is None
