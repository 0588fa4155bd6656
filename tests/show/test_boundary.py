"""Whatever is raised on a page is one sentence with a number, and the visitor can leave it."""

import re
import traceback

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from nvib import NVError
from nvib.lab import Bench
from nvib.lab.share import gallery
from nvib.show import boundary, pick, resources, session, share, sidebar
from nvib.show.menu import PAGES
from tests.support import tiny
from tests.support.folders import ROOT, save
from tests.support.pages import PATHS, charts, opened

KNOWN = re.compile(
    r"This page met an error that it does not know \(ZeroDivisionError, number ([0-9a-f]{6})\); choose an"
)
PLANTED = "planted by a checkpoint,\nover two lines"
LEAST = {"Explore": 4, "Pseudo-counts": 3, "Compare": 3, "Heads": 1, "Sweep": 2, "Prior": 6, "Method": 0}  # charts


class Broken:
    """A tokenizer that fails at whatever is asked of it."""

    def __getattr__(self, name):
        raise ZeroDivisionError(PLANTED)

    def __call__(self, *_given, **_options):
        raise ZeroDivisionError(PLANTED)


def planted(*_given, **_options):
    raise ZeroDivisionError(PLANTED)


def for_one(folder, whole):
    """A function that fails where it is called with, or for, the model of a folder."""

    def maybe(*given, **options):
        if any(folder in (each, getattr(each, "name", ""), getattr(each, "model", "")) for each in given):
            planted()
        return whole(*given, **options)

    return maybe


def load(monkeypatch, folder):
    monkeypatch.setattr(resources, "Bench", for_one(folder, Bench))


def tokenise(monkeypatch, folder):
    def broken(name, *where, **options):
        bench = Bench(name, *where, **options)
        if name == folder:
            object.__setattr__(bench.loaded, "tokenizer", Broken())
        return bench

    monkeypatch.setattr(resources, "Bench", broken)


def forward(monkeypatch, folder):
    def broken(name, *where, **options):
        bench = Bench(name, *where, **options)
        if name == folder:
            bench.model.register_forward_pre_hook(planted)
        return bench

    monkeypatch.setattr(resources, "Bench", broken)


def controls(monkeypatch, folder):
    monkeypatch.setattr(sidebar, "controls", for_one(folder, sidebar.controls))


def draw(monkeypatch, folder):
    monkeypatch.setattr(share, "toolbar", for_one(folder, share.toolbar))


EVERYWHERE = [load, controls, draw]
OF_A_TEXT = [tokenise, forward]
PLACES = [(page, plant) for page in PATHS for plant in EVERYWHERE] + [
    (page, plant) for page in PATHS if page not in ("Sweep", "Heads") for plant in OF_A_TEXT
]


def numbers(app):
    """The numbers of the page's errors, each checked to be one sentence."""
    told = [error.value.replace("\\", "") for error in app.error]
    assert all("\n" not in sentence and PLANTED[:7] not in sentence for sentence in told)
    return [KNOWN.search(sentence).group(1) for sentence in told]


@pytest.mark.parametrize(("page", "plant"), PLACES)
def test_an_error_is_a_sentence_with_a_number_and_another_model_can_be_chosen(
    page, plant, tmp_path, monkeypatch, caplog
):
    folder = str(save(tmp_path, tiny.bert()))
    plant(monkeypatch, folder)
    app = opened(page, v="2", model=folder, text="the cat sat\non the mat", prior="normal", mu="0.9")
    assert not app.exception
    found = numbers(app)
    assert found
    for number in found:
        (record,) = [record for record in caplog.records if number in record.getMessage()]
        assert PLANTED in str(record.exc_info[1])
        assert any(frame.name == "planted" for frame in _frames(record)) or plant is tokenise
    assert len(app.sidebar.get("page_link")) == len(PAGES)
    app.sidebar.selectbox(key="scenario_model").set_value("minilm").run()
    assert not app.exception
    assert not app.error
    assert len(charts(app)) >= (LEAST[page] if page != "Sweep" else 0)
    assert app.session_state["scenario"].model == "minilm"


def _frames(record):
    return traceback.extract_tb(record.exc_info[2])


@pytest.mark.parametrize("page", PATHS)
def test_a_link_that_cannot_be_read_leaves_the_page_open(page, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr(session.link, "decode", planted)
        app = opened(page, v="2", model="minilm")
    assert not app.exception
    assert len(numbers(app)) == 1
    assert len(caplog.records) >= 1
    app.sidebar.selectbox(key="scenario_model").set_value("minilm").run()
    assert not app.exception
    assert not app.error
    assert app.session_state["scenario"].model == "minilm"


def test_the_gallery_keeps_its_menu(monkeypatch, caplog):
    monkeypatch.setattr(gallery, "stored", planted)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.switch_page("pages/6_Gallery.py").run()
    assert not app.exception
    assert len(numbers(app)) == 1
    assert len(app.sidebar.get("page_link")) == len(PAGES)


def raised(make):
    try:
        make()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_our_own_sentences_stand_as_they_are_and_have_no_number(caplog):
    for make in (lambda: sidebar.layer_range("5-1-2"), lambda: Bench("no such model at all")):
        error = raised(make)
        assert boundary.sentence(error) == str(error)
    assert boundary.sentence(NVError("As it is.")) == "As it is."
    assert not caplog.records


def test_what_other_libraries_say_is_not_taken_for_ours(caplog):
    for make in (lambda: np.zeros(3).reshape(2, 2), lambda: int("x"), lambda: {}["missing"]):
        assert re.search(r"number [0-9a-f]{6}\)", boundary.sentence(raised(make)))
    assert len(caplog.records) == 3


@pytest.mark.parametrize("choose", [
    lambda app: app.sidebar.text_area(key="scenario_text").set_value("the mat"),
    lambda app: app.sidebar.selectbox(key="example").select_index(0),
    lambda app: app.selectbox(key="why_1_1").select_index(0),
], ids=["text", "example", "box"])  # fmt: skip
def test_an_error_of_a_choice_is_told_on_the_page_that_follows(choose, monkeypatch, caplog):
    app = opened("Explore", v="2", model="minilm", text="the cat", encoder_sigma="0.3")
    for module, name in ((sidebar, "forget_cell"), (pick, "explain")):
        monkeypatch.setattr(module, name, planted)
    drawn = len(charts(app))
    app.run()  # with the callbacks that are planted
    choose(app).run()
    assert not app.exception
    assert len(numbers(app)) == 1
    assert len(charts(app)) >= drawn
    app.run()
    assert not app.error
