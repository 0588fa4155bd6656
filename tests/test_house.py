"""The tests themselves: none imports another, and none waits for time to pass."""

import ast

import pytest

from tests.support.folders import ROOT

MODULES = {str(path.relative_to(ROOT)): path for path in sorted((ROOT / "tests").rglob("*.py"))}
SHARED = ("tests.support", "tests.browser.conftest")  # the latter is what a browser's fixtures give
CLOCKS = {"sleep", "wait_for_timeout", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time_ns"}


def tree(name):
    return ast.parse(MODULES[name].read_text("utf-8"))


def imported(name):
    """The modules of the tests that one imports, wherever the line stands."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def called(name):
    """The names of what a module calls."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", ""))


@pytest.mark.parametrize("name", MODULES)
def test_no_test_imports_another(name):
    others = {each for each in imported(name) if each.split(".")[0] in ("tests", "")}
    assert {each for each in others if not each.startswith(SHARED)} == set()


@pytest.mark.parametrize("name", MODULES)
def test_no_test_waits_for_time_to_pass(name):
    assert CLOCKS & set(called(name)) == set()
    assert "time" not in set(imported(name))


def test_a_clock_in_a_text_of_a_test_is_no_way_around():
    """As in a program that a test runs."""
    texts = [n.value for name in MODULES for n in ast.walk(tree(name)) if isinstance(n, ast.Constant)]
    clocks = [f"{clock}(" for clock in CLOCKS]
    assert [text for text in texts if isinstance(text, str) and any(clock in text for clock in clocks)] == []
