"""The gallery, the record of an observation, the view's Python and the command line: all the same numbers."""

from dataclasses import replace

import numpy as np
import pytest

from nvib.lab import observe
from nvib.lab.share import gallery, link
from nvib.lab.share.fingerprint import ABSOLUTE, RELATIVE, differences
from tests.support.scenes import ENTRIES, MODELS, assert_same


def test_the_gallery_has_what_was_promised():
    assert len(gallery.ENTRIES) >= 8
    assert {entry.scenario.model for entry in gallery.ENTRIES} == set(MODELS)
    for what in ("name", "title", "sentence", "scenario"):
        assert len({getattr(entry, what) for entry in gallery.ENTRIES}) == len(gallery.ENTRIES)
    assert sum(path.stat().st_size for path in gallery.STORE.iterdir()) < 200_000


@ENTRIES
def test_a_gallery_link_finds_its_entry(entry):
    made = gallery.stored(entry).made
    query = link.encode(entry.scenario, made)
    scenario, said, ignored = link.decode(query)
    assert gallery.find(scenario) is entry
    assert said == made
    assert ignored == []
    assert gallery.find(replace(scenario, mu=0.99)) is None


@ENTRIES
def test_what_is_stored_is_what_is_observed(entry, benches):
    bench, kept = benches(entry.scenario.model), gallery.stored(entry)
    seen = observe(bench, entry.scenario)
    assert_same(kept.seen, seen, RELATIVE, ABSOLUTE)  # what the app promises: stored numbers are another machine's
    assert differences(seen, kept.made.fingerprint) == []
    assert replace(kept.shape, device="", dtype="") == replace(bench.shape, device="", dtype="")


def test_what_the_gallery_says_is_so():
    """The numbers and the changes that the sentences name."""
    seen = {entry.name: gallery.stored(entry).seen for entry in gallery.ENTRIES}

    def first(name, side):
        output = seen[name].output
        values = getattr(output, side)
        return output.tokens[int(values.argmax())], float(values.max())

    assert first("sink-lost", "baseline")[0] == "·three" != first("sink-lost", "regularised")[0]
    assert first("sink-lost", "regularised")[1] < 0.1
    assert first("sink-kept", "regularised")[0] == "·three"
    assert first("sink-kept", "regularised")[1] > first("sink-kept", "baseline")[1]
    assert [round(first("fact-kept", side)[1], 2) for side in ("baseline", "regularised")] == [0.96, 0.96]
    assert 0.2 < seen["fact-kept"].change.max() < 0.25
    assert first("fact-lost", "regularised")[0] == "·the"
    assert first("early-layers", "baseline")[0] == "·yeast" != first("early-layers", "regularised")[0]
    assert seen["spanish"].prior_mass.mean() == pytest.approx(1 / 3, abs=0.02)
    assert seen["topics-merge"].prior_mass[-1].mean() > 0.85
    similar = seen["topics-merge"].output
    assert [round(side[0, 1], 2) for side in (similar.baseline, similar.regularised)] == [0.47, 0.61]
    assert similar.regularised[:2, 2:].max() < 0.1
    similar = seen["negation"].output
    assert [round(side[0, 1], 2) for side in (similar.baseline, similar.regularised)] == [0.79, 0.84]
    rows, similar = seen["neighbour-flips"].rows, seen["neighbour-flips"].output
    for side, nearest in ((similar.baseline, "The film was bad."), (similar.regularised, "The film was good.")):
        assert rows[int(np.argsort(side[1])[-2])] == nearest
    said = seen["versailles"].output
    assert [a == b for a, b in zip(said.baseline, said.regularised, strict=True)] == [False, True, True, True, True]
    said = seen["chamomile"].output
    assert (said.baseline[1][0], said.regularised[1][0]) == ("k", "ʧ")


def test_the_gallerys_comparisons_hold(benches):
    """What a sentence says of a setting beside the entry's own."""
    entries = {entry.name: entry.scenario for entry in gallery.ENTRIES}
    bench = benches("smollm2")
    late = observe(bench, replace(entries["early-layers"], decoder_layers="20-29")).output
    assert late.tokens[int(late.regularised.argmax())] == "·yeast"
    english = observe(bench, replace(entries["spanish"], text=entries["fact-kept"].text))
    assert english.prior_mass.mean() == pytest.approx(1 / 20, abs=0.005)
