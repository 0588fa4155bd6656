"""What fits into a model, against the model itself: it reads so many tokens, and fails at one more."""

import pytest
import torch

from nvib.positions import source_positions, target_positions
from tests.support import tiny
from tests.support.forwards import accepted

TABLES = {
    "bert": {"max_position_embeddings": 12},
    "roberta": {"max_position_embeddings": 12, "pad_token_id": 1},
    "electra": {"max_position_embeddings": 12},
    "distilbert": {"max_position_embeddings": 12},
    "gpt2": {"n_positions": 12},
    "opt": {"max_position_embeddings": 12},
    "bart alone": {"max_position_embeddings": 12},
    "bert as decoder": {},
    "bart": {"max_position_embeddings": 12},
    "mbart": {"max_position_embeddings": 12},
    "marian": {"max_position_embeddings": 12},
    "whisper": {"max_target_positions": 12},
}


def reads(model, source, target):
    """Whether a model reads so many tokens on either side."""
    inputs = tiny.inputs_of(model, rows=1, length=source)
    inputs["attention_mask"] = torch.ones(1, source, dtype=torch.long)
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.full((1, target), 5)
    try:
        model(**accepted(model, inputs))
    except (IndexError, RuntimeError):
        return False
    return True


def limits(model):
    return source_positions(model), target_positions(model)


@pytest.mark.parametrize("family", TABLES)
def test_a_model_reads_what_fits_and_no_more(family):
    if family == "bart alone":
        made = tiny.transformers.BartForCausalLM(tiny.bart(encoder_layers=3, max_position_embeddings=12).config).eval()
    else:
        made = tiny.model_of(family, **TABLES[family])
    source, target = limits(made)
    assert target == (12 if family not in ("roberta", "bert as decoder") else source)
    if family == "roberta":
        assert source == 10
    if made.config.is_encoder_decoder:
        assert reads(made, 5, target)
        assert not reads(made, 5, target + 1)
    if family != "whisper":  # whose source is sound
        assert reads(made, source, 5)
        assert not reads(made, source + 1, 5)


def test_models_of_relative_positions_have_no_limit():
    model = tiny.model_of("t5")
    assert limits(model) == (None, None)
    assert reads(model, 300, 300)


def test_rotary_models_have_the_positions_that_they_were_made_for():
    assert limits(tiny.model_of("llama", max_position_embeddings=40)) == (40, 40)


def test_a_decoder_may_have_fewer_positions_than_its_encoder():
    decoder = tiny.gpt2(add_cross_attention=True, n_positions=8)
    model = tiny.two_models(decoder).eval()
    assert limits(model) == (512, 8)
    assert limits(tiny.model_of("whisper", max_target_positions=6)) == (10, 6)
