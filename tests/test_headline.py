"""The headline: the script prints what chosen settings and fits do, and the table that ships is of its grids."""

import re
from pathlib import Path

import pytest
from torchmetrics.functional.text import char_error_rate

from benchmarks import headline
from nvib.lab import Scenario
from nvib.lab.instead import in_words
from nvib.lab.sweep.fit import FitPlan, fit_task
from nvib.lab.sweep.space import count, space
from nvib.lab.sweep.tasks import PARTS, task

ROOT = Path(__file__).parent.parent
SHIPPED, FITS = (ROOT / "assets" / name for name in ("headline.md", "fits.md"))


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
    peers = len(plan.peers.values)
    first = f"| {asked.title}; {count(plan, 'grid', 0) - peers} of NV: "
    (line,) = [line for line in SHIPPED.read_text("utf-8").splitlines() if line.startswith(first)]
    nv, found, peer = cells(line)[0].removeprefix(first[2:]).rpartition(f"; {peers} peers: ")
    assert found
    assert peer in {in_words(each) for each in plan.peers.values} | {"none is better"}
    for said in re.split(", ", nv):
        name, _, value = said.partition(" ")
        assert said == "identity" or (name in asked.grid and value.removesuffix(".0") in asked.grid)


def test_the_shipped_fits_are_of_these_sets():
    """Of the first task; each fit's sets in their order, and those that it was fitted on."""
    asked = headline.HEADLINE[0]
    made = task(asked.task, asked.count)
    shipped = [cells(line) for line in FITS.read_text("utf-8").splitlines() if line.startswith("|")][2:]
    blocks = {}
    for row in shipped:
        if row[0]:
            said = row[0].removeprefix(f"{asked.title}; ")
            blocks[said] = []
        blocks[said].append(row)
    fits = {tuned.said: tuned for tuned in headline.fits_of(made) if tuned.name != "inside"}
    assert list(blocks) == list(fits)
    for said, rows in blocks.items():
        sets = [row for row in rows if not row[1].startswith("**")]
        assert [row[1] for row in sets] == [f"{name} ({len(made.part(name, PARTS[1]))})" for name in fits[said].told]
        assert [row[2] for row in sets] == ["yes" if name in fits[said].sets else "no" for name in fits[said].told]


def test_two_seeds_of_the_shipped_fits_agree():
    """In sign, on every set whose interval excludes zero under both: NV, the temperature, and one against the other."""
    rows = [cells(line) for line in FITS.read_text("utf-8").splitlines() if line.startswith("|")][2:]
    starts = [n for n, row in enumerate(rows) if "seed" in row[0]]
    assert len(starts) == 2
    length = starts[1] - starts[0]
    told = 0
    for first, second in zip(rows[:length], rows[starts[1] : starts[1] + length], strict=True):
        assert first[1:4] == second[1:4]
        for one, other in zip(first[4:], second[4:], strict=True):
            ends = [[float(x) for x in re.findall(r"[+-][0-9.]+", cell.replace("−", "-"))] for cell in (one, other)]
            if all(low * high > 0 for _, low, high in ends):
                assert ends[0][0] * ends[1][0] > 0
                told += 1
    assert told > length


@pytest.mark.parametrize("asked", headline.HEADLINE, ids=lambda asked: asked.title)
def test_every_peer_is_one_that_the_model_takes(asked, benches):
    made = task(asked.task, 8)
    bench = benches(made.model)
    for spec in (asked.grid, asked.quick_grid):
        for peer in space(Scenario(model=made.model), spec).peers.values:
            with bench.under(Scenario(model=made.model, peer=peer), bench.nv.prior):
                pass  # raises where there is no place for it


@pytest.mark.parametrize("shipped", [SHIPPED, FITS], ids=lambda path: path.stem)
def test_the_results_have_what_ships(shipped):
    assert shipped.read_text("utf-8") in (ROOT / "docs" / "results.md").read_text("utf-8")
