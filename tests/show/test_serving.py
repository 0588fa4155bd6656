"""Serving: the app's own settings from any folder, what is given goes first, and a sentence where it cannot be."""

import os
import runpy
import socket
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from streamlit import config, net_util
from streamlit.web import bootstrap, cli

from nvib import NVError, assets
from nvib.show import __main__ as serving
from nvib.show import limits

ROOT = Path(__file__).parents[2]
NEITHER = "The app needs streamlit and plotly; run pip install 'nvib-explorer[app]'.\n"


@pytest.fixture
def taken():
    """A port that another one listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        yield other.getsockname()[1]


@pytest.fixture
def served(monkeypatch, tmp_path):
    """A function: arguments -> the options that Streamlit would run with, from an empty folder."""
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(bootstrap, "load_config_options", seen.append)
    monkeypatch.setattr(cli.main_run, "callback", lambda target, **options: seen.append(options | {"target": target}))
    monkeypatch.setattr(serving, "check_port", lambda address, port: None)
    monkeypatch.setattr(limits, "check_mode", lambda address: None)  # as the options never get to Streamlit

    def run(*arguments):
        with pytest.raises(SystemExit) as status:
            serving.serve([*arguments])
        assert status.value.code == 0
        loaded, ran = seen
        assert loaded | {"target": str(serving.SERVER)} == ran
        return {name: value for name, value in ran.items() if value not in (None, ())}

    return run


def test_settings_are_those_of_the_file():
    told = tomllib.loads(assets.shipped(".streamlit", "config.toml").read_text("utf-8"))
    found = serving.settings()
    assert found["server_headless"] is told["server"]["headless"]
    assert found["theme_headingFontSizes"] == told["theme"]["headingFontSizes"]
    assert found["theme_dark_sidebar_backgroundColor"] == told["theme"]["dark"]["sidebar"]["backgroundColor"]


def test_settings_are_options_of_streamlit():
    known = {name.replace(".", "_") for name in config._config_options_template}
    assert serving.settings().keys() <= known


def test_settings_hold_in_any_folder(served):
    assert served() == serving.settings() | {"server_maxUploadSize": 5, "target": str(serving.SERVER)}


def test_what_is_given_goes_first(served, monkeypatch):
    monkeypatch.setenv("STREAMLIT_SERVER_MAX_UPLOAD_SIZE", "7")
    found = served("--theme.font", "serif", "--server.headless", "false")
    given = {"theme_font": "serif", "server_headless": False, "server_maxUploadSize": 7}
    assert found == serving.settings() | given | {"target": str(serving.SERVER)}


@pytest.mark.parametrize("address", [None, "127.0.0.1"])
def test_port_in_use(taken, address):
    with pytest.raises(
        NVError,
        match=rf"^Port {taken} is in use; choose another one: nvib serve --server\.port \d+, or make run PORT=\d+\.$",
    ) as told:
        serving.check_port(address, taken)
    other = int(str(told.value).rpartition("PORT=")[2].rstrip("."))
    assert other != taken


def test_port_may_not_be_opened(monkeypatch):
    """As of a port below 1024, of which a root is not told."""

    def refuse(address, port):
        if port < 1024:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(serving, "_listen", refuse)
    with pytest.raises(NVError, match=r"^Port 80 may not be opened; choose another one: .* --server.port 1024, or"):
        serving.check_port(None, 80)


def test_port_that_is_none():
    with pytest.raises(NVError, match=r"^There is no port 70000; choose one up to 65535: "):
        serving.check_port(None, 70_000)


def test_address_of_another_machine():
    with pytest.raises(NVError, match=r"^The address 192\.0\.2\.1 is not one of this machine; choose another one: "):
        serving.check_port("192.0.2.1", 0)


@pytest.mark.parametrize("address", [None, "127.0.0.1", "localhost"])
def test_port_that_is_free(address):
    serving.check_port(address, 0)


@pytest.fixture
def network(monkeypatch):
    """A function: this machine's address in the local network."""
    return lambda found: monkeypatch.setattr(net_util, "get_internal_ip", lambda: found)


def test_for_others_in_the_network(served, network, capsys):
    network("192.168.1.20")
    assert served("--lan")["server_address"] == "192.168.1.20"
    assert capsys.readouterr().out.startswith("Others in this network open http://")


def test_for_this_machine_alone_unless_it_is_asked_for(served, capsys):
    assert served()["server_address"] == "127.0.0.1"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("found", [None, "127.0.0.1", "::1"])
def test_without_a_network_there_is_no_address_for_others(network, found):
    network(found)
    with pytest.raises(NVError, match=r"^This machine has no address in a local network; connect it to one, or give"):
        serving.lan_address()


def test_two_addresses_are_one_too_many():
    with pytest.raises(NVError, match=r"^Give --lan or --server\.address 0\.0\.0\.0, not both: --lan finds"):
        serving.lan_address("0.0.0.0")


def test_process_tells_and_ends(taken, tmp_path):
    """One sentence and status 1, no traceback, from a folder that is not the checkout's."""
    done = subprocess.run(
        [sys.executable, "-m", "nvib.show", "--server.port", str(taken)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"Port {taken} is in use; ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", ["streamlit", "plotly"])
def test_missing_package(monkeypatch, capsys, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(sys, "argv", ["nvib serve"])
    monkeypatch.delitem(sys.modules, "nvib.show.__main__")
    with pytest.raises(SystemExit) as status:
        runpy.run_module("nvib.show", run_name="__main__")
    assert status.value.code == 1
    assert capsys.readouterr().err == NEITHER


def test_what_is_done_once_is_done_before_the_server_answers():
    """No section is left to import, the libraries' objects are out of the way of the look for garbage, and threads
    take turns more often than Python has them do.
    """
    sections = [f"nvib.show.sections.{path.stem}" for path in (ROOT / "nvib" / "show" / "sections").glob("[a-z]*.py")]
    tell = "import gc, sys, nvib.show.server; print(gc.get_freeze_count(), sys.getswitchinterval(), *sys.modules)"
    frozen, turn, *there = subprocess.check_output([sys.executable, "-c", tell], cwd=ROOT, text=True).split()
    assert len(sections) > 10
    assert set(sections) <= set(there)
    assert int(frozen) > 100_000
    assert float(turn) < sys.getswitchinterval() / 5


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("NVIB_LINE", "many", "NVIB_LINE='many' is no whole number above 0.\n"),
        ("NVIB_FORWARDS", "0", "NVIB_FORWARDS='0' is no whole number above 0.\n"),
        ("NVIB_MODELS_MB", "-1", "NVIB_MODELS_MB='-1' is no whole number above 0.\n"),
        ("NVIB_DTYPE", "int9", "NVIB_DTYPE='int9' is not one of float32, bfloat16, float16, int8, int4.\n"),
    ],
)
def test_a_limit_that_is_none_is_told_before_anything_is_served(monkeypatch, capsys, variable, value, sentence):
    monkeypatch.setenv(variable, value)
    assert serving.serve(["--server.port", "8999"]) == 1
    assert capsys.readouterr().err == sentence


def test_limits_are_those_of_the_environment():
    found = limits.limits({"NVIB_LINE": " 7 ", "NVIB_MODELS_MB": "1500", "NVIB_DTYPE": "bfloat16", "NVIB_PAGES": ""})
    assert (found.line, found.models_bytes, found.dtype, found.pages) == ("7", 1_500_000_000, "bfloat16", "2")
    assert limits.limits({}).models_bytes == psutil.virtual_memory().total // 2
