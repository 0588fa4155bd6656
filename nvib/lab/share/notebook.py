"""A view's Python as a notebook: what it is of, its program in cells, a picture of its maps, and how to cite it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from hashlib import sha256
from itertools import pairwise
from typing import Any

PICTURE = """import plotly.express as px

for name, values in maps.items():
    named = {"x": "key, the prior first", "y": "query", "color": "weight"}
    px.imshow(values.numpy(), title=f"Attention, {name}", labels=named, color_continuous_scale="Blues").show()"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
HASHED = 12  # digits of a notebook's cell names


def notebook(program: str, title: str, about: Mapping[str, str], cited: str) -> str:
    """A notebook in format 4.5 whose cells, run from first to last, do what a program does.

    about: what the numbers come from, by name; cited: BibTeX. Where the program ends with attention `maps`, a cell
    draws them. It names no output: to run it is to compute.
    """
    facts = "\n".join(f"- {name}: {_plain(value)}" for name, value in about.items())
    sources = [("code", part) for part in parts(program)]
    if "\nmaps = " in program:
        sources.append(("code", PICTURE))
    told = ("markdown", f"# {_plain(title)}\n\n{facts}")
    ends = ("markdown", f"## How to cite\n\n```bibtex\n{cited.strip()}\n```")
    cells = [_cell(n, *each) for n, each in enumerate([told, *sources, ends])]
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    whole = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, ensure_ascii=False, indent=1)


def parts(program: str) -> list[str]:
    """A program in parts that run one after the other: each function, and each block with what follows it."""
    lines = program.split("\n")
    blocks = [node.lineno - 1 for node in ast.parse(program).body if isinstance(node, ast.FunctionDef | ast.With)]
    found = ("\n".join(lines[start:end]).strip("\n") for start, end in pairwise([0, *blocks, len(lines)]))
    return [part for part in found if part]


def _cell(number: int, kind: str, source: str) -> dict[str, Any]:
    name = sha256(f"{number} {source}".encode()).hexdigest()[:HASHED]
    rest: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": name, "metadata": {}, "source": source.splitlines(keepends=True), **rest}


def _plain(text: str) -> str:
    """A text in Markdown as it is: in a code span, which no backtick of its own ends."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return text if re.fullmatch(r"[\w ]*", text) else f"{fence} {text} {fence}"
