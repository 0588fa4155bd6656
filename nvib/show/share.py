"""The bar beside a page's title: copy its link, save its figures and numbers, and the Python that computes them."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from nvib import NVError, __version__
from nvib.lab import Observation, Scenario
from nvib.lab.model.shape import Shape
from nvib.lab.share import link
from nvib.lab.share.fingerprint import differences, fingerprint
from nvib.lab.share.record import jsonable, record
from nvib.lab.share.script import script
from nvib.settings import KINDS
from nvib.show import controls, session
from nvib.show import draw as parts

ROWS, COLUMNS = 100, 40  # of a table in the report; the whole is in its own file
HERE = Path(__file__).parent / "components"
BUTTON = """
button {
  font: .875rem var(--st-font); color: var(--st-text-color); background: var(--st-background-color); cursor: pointer;
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius, .25rem); padding: .25rem .75rem;
  min-height: 2.5rem;
}
button:hover, button:focus-visible { border-color: var(--st-primary-color); color: var(--st-primary-color); }
button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
[role=status] { font-size: .8rem; overflow-wrap: anywhere; }
"""
SAVE = """
.save { display: flex; flex-direction: column; gap: .5rem; }
.line { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
.figure[hidden] { display: none; }
select {
  font: .875rem var(--st-font); color: var(--st-text-color); background: var(--st-background-color); max-width: 100%;
  border: 1px solid var(--st-border-color); border-radius: .25rem; padding: .25rem .5rem; min-height: 2.5rem;
}
"""
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

_copy = st.components.v2.component(
    "nvib_copy_link", html='<button type="button">Copy link</button> <span role="status"></span>', css=BUTTON,
    js=(HERE / "copy_link" / "copy_link.js").read_text("utf-8"),
)  # fmt: skip
_save = st.components.v2.component(
    "nvib_save",
    html='<div class="save"><div class="figure"><div class="line"><select aria-label="Figure"></select>'
    '<button type="button" data-form="png">PNG</button><button type="button" data-form="svg">SVG</button></div></div>'
    '<div class="line"><button type="button" data-form="html">Report of the page, HTML</button></div>'
    '<span role="status"></span></div>',
    css=BUTTON + SAVE,
    js=(HERE / "save" / "save.js").read_text("utf-8"),
)


def toolbar(
    page: str, shape: Shape, scenario: Scenario, seen: Observation | None, code: str | None = None,
    told: dict[str, str] | None = None,
) -> None:  # fmt: skip
    """Fill the bar; call it when the page is drawn. seen: what the link's fingerprint is of, where there is one.

    code, told: the Python of a page that shows no observation, "" for none, and what it says of its numbers.
    """
    made = link.Made(fingerprint(seen) if seen else "", shape.revision, __version__)
    if seen is not None:
        _check(scenario, seen, made)
    with parts.drawn().bar:
        query = urlencode(link.encode(scenario, made) or {})
        _copy(key="copy-link", data={"query": query, "address": urlencode(session.address(scenario))})
        with st.popover("Export", key="export", on_change="rerun") as opened:
            if opened.open:
                source = about(page, shape, scenario, made) if told is None else _about(shape, told, made)
                _export(page, source, scenario, made, seen)
        if code == "":
            return
        with st.popover("Code", key="code", on_change="rerun") as opened:
            if opened.open:
                st.caption("The Python that computes this view's numbers.")
                st.code(script(scenario, shape, page) if code is None else code, language="python")


def about(page: str, shape: Shape, scenario: Scenario, made: link.Made) -> dict[str, str]:
    """Where numbers come from, by name: what stands under every figure and in every file."""
    setting = [f"{kind} τα {scenario.temperature(kind).alpha:g}, τσ {scenario.temperature(kind).sigma:g}"
               + (f", layers {layers}" if (layers := getattr(scenario, f"{kind}_layers")) else "")
               for kind in KINDS if kind in shape.kinds]  # fmt: skip
    neutral = Scenario()
    for name in ("mu", "protected", "effect", "prior_mean_scale", "prior_variance_scale", "pseudo_count_shift"):
        if (value := getattr(scenario, name)) != getattr(neutral, name):
            shown = f"{value:g}" if isinstance(value, float) else value
            setting.append(f"{'τμ' if name == 'mu' else name.replace('_', ' ')} {shown}")
    kind = scenario.kind or shape.kinds[-1]
    way = f"{'sampled' if scenario.sampled else 'greedy'}, {scenario.length} tokens at most"
    told = {
        "setting": "; ".join(setting).replace("inf", "identity"),
        "prior": scenario.prior + (f" {scenario.prior_id}" if scenario.prior == "own" else ""),
        "view": f"{kind} layer {scenario.layer}, head {scenario.head}, row {scenario.row + 1}",
        **({"generation": way} if page == "Compare" and shape.task != "similarity" else {}),
        "seed": str(scenario.seed),
        "text": " ".join(scenario.text.split())[:200],
    }
    return _about(shape, told, made)


def _about(shape: Shape, told: dict[str, str], made: link.Made) -> dict[str, str]:
    return {"model": shape.name, "revision": shape.revision, **told, "app": f"{link.APP} {made.app}"}


def _check(scenario: Scenario, seen: Observation, made: link.Made) -> None:
    """Say so when a link's or file's numbers are not the ones that were computed here."""
    opened, claimed = st.session_state.get("made", (None, link.Made()))
    if opened != scenario or not claimed.fingerprint:
        return
    try:
        found = differences(seen, claimed.fingerprint)
    except NVError as error:
        parts.drawn().notes.warning(str(error))
        return
    if not found:
        return
    here, there = (f"{m.revision or 'unknown'}, app {m.app or 'unknown'}" for m in (made, claimed))
    parts.drawn().notes.warning(
        controls.plain(
            "The numbers here are not those that this link was made with: "
            + "; ".join(found[:4])
            + (f"; and {len(found) - 4} more" if len(found) > 4 else "")
            + (f". Here {here}; there {there}." if here != there else ".")
        )
    )


def _export(page: str, about: dict[str, str], scenario: Scenario, made: link.Made, seen: Observation | None) -> None:
    drawn = parts.drawn()
    name = f"nvib-{page.lower()}-{scenario.model if scenario.model.isalnum() else 'model'}"
    caption = " · ".join(f"{key}: {value}" for key, value in about.items())
    data = {"figures": list(drawn.figures.items()), "caption": caption, "name": name,
            "report": report(page, about, drawn.tables)}  # fmt: skip
    _save(key="save", data=data)
    if drawn.tables:
        title = st.selectbox("Table", drawn.tables, key="export-table")
        csv, as_json = st.columns(2)
        make = drawn.tables[title]
        csv.download_button("CSV", lambda: to_csv(make(), caption), f"{name}.csv", "text/csv", on_click="ignore",
                            key="save-csv", width="stretch",
                            help="The first line says where the numbers come from.")  # fmt: skip
        as_json.download_button("JSON", lambda: to_json(make(), about), f"{name}.json", "application/json",
                                on_click="ignore", key="save-json", width="stretch")  # fmt: skip
    if seen is not None:
        st.download_button(
            "All numbers of the view, JSON", lambda: _dumped({"about": about, "observation": record(seen)}),
            f"{name}-all.json", "application/json", on_click="ignore", key="save-all",
        )  # fmt: skip
    st.download_button(
        "The scenario, .json", link.to_json(scenario, made).encode(), f"{name}-scenario.json", "application/json",
        on_click="ignore", key="save-scenario", help="For views that are too long for a link; opens below.",
    )  # fmt: skip
    st.file_uploader("Open a scenario", type="json", key="scenario_file", on_change=_open)
    if problem := st.session_state.get("scenario_problem"):
        controls.refuse(problem)


def _open() -> None:
    """Show the scenario of a file, or say what is wrong with it."""
    state, file = st.session_state, st.session_state["scenario_file"]
    state["scenario_problem"] = ""
    if file is None:
        return
    try:
        session.show(*link.from_json(file.name, file.getvalue()))
    except NVError as error:
        state["scenario_problem"] = str(error)


def to_csv(table: pd.DataFrame, caption: str) -> bytes:
    """A table after one line, begun with #, that says where it comes from."""
    return f"# {caption}\n{table.to_csv(index=False)}".encode()


def to_json(table: pd.DataFrame, about: dict[str, str]) -> bytes:
    """A table by columns and rows; null for a number that is none."""
    rows = table.astype(object).to_numpy().tolist()
    return _dumped({"about": about, "columns": [str(name) for name in table.columns], "rows": jsonable(rows)})


def _dumped(found: dict[str, Any]) -> bytes:
    return json.dumps(found, ensure_ascii=False, allow_nan=False).encode()


def report(page: str, about: dict[str, str], tables: dict[str, Any]) -> str:
    """The page as one HTML document with a place for its figures; big tables are cut, and say so."""
    told = "".join(f"<dt><b>{escape(name)}</b></dt><dd>{escape(value)}</dd>" for name, value in about.items())
    return REPORT.format(
        title=escape(f"NVIB Explorer, {page}"),
        about=told,
        tables="\n".join(_table(title, make()) for title, make in tables.items()),
    )


def _table(title: str, table: pd.DataFrame) -> str:
    cut = table.iloc[:ROWS, :COLUMNS]
    shown = f"<p>{cut.shape[0]} of {table.shape[0]} rows, {cut.shape[1]} of {table.shape[1]} columns.</p>"
    html = cut.to_html(index=False, float_format="{:.6g}".format)
    said = "" if cut.shape == table.shape else shown
    return f'<h2>{escape(title)}</h2>{said}<div class="wide">{html}</div>'
