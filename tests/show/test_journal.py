"""The journal: a line for each run of a page, how it ended and what it took, and never a text or an address."""

import io
import json
import logging
import threading
from contextlib import suppress

import pytest
from streamlit.runtime.scriptrunner import RerunData, RerunException, StopException

from nvib import NVError
from nvib.show import journal, resources
from tests.support.pages import opened

SECRET = "rutabaga"


@pytest.fixture
def written(tmp_path):
    """A function: the lines so far."""
    place = tmp_path / "journal"
    journal.open_at(str(place))
    yield lambda: [json.loads(line) for line in place.read_text("utf-8").splitlines()]
    journal.open_at("")


def test_a_page_is_a_line_and_its_text_is_not_in_it(written, tmp_path):
    app = opened("Explore", model="g2p", text=f"treaty {SECRET}", encoder_alpha="1")
    assert not app.exception
    line = written()[-1]
    assert line.keys() == {"time", "visitor", "page", "model", "tokens", "forwards", "seconds", "waited", "outcome"}
    assert (line["page"], line["model"], line["outcome"]) == ("Explore", "g2p", "done")
    assert line["seconds"] > 0
    assert SECRET not in (tmp_path / "journal").read_text("utf-8")


def test_tokens_and_forwards_are_counted(written, benches):
    """Against what the tokenizer says: each forward of a text without targets has its tokens."""
    bench = resources.bench("minilm")
    texts = ["a cat sleeps on the mat", "rain"]
    batch = bench.encode(texts)
    with resources.visit():
        bench.model(**batch)
        bench.model(**batch)
    (line,) = written()
    assert line["tokens"] == 2 * batch["input_ids"].numel()
    assert line["forwards"] == 2


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        (None, "done"), (StopException(), "stopped"), (RerunException(RerunData()), "replaced"),
        (NVError("The text is empty."), "refused"), (KeyError("x"), "error"),
    ],
)  # fmt: skip
def test_how_a_run_ended(written, raised, outcome):
    with suppress(Exception, StopException, RerunException), resources.visit():
        if raised:
            raise raised
    assert written()[-1]["outcome"] == outcome


def test_a_model_that_is_refused_is_not_named(written, tmp_path):
    """What a visitor types into the box may be anything."""
    app = opened("Explore", model=f"/home/{SECRET}", text="treaty")
    assert app.error
    line = written()[-1]
    assert (line["model"], line["outcome"]) == ("", "refused")
    assert SECRET not in (tmp_path / "journal").read_text("utf-8")


def test_waits_are_counted_and_visitors_told_apart(written, monkeypatch):
    """Two visitors, one of whom waits for the other; a visitor is the same in every line."""
    gate = resources.Gate(1, 10, 60.0)
    monkeypatch.setattr(resources, "GATE", gate)
    inside, ends = threading.Event(), threading.Event()

    def one():
        with resources.visit(), gate.turn():
            inside.set()
            ends.wait(30)

    thread = threading.Thread(target=one)
    thread.start()
    inside.wait(30)
    threading.Timer(0.3, ends.set).start()
    for _ in range(2):
        with resources.visit(), gate.turn():
            pass
    thread.join(30)
    lines = written()
    other = next(line for line in lines if line["seconds"] >= 0.3 and not line["waited"])
    mine = [line for line in lines if line is not other]
    assert len({line["visitor"] for line in mine}) == 1
    assert other["visitor"] != mine[0]["visitor"]
    assert max(line["waited"] for line in mine) > 0.1


def test_nowhere_unless_it_is_asked_for(monkeypatch):
    journal.open_at("")
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger().addHandler(handler)
    with resources.visit():
        pass
    logging.getLogger().removeHandler(handler)
    assert said.getvalue() == ""


def test_to_standard_error(capsys):
    journal.open_at("-")
    with resources.visit():
        pass
    journal.open_at("")
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["outcome"] == "done"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(NVError, match=r"^NVIB_LOG='.*' cannot be written \(.*\); name another file, or - \.$"):
        journal.open_at(str(tmp_path / "none" / "journal"))
