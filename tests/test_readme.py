"""The README's Python runs as printed, in the order of the page."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_every_python_block_runs():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(compile(block, README.name, "exec"), names)
    batch, heads, queries = names["seen"].change["decoder", 12].shape
    assert names["seen"].attention["decoder", 12].shape == (batch, 2, queries, queries + 1)
    assert (batch, heads) == (1, 9)
    assert names["ids"].shape[1] == queries + 20 or names["ids"][0, -1] == names["loaded"].tokenizer.eos_token_id
