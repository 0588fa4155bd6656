"""Two modes: a private server lets everything be chosen; a public one what it offers, and tells nothing else."""

from types import SimpleNamespace

import numpy as np
import pytest

from nvib import NVError
from nvib.lab import Bench, Scenario
from nvib.lab.view.observation import observe
from nvib.show import __main__ as serving
from nvib.show import boundary, limits, resources
from nvib.show import gate as gates
from nvib.show.gate import Gate
from nvib.show.leases import Leases
from nvib.show.limits import Limits, check_mode
from tests.support.folders import save
from tests.support.pages import opened
from tests.support.tiny import model_of

REFUSED = "This server has the models smollm2, minilm, g2p, and no other; choose one of them."


@pytest.fixture
def folder(tmp_path):
    """A model in a folder of the server."""
    return save(tmp_path / "secret-place" / "tiny", model_of("llama"))


# Which mode


@pytest.mark.parametrize("address", [None, "0.0.0.0", "192.168.1.20", "::", "example.org"])
def test_others_reach_a_server_only_where_somebody_said_who_they_are(address):
    with pytest.raises(
        NVError, match=r"^Others would reach this server at .*NVIB_PUBLIC=1 for strangers.*NVIB_PUBLIC=0"
    ):
        check_mode(address, {})
    check_mode(address, {"NVIB_PUBLIC": "1"})
    check_mode(address, {"NVIB_PUBLIC": "0"})


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "unix:/run/nvib.sock"])
def test_this_machine_alone_needs_no_word(address):
    check_mode(address, {})


def test_the_server_refuses_to_start_without_a_mode(monkeypatch, capsys):
    monkeypatch.delenv("NVIB_PUBLIC", raising=False)
    monkeypatch.setattr(serving, "check_port", None)
    assert serving.serve(["--server.address", "0.0.0.0"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(
        "Others would reach this server at 0.0.0.0, and may choose any folder of it as a model: set "
    )
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"NVIB_PUBLIC": "yes"}, "NVIB_PUBLIC='yes' is neither 1, for strangers, nor 0, for people you trust."),
        (
            {"NVIB_PUBLIC": "1", "NVIB_MODELS": "/a/tiny;/b/tiny"},
            "NVIB_MODELS='/a/tiny;/b/tiny' has two models of one name; name each once, folders apart.",
        ),
        ({"NVIB_TOKENS": "0"}, "NVIB_TOKENS='0' is no whole number above 0."),
        ({"NVIB_WORK": "an hour"}, "NVIB_WORK='an hour' is no whole number above 0."),
    ],
)
def test_a_variable_that_says_nothing_is_told(variables, sentence):
    with pytest.raises(NVError) as told:
        limits.limits(variables)
    assert str(told.value) == sentence


def test_a_public_server_gives_less_unless_it_is_told_otherwise():
    private, public = limits.limits({}), limits.limits({"NVIB_PUBLIC": "1", "NVIB_LISTED": "7"})
    for name in ("tokens", "new_tokens", "points", "upload_mb"):
        assert int(getattr(public, name)) < int(getattr(private, name))
    assert (public.listed, private.work_seconds, public.work_seconds) == ("7", float("inf"), 600.0)
    assert private.offered is None


# Which models


def paths(folder):
    """Two hundred names, of what is there and of what is not."""
    there = ["/", "/etc", "/etc/passwd", "/proc/self", "/tmp", "~", "~root", ".", "..", str(folder), str(folder.parent),
             f"{folder}/", f"{folder}/../tiny", "nvib", "./nvib", "file:///etc", "\\\\host\\share",
             "owner/name"]  # fmt: skip
    absent = [f"/nowhere/{n}" for n in range(100)] + [f"owner/name{n}" for n in range(80)]
    return (there + absent + ["", " ", "\0", "a" * 5000])[:200]


def test_every_other_name_is_answered_alike_and_no_file_is_looked_at(public, folder, monkeypatch):
    public()

    def looks(*_given):
        pytest.fail("a file was looked at")

    for function in ("locate", "_local", "state"):
        monkeypatch.setattr(f"nvib.models.hub.{function}", looks)
    monkeypatch.setattr("nvib.assets.public_name", looks)
    names = [name for name in paths(folder) if name.strip()]
    assert len(names) >= 190
    for name in names:
        with pytest.raises(NVError) as told:
            resources.bench(name)
        assert str(told.value) == REFUSED
        assert not resources.loaded(name)


@pytest.mark.parametrize("page", ["Explore", "Compare", "Sweep", "Prior"])
def test_a_page_says_the_same_of_a_folder_that_is_there_and_of_one_that_is_not(public, folder, page):
    public()
    said = []
    for name in (str(folder), "/nowhere/at-all"):
        app = opened(page, model=name, text="the cat sat")
        assert not app.exception
        (alert,) = app.error
        said.append(alert.value)
    assert said == [REFUSED, REFUSED]


def test_a_folder_that_is_offered_has_a_name_and_no_place(public, folder, monkeypatch):
    """It is shown as it is in private mode, and neither page, link, code nor file says where it lies."""
    public(NVIB_MODELS=f" {folder} ;")
    monkeypatch.setattr(resources, "BENCHES", Leases(10**9, Bench.close, 60.0))
    scenario = Scenario(model="tiny", text="the cat sat", prior="normal", decoder_alpha=1.0)
    seen = resources.observation(resources.bench("tiny"), scenario)
    alone = Bench(str(folder))
    assert np.allclose(seen.regularised, observe(alone, scenario).regularised, atol=1e-6)
    alone.close()
    app = opened("Explore", model="tiny", text="the cat sat", prior="normal", decoder_alpha="1")
    assert not app.exception
    assert not app.error
    assert "secret-place" not in repr(app.main) + repr(app.sidebar)
    assert app.selectbox(key="scenario_model").options[-1] == "tiny"
    resources.BENCHES.clear()


