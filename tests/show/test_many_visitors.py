"""Several visitors of one server: what is in use stays, who waits is told, and no number is another's."""

import random
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from streamlit.runtime.scriptrunner import RerunData, RerunException

from nvib import NVError
from nvib.lab import Bench, Scenario, observe
from nvib.lab.sweep.measures import LIKELIHOOD, Example
from nvib.lab.sweep.run import Plan, read_findings, sweep
from nvib.lab.sweep.space import space
from nvib.lab.sweep.tasks import Task
from nvib.memory import Memory
from nvib.show import gate as gates
from nvib.show import resources, waiting
from nvib.show.gate import Gate
from nvib.show.leases import Leases
from tests.support.folders import save
from tests.support.pages import opened
from tests.support.tiny import model_of
from tests.support.waiting import until

TEXTS = ["the cat sat", "the mat sat on the cat", "on the mat"]
KEPT = 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Five local models: one architecture, other weights."""
    return [str(save(tmp_path_factory.mktemp(f"model{seed}"), model_of("llama", seed=seed))) for seed in range(5)]


@pytest.fixture
def three_fit(folders, monkeypatch):
    """A server that keeps three of these models, and nothing of what they say."""
    sizes = []
    Bench(folders[0], ready=sizes.append).close()
    leases = Leases(KEPT * sizes[0], Bench.close, 60.0)
    monkeypatch.setattr(resources, "BENCHES", leases)
    monkeypatch.setattr(resources, "_observations", Memory(1))
    yield leases
    leases.clear()


def view(folder, alpha, text):
    return Scenario(model=folder, text=text, prior="normal", decoder_alpha=alpha, decoder_sigma=0.3)


def numbers(seen):
    return [seen.regularised, seen.baseline, seen.change, seen.prior_mass, seen.output.kl]


def swept(bench, folder, path):
    """Value and change of every measurement of a small sweep."""
    sets = {name: [Example(text) for text in TEXTS] * 2 for name in ("in", "out")}
    plan = Plan(
        Task("made up", folder, LIKELIHOOD, sets, ("in",), ""), space(view(folder, 0.0, ""), "decoder_alpha=1,2")
    )
    sweep(bench, plan, path)
    rows = read_findings(plan, path, bench.shape.revision).rows
    return sorted((row.name, row.part, row.point.decoder_alpha, row.result.value, row.result.change) for row in rows)


def test_five_models_three_kept_twelve_visitors_and_sweeps_among_them(folders, three_fit, tmp_path):
    """Every number is the one that a model has alone, under its setting: never the untouched model's, or an error."""
    settings = [(folder, alpha, text) for folder in folders for alpha in (1.0, 2.0) for text in TEXTS]
    wanted, wanted_sweeps = {}, {}
    for number, folder in enumerate(folders):
        bench = Bench(folder)
        for setting in settings:
            if setting[0] == folder:
                wanted[setting] = numbers(observe(bench, view(*setting)))
        wanted_sweeps[folder] = swept(bench, folder, tmp_path / f"alone{number}.db")
        bench.close()
    wrong, errors, most = [], [], [0]

    def visitor(number):
        rng = random.Random(number)
        try:
            for turn in range(6):
                with resources.visit():
                    folder = rng.choice(folders)
                    bench = resources.bench(folder)
                    most[0] = max(most[0], three_fit.size)
                    if number % 4 == 0 and turn % 3 == 0:
                        path = tmp_path / f"{number}-{turn}.db"
                        if swept(bench, folder, path) != wanted_sweeps[folder]:
                            wrong.append((number, "sweep"))
                        continue
                    setting = rng.choice([each for each in settings if each[0] == folder])
                    seen = resources.observation(bench, view(*setting))
                    if not all(map(partial(np.allclose, atol=1e-5), numbers(seen), wanted[setting])):
                        wrong.append((number, setting))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=visitor, args=(number,)) for number in range(12)]
    [thread.start() for thread in threads]
    [thread.join(120) for thread in threads]
    assert not errors
    assert not wrong
    assert most[0] <= three_fit.budget
    assert len([folder for folder in folders if resources.loaded(folder)]) == KEPT


def test_a_model_that_does_not_fit_is_refused_before_its_weights_are_read(folders, monkeypatch):
    monkeypatch.setattr(resources, "BENCHES", Leases(1000, Bench.close, 60.0))
    monkeypatch.setattr("nvib.models.loading._from_folder", None)
    with pytest.raises(NVError, match=r"^This model's weights take \d+ kB, and this server keeps 1\.0 kB of models: "):
        resources.bench(folders[0])


