"""What replicas share: a long view and an uploaded prior of one process are there in another's memory, or are not."""

from dataclasses import replace

import pytest

from nvib import NVError, Prior
from nvib.lab import EXAMPLES, Bench
from nvib.lab.model.priors import Priors
from nvib.lab.share.lesson import Lesson, Step
from nvib.memory import Memory
from nvib.shelf import Shelf
from nvib.show import lessons, limits, session, shared
from tests.support.pages import opened
from tests.support.scenes import CORPUS, SHORT

NOISE = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
LONG = replace(EXAMPLES["g2p"], other_text=NOISE)


@pytest.fixture
def sharing(monkeypatch, tmp_path):
    """The folder that this server shares; a function that makes it another replica, whose memory is empty."""
    monkeypatch.setenv("NVIB_CACHE", str(tmp_path))
    monkeypatch.setenv("NVIB_SHARED", "1")
    for shelf in (shared.views, shared.priors):
        shelf.cache_clear()

    def another():
        for module in (session, lessons):
            monkeypatch.setattr(module._long, "_kept", Memory(9))

    another()
    yield tmp_path / "shared", another
    for shelf in (shared.views, shared.priors):
        shelf.cache_clear()


def test_a_long_view_opens_on_another_replica(sharing):
    folder, another = sharing
    query = session.address(LONG)
    assert [path.name for path in (folder / "views").iterdir()] == [query["view"]]
    another()
    app = opened("Explore", **query)
    assert not app.exception
    assert not app.warning
    assert app.session_state["scenario"] == LONG


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"model": "smollm2"}', b"\xff\xfe"])
def test_what_is_not_what_its_name_says_is_not_there(sharing, data):
    folder, another = sharing
    query = session.address(LONG)
    another()
    (folder / "views" / query["view"]).write_bytes(data)
    assert session._long.find(query["view"]) is None
    app = opened("Explore", **query)
    assert [warning.value.replace("\\", "") for warning in app.warning] == [session.FORGOTTEN]


@pytest.mark.parametrize("name", ["../views/x", "/etc/passwd", "..", "0123"])
def test_a_name_of_a_view_leads_nowhere_else(sharing, name):
    (sharing[0] / "views").mkdir(parents=True)
    assert session._long.find(name) is None


def test_a_long_lesson_opens_on_another_replica(sharing):
    folder, another = sharing
    found = Lesson("Long", (Step("Explore", LONG), Step("Compare", replace(LONG, layer=1))))
    query = lessons.parameters(lessons.Place(found, 1))
    assert [path.name for path in (folder / "views").iterdir()] == [query["lesson"]]
    another()
    assert lessons._of_word(query["lesson"]) == found
    another()
    (folder / "views" / query["lesson"]).write_bytes(b"{}")
    app = opened("Explore", **query)
    assert [warning.value.replace("\\", "") for warning in app.warning] == [lessons.FORGOTTEN]


def test_nothing_is_written_unless_replicas_share(monkeypatch, tmp_path):
    monkeypatch.setenv("NVIB_CACHE", str(tmp_path))
    shared.views.cache_clear()
    session.address(replace(LONG, seed=7))
    assert shared.views() is None
    assert list(tmp_path.iterdir()) == []
    shared.views.cache_clear()


def test_a_word_that_is_none():
    with pytest.raises(NVError) as told:
        limits.limits({"NVIB_SHARED": "yes"})
    assert str(told.value) == "NVIB_SHARED='yes' is neither 1, for replicas that share the cache folder, nor 0."


def test_an_uploaded_prior_is_there_on_another_replica(tmp_path, benches):
    bench, shelf = benches("minilm"), Shelf(tmp_path, 9)
    one, two = (Priors(bench.loaded, False, bench.training_batch, shelf) for _ in range(2))
    mine = one.estimate(CORPUS, "three sentences")
    twin = Prior(mine.layers, {**mine.provenance, "corpus": "the same, called otherwise"})
    asked = replace(SHORT["minilm"], prior="own", prior_id=one.keep(mine))
    there = two.of(asked)
    assert (there.identity, there.provenance) == (mine.identity, mine.provenance)
    later = replace(asked, prior_id=one.keep(twin))  # the other replica has these numbers by now, of another file
    assert two.of(later).provenance["corpus"] == "the same, called otherwise"
    assert two.of(replace(asked, prior_id=mine.fingerprint)).provenance.keys() == {"weights"}  # of two, neither's


def test_a_shared_prior_that_is_damaged_or_does_not_fit_is_not_there(tmp_path, benches):
    shelf = Shelf(tmp_path, 9)
    of_another = benches("g2p").loaded.prior
    whole = of_another.to_bytes()
    for name, data in (("0" * 20, b"no prior"), ("1" * 20, whole), (of_another.identity, whole)):
        shelf.put(name, data)
        priors = Priors(benches("minilm").loaded, False, benches("minilm").training_batch, shelf)
        with pytest.raises(NVError, match="this server does not have it: upload it on the page Prior, or choose"):
            priors.of(replace(SHORT["minilm"], prior="own", prior_id=name))


def test_a_bench_has_the_shelf_that_it_is_given(tmp_path):
    shelf = Shelf(tmp_path, 9)
    bench = Bench("g2p", shelf=shelf)
    identity = bench.priors.keep(bench.loaded.prior)
    assert Prior.from_bytes("kept", shelf.get(identity)).identity == identity
    bench.close()
