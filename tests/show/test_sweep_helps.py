"""What the page Sweep says beside its numbers: how long, of how many texts, at which edge, and which point is shown."""

import io
import json

import openpyxl
import plotly.graph_objects as go
import pytest

from nvib.lab import Scenario
from nvib.lab.bootstrap import Change
from nvib.lab.sweep.measures import TARGET_LOG_PROB
from nvib.lab.sweep.space import evenly, space
from nvib.show.figures import sweeps
from nvib.show.sections import sweep_results, sweep_run
from nvib.show.session import key
from tests.support.folders import save
from tests.support.pages import keyed, opened
from tests.support.tiny import FAMILIES

SMALL = {"v": "2", "model": "g2p", "examples": "16"}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Results of these tests stay theirs."""
    monkeypatch.setattr(sweep_run, "cache_folder", lambda: tmp_path)


def run(app):
    next(each for each in app.button if "the sweep" in each.label).click().run(timeout=300)
    assert not app.exception
    assert not app.error
    return app


def said(app):
    return " ".join(each.value for each in [*app.caption, *app.markdown, *app.warning, *app.info]).replace("\\", "")


def test_how_long_it_will_take_is_told_by_the_last_rate(monkeypatch):
    rates = []
    monkeypatch.setattr(sweep_run, "seconds_a_text", lambda bench, plan: rates.append(plan) or 3.0)
    sweep_run._rates.clear()
    grid = "decoder_sigma=0.3,0.5 encoder_sigma=0.2"
    app = opened("Sweep", **SMALL, grid=grid)
    texts = 2 * (8 + 8) + 2 * 2 * 8 + 2 * 8  # untouched on both parts, two points, the best one on test
    assert f"{texts} texts to run, each under one setting: about 4 minutes on this machine" in said(app)
    assert 3.0 * texts / 60 == pytest.approx(4, abs=0.1)
    app.text_input(key=key("grid")).set_value("decoder_sigma=0.3").run()
    assert "64 texts to run, each under one setting: about 4 minutes on this machine" in said(app)
    assert len(rates) == 1  # timed once
    run(app)
    ((rate,),) = [entry.value for entry in sweep_run._rates._pool.values.values()]
    assert 0 < rate < 3.0  # what the run itself took
    assert "texts to run" not in said(app)


def test_a_setting_that_cannot_be_run_has_no_estimate():
    sweep_run._rates.clear()
    app = opened("Sweep", **SMALL, grid="encoder_layers=0-3 encoder_alpha=1")
    assert not app.error  # it is told when it is run
    assert "texts to run" not in said(app)


def test_texts_are_counted_beside_every_number():
    app = run(opened("Sweep", **SMALL, grid="decoder_sigma=0,0.5 encoder_alpha=inf,0"))
    assert said(app).count("8 texts]") == 2
    assert "(8 of words, 8 of proper names)" in said(app)
    for frame in app.dataframe:
        assert set(frame.value["texts"]) == {8}
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert sum(trace["type"] == "heatmap" for trace in spec["data"]) == 1


EDGES = [
    ("decoder_sigma=0,0.2,0.4", "decoder_sigma", 0.4, "τσ decoder 0.4"),
    ("decoder_sigma=0,0.2,0.4", "mu", 1, None),
]


@pytest.mark.parametrize(("grid", "name", "value", "told"), EDGES)
def test_the_best_point_on_an_edge_is_told(grid, name, value, told, monkeypatch):
    """The choice itself is the sweep's; here it is given."""
    import nvib.show.sections.sweep_run as module

    read = module.read_findings

    def chosen(plan, *given):
        from dataclasses import replace

        found = read(plan, *given)
        return replace(found, best=replace(found.rows[0].point, decoder_sigma=0.4 if told else 0.2))

    app = run(opened("Sweep", **SMALL, grid=grid))
    monkeypatch.setattr(module, "read_findings", chosen)
    module._findings.clear()
    app.run()
    edge = [each.value for each in app.warning if "edge of what was tried" in each.value]
    assert edge == (
        [f"The best point lies on the edge of what was tried, {told}: a better one may lie beyond."] * bool(told)
    )


def points(grid):
    found = space(Scenario(model="g2p"), grid)
    change = Change(1.0, 2.0, -0.5, -0.7, -0.3)
    values = [[axis.name, v] for axis in found.axes[:1] for v in axis.values]
    if len(found.axes) == 1:
        return found, {found.at({name: v}): {"a": change} for name, v in values}
    other = found.axes[1]
    return found, {found.at({n: v, other.name: w}): {"a": change} for n, v in values for w in other.values}


def test_the_point_that_was_picked_has_a_frame():
    metric = TARGET_LOG_PROB
    found, results = points("decoder_sigma=0,0.2,0.4 encoder_sigma=0,0.3")
    picked = list(results)[3]  # decoder 0.2, encoder 0.3
    figure = go.Figure(sweeps.map_of_two(results, found.axes, "a", metric, 1.0, "dark", next(iter(results)), picked))
    (thick,) = [shape for shape in figure.layout.shapes if shape.line.width == sweeps.THICK]
    assert (thick.x0, thick.x1, thick.y0, thick.y1) == (0.5, 1.5, 0.5, 1.5)
    found, results = points("decoder_sigma=0,0.2,0.4")
    picked = list(results)[2]
    both = [sweeps.curve(results, found.axes[0], ["a"], [], metric, at) for at in (None, picked)]
    frames = [go.Figure(each).layout.shapes[1:] for each in both]
    assert frames[0] == ()
    ((frame),) = frames[1]
    assert frame.x0 < 2 < frame.x1 < 2.5
    assert (frame.yref, frame.y0, frame.y1) == ("paper", 0, 1)
    (frame,) = go.Figure(sweeps.ranked(results, found.axes, ["a"], [], metric, picked)).layout.shapes[1:]
    assert (frame.y0, frame.y1, frame.xref) == (1.55, 2.45, "paper")
    other = sweeps.ranked(results, found.axes, ["a"], [], metric, Scenario(model="minilm"))
    assert len(other["layout"]["shapes"]) == 1


