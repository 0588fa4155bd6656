"""The headline table: the script prints what the chosen settings do, and the table that ships is of its plans."""

import re
from pathlib import Path

import pytest
from torchmetrics.functional.text import char_error_rate

from benchmarks import headline
from nvib.lab import Scenario
from nvib.lab.sweep.space import count, space
from nvib.lab.sweep.tasks import PARTS, task

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "assets" / "headline.md"


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_a_quick_table_says_what_the_chosen_setting_does(tmp_path, capsys, monkeypatch, benches):
    monkeypatch.setattr("sys.argv", ["headline", "--quick", "--only", "phonemes", "--out", str(tmp_path)])
    headline.main()
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert cells(head)[0] == "task; points tried"
    rows = [cells(line) for line in lines]
    assert rows[0][0] == "phonemes; 4"
    said = dict(part.split(" ") for part in rows[0][1].split(", ")) if rows[0][1] != "identity" else {}
    point = Scenario(model="g2p", **{name: float(value) for name, value in said.items()})
    made, bench, changes = task("phonemes-unseen", 200), benches("g2p"), []
    for row, name in zip(rows, made.sets, strict=False):
        examples = made.part(name, PARTS[1])
        assert row[2] == f"{name} ({len(examples)})"
        assert row[3] == ("in" if name in made.inside else "out")
        rates = [_rate(bench, examples)]
        with bench.under(point, bench.priors.of(point)):
            rates.append(_rate(bench, examples))
        assert row[4:6] == [f"{rate:.2f} %" for rate in rates]
        assert row[6].startswith(f"{rates[1] - rates[0]:+.2f}".replace("-", "−"))
        changes.append(rates[1] - rates[0])
    outside = sum(changes[1:]) / 2
    assert rows[3][2] == "**mean out of domain**"
    assert rows[3][6].startswith(f"**{outside:+.2f}".replace("-", "−"))


def _rate(bench, examples):
    said = []
    for start in range(0, len(examples), 25):
        batch = bench.encode([example.text for example in examples[start : start + 25]])
        ids = bench.nv.generate(**batch, do_sample=False, num_beams=1, max_new_tokens=60)
        said += bench.loaded.target_tokenizer.batch_decode(ids, skip_special_tokens=True)
    return 100 * float(char_error_rate(said, [example.target for example in examples]))


@pytest.mark.parametrize("asked", headline.HEADLINE, ids=lambda asked: asked.title)
def test_the_shipped_table_is_of_these_plans(asked):
    made = task(asked.task, 8)
    points = count(space(Scenario(model=made.model), asked.grid), "grid", 0)
    (line,) = [line for line in SHIPPED.read_text("utf-8").splitlines() if line.startswith(f"| {asked.title};")]
    assert cells(line)[0] == f"{asked.title}; {points}"
    for said in re.split(", ", cells(line)[1]):
        name, _, value = said.partition(" ")
        assert said == "identity" or (name in asked.grid and value.removesuffix(".0") in asked.grid)


def test_the_results_have_what_ships():
    assert SHIPPED.read_text("utf-8") in (ROOT / "docs" / "results.md").read_text("utf-8")
