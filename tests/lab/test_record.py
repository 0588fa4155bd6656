"""Observations as JSON, and back."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from nvib import NVError
from nvib.lab import EXAMPLES, observe
from nvib.lab.share.fingerprint import differences, fingerprint
from nvib.lab.share.record import record, restore
from tests.support.scenes import MODELS, assert_same


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("identity", [True, False])
def test_a_record_comes_back_as_it_was(name, identity, benches):
    scenario = EXAMPLES[name].at_identity() if identity else EXAMPLES[name]
    seen = observe(benches(name), scenario)
    text = json.dumps(record(seen), allow_nan=False)
    back = restore(json.loads(text))
    arrays = [f.name for f in fields(seen) if isinstance(getattr(seen, f.name), np.ndarray)]
    typed = {name: getattr(back, name).astype(getattr(seen, name).dtype) for name in arrays}
    assert_same(seen, replace(back, **typed))
    assert differences(back, fingerprint(seen)) == []


@pytest.mark.parametrize("found", [{}, {"output": 3}, {"output": {"type": "next token"}}, {"output": {"type": "x"}}])
def test_what_is_no_record_is_one_sentence(found):
    with pytest.raises(NVError, match="stored observation cannot be read; observe the scenario anew"):
        restore(found)
