"""What leaves a page as a file: its report, its tables, and the words that say where the numbers come from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from nvib.lab import Observation, Scenario
from nvib.lab.instead import in_words
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import SCALES_OF_SETTING
from nvib.lab.share import link
from nvib.lab.share.record import jsonable
from nvib.lab.uploads import SOURCE, guarded
from nvib.settings import KINDS

CELLS = 50_000  # of a table in the report; a larger one is whole in its own file
TEXT = 200  # characters of the text in a caption
REPORT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #0F1318; }}
figure {{ margin: 1rem 1rem 1rem 0; display: inline-block; }} img {{ max-width: 100%; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }} dd {{ margin: 0; }}
table {{ border-collapse: collapse; font: 13px monospace; }} .wide {{ overflow-x: auto; }}
th, td {{ border: 1px solid #D0D7DE; padding: .15rem .4rem; text-align: left; }}
</style></head><body>
<h1>{title}</h1>
<dl>{about}</dl>
{sentences}
<!-- figures -->
{tables}
</body></html>
"""


def each(scenario: Scenario, name: str) -> str:
    """A temperature's value, or every layer's."""
    value = getattr(scenario, name)
    return " ".join(f"{of_layer:g}" for of_layer in (value if isinstance(value, tuple) else (value,)))


def about(page: str, shape: Shape, scenario: Scenario, made: link.Made) -> dict[str, str]:
    """Where numbers come from, by name: what stands under every figure and in every file."""
    setting = [f"{kind} τα {each(scenario, f'{kind}_alpha')}, τσ {each(scenario, f'{kind}_sigma')}"
               + (f", layers {layers}" if (layers := getattr(scenario, f"{kind}_layers")) else "")
               for kind in KINDS if kind in shape.kinds]  # fmt: skip
    if scenario.peer:
        setting = [f"not NV, but {in_words(scenario.peer)}"]
    for name, value in scenario.changed().items():
        if name in ("mu", "effect", *SCALES_OF_SETTING) and not scenario.peer:
            shown = each(scenario, name) if isinstance(value, float | tuple) else value
            setting.append(f"{'τμ' if name == 'mu' else name.replace('_', ' ')} {shown}")
    kind = scenario.kind or shape.kinds[-1]
    how = f", temperature {scenario.sampling_temperature:g}, top-p {scenario.top_p:g}" if scenario.dice else ""
    way = f"{'sampled' if scenario.sampled else 'greedy'}{how}, {scenario.length} tokens at most"
    words = {
        "setting": "; ".join(setting).replace("inf", "identity"),
        **({"baseline": f"not the untouched model, but {in_words(scenario.against)}"} if scenario.against else {}),
        "prior": scenario.prior + (f" {scenario.prior_id}" if scenario.prior == "own" else ""),
        "view": f"{kind} layer {scenario.layer}, head {scenario.head}, row {scenario.row + 1}",
        **({"generation": way} if page == "Compare" and shape.mode.writes else {}),
        "seed": str(scenario.seed),
        **({"chat": "the text is a chat turn"} if scenario.chat else {}),
        "text": " ".join(scenario.text.split()),
        **({"note": " ".join(scenario.note.split())} if scenario.note else {}),
    }
    return in_export(shape, words, made)


def in_export(shape: Shape, words: Mapping[str, str], made: link.Made) -> dict[str, str]:
    """What stands in an export beside the words of its page: the model and the app."""
    return {"model": shape.called, "revision": shape.revision, **words, "app": f"{link.APP} {made.app}"}


def found(seen: Observation) -> dict[str, str]:
    """What an observation says first, by name: how the output changed, and how far the layer is from its prior."""
    output = "; ".join(f"{name} {value:.6g}" for name, value in seen.output.numbers.items())
    gaussian, counts = seen.kl_gaussian[seen.layer], seen.kl_dirichlet[seen.layer]
    parts = [(name, value) for name, value in (("Gaussian", gaussian), ("Dirichlet", counts)) if value == value]
    to_prior = ", ".join(
        f"{name} part {'infinite' if value == float('inf') else f'{value:.6g}'}" for name, value in parts
    )
    words = {"output": output, f"KL to the prior of layer {seen.layer}, nats": to_prior}
    return {name: value for name, value in words.items() if value}


def caption(source: Mapping[str, str]) -> str:
    """Where numbers come from, in one line; a long text is cut, and says so."""
    text = source.get("text", "")
    if len(text) > TEXT:
        source = {**source, "text": f"{text[:TEXT]}… (the first {TEXT} of {len(text):,} characters)"}
    return " · ".join(f"{name}: {value}" for name, value in source.items())


def file_part(title: str) -> str:
    """A title as a part of a file's name: letters and digits of any script, and hyphens."""
    return re.sub(r"[\W_]+", "-", title.lower()).strip("-")[:80].rstrip("-")


def as_csv(table: pd.DataFrame, caption: str) -> bytes:
    """A table that spreadsheets, programs and our own uploads read; caption: its last column, where it comes from.

    It begins with the mark of UTF-8, without which Excel takes it for another encoding. A text that a spreadsheet would
    take for a formula has ' before it, which `uploads.pairs` takes away again; numbers stay numbers.
    """
    whole = table.assign(**{SOURCE: caption})
    whole = whole.apply(lambda column: column if is_numeric_dtype(column) else column.map(_guarded))
    written: str = whole.rename(columns=_guarded).to_csv(index=False, lineterminator="\r\n")
    return written.encode("utf-8-sig")


def _guarded(cell: Any) -> Any:
    return guarded(cell) if isinstance(cell, str) else cell


def as_json(table: pd.DataFrame, about: Mapping[str, str]) -> bytes:
    """A table by columns and rows; null for a number that is none."""
    rows = table.astype(object).to_numpy().tolist()
    return dumped({"about": about, "columns": [str(name) for name in table.columns], "rows": jsonable(rows)})


def dumped(content: Mapping[str, Any]) -> bytes:
    """A JSON file. Raises ValueError for a number that is none."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def document(
    page: str, about: Mapping[str, str], tables: Mapping[str, Callable[[], pd.DataFrame]], sentences: Sequence[str] = ()
) -> str:
    """The page as one HTML document with a place for its figures; a table that is cut says so.

    sentences: what the page concludes from its numbers, above the figures.
    """
    entries = "".join(f"<dt><b>{escape(name)}</b></dt><dd>{escape(value)}</dd>" for name, value in about.items())
    return REPORT.format(
        title=escape(f"NVIB Explorer, {page}"),
        about=entries,
        sentences="".join(f"<p>{escape(sentence)}</p>" for sentence in sentences),
        tables="\n".join(_table(title, make()) for title, make in tables.items()),
    )


def _table(title: str, table: pd.DataFrame) -> str:
    """A table under its title, whole where it is not huge."""
    count = min(len(table), max(1, CELLS // max(1, table.shape[1])))
    names = "".join(f"<th>{escape(str(name))}</th>" for name in table.columns)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>"
        for row in table.iloc[:count].itertuples(index=False, name=None)
    )
    cut = f"<p>The first {count:,} of {len(table):,} rows; the table's own file, CSV or JSON, has them all.</p>"
    note = "" if count == len(table) else cut
    whole = f"<table><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<h2>{escape(title)}</h2>{note}<div class="wide">{whole}</div>'


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    return escape(str(value))
