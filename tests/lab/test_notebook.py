"""A view as a notebook: it is one by its format's own schema, and runs from start to end to the view's numbers."""

import json

import nbclient
import nbformat
import pytest

from nvib.lab import EXAMPLES, observe
from nvib.lab.share.citation import PAPERS, citation
from nvib.lab.share.link import Made
from nvib.lab.share.notebook import notebook, parts
from nvib.lab.share.script import script
from tests.support.folders import ROOT
from tests.support.scenes import MODELS

ABOUT = {"model": "smollm2", "text": "a `b` ``c`` <img src=x>\\n", "link": "http://127.0.0.1:8501/?v=2"}
PRINTS = {
    "next token": "print(kl)",
    "similarity": 'print(cosines["NV"].mean().item())',
    "generated text": 'print(outputs["NV"][0])',
}


@pytest.mark.parametrize("name", MODELS)
def test_it_runs_in_a_process_of_its_own_to_the_numbers_of_the_view(name, benches):
    bench = benches(name)
    made = notebook(script(EXAMPLES[name], bench.shape), "Explore", ABOUT, PAPERS)
    read = nbformat.reads(made, as_version=4)
    nbformat.validate(read)
    read.cells.append(nbformat.v4.new_code_cell(PRINTS[bench.mode.name]))
    nbclient.NotebookClient(read, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    (said,) = read.cells[-1].outputs
    output = observe(bench, EXAMPLES[name]).output
    if bench.mode.answers:
        assert said.text.strip() == output.regularised[0]
    else:
        expected = output.kl if bench.mode.continues else output.regularised.mean()
        assert float(said.text) == pytest.approx(expected, rel=1e-4)
    pictures = [out for cell in read.cells for out in cell.get("outputs", []) if "application/vnd.plotly" in str(out)]
    assert len(pictures) == 2


def test_texts_stand_as_they_are():
    made = json.loads(notebook("x = 1\n", "a*b*", ABOUT, "@misc{a}"))
    first, code, last = made["cells"]
    told = "".join(first["source"])
    assert "# ` a*b* `" in told
    assert f"- text: ``` {ABOUT['text']} ```" in told
    assert "".join(code["source"]) == "x = 1"
    assert "```bibtex\n@misc{a}\n```" in "".join(last["source"])
    assert len({cell["id"] for cell in made["cells"]}) == 3


def test_a_program_is_cut_before_functions_and_blocks():
    program = "import a\n\nb = 1\n\n\ndef f():\n    return 1\n\n\nwith a:\n    f()\nc = 2\n"
    assert parts(program) == ["import a\n\nb = 1", "def f():\n    return 1", "with a:\n    f()\nc = 2"]


def test_a_view_is_cited_by_its_link_and_fingerprint():
    said = citation("Explore", "a_b/c&d", Made("Ab-9_xyz123", "rev#1", "2.0"), "https://x.org/?v=2&text=50%25")
    assert said.startswith("@misc{nvib-ab9_xyz1,\n  title        = {NVIB Explorer, Explore: a\\_b/c\\&d},\n")
    assert "howpublished = {\\url{https://x.org/?v=2&text=50%25}}," in said
    assert "model a\\_b/c\\&d, revision rev\\#1; fingerprint Ab-9\\_xyz123; seen 2" in said
    assert said.endswith(PAPERS)
    assert "title        = {NVIB Explorer, Prior: x}" in citation("Prior", "x", Made("", "1", "2"), "too long {")
    assert "howpublished = {too long \\{}," in citation("Prior", "x", Made("", "1", "2"), "too long {")
    assert "@misc{nvib-view," in citation("Prior", "x", Made("", "1", "2"), "too long")
