"""The README's Python runs as printed, and its set-up comes within a screen."""

import re

from tests.support.folders import ROOT

README = (ROOT / "README.md").read_text("utf-8")
SCREEN = 40  # lines


def test_every_python_block_runs():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    attentions, queries = names["out"].attentions, names["inputs"]["input_ids"].shape[1]
    assert {attended.shape for attended in attentions} == {(1, 9, queries, queries + 1)}
    assert names["ids"].shape[1] == queries + 20 or names["ids"][0, -1] == names["loaded"].tokenizer.eos_token_id


def test_set_up_is_on_the_first_screen():
    first = README.splitlines()[:SCREEN]
    assert first[0].startswith("![")
    for command in ("make run", "make test", "nvib serve"):
        assert any(line.startswith(command) for line in first)
