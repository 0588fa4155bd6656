"""The scenarios that models open with."""

import pytest

from nvib.lab.examples import EXAMPLE_TEXTS, EXAMPLES, OTHER_TEXTS
from nvib.models.catalogue import CATALOGUE


def test_every_embedded_model_has_its_texts():
    assert set(EXAMPLES) == set(EXAMPLE_TEXTS) == set(OTHER_TEXTS) == set(CATALOGUE)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_regularises_what_its_model_has(name, benches):
    bench, example = benches(name), EXAMPLES[name]
    assert example.model == name
    assert example.text in EXAMPLE_TEXTS[name].values()
    assert example.kind in bench.kinds
    assert example.layer < bench.layers[example.kind]
    for kind in ("encoder", "cross", "decoder"):
        assert example.temperature(kind).is_identity == (kind not in bench.kinds)
    for text in [*EXAMPLE_TEXTS[name].values(), OTHER_TEXTS[name]]:
        assert bench.encode(bench.rows(text))["input_ids"].shape[1] <= bench.longest
