"""The numbers of a result in a link."""

from dataclasses import replace

import pytest

from nvib import NVError
from nvib.lab import observe
from nvib.lab.share.fingerprint import differences, fingerprint, numbers
from tests.support.scenes import SHORT


@pytest.mark.parametrize("name", SHORT)
def test_a_result_agrees_with_its_own_fingerprint_alone(name, benches):
    bench, scenario = benches(name), SHORT[name]
    kind = scenario.kind
    seen, other = observe(bench, scenario), observe(bench, replace(scenario, **{f"{kind}_sigma": 0.9}))
    assert len(fingerprint(seen)) <= 43
    assert differences(seen, fingerprint(seen)) == []
    told = differences(seen, fingerprint(other))
    assert told
    names = [line.rsplit(" ", 4)[0] for line in told]
    assert set(names) <= set(numbers(seen))


@pytest.mark.parametrize("text", ["", "x", "é", "AAAA", "A" * 43 + "B" * 40, "!!!!"])
def test_what_is_no_fingerprint_is_one_sentence(text, benches):
    seen = observe(benches("g2p"), SHORT["g2p"])
    with pytest.raises(NVError, match="The link's fingerprint cannot be read, so its numbers were not compared; copy"):
        differences(seen, text)
