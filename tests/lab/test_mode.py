"""What a model's output is, and models that have none that the app can show."""

import pytest
import torch

from nvib import NVError
from nvib.lab import Bench
from nvib.lab.model.mode import GENERATED, NEXT_TOKEN, SIMILARITY, mode_of
from tests.support import tiny
from tests.support.folders import save

REFUSED = {
    "llama without a head": "(LlamaModel) has no language head, so it writes no text; choose one that was saved with",
    "llama that classifies": "(LlamaForSequenceClassification) has no language head, so it writes no text; choose one",
    "bert to bert": "is an encoder-decoder made of two models, which the app cannot show; use it from Python, or",
    "bert to gpt2": "is an encoder-decoder made of two models, which the app cannot show; use it from Python, or",
}


@pytest.mark.parametrize("use", REFUSED)
def test_a_model_without_an_output_of_its_mode_is_one_sentence(use, tmp_path):
    folder = str(save(tmp_path, tiny.model_of(use)))
    with pytest.raises(NVError) as told:
        Bench(folder)
    assert REFUSED[use] in str(told.value)
    assert repr(folder) in str(told.value)
    assert "\n" not in str(told.value)
    assert str(told.value).endswith(".")


@pytest.mark.parametrize(
    ("use", "mode"),
    [("llama", NEXT_TOKEN), ("bart alone", NEXT_TOKEN), ("bert as decoder", NEXT_TOKEN), ("bert", SIMILARITY),
     ("bert that classifies", SIMILARITY), ("tied bart", GENERATED), ("t5", GENERATED)],
)  # fmt: skip
def test_a_model_has_the_mode_of_its_attention(use, mode, tmp_path):
    bench = Bench(str(save(tmp_path, tiny.model_of(use))))
    assert bench.mode is mode is mode_of(bench.kinds)
    out = bench.output(bench.encode(["the cat"]) | decoder(bench))
    assert torch.isfinite(out).all()
    assert bench.mode.writes == (bench.mode is not SIMILARITY)


def decoder(bench):
    return {"decoder_input_ids": torch.tensor([[1]])} if bench.mode.answers else {}
