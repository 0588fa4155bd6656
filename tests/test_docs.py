"""The docs are true: their made parts are up to date, what there is stands in them, links lead somewhere, code runs."""

import ast
import re
from pathlib import Path

import pytest

import nvib
from nvib.lab import cli
from nvib.lab.scenario import FIELDS
from nvib.lab.sweep.paper import PAPER
from nvib.lab.sweep.tasks import TASKS
from nvib.show.menu import PAGES
from tests.support import docs
from tests.support.folders import ROOT

DOCS = ROOT / "docs"
TEXTS = {
    path: path.read_text("utf-8")
    for path in (*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")), ROOT / "benchmarks" / "RESULTS.md")
}
SOURCES = [path for place in ("nvib", "pages", "tools") for path in (ROOT / place).rglob("*.py")] + [ROOT / "app.py"]
CODE = "\n".join(path.read_text("utf-8") for path in SOURCES)
READS_ENVIRONMENT = r"""environ(?:\[|\.get\()["'](\w+)|getenv\(["'](\w+)|["'](\w+)["'] in os\.environ"""


def of(page):
    return TEXTS[DOCS / f"{page}.md"]


# Made parts


@pytest.mark.parametrize(("path", "made"), docs.documents().items(), ids=lambda value: getattr(value, "name", ""))
def test_made_parts_are_up_to_date(path, made):
    assert path.read_text("utf-8") == made, "run make docs"


def test_every_module_is_on_the_map():
    rooms = {f"{folder}/{name}" for folder in docs.ROOMS.values() for name, _ in docs.modules(folder)}
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nvib").rglob("*.py")}
    silent = {name for name in there if not ast.get_docstring(ast.parse((ROOT / name).read_text("utf-8")))}
    assert there - rooms == silent
    assert all(name.endswith("__init__.py") for name in silent)


# What there is stands in them


def test_every_verb_and_option():
    text = of("command-line")
    for name, verb in docs.verbs().items():
        assert f"\n## {name}\n" in text
        assert f"[`{name}`](#{name})" in text
        for action in verb._actions:
            said = docs.spelled(action)
            assert said == "--help" or f"`{said}" in text, f"{name} {action}"


def test_every_field():
    for name in FIELDS:
        assert f"| `{name}` | `{cli.option(name)}` |" in of("scenario")


def test_every_environment_variable():
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    found = {name for names in re.findall(READS_ENVIRONMENT, CODE + tests) for name in names if name}
    assert found >= {"NVIB_CACHE", "XDG_CACHE_HOME"}
    table = of("command-line").partition("## Environment variables")[2].partition("\n## ")[0]
    assert found == set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def test_every_verb_and_variable_of_make():
    makefile, (_, _, part) = (ROOT / "Makefile").read_text("utf-8"), of("command-line").partition("\n## make\n")
    (verbs,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert set(verbs.split()) - {"FORCE"} == set(re.findall(r"^\| `make (\w+)` \|", part, re.MULTILINE))
    assert set(re.findall(r"^(\w+) \?=", makefile, re.MULTILINE)) == set(re.findall(r"^\| `([A-Z]+)` \|", part, re.M))


def test_every_public_name():
    for name in nvib.__all__:
        assert re.search(rf"^\| `nvib\.{name}\b", of("python"), re.MULTILINE), name


def test_every_task():
    for name in (*TASKS, "own", *PAPER):
        assert f"`{name}`" in of("sweeps").partition("## What is chosen")[0]


def test_every_page():
    for name in PAGES.values():
        assert f"| {name} |" in of("pages")
        assert f"\n## {name}\n" in of("pages")


def test_every_supported_family():
    said = of("python").partition("## Supported models")[2].replace("-", "").lower()
    for name in nvib.families.ADAPTERS:
        assert re.sub("(Self|Cross)?Attention$", "", name).lower() in said, name


# The glossary


def rows_of_glossary():
    for line in of("glossary").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] != "term" and set(cells[0]) != {"-"}:
            yield cells


def test_every_table_of_the_glossary_has_the_same_columns():
    heads = re.findall(r"^\| term .*$", of("glossary"), re.MULTILINE)
    assert len(heads) == 7
    assert set(heads) == {"| term | symbol | meaning | shown as | code |"}
    assert all(len(row) == 5 and row[0] and row[2] for row in rows_of_glossary())


def test_one_meaning_a_term():
    terms = [row[0] for row in rows_of_glossary()]
    assert len(terms) == len(set(terms))
    symbols = [row[1] for row in rows_of_glossary() if re.fullmatch(r"\S{1,3}", row[1])]
    assert len(symbols) == len(set(symbols))


def test_the_code_has_the_glossarys_names():
    for term, *_, code in rows_of_glossary():
        for name in re.findall(r"`([^`]+)`", code):
            word = re.findall(r"\w+", name)[-1]
            assert (ROOT / name).exists() or re.search(rf"\b{word}\b", CODE), f"{term}: {name}"


def test_limits_and_citation_stand_once():
    for path, text in TEXTS.items():
        assert path == DOCS / "limits.md" or "Attention is not explanation" not in text
    cited = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"version: {nvib.__version__}\n" in cited
    assert "title: Nonparametric Variational Regularisation of Pretrained Transformers" in cited
    assert f"\n## {nvib.__version__}\n" in TEXTS[ROOT / "CHANGELOG.md"]


# Links


def anchors(text):
    """The anchors of a page's headings, as a reader of Markdown makes them."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    plain = re.sub(r"^```.*?^```", "", TEXTS[path], flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", plain):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        to = (path.parent / name).resolve() if name else path
        assert to.is_relative_to(ROOT), target
        assert to.exists(), target
        assert not anchor or anchor in anchors(to.read_text("utf-8")), target


def test_every_page_of_docs_is_linked_from_the_readme():
    for path in DOCS.glob("*.md"):
        assert f"(docs/{path.name})" in TEXTS[ROOT / "README.md"]


def test_every_picture_is_small_and_shown():
    shown = "\n".join(TEXTS.values())
    for path in (DOCS / "pictures").iterdir():
        assert f"pictures/{path.name})" in shown
        assert path.stat().st_size < 150_000
    drawing = (DOCS / "pictures" / "link-to-picture.svg").read_text("utf-8")
    assert "<script" not in drawing
    assert "prefers-color-scheme: dark" in drawing


def test_files_that_are_named_exist():
    for path, text in TEXTS.items():
        if path.name == "CHANGELOG.md":
            continue
        for name in re.findall(r"`((?:nvib|tests|tools|assets|benchmarks|docs|pages)/[\w./-]*)`", text):
            assert (ROOT / name).exists(), f"{path.name}: {name}"


# Code


def test_every_python_block_runs():
    names = {}
    first, *others, last = re.findall(r"```python\n(.*?)```", of("python"), re.DOTALL)
    for block in (first, *others):
        exec(compile(block, "python.md", "exec"), names)
    batch, heads, queries = names["seen"].change["decoder", 12].shape
    assert (batch, heads) == (1, 9)
    assert names["seen"].attention["decoder", 12].shape == (batch, 2, queries, queries + 1)
    assert names["ids"].shape[1] == queries + 20 or names["ids"][0, -1] == names["loaded"].tokenizer.eos_token_id
    exec(compile(last, "python.md", "exec"), names)
    assert names["seen"].change.shape == (6, 12)


# Attacks


def test_every_attack_is_a_test():
    """At least forty, each with a test that there is."""
    text = of("security")
    named = re.findall(r"^\|.*\| `([\w/.]+)::(\w+)` \|$", text, re.M)
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| what is tried")]
    assert len(rows) == len(named) == len(set(named)) >= 40
    for path, test in named:
        assert f"\ndef {test}(" in (ROOT / "tests" / path).read_text("utf-8"), (path, test)
