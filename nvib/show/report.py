"""What leaves a page as a file: its report, its tables, and the words that say where the numbers come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from nvib.lab import Scenario
from nvib.lab.model.shape import Shape
from nvib.lab.scenario import SCALES_OF_SETTING
from nvib.lab.share import link
from nvib.lab.share.record import jsonable
from nvib.lab.uploads import SOURCE, guarded
from nvib.settings import KINDS

ROWS, COLUMNS = 100, 40  # of a table in the report; the whole is in its own file
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
<!-- figures -->
{tables}
</body></html>
"""


def about(page: str, shape: Shape, scenario: Scenario, made: link.Made) -> dict[str, str]:
    """Where numbers come from, by name: what stands under every figure and in every file."""
    setting = [f"{kind} τα {scenario.temperature(kind).alpha:g}, τσ {scenario.temperature(kind).sigma:g}"
               + (f", layers {layers}" if (layers := getattr(scenario, f"{kind}_layers")) else "")
               for kind in KINDS if kind in shape.kinds]  # fmt: skip
    for name, value in scenario.changed().items():
        if name in ("mu", "effect", *SCALES_OF_SETTING):
            shown = f"{value:g}" if isinstance(value, float) else value
            setting.append(f"{'τμ' if name == 'mu' else name.replace('_', ' ')} {shown}")
    kind = scenario.kind or shape.kinds[-1]
    how = f", temperature {scenario.sampling_temperature:g}, top-p {scenario.top_p:g}" if scenario.dice else ""
    way = f"{'sampled' if scenario.sampled else 'greedy'}{how}, {scenario.length} tokens at most"
    words = {
        "setting": "; ".join(setting).replace("inf", "identity"),
        "prior": scenario.prior + (f" {scenario.prior_id}" if scenario.prior == "own" else ""),
        "view": f"{kind} layer {scenario.layer}, head {scenario.head}, row {scenario.row + 1}",
        **({"generation": way} if page == "Compare" and shape.mode.writes else {}),
        "seed": str(scenario.seed),
        **({"chat": "the text is a chat turn"} if scenario.chat else {}),
        "text": " ".join(scenario.text.split())[:200],
    }
    return in_export(shape, words, made)


def in_export(shape: Shape, words: Mapping[str, str], made: link.Made) -> dict[str, str]:
    """What stands in an export beside the words of its page: the model and the app."""
    return {"model": shape.called, "revision": shape.revision, **words, "app": f"{link.APP} {made.app}"}


def caption(source: Mapping[str, str]) -> str:
    """Where numbers come from, in one line."""
    return " · ".join(f"{name}: {value}" for name, value in source.items())


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


def document(page: str, about: Mapping[str, str], tables: Mapping[str, Callable[[], pd.DataFrame]]) -> str:
    """The page as one HTML document with a place for its figures; big tables are cut, and say so."""
    entries = "".join(f"<dt><b>{escape(name)}</b></dt><dd>{escape(value)}</dd>" for name, value in about.items())
    return REPORT.format(
        title=escape(f"NVIB Explorer, {page}"),
        about=entries,
        tables="\n".join(_table(title, make()) for title, make in tables.items()),
    )


def _table(title: str, table: pd.DataFrame) -> str:
    """A table under its title, cut where it is big."""
    cut = table.iloc[:ROWS, :COLUMNS]
    shown = f"<p>{cut.shape[0]} of {table.shape[0]} rows, {cut.shape[1]} of {table.shape[1]} columns.</p>"
    html = cut.to_html(index=False, float_format="{:.6g}".format)
    note = "" if cut.shape == table.shape else shown
    return f'<h2>{escape(title)}</h2>{note}<div class="wide">{html}</div>'