def test_the_model_box_offers_what_there_is(public):
    public()
    app = opened("Explore", model="g2p", text="treaty")
    box = app.selectbox(key="scenario_model")
    assert not box.proto.accept_new_options
    assert (
        "A public server, with the models in the box above alone. At most 512 tokens" in app.sidebar.caption[-1].value
    )
    private = opened("Method", model="g2p", text="treaty")
    assert "A public server" in private.sidebar.caption[-1].value


def test_a_private_server_says_so():
    app = opened("Explore", model="g2p", text="treaty")
    assert app.selectbox(key="scenario_model").proto.accept_new_options
    assert app.sidebar.caption[-1].value == (
        "A private server: hub models and the folders of its machine may be chosen."
    )


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("The results cannot be kept in '/srv/cache/nvib/sweeps' (No space left).",
         "The results cannot be kept in 'a file of this server' (No space left)."),
        ("Reading ~/models/tiny/config.json failed.", "Reading a file of this server failed."),
        (r"Reading C:\models\tiny failed.", "Reading a file of this server failed."),
        ("See https://example.org/a/b for more.", "See https://example.org/a/b for more."),
        ("The share is 1/2 or 3/4.", "The share is 1/2 or 3/4."),
        ("The model 'owner/name' is gone.", "The model 'owner/name' is gone."),
    ],
)  # fmt: skip
def test_no_place_of_the_server_is_in_a_sentence(monkeypatch, sentence, said):
    monkeypatch.setenv("NVIB_PUBLIC", "1")
    assert boundary.sentence(NVError(sentence)) == said
    monkeypatch.setenv("NVIB_PUBLIC", "0")
    assert boundary.sentence(NVError(sentence)) == sentence


# How much


def test_a_text_beyond_the_servers_tokens_is_refused(public, folder, monkeypatch):
    public(NVIB_MODELS=str(folder), NVIB_TOKENS="4")
    monkeypatch.setattr(resources, "BENCHES", Leases(10**9, Bench.close, 60.0))
    with pytest.raises(NVError, match=r"is \d+ tokens long; this page takes 4 at most: shorten it\.$"):
        resources.observation(
            resources.bench("tiny"), Scenario(model="tiny", text="the cat sat on the mat " * 3, prior="normal")
        )
    resources.BENCHES.clear()


def test_a_link_that_asks_for_more_new_tokens_gets_what_there_is(public):
    public()
    app = opened("Compare", model="g2p", text="treaty", length="200")
    assert "This server writes 64 new tokens at most, not 200." in [alert.value for alert in app.warning]
    assert app.session_state["scenario_length"] == 64
    assert app.number_input(key="scenario_length").max == 64


def test_a_list_beyond_the_servers_texts_is_refused(public):
    public()
    app = opened("Compare", model="g2p", text="treaty", listing="\n".join(["winter"] * 51))
    assert "The list has 51 texts; 50 are compared at most\\: shorten it." in [alert.value for alert in app.error]


def test_a_sweep_beyond_the_servers_points_is_refused(public):
    public()
    alphas = ",".join(map(str, range(51)))
    app = opened("Sweep", model="g2p", grid=f"encoder_alpha={alphas}")
    assert any("The sweep has 51 points; this server takes 50 at most" in alert.value for alert in app.error)


@pytest.fixture
def time(monkeypatch):
    """A clock that goes on when it is told to."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(gates, "monotonic", lambda: clock.now)
    return clock


def had(gate, visitor, clock, seconds):
    with gate.run(visitor, lambda place: None), gate.turn():
        clock.now += seconds


def test_a_visitor_has_so_much_of_the_models_within_an_hour(time):
    gate = Gate(1, 10, 60.0, work=100.0)
    for _ in range(4):
        had(gate, "one", time, 25.0)
    with pytest.raises(NVError, match=r"^You have had the 100 seconds of the models that this server gives a visitor"):
        had(gate, "one", time, 1.0)
    had(gate, "another", time, 1.0)
    time.now += 3600.0 - 101.0
    with pytest.raises(NVError, match=r"go on in about a second, or run it on a machine of your own\.$"):
        had(gate, "one", time, 1.0)
    time.now += 60.0
    had(gate, "one", time, 1.0)
    time.now += 7200.0
    had(gate, "another", time, 1.0)
    assert list(gate._had) == ["another"]  # of who has not come for an hour nothing is kept


def test_long_work_ends_where_a_visitors_hour_is_used(time):
    """Each forward asks; what is kept of a visitor stays small however many there are."""
    gate = Gate(1, 10, 60.0, work=100.0)
    with gate.run("one", lambda place: None):
        for _ in range(800):
            with gate.turn():
                time.now += 0.125
        with pytest.raises(NVError, match="within an hour"), gate.turn():
            pass
    assert len(gate._had["one"]) <= 3


def test_without_a_limit_nothing_is_kept(time):
    gate = Gate(1, 10, 60.0, work=Limits().work_seconds)
    had(gate, "one", time, 10_000.0)
    had(gate, "one", time, 10_000.0)
    assert not gate._had
