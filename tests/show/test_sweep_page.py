"""The page Sweep as a script: what it shows is what a sweep of the library gives, and bad input is one sentence."""

import gzip
import io
import json
import os
from contextlib import redirect_stdout

import numpy as np
import pytest

from nvib.assets import shipped
from nvib.lab import EXAMPLES, Bench, Scenario
from nvib.lab.scenario import options
from nvib.lab.share import link
from nvib.lab.share.script import sweep_script
from nvib.lab.sweep.run import Plan, read_findings, sweep
from nvib.lab.sweep.space import grids, proposals, space
from nvib.lab.sweep.store import file_name, name_of
from nvib.lab.sweep.tasks import OFFERS, TEST, VALIDATION, task
from nvib.show.figures import sweeps
from nvib.show.sections import sweep_run
from tests.support import tiny
from tests.support.folders import WORDS, save
from tests.support.pages import arrays, keyed, opened

SWEEPS = shipped("assets", "sweeps")
GRID = "decoder_sigma=0,0.5 encoder_alpha=inf,0"


SMALL = {"v": "2", "model": "g2p", "examples": "16"}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Results of these tests stay theirs."""
    monkeypatch.setattr(sweep_run, "cache_folder", lambda: tmp_path)
    return tmp_path


def charts(app):
    """Those of the sweep's points."""
    return keyed(app, "sweep")


def run(**query):
    """The page of a link, its sweep run to the end."""
    app = opened("Sweep", **SMALL | query)
    assert not app.error
    (button,) = [each for each in app.button if "the sweep" in each.label]
    button.click().run(timeout=300)
    assert not app.exception
    assert not app.error
    assert not [each for each in app.button if "the sweep" in each.label]  # nothing is left to do
    return app


def measured(spec, tmp_path, search="grid", trials=24):
    """The same sweep by the library."""
    bench = Bench("g2p")
    plan = Plan(task("phonemes", 16), space(Scenario(model="g2p"), spec), search, trials)
    sweep(bench, plan, tmp_path / "other.db")
    return plan, read_findings(plan, tmp_path / "other.db", bench.shape.revision)


def test_a_map_over_two_controls_is_what_the_library_measures(tmp_path):
    app = run(grid=GRID)
    plan, found = measured(GRID, tmp_path)
    maps = charts(app)
    assert len(maps) == 2  # words and proper names
    for chart, name in zip(maps, plan.task.sets, strict=True):
        heat, clicks, *numbers = chart["data"]
        z = arrays(heat["z"])
        texts = {
            (x, y): text for each in numbers for x, y, text in zip(each["x"], each["y"], each["text"], strict=True)
        }
        for row in found.rows:
            if row.part == VALIDATION and row.name == name:
                column = [0.0, 0.5].index(row.point.decoder_sigma)
                line = [np.inf, 0.0].index(row.point.encoder_alpha)
                assert z[line][column] == pytest.approx(-row.result.change, abs=1e-5)  # fewer errors are better
                shown = texts[column, line]
                for value in (row.result.change, row.result.low, row.result.high):
                    assert f"{value:+.1f}".replace("-", "−") in shown
                assert ("<b>" in shown) == row.result.clear
        assert len(clicks["customdata"]) == 4
        dotted = [shape for shape in chart["layout"]["shapes"] if shape["line"].get("dash") == "dot"]
        assert [(shape["x0"], shape["y0"]) for shape in dotted] == [(-0.5, -0.5)]  # identity of both


def test_a_curve_over_one_control_has_intervals_on_both_domains(tmp_path):
    spec = "encoder_sigma=0,0.4,0.8"
    app = run(grid=spec)
    _, found = measured(spec, tmp_path)
    (chart,) = charts(app)
    for trace in chart["data"]:
        rows = sorted(
            (row for row in found.rows if row.name == trace["name"] and row.part == VALIDATION),
            key=lambda row: row.point.encoder_sigma,
        )
        middle = arrays(trace["y"])
        np.testing.assert_allclose(middle, [row.result.change for row in rows], atol=1e-6)
        np.testing.assert_allclose(
            middle + arrays(trace["error_y"]["array"]), [row.result.high for row in rows], atol=1e-6
        )
        np.testing.assert_allclose(
            middle - arrays(trace["error_y"]["arrayminus"]), [row.result.low for row in rows], atol=1e-6
        )
    assert {trace["name"] for trace in chart["data"]} == {"words", "proper names"}
    assert chart["layout"]["xaxis"]["ticktext"][0] == "identity"


