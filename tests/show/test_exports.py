"""Files that leave a page stand alone: how figures are read, KL and link, whole tables, names, how code is run."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nvib import __version__
from nvib.lab import EXAMPLES, Scenario, observe
from nvib.lab.model.shape import Shape
from nvib.lab.share import link
from nvib.lab.share.fingerprint import fingerprint
from nvib.lab.share.script import script, sweep_script
from nvib.lab.sweep.run import Plan
from nvib.lab.sweep.space import space
from nvib.lab.sweep.tasks import task
from nvib.show import report
from tests.support.folders import ROOT
from tests.support.pages import opened


@pytest.mark.parametrize(
    ("page", "query"),
    [("Explore", {"model": "smollm2", "path": "True"}), ("Explore", {"model": "minilm"}),
     ("Pseudo-counts", {"model": "g2p", "encoder_alpha": "1", "encoder_sigma": "0.2", "kind": "encoder"}),
     ("Compare", {"model": "smollm2", "length": "3"}), ("Prior", {"model": "minilm"})],
)  # fmt: skip
def test_every_figure_says_how_it_is_read(page, query):
    app = opened(page, v="2", text="the cat sat", **query) if page != "Prior" else opened(page, **query)
    assert not app.exception
    drawn = app.session_state["drawn"]
    assert drawn.figures
    assert set(drawn.says) == set(drawn.figures)
    for key, words in drawn.says.items():
        assert words, f"{key} says nothing of how it is read"
        assert ":gray[" not in words
        assert ":blue[" not in words


def test_an_observation_says_its_kl(benches):
    bench = benches("smollm2")
    scenario = replace(EXAMPLES["smollm2"], decoder_sigma=0.3, layer=2)
    seen = observe(bench, scenario)
    words = report.found(seen)
    assert f"KL of the next token {seen.output.kl:.6g}" in words["output"]
    assert seen.output.kl > 0
    told = words["KL to the prior of layer 2, nats"]
    numbers = [float(number) for number in re.findall(r"part ([\d.e+-]+)", told)]
    wanted = [seen.kl_gaussian[2], seen.kl_dirichlet[2]]
    np.testing.assert_allclose(numbers, [value for value in wanted if np.isfinite(value)], rtol=1e-5)
    assert ("infinite" in told) == bool(np.isinf(seen.kl_gaussian[2]))
    untouched = report.found(observe(bench, replace(scenario.at_identity(), text=scenario.text)))
    assert "nan" not in str(untouched)


def test_a_long_text_is_cut_in_a_caption_and_says_so(benches):
    scenario = Scenario(model="minilm", text="word " * 100)
    source = report.about("Explore", benches("minilm").shape, scenario, link.Made())
    assert len(source["text"]) == 499  # whole where there is room
    assert "word… (the first 200 of 499 characters)" in report.caption(source).replace("word …", "word…")
    assert "(the first" not in report.caption(source | {"text": "x" * 200})


def cells(html):
    return [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(?=<td>)(.*?)</tr>", html)]


def test_a_table_in_a_report_is_whole():
    table = pd.DataFrame({"token": [f"<{n}>" for n in range(3000)], "nats": np.arange(3000) / 7, "n": range(3000)})
    table.loc[5, "nats"] = np.nan
    html = report.document("Sweep", {"link": "http://x/?a=1&b=<2>"}, {"All points": lambda: table})
    found = cells(html)
    assert len(found) == 3000
    assert found[2999] == ["&lt;2999&gt;", f"{2999 / 7:.6g}", "2999"]
    assert found[5][1] == ""
    assert "http://x/?a=1&amp;b=&lt;2&gt;" in html
    assert " rows;" not in html


def test_a_table_that_is_huge_says_what_is_left_out(monkeypatch):
    monkeypatch.setattr(report, "CELLS", 30)
    html = report.document("Sweep", {}, {"All": lambda: pd.DataFrame({"a": range(1000), "b": range(1000)})})
    assert len(cells(html)) == 15
    assert "The first 15 of 1,000 rows; the table's own file, CSV or JSON, has them all." in html
    wide = report.document("Sweep", {}, {"All": lambda: pd.DataFrame([range(50)])})
    assert len(cells(wide)[0]) == 50


@pytest.mark.parametrize(
    ("title", "part"),
    [("Next tokens", "next-tokens"), ("Baseline: encoder layer 1, head 2", "baseline-encoder-layer-1-head-2"),
     ("NV − baseline", "nv-baseline"), ("log α by layer", "log-α-by-layer"), ("../../x y_z", "x-y-z"),
     ("x" * 99, "x" * 80)],
)  # fmt: skip
def test_a_title_names_a_file(title, part):
    assert report.file_part(title) == part


def test_code_says_how_it_is_run():
    plan = Plan(task("phonemes", 16), space(Scenario(model="g2p"), "mu=0.9"))
    shape = Shape("minilm", "1", ("encoder",), {"encoder": 6}, 12, True, "", "cpu", "float32")
    readme = (ROOT / "README.md").read_text("utf-8")
    for code, name in ((script(EXAMPLES["minilm"], shape), "view.py"), (sweep_script(plan), "sweep.py")):
        first, install, nothing, command, *_ = code.splitlines()
        assert first.startswith(f"# Made by NVIB Explorer {__version__}. Install it once")
        assert install.removeprefix("#     ") in readme
        assert f"saved as {name}" in nothing
        assert command == f"#     python {name}"
        compile(code, name, "exec")


def test_a_view_says_how_it_is_cited_and_can_be_a_notebook(benches):
    query = {"model": "minilm", "text": "A cat sat.\nIt rained.", "encoder_sigma": "0.3"}
    app = opened("Explore", v="2", **query)
    for popover in ("export", "code"):
        app.session_state[popover] = True
    app.run()
    assert not app.exception
    cited, program = ([block.value for block in app.code if block.language == which] for which in ("bibtex", "python"))
    bench = benches("minilm")
    made = fingerprint(observe(bench, Scenario(**query | {"encoder_sigma": 0.3})))
    assert "title        = {NVIB Explorer, Explore: minilm}" in cited[0]
    assert f"revision {bench.shape.revision}; fingerprint {made.replace('_', chr(92) + '_')}; seen 20" in cited[0]
    assert "arXiv:2312.00662" in cited[0]
    assert "nvib.reinterpret" in program[0]
    assert "As a notebook, .ipynb" in [button.label for button in app.get("download_button")]
