"""Device and precision: chosen on a page and by a link where the server is private, and by the server where not."""

import numpy as np
import pytest
import torch

from nvib.lab import Bench, Scenario, observe
from nvib.lab.share.script import script
from nvib.show import resources, session
from tests.support.pages import opened

G2P = {"v": "2", "model": "g2p", "text": "nightingale", "cross_alpha": "1"}


def scenario(**changes):
    return Scenario(model="g2p", text="nightingale", cross_alpha=1.0, **changes)


def test_a_link_chooses_the_precision_and_says_so():
    app = opened("Explore", **G2P, dtype="bfloat16", device="cpu")
    assert not app.exception
    assert not app.error
    assert any("cpu, bfloat16." in each.value for each in app.caption)
    assert (app.query_params["dtype"], app.query_params["device"]) == ("bfloat16", "cpu")
    half = resources.bench("g2p", "cpu", "bfloat16")
    assert (half.loaded.dtype, half.model.dtype) == ("bfloat16", torch.bfloat16)
    alone = Bench("g2p", "cpu", "bfloat16")
    wanted, found = observe(alone, scenario()), resources.observation(half, scenario(dtype="bfloat16", device="cpu"))
    np.testing.assert_array_equal(found.regularised, wanted.regularised)
    whole = resources.observation(resources.bench("g2p"), scenario())
    assert whole.regularised.shape == found.regularised.shape
    assert np.abs(whole.regularised - found.regularised).max() > 1e-5
    alone.close()


def test_what_is_kept_is_told_apart_by_its_precision():
    """A proof is kept by nothing but the model: in another precision it is another."""
    whole, half = resources.bench("g2p"), resources.bench("g2p", dtype="bfloat16")
    assert resources.proof(whole, "treaty") is resources.proof(whole, "treaty")
    assert resources.proof(whole, "treaty") is not resources.proof(half, "treaty")


def test_controls_move_the_link():
    app = opened("Explore", **G2P)
    app.session_state["placing"] = True
    app.run()
    box = app.selectbox(key="scenario_dtype")
    assert box.options[:2] == ["the server's own: float32", "float32"]
    assert app.selectbox(key="scenario_device").options[0] == "the server's own: the best"
    box.select("bfloat16").run()
    assert not app.exception
    assert app.query_params["dtype"] == "bfloat16"
    assert any("bfloat16." in each.value for each in app.caption)


def test_a_device_that_is_not_there_is_one_sentence_and_can_be_left():
    if torch.cuda.is_available():
        pytest.skip("this machine has it")
    app = opened("Explore", **G2P, device="cuda")
    assert not app.exception
    assert [each.value.replace("\\", "") for each in app.error] == [
        "device='cuda' was asked for, but this machine has no such CUDA device; use cpu."
    ]
    app.session_state["placing"] = True
    app.run()
    app.selectbox(key="scenario_device").select("cpu").run()
    assert not app.error


def test_a_server_for_strangers_chooses_itself(public):
    public()
    app = opened("Explore", **G2P, dtype="bfloat16", device="split")
    assert not app.exception
    told = [each.value for each in app.warning]
    assert told == ["This server chooses device and precision itself, not as the link asks."]
    assert any("float32." in each.value for each in app.caption)
    assert (app.session_state[session.key("dtype")], app.session_state[session.key("device")]) == ("", "")
    assert resources._how("split", "int4") == ("auto", "float32")


def test_a_sweep_is_of_the_servers_own():
    app = opened("Sweep", v="2", model="g2p", dtype="bfloat16")
    assert not app.exception
    assert not [box for box in app.selectbox if box.key == "scenario_dtype"]
    assert app.query_params["dtype"] == "bfloat16"  # which comes back on the next page


def test_the_code_loads_what_the_view_is_of():
    shape = resources.bench("g2p", "cpu", "bfloat16").shape
    assert "nvib.load('g2p', device='cpu', dtype='bfloat16')" in script(scenario(device="cpu", dtype="bfloat16"), shape)
    assert "nvib.load('g2p')" in script(scenario(), resources.bench("g2p").shape)
