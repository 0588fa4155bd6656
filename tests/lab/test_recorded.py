"""Sixty scenarios of every page, recorded with version 0.1.0: their links open the same view, with the same numbers."""

import os

import pytest

import nvib
from nvib.lab.fields import written
from nvib.lab.scenario import FIELDS
from nvib.lab.share import link
from nvib.lab.share.fingerprint import ABSOLUTE, RELATIVE
from tests.support.recorded import differences, recorded, seen_on

ENTRIES = recorded()
# Numbers of another machine agree as far as the app promises to visitors; of the same one, set this for the digits.
SAME_MACHINE = os.environ.get("NVIB_SAME_MACHINE") == "1"
TOLERANCE = (1e-6, 1e-9) if SAME_MACHINE else (RELATIVE, ABSOLUTE)


def scenario_of(entry):
    """The scenario that a link or file opens; what it ignores fails."""
    if "file" in entry:
        return link.from_json("recorded.json", entry["file"].encode())[0]
    scenario, _, ignored = link.decode(entry["link"])
    assert ignored == []
    return scenario


@pytest.fixture(scope="module")
def own(benches):
    """The prior of one's own that some of the scenarios name."""
    return benches("g2p").priors.keep(nvib.standard_normal_prior(benches("g2p").model))


def test_what_was_recorded_is_of_everything():
    assert len(ENTRIES) == 60
    assert {entry["page"] for entry in ENTRIES} == {
        "Explore", "Pseudo-counts", "Compare", "Sweep", "Prior", "Gallery", "Method",
    }  # fmt: skip
    assert {entry["link"].get("v") for entry in ENTRIES if "link" in entry} == {"1", "2"}
    assert any("z" in entry["link"] for entry in ENTRIES if "link" in entry)
    assert sum("file" in entry for entry in ENTRIES) > 10
    fields = ENTRIES[0]["scenario"].keys()
    neutral = {name: written(FIELDS[name].default) for name in fields}
    assert {name for e in ENTRIES for name, text in e["scenario"].items() if text != neutral[name]} == set(fields)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e['page']}-{e['scenario']['model']}")
def test_a_recorded_link_opens_the_same_view(entry):
    scenario = scenario_of(entry)
    assert {name: written(getattr(scenario, name)) for name in entry["scenario"]} == entry["scenario"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e['page']}-{e['scenario']['model']}")
def test_a_recorded_view_has_the_same_numbers(entry, benches, own):
    scenario = scenario_of(entry)
    seen = seen_on(entry["page"], benches(scenario.model), scenario)
    assert differences(seen, entry["seen"], *TOLERANCE) == []


def test_another_number_is_noticed():
    seen = {"a": [1.0, {"b": 2.0}], "c": "x"}
    assert differences(seen, {"a": [1.0, {"b": 2.0001}], "c": "x"}, 1e-6, 1e-9) == ["/a/1/b: 2.0 here, 2.0001 there"]
    assert differences(seen, {"a": [1.0], "c": "y"}, 1, 1) == ["/a: [1.0, {'b': 2.0}] here, [1.0] there",
                                                              "/c: 'x' here, 'y' there"]  # fmt: skip
