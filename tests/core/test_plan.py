"""What a plan refuses."""

import pytest
import torch

import nvib
from tests.support.tiny import model_of, prior_of  # fmt: skip


def test_protection_beyond_a_sliding_window_is_refused():
    model = model_of("qwen2 sliding")
    setting = nvib.Regularisation(decoder=nvib.Temperature(alpha=1.0), protected=4)
    with (
        nvib.reinterpret(model, prior_of(model)) as nv,
        nv.regularised(setting),
        pytest.raises(nvib.NVError, match="protected=4 must be below the model's sliding window of 4 tokens"),
    ):
        model(input_ids=torch.arange(3, 12)[None])
