"""Local folders and hub ids: what is found, and one sentence for what is not."""

import shutil
import socket
import time

import huggingface_hub.constants
import pytest
import torch

import nvib
from nvib.models import hub
from tests.support import tiny
from tests.support.folders import sentence


def test_the_revision_of_a_folder_tells_two_trainings_apart(bert):
    first = nvib.load(str(bert)).revision
    assert nvib.load(str(bert)).revision == first
    torch.manual_seed(1)
    tiny.bert().save_pretrained(bert)
    assert nvib.load(str(bert)).revision != first


def test_a_folder_without_config(bert):
    (bert / "config.json").unlink()
    assert "config.json" in sentence(str(bert))


def test_a_folder_with_only_a_pickle(bert):
    (bert / "model.safetensors").unlink()
    torch.save(tiny.bert().state_dict(), bert / "pytorch_model.bin")
    text = sentence(str(bert))
    assert "safetensors" in text
    assert "can run code" in text


def test_a_folder_without_weights(bert):
    (bert / "model.safetensors").unlink()
    text = sentence(str(bert))
    assert "no safetensors" in text
    assert "can run code" not in text


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A hub that refuses connections, and an empty cache of it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
    return empty_cache(monkeypatch, tmp_path)


@pytest.fixture
def mute(monkeypatch, tmp_path):
    """A hub that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        empty_cache(monkeypatch, tmp_path)
        yield


def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub, folder, commit):
    """A folder as the hub's cache keeps it: owner/cat at main."""
    place = hub / "models--owner--cat"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(folder, place / "snapshots" / commit)


@pytest.mark.parametrize("name", ["owner/model", "bert-base-uncased"])
def test_a_hub_id_without_network(offline, name):
    text = sentence(name)
    assert repr(name) in text
    assert "cannot be reached" in text


def test_a_mute_network_is_not_waited_for(mute):
    began = time.monotonic()
    assert "cannot be reached" in sentence("owner/model")
    assert time.monotonic() - began < 10


def test_a_cached_hub_model_loads_without_network(offline, bert):
    commit = "0123456789" * 4
    cached(offline, bert, commit)
    assert nvib.load("owner/cat").revision == commit
    assert nvib.load("owner/cat", revision=commit).revision == commit
    assert "'v2'" in sentence("owner/cat", revision="v2")


def test_a_cached_hub_model_without_its_weights_is_not_on_this_machine(offline, bert):
    (bert / "config.json").unlink()
    cached(offline, bert, "0123456789" * 4)
    assert "cannot be reached" in sentence("owner/cat")


def test_a_hub_model_is_fetched_at_the_commit_that_the_hub_names(monkeypatch, bert):
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(bert)

    monkeypatch.setattr(hub, "_commit", lambda name, revision: "f" * 40)
    monkeypatch.setattr(hub, "snapshot_download", download)
    nvib.load("owner/cat", revision="v1")
    assert (asked["name"], asked["revision"], asked["local_files_only"]) == ("owner/cat", "f" * 40, False)
    assert not any("bin" in pattern or "py" in pattern for pattern in asked["allow_patterns"])


@pytest.mark.parametrize(
    "name",
    [
        "", "   ", "a b", "<script>alert(1)</script>", "../../etc", "../../etc/passwd", "a/../b", "a/b/c", "a--b",
        "\x00", "~nobody-of-this-name/model", "x" * 500, "é" * 200, "http://127.0.0.1/model", "owner/model\nowner",
        "\ud800",
    ],
)  # fmt: skip
def test_malformed_names(offline, name):
    text = sentence(name)
    assert len(text) < 300
    assert "cannot be reached" not in text  # the hub is not even asked
    text.encode()


@pytest.mark.parametrize("revision", ["../../main", "a b", "", "x" * 200])
def test_malformed_revisions(offline, revision):
    assert "revision" in sentence("owner/model", revision=revision)