def test_a_search_ranks_its_points(tmp_path):
    spec = "decoder_sigma=0:0.9 encoder_sigma=0:0.9"
    app = run(grid=spec, search="random", trials="4")
    _, found = measured(spec, tmp_path, "random", 4)
    (chart,) = charts(app)
    changes = {row.point: row.result.change for row in found.rows
               if row.name == "proper names" and row.part == VALIDATION}  # fmt: skip
    assert len(changes) == 4
    trace = next(trace for trace in chart["data"] if trace["name"] == "proper names")
    np.testing.assert_allclose(arrays(trace["x"]), sorted(changes.values()), atol=1e-6)


def test_the_choice_is_told_on_test(tmp_path):
    spec = "decoder_sigma=0.2,0.9 cross_sigma=0.3,0.9"
    app = run(grid=spec)
    plan, found = measured(spec, tmp_path)
    told = " ".join(text.value for text in [*app.markdown, *app.info])
    if found.best == Scenario(model="g2p"):
        assert "is better than the untouched model" in told
        return
    assert sweeps.point_name(found.best, plan.space.moving) in told.replace("\\", "")
    tested = app.dataframe[0].value
    wanted = [row for row in found.rows if row.part == TEST]
    assert list(tested["set"]) == [row.name for row in wanted]
    assert list(tested.iloc[:, 2]) == [sweeps.interval(row.result) for row in wanted]


def test_the_caveat_counts_what_is_on_the_page(tmp_path):
    app = run(grid=GRID)
    _, found = measured(GRID, tmp_path)
    shown = [row.result for row in found.rows if row.part == VALIDATION]
    clear = sum(result.low > 0 or result.high < 0 for result in shown)
    told = next(text.value for text in app.caption if "by chance alone" in text.value)
    assert "of 8 intervals about 0 would miss 0 by chance alone" in told
    assert f"; {clear} do" in told


def test_a_stopped_sweep_keeps_what_it_has_and_goes_on(tmp_path):
    bench, made = Bench("g2p"), task("phonemes", 16)
    plan = Plan(made, space(Scenario(model="g2p"), GRID))
    path = sweep_run.store_of(plan, bench.shape.revision)

    def stop(done, count):
        if done == 8:  # the untouched model on both parts, and two points
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(bench, plan, path, stop)
    app = opened("Sweep", **SMALL, grid=GRID)
    assert [each.label for each in app.button if "sweep" in each.label] == ["Go on with the sweep, 4 points"]
    assert len(arrays(charts(app)[0]["data"][1]["x"])) == 2
    run(grid=GRID)


@pytest.mark.parametrize("name", OFFERS)
def test_a_task_opens_with_results_that_are_its_models_own(name, benches):
    """What ships is read as a sweep's file; the first place of each set is measured again."""
    offer = OFFERS[name]
    if name == "language-start":
        return  # it is a model's second task and ships nothing
    app = opened("Sweep", model=offer.model)
    assert not app.exception
    assert not app.error
    assert not [each for each in app.button if "the sweep" in each.label]
    bench, example = benches(offer.model), EXAMPLES[offer.model]
    made = task(name, offer.examples)
    plan = Plan(made, space(example.at_identity(), next(iter(grids(bench.shape).values()))))
    assert len(charts(app)) == len(made.sets)
    found = read_findings(plan, sweep_run.store_of(plan, bench.shape.revision), bench.shape.revision)
    assert found.finished
    last = [row for row in found.rows if row.part == VALIDATION][-len(made.sets)]
    with bench.under(last.point, bench.priors.of(last.point)):
        again = made.measure.run(bench, made.part(last.name, VALIDATION)).sum(0)
    assert last.result.value == pytest.approx(float(made.metric.of(again)), rel=0.01, abs=0.5)  # rounding flips few


def test_what_ships_is_small_and_of_these_tasks(benches):
    shipped = sorted(path.name for path in SWEEPS.iterdir())
    assert sum(path.stat().st_size for path in SWEEPS.iterdir()) < 600_000
    revisions = {offer.model: benches(offer.model).shape.revision for offer in OFFERS.values()}
    known = {file_name(task(name, offer.examples), revisions[offer.model]) + ".gz" for name, offer in OFFERS.items()}
    assert set(shipped) <= known
    for path in SWEEPS.iterdir():
        assert gzip.decompress(path.read_bytes())[:15] == b"SQLite format 3"


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"grid": "nonsense=1"}, "'nonsense' is not a control"),
        ({"grid": "decoder_sigma=nan"}, "decoder_sigma='nan' is not a legal value"),
        ({"grid": "decoder_sigma=0:1"}, "is a range; list its values"),
        ({"grid": "encoder_layers=0-3 encoder_alpha=1"}, "Layer 1 of 'encoder' does not exist"),
        ({"examples": "2"}, "examples=2 is too few texts of a set; give 4 or more."),
        ({"grid": "decoder_sigma=0,0.2", "model": "minilm"}, "'decoder_sigma' is of attention that this model lacks"),
        ({"model": "nonsense"}, "nonsense"),
    ],
)
def test_what_cannot_be_swept_is_one_sentence(query, sentence):
    app = opened("Sweep", **SMALL | query)
    if query.get("grid", "").startswith("encoder_layers"):
        next(each for each in app.button if "the sweep" in each.label).click().run()
    assert not app.exception
    assert len(app.error) == 1
    assert sentence in app.error[0].value.replace("\\", "")
    assert "\n" not in app.error[0].value


