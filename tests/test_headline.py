"""The headline: the script prints what chosen settings and fits do, and the table that ships is of its grids."""

import re
from pathlib import Path

import pytest
from torchmetrics.functional.text import char_error_rate

from benchmarks import headline
from nvib.lab import Scenario
from nvib.lab.sweep.fit import FitPlan, fit_task
from nvib.lab.sweep.space import count, space
from nvib.lab.sweep.tasks import PARTS, task

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "assets" / "headline.md"


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_quick_tables_say_what_the_chosen_settings_and_the_fits_do(tmp_path, capsys, monkeypatch, benches):
    monkeypatch.setattr("sys.argv", ["headline", "--quick", "--only", "phonemes", "--out", str(tmp_path)])
    headline.main()
    of_grid, of_fits = ([cells(line) for line in part.splitlines()] for part in capsys.readouterr().out.split("\n\n"))
    made, bench = task("phonemes-unseen", 80), benches("g2p")
    rates = {}

    def rate(point, name):
        if (point, name) not in rates:
            with bench.under(point, bench.priors.of(point)):
                rates[point, name] = _rate(bench, made.part(name, PARTS[1]))
        return rates[point, name]

    def holds(row, name, nv, peer):
        """A row's four numbers; name: of a set, or of several for their mean."""
        names, base = name if isinstance(name, list) else [name], Scenario(model="g2p")
        nvs, peers = (each if isinstance(each, list) else [each] * len(names) for each in (nv, peer))
        if len(names) == 1:
            assert row[1] == f"{name} ({len(made.part(name, PARTS[1]))})"
            assert row[3] == f"{rate(base, name):.2f} %"
        for cell, olds, news in (
            (row[4], [base] * len(names), nvs),
            (row[5], [base] * len(names), peers),
            (row[6], peers, nvs),
        ):
            changes = [rate(new, each) - rate(old, each) for each, old, new in zip(names, olds, news, strict=True)]
            assert cell.strip("*").startswith(f"{sum(changes) / len(changes):+.2f}".replace("-", "−"))

    first, *rows = of_grid[2:]
    points, of_nv, peers = re.fullmatch(r"phonemes; (\d+) of NV: (.*); 1 peer: (.*)", first[0]).groups()
    said = dict(part.split(" ") for part in of_nv.split(", ")) if of_nv != "identity" else {}
    nv = Scenario(model="g2p", **{name: float(value) for name, value in said.items()})
    peer = Scenario(model="g2p", peer="temperature:1.1" if peers == "attention temperature 1.1" else "")
    assert points == "4"
    assert peers in ("attention temperature 1.1", "none is better")
    for row, name in zip([first, *rows], made.sets, strict=False):
        assert row[2] == ("in" if name in made.inside else "out")
        holds(row, name, nv, peer)
    assert rows[2][1] == "**mean out of domain**"
    holds(rows[2], [name for name in made.sets if name not in made.inside], nv, peer)

    outside = ["proper names", "unseen words"]
    expected = [(outside, 0, [*made.sets]), (outside, 1, [*made.sets]), (outside[1:], 0, outside[:1]),
                (outside[:1], 0, outside[1:]), (["words"], 0, [*made.sets])]  # fmt: skip
    rows, left = iter(of_fits[2:]), []
    for fitted, seed, told in expected:
        points = []
        for start in (Scenario(model="g2p"), Scenario(model="g2p", peer="temperature:1.0")):
            plan = FitPlan(made, start, "layer", 2, seed, tuple(fitted))
            points.append(fit_task(bench, plan).point)
        for name in told:
            row = next(rows)
            assert row[2] == ("yes" if name in fitted else "no")
            holds(row, name, *points)
        if len(told) == 1:
            left.append((told[0], *points))
        if len(told) > 1 or len(left) == 2:
            row = next(rows)
            assert row[2] == ("no" if fitted == ["words"] or len(told) == 1 else "yes")
            holds(row, *([outside, *points] if len(told) > 1 else map(list, zip(*left, strict=True))))
    assert not list(rows)


def _rate(bench, examples):
    said = []
    for start in range(0, len(examples), 25):
        batch = bench.encode([example.text for example in examples[start : start + 25]])
        ids = bench.nv.generate(**batch, do_sample=False, num_beams=1, max_new_tokens=60)
        said += bench.loaded.target_tokenizer.batch_decode(ids, skip_special_tokens=True)
    return 100 * float(char_error_rate(said, [example.target for example in examples]))


@pytest.mark.parametrize("asked", headline.HEADLINE, ids=lambda asked: asked.title)
def test_the_shipped_table_is_of_these_grids(asked):
    made = task(asked.task, 8)
    plan = space(Scenario(model=made.model), asked.grid)
    points = count(plan, "grid", 0) - len(plan.peers.values)
    (line,) = [line for line in SHIPPED.read_text("utf-8").splitlines() if line.startswith(f"| {asked.title};")]
    assert cells(line)[0] == f"{asked.title}; {points}"
    for said in re.split(", ", cells(line)[1]):
        name, _, value = said.partition(" ")
        assert said == "identity" or (name in asked.grid and value.removesuffix(".0") in asked.grid)
    for where in ("docs/results.md", "pages/7_Method.py"):  # the table's numbers have no name of their own
        assert made.metric.name in (ROOT / where).read_text("utf-8")


@pytest.mark.parametrize("asked", headline.HEADLINE, ids=lambda asked: asked.title)
def test_every_peer_is_one_that_the_model_takes(asked, benches):
    made = task(asked.task, 8)
    bench = benches(made.model)
    for spec in (asked.grid, asked.quick_grid):
        for peer in space(Scenario(model=made.model), spec).peers.values:
            with bench.under(Scenario(model=made.model, peer=peer), bench.nv.prior):
                pass  # raises where there is no place for it


def test_the_results_have_what_ships():
    assert SHIPPED.read_text("utf-8") in (ROOT / "docs" / "results.md").read_text("utf-8")
