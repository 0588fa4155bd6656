"""Local folders and hub ids: what is found, and one sentence for what is not."""

import json
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

import nvib
from nvib.characters import quoted
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
    assert "has no config.json; give one that save_pretrained wrote." in sentence(str(bert))


def test_a_folder_that_may_not_be_read(bert, monkeypatch):
    """As of another user's, of which a root is not told."""

    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "cannot be read (Permission denied); check its permissions." in sentence(str(bert))


def test_a_folder_with_only_a_pickle(bert):
    (bert / "model.safetensors").unlink()
    torch.save(tiny.bert().state_dict(), bert / "pytorch_model.bin")
    text = sentence(str(bert))
    assert "has no safetensors weights, only pickled ones, which can run code; save the model as safetensors." in text


def test_a_folder_without_weights(bert):
    (bert / "model.safetensors").unlink()
    text = sentence(str(bert))
    assert "has no safetensors weights; save the model as safetensors." in text
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


def test_a_mute_network_is_not_waited_for(mute, monkeypatch):
    """Neither the thread that asks nor what it asks has ended when the sentence is there."""
    asking, over = threading.Event(), threading.Event()

    class Mute(huggingface_hub.HfApi):
        def model_info(self, *args, **options):
            asking.set()
            try:
                return super().model_info(*args, **options | {"timeout": None})
            finally:
                over.set()

    monkeypatch.setattr(hub, "HfApi", Mute)
    monkeypatch.setattr(hub, "HUB_PATIENCE", 0.2)
    assert "cannot be reached" in sentence("owner/model")
    assert asking.wait(60)
    assert not over.is_set()


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


class Answers(BaseHTTPRequestHandler):
    """A hub of one model, whose files or all of it are refused as the hub refuses."""

    def do_GET(self):
        refused = self.server.refused
        about = self.path.startswith("/api/models/owner/model")
        if refused != "GatedRepo" or not about:
            self.send_response(403 if refused == "GatedRepo" else 404)
            self.send_header("X-Error-Code", refused)
            body = b""
        else:
            tree = [{"type": "file", "path": "config.json", "size": 2, "oid": "e" * 40}]
            self.send_response(200)
            body = json.dumps(tree if "/tree/" in self.path else {"id": "owner/model", "sha": "f" * 40}).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def refusing(monkeypatch, tmp_path):
    """A function: the hub's code of an error -> a hub that answers so."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        empty_cache(monkeypatch, tmp_path)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield lambda code: setattr(server, "refused", code)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("RevisionNotFound", "The hub's model 'owner/model' has no revision 'v9'; check it."),
        ("RepoNotFound", "The hub has no model 'owner/model' that is open to you; check its name."),
        ("GatedRepo", "The hub gives 'owner/model' only to people it knows; log in, or choose another model."),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(code, told, refusing):
    refusing(code)
    assert sentence("owner/model", revision="v9") == told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("The disk is full. Really."), "Fetching 'owner/model' failed (The disk is full); try again."),
        (TimeoutError(), "Fetching 'owner/model' failed (TimeoutError); try again."),
        (LocalEntryNotFoundError("gone"), "is not on this machine and the hub cannot be reached; choose an embedded"),
    ],
)
def test_a_download_that_fails_is_one_sentence(error, told, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(hub, "_commit", lambda name, revision: "f" * 40)
    monkeypatch.setattr(hub, "snapshot_download", fail)
    assert told in sentence("owner/model")


@pytest.mark.parametrize(
    "name",
    [
        "", "   ", "a b", "<script>alert(1)</script>", "../../nil", "../../nil/passwd", "a/../b", "a/b/c", "a--b",
        "\x00", "~nobody-of-this-name/model", "x" * 500, "é" * 200, "http://127.0.0.1/model", "owner/model\nowner",
        "\ud800",
    ],
)  # fmt: skip
def test_malformed_names(offline, name):
    text = sentence(name)
    assert len(text) < 300
    assert text.startswith(("There is no model ", "No model was named: choose "))
    assert text.endswith(", a hub id such as owner/name, or a local folder.")
    assert "cannot be reached" not in text  # the hub is not even asked
    text.encode()


@pytest.mark.parametrize("revision", ["../../main", "a b", "", "x" * 200])
def test_malformed_revisions(offline, revision):
    told = "is no commit, branch or tag; give one of the model's."
    assert sentence("owner/model", revision=revision) == f"revision={quoted(revision)} {told}"
