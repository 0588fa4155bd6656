"""The baseline's half of a view is the model's own, without a prior anywhere."""

import numpy as np
import pytest
import torch
import transformers

from nvib.lab import Bench, Scenario
from nvib.lab.view.untouched import untouched
from tests.support import tiny
from tests.support.folders import save

TEXT = "the cat sat on the mat"


@pytest.mark.parametrize(
    ("family", "kind", "auto"),
    [("llama", "decoder", "AutoModelForCausalLM"), ("bert", "encoder", "AutoModel"), ("bart", "encoder", "AutoModel")],
)
@pytest.mark.parametrize("across", ["layer", "mean", "max"])
def test_the_map_and_the_output_are_the_models_own(family, kind, auto, across, tmp_path):
    """No prior can be asked for here: the scenario names none that exists."""
    folder = str(save(tmp_path, tiny.model_of(family)))
    bench = Bench(folder)
    seen = untouched(bench, Scenario(model=folder, text=TEXT, prior="text", kind=kind, layer=1, across=across))
    own = getattr(transformers, auto).from_pretrained(folder, attn_implementation="eager").eval()
    if family == "bart":
        own = own.get_encoder()
    ids = torch.tensor(bench.loaded.ids([TEXT]))
    with torch.no_grad():
        said = own(ids, output_attentions=True, output_hidden_states=True)
    heads = torch.stack([layer[0].mean(0) for layer in said.attentions])
    expected = {"layer": heads[1], "mean": heads.mean(0), "max": heads.max(0).values}[across]
    np.testing.assert_allclose(seen.attention, expected, atol=1e-5)
    assert seen.queries == seen.keys == TEXT.split()
    if family == "llama":
        chances = said.logits[0, -1].double().softmax(-1)
        likeliest = chances.sort(descending=True).values[: len(seen.output.tokens)]
        np.testing.assert_allclose(seen.output.baseline, likeliest, rtol=1e-4)
    if family == "bert":
        two = untouched(bench, Scenario(model=folder, text=f"{TEXT}\nthe mat", prior="text"))
        with torch.no_grad():
            rows = [own(torch.tensor(bench.loaded.ids([row])))[0][0].mean(0) for row in (TEXT, "the mat")]
        assert two.output.baseline[0, 1] == pytest.approx(float(torch.cosine_similarity(*rows, dim=0)), abs=1e-5)
