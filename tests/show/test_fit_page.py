"""The fit of temperatures on the page Sweep: what it shows is what the library fits and measures, and what it keeps."""

import io
import json
import math
import os
import threading
from dataclasses import replace
from urllib.parse import parse_qsl

import numpy as np
import pytest

from nvib import fitting
from nvib.lab import Bench, Scenario
from nvib.lab.share import link
from nvib.lab.sweep import measures, tasks
from nvib.lab.sweep.fit import FitPlan, fit_task, outline, results
from nvib.lab.sweep.run import Plan, read_findings, sweep
from nvib.lab.sweep.space import space
from nvib.lab.sweep.tasks import TEST, task
from nvib.lab.sweep.timing import Cost
from nvib.show import resources, session
from nvib.show.figures import sweeps
from nvib.show.sections import sweep_fit, sweep_run
from tests.support.folders import WORDS, save
from tests.support.pages import arrays, charts, opened
from tests.support.tiny import model_of

COUNT = 32
SMALL = {"v": "2", "model": "g2p", "examples": str(COUNT), "grid": "encoder_sigma=0.4"}
STEPS = 3
FITTED = ("proper names",)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """What these tests keep stays theirs; nothing is timed."""
    for module in (sweep_run, sweep_fit):
        monkeypatch.setattr(module, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(sweep_fit, "cost_of_fit", lambda bench, plan: Cost(0.01, 250_000_000))
    for kept in (sweep_fit._fits, sweep_fit._costs, sweep_fit._outlines):
        kept.clear()
    return tmp_path


def page(steps=STEPS, **query):
    """The page with its fold open, and so many steps asked for."""
    app = opened("Sweep", **SMALL | query)
    app.session_state[sweep_fit.FOLD] = True
    app.run()
    assert not app.exception
    if steps:
        app.number_input(key="scenario_fit_steps").set_value(steps).run()
    return app


def pills(app):
    """The box of the sets."""
    (box,) = [box for box in app.get("button_group") if box.label == "Fitted on the validation texts of"]
    return box


def protected(app):
    (box,) = [box for box in app.number_input if box.label == "Protected first tokens of the fit"]
    return box


def press(app, label):
    (button,) = [each for each in app.button if each.label == label]
    button.click().run(timeout=300)
    assert not app.exception
    assert not app.error
    return app


def run(app):
    return press(app, "Run the fit")


def said(app):
    return " ".join(each.value for each in [*app.caption, *app.markdown, *app.warning, *app.info]).replace("\\", "")


def titled(app, part):
    """The figures whose words have a part."""
    return [chart for chart in charts(app) if part in chart["layout"]["meta"]["says"]]


def losses(app):
    """What the curve of the steps' own texts shows."""
    (curve,) = titled(app, "A curve of the loss of own texts")
    return arrays(curve["data"][0]["y"])


def plan_of(peer="", steps=STEPS, **given):
    return FitPlan(task("phonemes", COUNT), Scenario(model="g2p", peer=peer), steps=steps, sets=FITTED, **given)


def rate(bench, point, name):
    """Edits over symbols of a set's test texts, percent, by the words that the model makes."""
    with bench.under(point, bench.priors.of(point)):
        sums = measures.phoneme_edits(bench, task("phonemes", COUNT).part(name, TEST)).sum(0)
    return 100 * sums[0] / sums[1]


def test_the_page_shows_what_the_library_fits_and_measures(tmp_path):
    app = run(page())
    bench, made = Bench("g2p"), task("phonemes", COUNT)
    found = fit_task(bench, plan_of())
    np.testing.assert_allclose(losses(app), [step.loss for step in found.fit.history], rtol=1e-5)
    looks = {n: step.held_out for n, step in enumerate(found.fit.history, 1) if step.held_out is not None}
    (held_out,) = titled(app, "A curve of the loss of texts held out")
    assert list(arrays(held_out["data"][0]["x"])) == list(looks)
    np.testing.assert_allclose(arrays(held_out["data"][0]["y"]), list(looks.values()), rtol=1e-5)
    assert [shape["x0"] for shape in held_out["layout"]["shapes"]] == [found.fit.best]
    bars = titled(app, "A bar for τ")
    assert len(bars) == 9  # three temperatures of three kinds
    for chart, (kind, part) in zip(bars, [(k, p) for k in bench.kinds for p in ("alpha", "sigma", "mu")], strict=True):
        value = getattr(found.fit.regularisation.temperature(kind).at(0), part)
        assert chart["data"][0]["customdata"] == [f"{value:.4g}"]
        base = chart["data"][0]["base"]
        assert base + arrays(chart["data"][0]["y"])[0] == pytest.approx(value)
        assert base == (1.0 if part == "mu" else 0.0)
    told = results(bench, made, found.point, tmp_path / "other.db")
    table = next(frame.value for frame in app.dataframe if "fit" in frame.value.columns)
    assert list(table["set"]) == list(made.sets)
    assert list(table["fit"]) == ["not fitted on", "fitted on"]
    assert list(table.iloc[:, 4]) == [sweeps.interval(told[name]) for name in made.sets]
    for name, untouched in zip(made.sets, table.iloc[:, 3], strict=True):
        before, after = rate(bench, Scenario(model="g2p"), name), rate(bench, found.point, name)
        assert float(untouched) == pytest.approx(before, rel=1e-3)
        shown = table.iloc[:, 4][list(made.sets).index(name)].partition(" ")[0].replace("−", "-")
        assert float(shown) == pytest.approx(after - before, abs=0.006)
    assert "no longer “without any training” in the paper’s sense" in said(app)
    assert "the likelihood of the targets, for phoneme error rate itself has no gradient" not in said(app)  # it is over


def test_what_it_costs_is_told_before(monkeypatch):
    """Numbers by layer of each kind, three a layer; tokens of a step times the rate."""
    app = page(steps=40)
    told, bench = said(app), Bench("g2p")
    about = outline(bench, plan_of(steps=40))
    layers = sum(bench.layers.values())
    assert about.numbers == 3 * layers
    assert f"It tunes {3 * layers} numbers (3 for each of {layers} layers) on 12 texts, with 4 more held out" in told
    words = [example.text for n, example in enumerate(task("phonemes", COUNT).part("proper names", "validation"))
             if n % 4 != 3]  # fmt: skip
    assert len(words) == about.texts == 12
    least = sum(len(bench.loaded.ids([word])[0]) for word in words) / 2  # two steps, without padding and targets
    assert least < about.tokens < 4 * least
    seconds = 0.01 * (40 * about.tokens + 10 * about.looked / 3)
    assert f"{sweep_fit.gate.in_words(seconds)} on this machine, and 250 MB of memory" in told
    assert "the likelihood of the targets, for phoneme error rate itself has no gradient" in told
    app.segmented_control(key="scenario_fit_by").set_value("all").run()
    assert "It tunes 9 numbers (3 for each of 3 layers) on 12 texts" in said(app)
    app.segmented_control(key="scenario_fit_way").set_value("temperature:1.0").run()
    assert "It tunes 3 numbers (1 for each of 3 layers) on 12 texts" in said(app)


def test_fitted_nv_and_the_fitted_peer_stand_beside_the_sweeps_best(tmp_path):
    grid = "decoder_sigma=0.1,0.5 peer=temperature:0.9,1.2"
    app = page(grid=grid)
    next(each for each in app.button if "the sweep" in each.label).click().run(timeout=300)
    run(app)
    assert "Run the fit of attention temperature with these controls" in said(app)
    app.segmented_control(key="scenario_fit_way").set_value("temperature:1.0").run()
    run(app)
    assert "Would the other do the same?" not in said(app)
    bench, made = Bench("g2p"), task("phonemes", COUNT)
    nv, peer = (fit_task(bench, plan_of(peer)).point for peer in ("", "temperature:1.0"))
    plan = Plan(made, space(Scenario(model="g2p"), grid))
    sweep(bench, plan, tmp_path / "other.db")
    kept = read_findings(plan, tmp_path / "other.db", bench.shape.revision)
    points = {nv: "fitted NV", peer: "fitted temperature"}
    points |= {point: f"best {name} swept" for point, name in ((kept.best, "NV"), (kept.peer, "peer"))
               if point != Scenario(model="g2p")}  # fmt: skip
    tables = [frame.value for frame in app.dataframe]
    of_test = next(table for table in tables if "fit" in table.columns)
    assert list(of_test.columns[4:]) == list(points.values())
    for point, name in points.items():
        told = results(bench, made, point, tmp_path / "other.db")
        assert list(of_test[name]) == [sweeps.interval(told[each]) for each in made.sets]
    paired = next(table for table in tables if "against" in table.columns)
    rows = {(row["of"], row["against"], row["set"].partition(",")[0]): row for _, row in paired.iterrows()}
    assert {row["set"] for row in rows.values()} == {"words, not fitted on", "proper names, fitted on"}
    assert ("fitted NV", "fitted temperature", "words") in rows
    assert ("fitted temperature", "fitted NV", "words") not in rows
    names = {name: point for point, name in points.items()}
    for (one, other, name), row in rows.items():
        difference = rate(bench, names[one], name) - rate(bench, names[other], name)
        shown, _, ends = row["difference"].replace("−", "-").partition(" ")
        assert float(shown) == pytest.approx(difference, abs=0.006)
        low, high = map(float, ends.strip("[]").split(", "))
        better = "not told apart" if low <= 0 <= high else one if difference < 0 else other
        assert row["better"] == better
    chart = titled(app, "best points, a row each")[-1]
    assert [
        label.partition(">")[2].partition("<")[0] or label for label in chart["layout"]["yaxis"]["ticktext"]
    ] == list(points.values())


def test_a_stopped_fit_goes_on_to_the_same_numbers(tmp_path):
    bench, plan = Bench("g2p"), plan_of(steps=5)
    whole = fit_task(bench, plan)
    file = tmp_path / "fits" / f"{outline(bench, plan).name}.fit"
    app = page(steps=5)

    def stop(made, _steps, _loss):
        if made == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_task(bench, plan, file, stop)
    app.run()
    assert len(losses(app)) == 2
    press(app, "Go on with the fit, 2 of 5 steps")
    np.testing.assert_allclose(losses(app), [step.loss for step in whole.fit.history], rtol=1e-6)
    assert f"The values after step {whole.fit.best} of 5 are kept." in said(app)
    assert "Bars begin at identity, the dashed line, those of τα, whose identity is ∞, at 0;" in said(app)
    assert sweep_fit._found(bench, sweep_fit._begun(bench, plan)).point == whole.point


def test_a_press_on_stop_ends_it_at_the_next_step(monkeypatch):
    """The script that runs is replaced by one that does not fit; what is fitted stays."""
    app = page(steps=30)
    tell_of = sweep_fit._teller

    def teller(bar, curve, begun):
        tell = tell_of(bar, curve, begun)

        def stops(made, steps, loss):
            tell(made, steps, loss)
            if made == 2:
                sweep_fit._set_running(None)
                sweep_fit.st.rerun()

        return stops

    monkeypatch.setattr(sweep_fit, "_teller", teller)
    run(app)
    assert [each.label for each in app.button if "the fit" in each.label] == ["Go on with the fit, 2 of 30 steps"]
    assert not [each for each in app.button if each.label == "Stop the fit"]


def test_another_visitor_is_not_disturbed(monkeypatch):
    """Between two steps, and inside of one, another's page gets the numbers that it has alone."""
    view, errors = Scenario(model="g2p", text="treaty", decoder_sigma=0.3), []

    def numbers():
        resources._observations.clear()
        try:
            with resources.visit():
                found = resources.observation(resources.bench("g2p"), view)
        except Exception as error:
            return errors.append(error)
        return [found.regularised, found.baseline, found.change]

    def visit():
        thread = threading.Thread(target=lambda: seen.append(numbers()))
        thread.start()
        return thread

    alone, seen, threads = numbers(), [], []
    tell_of, likelihood = sweep_fit._teller, fitting.likelihood

    def teller(bar, curve, begun):
        tell = tell_of(bar, curve, begun)

        def visited(made, steps, loss):
            threads.append(visit())
            tell(made, steps, loss)

        return visited

    def inside(model, batch):
        threads.append(visit())
        return likelihood(model, batch)

    monkeypatch.setattr(sweep_fit, "_teller", teller)
    found = fit_task(Bench("g2p"), plan_of(steps=2))
    app = page(steps=2)
    monkeypatch.setattr(fitting, "likelihood", inside)
    run(app)
    monkeypatch.undo()
    [thread.join(60) for thread in threads]
    assert len(seen) == len(threads) > 3
    assert not errors
    assert all(np.allclose(one, other, atol=1e-5) for each in seen for one, other in zip(each, alone, strict=True))
    np.testing.assert_allclose(losses(app), [step.loss for step in found.fit.history], rtol=1e-5)


def test_the_gradient_is_taken_in_a_turn_of_the_gate(monkeypatch):
    """A backward beside another's forward would have the cores that the gate keeps for one."""
    inside, taken = [], fitting.torch.autograd.grad

    def grad(*given, **options):
        inside.append(bool(resources.GATE._inside))
        return taken(*given, **options)

    app = page(steps=2)
    before = resources.GATE.counts["turns"]
    monkeypatch.setattr(fitting.torch.autograd, "grad", grad)
    run(app)
    assert inside.count(True) >= 2
    assert inside.count(False) == 2  # of the penalty, which is no work of the model's
    assert resources.GATE.counts["turns"] > before + 2
    assert not resources.GATE._inside


def test_a_text_without_a_finite_loss_is_counted(monkeypatch):
    """One of the fitted twelve, in two steps of eight and four: each round leaves it out once."""
    bench, plan = Bench("g2p"), plan_of(steps=4)
    bad = bench.loaded.ids([plan.examples()[0][0].text])[0]
    likelihood = fitting.likelihood

    def broken(model, batch):
        rows, counts = likelihood(model, batch)
        ids = batch["input_ids"][:, : len(bad)]
        marked = (ids == ids.new_tensor(bad)).all(1) if ids.shape[1] == len(bad) else ids.new_zeros(len(ids)).bool()
        return rows.masked_fill(marked, math.nan), counts

    monkeypatch.setattr(fitting, "likelihood", broken)
    app = run(page(steps=4))
    assert "Left out, for their loss was no finite number: 2 texts" in said(app)


def test_what_was_found_opens_in_explore_and_as_a_file():
    app = run(page())
    found = fit_task(Bench("g2p"), plan_of()).point
    (link_to,) = [each for each in app.get("page_link") if "fitted temperatures in Explore" in each.proto.label]
    query = dict(parse_qsl(link_to.proto.query_string))
    opened_at, _, ignored = link.decode({name: value for name, value in query.items() if name != session.OPENS})
    assert not ignored
    for kind in ("encoder", "cross", "decoder"):
        assert getattr(opened_at, f"{kind}_alpha") == getattr(found, f"{kind}_alpha")
        assert getattr(opened_at, f"{kind}_sigma") == getattr(found, f"{kind}_sigma")
    assert opened_at.mu == found.mu


def test_a_file_that_a_disk_lost_is_set_aside_and_old_ones_go(own_folder, monkeypatch):
    monkeypatch.setattr(sweep_run, "STORES_KEPT", 2)
    bench = Bench("g2p")
    folder = own_folder / "fits"
    folder.mkdir()
    for n in range(4):
        (folder / f"old{n}.fit").write_bytes(b"")
        os.utime(folder / f"old{n}.fit", (n, n))
    file = folder / f"{outline(bench, plan_of()).name}.fit"
    file.write_bytes(b"torn")
    app = page()
    assert [each.label for each in app.button if "the fit" in each.label] == ["Run the fit"]
    assert [path.name for path in folder.glob("*.damaged")] == [f"{file.stem}.damaged"]
    assert len(list(folder.glob("old*"))) < 4
    run(app)
    assert file.exists()


def test_a_fit_that_cannot_be_kept_is_one_sentence(own_folder):
    (own_folder / "fits").write_text("in the way")
    app = page(steps=0)
    (told,) = [alert.value.replace("\\", "") for alert in app.error]
    assert told == f"The fit cannot be kept in {str(own_folder / 'fits')!r} (File exists)."


def test_a_public_server_gives_fewer_steps_and_texts(public):
    public(NVIB_FIT_STEPS="5", NVIB_FIT_TEXTS="16")
    app = page(steps=0)
    assert app.number_input(key="scenario_fit_steps").max == app.number_input(key="scenario_fit_steps").value == 5
    assert not app.error
    assert "5 steps in a fit and 16 texts" in app.sidebar.caption[-1].value
    pills(app).set_value(["words", "proper names"]).run()
    (told,) = [alert.value.replace("\\", "") for alert in app.error]
    assert told == "The fit is of 32 texts; this server takes 16 at most: choose fewer sets or texts."
    assert not [each for each in app.button if "the fit" in each.label]


def test_no_set_is_no_fit():
    app = page()
    pills(app).set_value([]).run()
    assert "Choose a set to fit on." in said(app)
    assert not [each for each in app.button if "the fit" in each.label]


def test_every_set_is_warned_of():
    app = page(steps=1)
    pills(app).set_value(["words", "proper names"]).run()
    assert "Every set was fitted on: leave one out" in said(run(app))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return str(save(tmp_path_factory.mktemp("llama"), model_of("llama")))


def own_texts(app, rows):
    lines = "\n".join(json.dumps(row) for row in rows)
    app.get("file_uploader")[1].set_value(("mine.jsonl", io.BytesIO(lines.encode()).getvalue(), "application/json"))
    return app.run()


def test_a_decoder_is_proposed_a_protected_token(decoder):
    app = page(steps=0, model=decoder, prior="normal", grid="mu=1,0.9")
    own_texts(app, [{"text": f"the cat sat on the mat and the cat {word}"} for word in WORDS[3:]])
    box = protected(app)
    assert box.value == 1
    assert "the likelihood of the texts" in said(app)
    app.number_input(key="scenario_fit_steps").set_value(1).run()
    run(app)
    assert sweep_fit._fits
    bench = resources.bench(decoder)
    (found,) = [entry.value for entry in sweep_fit._fits._pool.values.values()]
    assert (found.point.protected, found.fit.regularisation.protected) == (1, 1)
    protected(app).set_value(0).run()
    run(app)
    assert {entry.value.point.protected for entry in sweep_fit._fits._pool.values.values()} == {0, 1}
    assert bench.layers["decoder"] == 2


def test_a_prior_of_a_text_is_estimated_when_it_is_fitted(decoder):
    text = "the cat sat on the mat " * 3
    app = page(steps=0, model=decoder, prior="text", prior_text=text, grid="mu=1,0.9")
    own_texts(app, [{"text": f"the cat sat on the mat {word}"} for word in WORDS[3:]])
    app.number_input(key="scenario_fit_steps").set_value(1).run()
    if "The prior is estimated from your text first." in said(app):
        run(app)
    assert len(losses(app)) == 1


def test_a_task_without_a_gradient_is_one_sentence(monkeypatch):
    monkeypatch.setitem(tasks.OWN_MEASURES, "similarity", measures.SUMMARIES)
    app = page(steps=0, model="minilm", task="own", grid="mu=1,0.9")
    own_texts(app, [{"text": f"first {n}", "target": f"second {n}"} for n in range(8)])
    told = [alert.value.replace("\\", "") for alert in app.error]
    assert len([each for each in told if "has no gradient, so that nothing is fitted to it" in each]) == 1
    assert not [each for each in app.button if "the fit" in each.label]


LINKED = {"fit_by": "group", "fit_seed": "7", "fit_penalty": "0.25", "fit_sets": "words", "calibration_set": "words"}


def test_a_link_has_every_control_of_a_fit_and_opens_it():
    app = opened("Sweep", **SMALL | LINKED, fit_steps="2")
    assert app.session_state[sweep_fit.FOLD]
    assert app.segmented_control(key="scenario_fit_by").value == "group"
    assert app.number_input(key="scenario_fit_steps").value == 2
    assert app.number_input(key="scenario_fit_seed").value == 7
    assert app.number_input(key="scenario_fit_penalty").value == 0.25
    assert pills(app).value == ["words"]
    run(app)
    (found,) = [entry.value for entry in sweep_fit._fits._pool.values.values()]
    bench = Bench("g2p")
    asked = replace(plan_of(steps=2), by="group", seed=7, penalty=0.25, sets=("words",))
    assert fit_task(bench, asked).point == found.point


def test_what_is_chosen_in_a_fit_is_in_the_address():
    app = page(steps=5)
    app.segmented_control(key="scenario_fit_way").set_value("temperature:1.0").run()
    pills(app).set_value(["words"]).run()
    query = session.address(app.session_state["scenario"])
    assert {"fit_steps": "5", "fit_way": "temperature:1.0", "fit_sets": "words"}.items() <= query.items()
    pills(app).set_value([]).run()
    again = opened("Sweep", **session.address(app.session_state["scenario"]))
    assert pills(again).value == []


def test_sets_of_another_task_in_a_link_leave_those_that_are_proposed():
    app = opened("Sweep", **SMALL, fit_sets="technical prose\nSpanish")
    assert pills(app).value == ["proper names"]