def test_results_that_cannot_be_kept_are_one_sentence(own_folder, monkeypatch):
    (own_folder / "file").write_text("in the way")
    monkeypatch.setattr(sweep_run, "cache_folder", lambda: own_folder / "file")
    app = opened("Sweep", **SMALL, grid="mu=0.9")
    assert not app.exception
    assert len(app.error) == 1
    told = app.error[0].value.replace("\\", "")
    assert told == f"The results cannot be kept in {str(own_folder / 'file' / 'sweeps')!r} (Not a directory)."


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "bart", "marian"])
def test_any_model_may_be_swept_on_own_texts(family, tmp_path):
    folder = str(save(tmp_path / "model", tiny.FAMILIES[family]()))
    app = opened("Sweep", v="2", model=folder, prior="normal", grid="mu=1,0.9")
    assert not app.exception
    assert not app.error
    lines = "\n".join(json.dumps({"text": f"the cat sat {word}", "target": f"on {word} mat"}) for word in WORDS[3:])
    app.get("file_uploader")[1].set_value(("mine.jsonl", lines.encode(), "application/json")).run()
    assert not app.exception
    next(each for each in app.button if "the sweep" in each.label).click().run()
    assert not app.exception
    assert not app.error
    assert len(charts(app)) == 1


def test_own_rows_that_do_not_fit_are_counted():
    app = opened("Sweep", model="minilm", task="own", grid="mu=1,0.9")
    rows = ["text,target", *(f"first {n},second {n}" for n in range(6)), ",lost", "x" * 100_000 + ",y", "alone,"]
    app.get("file_uploader")[1].set_value(("mine.csv", "\n".join(rows).encode(), "text/csv")).run()
    told = [warning.value for warning in app.warning]
    assert len(told) == 3
    assert all("1 out-of-domain text" in sentence and "skipped" in sentence for sentence in told)
    app.get("file_uploader")[0].set_value(("broken.csv", b"text\n\xff\xfe", "text/csv")).run()
    assert [error.value.replace("\\", "") for error in app.error] == [
        "The file 'broken.csv' is not UTF-8 at byte 5; save it as UTF-8."
    ]
    assert [each.label for each in app.button if "the sweep" in each.label]  # the rest goes on


def test_a_link_carries_the_sweep(own_folder):
    said = {**SMALL, "task": "own", "grid": "mu=1,0.9", "search": "adaptive", "trials": "7", "seed": "3",
            "measured": "", "prior": "normal"}  # fmt: skip
    app = opened("Sweep", **said)
    scenario = app.session_state["scenario"]
    assert link.decode(link.encode(scenario))[0] == scenario
    assert (scenario.task, scenario.grid, scenario.search, scenario.trials) == ("own", "mu=1,0.9", "adaptive", 7)
    assert (scenario.examples, scenario.seed, scenario.prior) == (16, 3, "normal")


def test_the_code_of_a_sweep_runs_and_gives_its_rows(tmp_path, monkeypatch):
    plan, found = measured(GRID, tmp_path)
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(sweep_script(plan), "code", "exec"), {})
    assert read_findings(plan, tmp_path / "sweep.db", Bench("g2p").shape.revision) == found
    assert printed.getvalue().count(VALIDATION) == len(found.rows) - 2 + 1  # and the last line's
    assert name_of(found.best) == "{}" or str(found.best) in printed.getvalue()


def test_the_code_of_own_texts_runs(tmp_path, monkeypatch, benches):
    from nvib.lab.sweep.tasks import own

    made, _ = own(benches("g2p").shape, {"outside": [(f"cat{n}", "kˈæt") for n in range(4)]})
    code = sweep_script(Plan(made, space(Scenario(model="g2p", prior="normal"), "mu=0.9")))
    (tmp_path / "out-of-domain.csv").write_text("text,target\n" + "".join(f"cat{n},kˈæt\n" for n in range(4)), "utf-8")
    monkeypatch.chdir(tmp_path)
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "code", "exec"), {})
    assert "out-of-domain" in printed.getvalue()