def test_a_click_frames_the_point_it_shows():
    app = run(opened("Sweep", **SMALL, grid="decoder_sigma=0.2,0.5 encoder_alpha=2,0"))
    shapes = keyed(app, "sweep")[0]["layout"].get("shapes", [])
    assert all(shape["line"]["width"] < sweeps.THICK for shape in shapes)
    app.session_state[sweep_results.PICKED] = space(
        app.session_state["scenario"].at_identity(), "decoder_sigma=0.5 encoder_alpha=2"
    ).at({"decoder_sigma": "0.5", "encoder_alpha": "2"})
    app.run()
    for chart in keyed(app, "sweep"):
        (frame,) = [shape for shape in chart["layout"]["shapes"] if shape["line"]["width"] == sweeps.THICK]
        assert (frame["x0"], frame["y0"]) == (0.5, -0.5) or (frame["x0"], frame["y0"]) == (-0.5, 0.5)
    assert "Thick frame: the point below." in said(app)


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        (("decoder_sigma", 0.1, 0.4, 4, True), "decoder_sigma=0,0.1,0.2,0.3,0.4"),
        (("decoder_alpha", 4.0, 0.0, 5, True), "decoder_alpha=inf,4,3,2,1,0"),
        (("decoder_alpha", -2.0, 2.0, 5, False), "decoder_alpha=-2,-1,0,1,2"),
        (("mu", 1.0, 0.9, 3, True), "mu=1,0.95,0.9"),
        (("decoder_sigma", 0.3, 0.3, 4, False), "decoder_sigma=0.3"),
        (("decoder_sigma", 0.0, 1.0, 4, False), "decoder_sigma=0,0.3333,0.6667,1"),
        (("mu", 0.5, 0.9, 1, False), "mu=0.5"),
    ],
)
def test_values_at_equal_distances(given, spec):
    assert evenly(*given).spec == spec
    assert space(Scenario(), spec).spec == spec


def folds(app):
    """The page with its fold open: the browser tells the server so."""
    app.session_state["make-grid"] = True
    return app.run()


def test_a_grid_is_made_by_controls_and_shown_as_it_will_be_typed():
    app = folds(opened("Sweep", **SMALL, grid="mu=1,0.9"))
    assert app.multiselect(key="grid_names").value == ["decoder_sigma"]
    app.multiselect(key="grid_names").set_value(["decoder_sigma", "cross_alpha"]).run()
    app.number_input(key="grid_decoder_sigma_steps").set_value(2).run()
    app.number_input(key="grid_cross_alpha_to").set_value(-2.0).run()
    made = "decoder_sigma=0,0.1,0.4 cross_alpha=inf,4,2,0,-2"
    assert made in [each.value for each in app.code]
    (button,) = [each for each in app.button if each.label == "Use this grid of 15 points"]
    button.click().run()
    assert not app.exception
    assert app.text_input(key=key("grid")).value == app.session_state["scenario"].grid == made
    app.number_input(key="grid_decoder_sigma_to").set_value(-1.0).run()
    assert "is not a legal value" in app.error[0].value.replace("\\", "")


def test_a_search_has_ranges():
    app = folds(opened("Sweep", **SMALL, search="adaptive", grid="decoder_sigma=0:0.9"))
    (button,) = [each for each in app.button if each.label == "Use these ranges"]
    button.click().run()
    assert app.session_state["scenario"].grid == "decoder_sigma=0.1:0.4"


def test_a_grid_that_is_too_long_to_type_is_one_sentence(monkeypatch):
    from nvib.show.sections import sweep_grid

    monkeypatch.setattr(sweep_grid, "LONGEST_GRID", 10)
    app = folds(opened("Sweep", **SMALL))
    assert app.error[0].value.startswith("The grid has 31 characters; take fewer steps, 10 fit.")


def test_a_decoders_targets_are_measured_from_a_workbook(tmp_path):
    folder = str(save(tmp_path / "model", FAMILIES["llama"]()))
    app = opened("Sweep", v="2", model=folder, prior="normal", grid="mu=1,0.9")
    made, data = openpyxl.Workbook(), io.BytesIO()
    for row in (("Prompt", "Completion"), *((f"the cat {n}", f"sat on {n}") for n in ("the", "cat", "mat", "on"))):
        made.active.append(row)
    made.save(data)
    app.get("file_uploader")[1].set_value(("mine.xlsx", data.getvalue(), "application/zip")).run()
    assert not app.exception
    assert not app.error
    assert "Read: texts from its column 'Prompt' and targets from its column 'Completion'." in said(app)
    run(app)
    assert any("log-probability of the target, untouched" in frame.value for frame in app.dataframe)
