"""Every sentence that a user can be told of an error is asserted in some test, in words that no other sentence has."""

import ast

import pytest

from tests.support.folders import ROOT

LONG = 14  # characters of a sentence that a test must have in one piece, where it is that long
ERRORS = ("NVError", "ValueError")
CALLS = ("refuse", "stop")  # of a page
INTERNAL = {  # raised to be caught where they are raised, or for who calls a function of ours wrongly
    "not parameters", "nothing that was packed", "no such attribute", "layers is empty; give at least one.",
}  # fmt: skip


def fragments(node):
    """The constant parts of a string or f-string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from fragments(part)
    elif isinstance(node, ast.BinOp):
        yield from fragments(node.left)
        yield from fragments(node.right)


def sentences():
    """(place, constant parts) of whatever is raised or refused with words of its own."""
    for path in [*sorted((ROOT / "nvib").rglob("*.py")), ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            parts = [" ".join(part.split()) for part in fragments(node.args[0])]
            if name in ERRORS + CALLS and any(len(part) > 3 for part in parts) and not INTERNAL & set(parts):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", parts


def docstrings(tree):
    """The nodes that say what a module or function is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            yield node.body[0].value


def words_of_tests():
    """Every string of every test, one after the other, but for what is said of the test itself."""
    texts = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path.name != "test_sentences.py":
            tree = ast.parse(path.read_text("utf-8"))
            said = set(docstrings(tree))
            found = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and n not in said)
            texts += [n.value for n in found if isinstance(n.value, str)]
    return "\0".join(" ".join(text.replace("\\", "").split()) for text in texts)


SENTENCES = dict(sentences())


def test_there_are_sentences():
    assert len(SENTENCES) > 80


@pytest.fixture(scope="module")
def corpus():
    return words_of_tests()


@pytest.mark.parametrize("place", SENTENCES)
def test_a_sentence_is_asserted(place, corpus):
    parts = [part for part in SENTENCES[place] if len(part) >= LONG] or [max(SENTENCES[place], key=len)]
    others = [part for other, found in SENTENCES.items() if other != place for part in found]
    windows = [part[n : n + LONG] for part in parts for n in range(max(1, len(part) - LONG + 1))]
    own = [window for window in windows if not any(window in other for other in others)] or windows
    assert any(window in corpus for window in own), f"no test has a part of {parts}"
