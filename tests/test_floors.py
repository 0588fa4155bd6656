"""The floors of the house: imports run one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "nvib"
BELOW_SHOW = [path for path in ROOT.rglob("*.py") if "show" not in path.parts]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_there_is_something_to_check():
    assert len(BELOW_SHOW) > 15


@pytest.mark.parametrize("path", BELOW_SHOW, ids=lambda path: str(path.relative_to(ROOT)))
def test_floors(path):
    lab = "lab" in path.parts or path.name == "__main__.py"  # the command line stands on the lab, as the pages do
    for name in imported(path):
        assert name.split(".")[0] not in ("streamlit", "plotly"), f"{path} imports {name}"
        assert not name.startswith("nvib.show"), f"{path} imports {name}"
        assert lab or not name.startswith("nvib.lab"), f"{path} imports {name}"
