"""What a model's output is, and models that have none that the app can show."""

import json

import pytest
import torch

from nvib import NVError
from nvib.lab import Bench, Scenario, observe
from nvib.lab.model.mode import GENERATED, NEXT_TOKEN, SIMILARITY, mode_of
from tests.support import tiny
from tests.support.folders import WORDS, save

REFUSED = {
    "llama without a head": "(LlamaModel) has no language head, so it writes no text; choose one that was saved with",
    "llama that classifies": "(LlamaForSequenceClassification) has no language head, so it writes no text; choose one",
    "llama that labels tokens": "(LlamaForTokenClassification) has no language head, so it writes no text; choose",
    "gpt2 that answers": "(GPT2ForQuestionAnswering) has no language head, so it writes no text; choose one",
    "a reward model": "(LlamaForSequenceClassification) has no language head, so it writes no text; choose one",
    "bart that classifies": "(BartForSequenceClassification) has no language head, so it writes no text; choose one",
    "bart that answers": "(BartForQuestionAnswering) has no language head, so it writes no text; choose one that",
    "t5 that classifies": "(T5ForSequenceClassification) has no language head, so it writes no text; choose one",
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


@pytest.mark.parametrize("use", ["bert that labels tokens", "bert that answers", "electra that discriminates"])
def test_a_head_that_is_not_shown_is_told(use, tmp_path):
    model = tiny.model_of(use)
    folder = str(save(tmp_path, model))
    bench = Bench(folder)
    kind = type(model).__name__
    assert type(bench.model).__name__ == kind
    assert bench.mode is SIMILARITY
    assert bench.shape.unshown == (
        f"{kind} has a head whose output is not shown: what you see is made of the hidden states below it."
    )
    batch = bench.encode(["the cat"])
    base = getattr(model, model.base_model_prefix)
    torch.testing.assert_close(bench.hidden_states(batch)[0], base(**batch).last_hidden_state)
    assert observe(bench, Scenario(model=folder, text="the cat", prior="normal", mu=0.9)).output.moved[0] < 1


def without_architectures(folder, value=None):
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config.pop("architectures")
    path.write_text(json.dumps(config | ({"architectures": value} if value else {})), "utf-8")
    return str(folder)


@pytest.mark.parametrize(
    ("family", "mode"), [("llama", NEXT_TOKEN), ("gpt2", NEXT_TOKEN), ("bart", GENERATED), ("bert", SIMILARITY)]
)
def test_a_model_that_names_no_class_is_what_its_weights_are(family, mode, tmp_path):
    model = tiny.model_of(family)
    bench = Bench(without_architectures(save(tmp_path, model)))
    assert bench.mode is mode
    batch = bench.encode(["the cat sat"]) | decoder(bench)
    torch.testing.assert_close(bench.output(batch), model(**batch)[0])


def test_a_decoder_that_names_no_class_and_has_no_head_is_refused(tmp_path):
    folder = without_architectures(save(tmp_path, tiny.model_of("llama without a head")))
    with pytest.raises(NVError, match=r"lm_head\.weight among them; save the whole LlamaForCausalLM"):
        Bench(folder)


@pytest.mark.parametrize("family", ["bert", "llama", "bart"])
@pytest.mark.parametrize("named", ["OurOwnModel", "__import__"])
def test_a_class_that_transformers_does_not_know_is_one_sentence(family, named, tmp_path):
    folder = without_architectures(save(tmp_path, tiny.model_of(family)), [named])
    with pytest.raises(NVError, match=f"is a '{named}', a class that transformers does not know; choose") as told:
        Bench(folder)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("family", "size"), [("llama", 7), ("llama", 4), ("gpt2", 5)])
def test_a_vocabulary_smaller_than_the_table_is_shown_whole(family, size, tmp_path):
    folder = str(save(tmp_path, tiny.FAMILIES[family](vocab_size=size), WORDS[:size]))
    seen = observe(Bench(folder), Scenario(model=folder, text="the cat", prior="normal", mu=0.9))
    assert len(seen.output.tokens) == size
    assert seen.output.baseline.sum() == pytest.approx(1)
    assert seen.output.regularised.sum() == pytest.approx(1)
