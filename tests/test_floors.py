"""The floors of the house, and its rooms: imports run one way, those inside of functions too, and in no circle."""

import ast
from graphlib import TopologicalSorter

import pytest

from tests.support.folders import ROOT

# Lower floors and rooms first; each imports from itself and from what stands before it.
FLOORS = ("core", "lab", "show")
LAB = (
    "fields",
    "instead",
    "scenario",
    "presets",
    "examples",
    "bootstrap",
    "calibration",
    "workbook",
    "uploads",
    "metrics",
    "model",
    "view",
    "sweep",
    "share",
    "cli",
)
SHOW = ("limits", "shared", "boundary", "figures", "components", "long", "lessons", "session", "steps", "switching",
        "gate", "leases", "journal", "waiting", "resources", "api", "poster", "pick", "report", "reading", "qr", "draw",
        "sidebar", "terms", "menu", "introduction", "view_line", "story", "page", "share", "sections", "counters",
        "server", "__main__")  # fmt: skip
FACADES = ("nvib", "nvib.lab")  # they name what others hold, and import it when it is asked for
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "nvib").rglob("*.py")
}


def imported(module):
    """The modules of the house that a module imports, wherever the line stands."""
    if module in FACADES:
        return set()
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in names & set(MODULES) if name not in FACADES}


def third_parties(module):
    """The first parts of whatever a module imports."""
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def floor(module):
    part = module.split(".")[1] if "." in module else ""
    return part if part in ("lab", "show") else "core"


def room(module):
    """The place of a module on its floor."""
    return module.split(".")[2] if module.count(".") > 1 else ""


def test_there_is_something_to_check():
    assert len(MODULES) > 60
    assert sum(len(imported(module)) for module in MODULES) > 200


def test_no_circle():
    graph = {module: imported(module) - {module} for module in MODULES}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert len(order) == len(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_one_direction(module):
    here = FLOORS.index(floor(module))
    if module == "nvib.__main__":  # the command's door
        assert imported(module) == {"nvib.lab.cli"}
        return
    for other in imported(module):
        assert FLOORS.index(floor(other)) <= here, f"{module} imports {other} of a higher floor"
        for name, rooms in (("lab", LAB), ("show", SHOW)):
            if floor(module) == floor(other) == name and room(module) and room(other):
                assert rooms.index(room(other)) <= rooms.index(room(module)), f"{module} imports {other}"


@pytest.mark.parametrize("module", [module for module in MODULES if floor(module) != "show"])
def test_nothing_below_show_draws(module):
    assert not {"streamlit", "plotly"} & set(third_parties(module))