def test_the_tasks_of_a_link_are_those_of_the_page():
    assert set(options("task")) == {"", "own", *OFFERS}


def test_old_files_go_and_those_of_today_stay(own_folder, monkeypatch):
    """A file that a sweep has open must not go under it, however many visitors come."""
    monkeypatch.setattr(sweep_run, "STORES_KEPT", 3)
    found = []
    for n in range(6):
        plan = Plan(task("phonemes", 8 + 2 * n), space(Scenario(model="g2p"), "mu=0.9"))
        found.append(sweep_run.store_of(plan, "x"))
        assert not found[-1].exists()  # it is made when something is measured
        found[-1].write_bytes(b"")
        if n < 3:
            os.utime(found[-1], (0, 0))
    assert [path.exists() for path in found] == [False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("said", "told"),
    [("decoder_alpha=inf,2,0", " (→ more regularised)"), ("decoder_alpha=0,1,inf", " (← more regularised)"),
     ("decoder_alpha=-2:8", " (← more regularised)"), ("mu=1,0.9", " (→ more regularised)"),
     ("decoder_sigma=0.4,0", " (← more regularised)"), ("prior=shipped,normal", "")],
)  # fmt: skip
def test_an_axis_says_which_way_it_leads(said, told):
    (axis,) = space(Scenario(model="g2p"), said).axes
    assert sweeps._direction(axis) == told


def test_one_point_is_named_by_its_controls(tmp_path):
    app = run(grid="decoder_sigma=0.9 encoder_alpha=0")
    told = " ".join(text.value for text in [*app.markdown, *app.caption])
    assert "τσ decoder 0.9, τα encoder 0.0" in told
    assert "identity** (the best" not in told


def test_only_the_untouched_model_is_dotted(tmp_path):
    app = run(grid="mu=0.9 decoder_sigma=0,0.5 encoder_alpha=inf,0")
    assert all(shape["line"].get("dash") != "dot" for chart in charts(app) for shape in chart["layout"]["shapes"])


def test_few_texts_are_warned_of(tmp_path):
    app = run(grid="mu=0.99")
    assert any("8 validation texts only" in warning.value for warning in app.warning)


def test_a_task_of_another_model_says_so():
    app = opened("Sweep", v="2", model="g2p", task="retrieval")
    assert any("'retrieval' is of minilm" in warning.value.replace("\\", "") for warning in app.warning)
    assert not app.error


def test_every_example_grid_can_be_swept(benches):
    for name in ("smollm2", "minilm", "g2p"):
        shape = benches(name).shape
        for said, spec in grids(shape).items():
            ranged = ":" in spec
            points = _first(space(Scenario(model=name), spec), "random" if ranged else "grid")
            assert points.regularisation(shape.layers), said


def _first(found, search):
    return next(proposals(found, search, 1))


def test_peers_stand_beside_the_best_of_nv(tmp_path):
    """A point each, as the library measures them; and on test NV against the best of them, in words."""
    spec = "decoder_sigma=0.1,0.5 peer=temperature:0.9,1.2"
    app = run(grid=spec)
    _, found = measured(spec, tmp_path)
    curve, beside = charts(app)
    assert len(arrays(curve["data"][0]["y"])) == 2
    rows = {(row.point, row.name): row.result for row in found.rows if row.part == VALIDATION}
    points = [point for point in dict.fromkeys(row.point for row in found.rows) if point.peer or point == found.best]
    names = beside["layout"]["yaxis"]["ticktext"]
    assert sum("attention temperature" in name and "color:#" in name for name in names) == 2
    for trace in beside["data"]:
        values = sorted(rows[point, trace["name"]].change for point in points if (point, trace["name"]) in rows)
        np.testing.assert_allclose(sorted(arrays(trace["x"])), values, atol=1e-6)
    said = " ".join(text.value for text in app.markdown)
    if found.peer.peer:
        assert f"Best peer by the same: **attention temperature {found.peer.peer.partition(':')[2]}**" in said
        assert f"**{sweeps.interval(found.against)}** points (less is better)" in said
    else:
        assert "No peer is better than the untouched model there." in said


def test_peers_alone_are_a_sweep():
    app = run(grid="peer=temperature:0.9,1.2")
    (beside,) = charts(app)
    assert len(beside["layout"]["yaxis"]["ticktext"]) == 2
