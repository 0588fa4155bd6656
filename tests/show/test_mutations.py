"""The tests of what holds the server together fail without it: each is run on code from which one line was taken."""

import threading

import pytest

from nvib.show import boundary, draw, limits, page, resources
from nvib.show.gate import Gate
from nvib.show.leases import Leases
from tests.support import waiting
from tests.support.folders import ROOT


class Outcomes:
    """What came of the tests of a run of pytest inside of this one."""

    def __init__(self):
        self.found = []

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.found.append(report.outcome)


@pytest.fixture
def outcomes(monkeypatch):
    """A function: a test by its file and name -> what comes of it on the code as it is now."""
    monkeypatch.setattr(threading, "excepthook", lambda *_: None)  # of threads that a failed test leaves waiting

    def until(true):
        """As `waiting.until`, for half a second."""
        for _ in range(100):
            if true():
                return
            waiting.moment()
        raise AssertionError("it never came to that")

    monkeypatch.setattr(waiting, "until", until)

    def run(name):
        plugin = Outcomes()
        pytest.main([str(ROOT / "tests" / "show" / name), "-q", "-p", "no:cacheprovider", "-n0"], plugins=[plugin])
        return set(plugin.found)

    return run


LEASE = "test_leases.py::test_what_a_run_uses_stays_and_another_goes"
BOUND = "test_gate.py::test_so_many_at_once_and_no_more"
LINE = "test_gate.py::test_a_full_line_is_one_sentence"
ESCAPE = "test_hostile_prior.py::test_markup_of_an_origin_is_text[name-image]"
OFFER = "test_modes.py::test_a_page_says_the_same_of_a_folder_that_is_there_and_of_one_that_is_not[Prior]"
VEIL = "test_modes.py::test_no_place_of_the_server_is_in_a_sentence"
WORK = "test_modes.py::test_a_visitor_has_so_much_of_the_models_within_an_hour"


def lent(self, key):
    """A value, and nobody counts who has it."""
    return self._kept[key].value


def unbounded(taken=Gate._taken):
    def take(self, run):
        self.at_once = 10**6
        return taken(self, run)

    return take


def endless(made=Gate.__init__):
    return lambda self, at_once, longest, *given, **named: made(self, at_once, 10**6, *given, **named)


MUTATIONS = {
    "the lease": (LEASE, [(Leases, "_leased", lent)]),
    "the bound of forwards": (BOUND, [(Gate, "_taken", unbounded())]),
    "the bound of the line": (LINE, [(Gate, "__init__", endless())]),
    "the escape of a metadata key": (ESCAPE, [(module, "verbatim", lambda text: text) for module in (draw, page)]),
    "the list of models": (OFFER, [(resources, "meant", lambda name: name)]),
    "the veil of paths": (VEIL, [(boundary, "limits", limits.Limits)]),
    "the hour of work": (WORK, [(Gate, "_require_work", lambda self, run: None)]),
}


@pytest.mark.parametrize(("test", "changes"), MUTATIONS.values(), ids=MUTATIONS)
def test_without(outcomes, monkeypatch, test, changes):
    assert outcomes(test) == {"passed"}
    for change in changes:
        monkeypatch.setattr(*change)
    assert "failed" in outcomes(test)