@pytest.fixture
def held(monkeypatch):
    """A page gate of one page, which another visitor has."""
    gate = Gate(1, 1, 60.0)
    monkeypatch.setattr(resources, "PAGES", gate)
    ends, begun = threading.Event(), threading.Event()

    def other():
        with gate.run("other", lambda place: None), gate.turn():
            begun.set()
            ends.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait(10)
    yield gate, ends
    ends.set()
    thread.join(10)


@pytest.mark.parametrize("page", ["Explore", "Pseudo-counts", "Compare", "Sweep", "Prior", "Method"])
def test_a_page_that_waits_says_its_place_and_then_no_more(held, monkeypatch, page):
    gate, ends = held
    said = []

    def say(sentence):
        before(sentence)
        said.append(sentence)
        if sentence:
            ends.set()

    before = waiting.say
    monkeypatch.setattr(waiting, "say", say)
    app = opened(page, model="g2p", text="treaty")
    assert said[0] == ""
    assert next(filter(None, said)).startswith("You are next in line for the model; it is your turn in about ")
    assert not app.exception
    assert not [alert.value for alert in app.info if "in line" in alert.value]
    assert gate.counts["waits"] == 1


def test_a_full_line_is_one_sentence_on_the_page_and_the_menu_stays(held):
    gate, ends = held

    def in_line():
        with gate.run("in line", lambda place: None), gate.turn():
            pass

    thread = threading.Thread(target=in_line)
    thread.start()
    until(lambda: gate.waiting)
    app = opened("Explore", model="g2p", text="treaty")
    ends.set()
    thread.join(10)
    (alert,) = app.error
    assert alert.value.startswith("The server is busy, 1 visitor is waiting for the model already; come back in about ")
    assert not app.exception
    assert "Sweep" in [link.proto.label for link in app.get("page_link")]


def test_long_work_and_waiting_for_others_leave_room_for_other_pages(monkeypatch):
    gate = Gate(1, 10, 60.0)
    monkeypatch.setattr(resources, "PAGES", gate)
    monkeypatch.setattr(gates, "SHORT", -1.0)  # all work is long
    with resources.visit():
        gate.enter()
        with resources.GATE.turn():
            pass
        assert not gate._inside
    kept, begun, ends = Memory(4), threading.Event(), threading.Event()

    def slow():
        begun.set()
        ends.wait(30)
        return "made"

    maker = threading.Thread(target=lambda: kept.get("key", slow))
    maker.start()
    begun.wait(10)
    found = []

    def waits():
        with resources.visit():
            gate.enter()
            found.append(kept.get("key", slow))

    waiter = threading.Thread(target=waits)
    waiter.start()
    until(lambda: gate.counts["turns"] == 2 and not gate._inside)
    assert not found
    ends.set()
    [thread.join(10) for thread in (maker, waiter)]
    assert found == ["made"]


def test_who_waits_for_a_model_leaves_room_for_other_pages(monkeypatch):
    pages, models = Gate(1, 10, 60.0), Gate(1, 10, 60.0)
    monkeypatch.setattr(resources, "PAGES", pages)
    monkeypatch.setattr(resources, "GATE", models)
    had = []

    def visits():
        with resources.visit():
            pages.enter()
            with models.turn():
                had.append("a turn")

    visitor = threading.Thread(target=visits)
    with models.run("other", lambda place: None), models.turn():
        visitor.start()
        until(lambda: models.waiting and pages.counts["turns"] == 1 and not pages._inside)
        assert not had
    visitor.join(10)
    assert had == ["a turn"]


@pytest.mark.parametrize("work", ["estimate", "observation", "walk", "check"])
def test_a_visitor_who_leaves_ends_the_work_at_the_next_forward(benches, monkeypatch, work):
    """Streamlit ends a run where the page looks at its session; what was begun takes one more forward at most."""
    bench = Bench("g2p")
    gate = Gate(1, 10, 60.0)
    gate.guard(bench.model)
    monkeypatch.setattr(resources, "GATE", gate)
    forwards, left = [], []
    bench.model.register_forward_hook(lambda *_: forwards.append(len(left)))

    def say(_sentence):
        if len(forwards) >= 2:
            left.append(1)
            raise RerunException(RerunData())

    monkeypatch.setattr(waiting, "say", say)
    shipped = Scenario(model="g2p", text="treaty nightingale", encoder_alpha=1.0)
    own = replace(shipped, prior="text", prior_text="winter\nwonder")
    does = {
        "estimate": lambda: resources.prior(bench, own),
        "observation": lambda: resources.observation(bench, shipped),
        "walk": lambda: resources.walk(bench, shipped, lambda share: None),
        "check": lambda: resources.check(bench, lambda line: None),
    }
    with pytest.raises(RerunException), resources.visit():
        does[work]()
    assert left
    assert sum(forwards) == 0  # none after it left
    assert not gate._inside
    bench.close()
