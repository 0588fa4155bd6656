"""The wheel: built from what is tracked alone, installed into an environment of its own, used from another folder."""

import email
import json
import os
import socket
import subprocess
import sys
import sysconfig
import zipfile
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

import nvib
from nvib.lab import EXAMPLES
from nvib.lab.model.shape import Shape
from nvib.lab.share.script import script
from tools.serve import chromium

ROOT = Path(__file__).parent.parent
SHIPPED = ("app.py", "pages", "assets", ".streamlit")
OF_DOCS = ("docs/glossary.md", "docs/limits.md")  # what the page Method reads
README_ONLY = "assets/explore.png"
WAIT = 60_000  # milliseconds, for a page


def run(*command, cwd=ROOT, env=None):
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tracked():
    """The files that git tracks, as they are in the work tree."""
    names = run("git", "ls-files", "-z").split("\0")
    return {name: (ROOT / name).read_bytes() for name in names if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tracked, tmp_path_factory):
    """The wheel of a clean export; hatchling is at hand, so no network is needed."""
    export, built = tmp_path_factory.mktemp("export"), tmp_path_factory.mktemp("built")
    for name, data in tracked.items():
        (export / name).parent.mkdir(parents=True, exist_ok=True)
        (export / name).write_bytes(data)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", built, export, cwd=built)
    (found,) = built.iterdir()
    return found


@pytest.fixture(scope="module")
def packed(wheel):
    """What lies in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of scripts of a fresh environment with the wheel, beside the packages that these tests run with."""
    home = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", home)
    scripts = home / "bin"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        scripts / "python",
        "install",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=home,
    )
    (own,) = [path for path in home.rglob("site-packages") if (path / "nvib").is_dir()]
    # Installed first: pip would take an nvib of these packages for an older one, and remove it.
    lent = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (own / "lent.pth").write_text("\n".join(sorted(lent)), "utf-8")
    return scripts


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def env():
    """The environment without what leads back to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


@contextmanager
def serving(installed, elsewhere, env):
    """The address of `nvib serve`, once it is well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = elsewhere / "serve.log"
    address = ["--server.address", "127.0.0.1", "--server.port", str(port)]
    with log.open("wb") as out:
        command = [installed / "nvib", "serve", *address]
        process = subprocess.Popen(command, cwd=elsewhere, env=env, stdout=subprocess.PIPE, stderr=out, text=True)
    try:
        told = any(f"http://127.0.0.1:{port}" in line for line in process.stdout)  # its last line, when it listens
        assert told, log.read_text("utf-8")
        with urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=300) as answer:
            assert answer.read() == b"ok"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_shipped_files_travel(tracked, packed):
    places = {name for name in tracked if name.split("/")[0] in SHIPPED or name in OF_DOCS} - {README_ONLY}
    wanted = {name: tracked[name] for name in places}
    assert {"app.py", ".streamlit/config.toml", "assets/priors/minilm.safetensors", "pages/6_Gallery.py"} <= places
    assert set(OF_DOCS) <= places
    found = {name.removeprefix("nvib/shipped/"): data for name, data in packed.items() if "/shipped/" in name}
    assert found.keys() == wanted.keys()
    assert found == wanted


def test_package_travels_and_nothing_else(tracked, packed):
    info = f"nvib_explorer-{nvib.__version__}.dist-info"
    found = {name for name in packed if not name.startswith(("nvib/shipped/", f"{info}/"))}
    assert found == {name for name in tracked if name.startswith("nvib/")}
    assert "nvib/py.typed" in found
    assert packed[f"{info}/licenses/LICENSE"] == tracked["LICENSE"]


def test_metadata(packed):
    info = f"nvib_explorer-{nvib.__version__}.dist-info"
    told = email.message_from_bytes(packed[f"{info}/METADATA"])
    assert (told["Name"], told["Version"], told["Requires-Python"]) == ("nvib-explorer", nvib.__version__, ">=3.11")
    assert told["License-Expression"] == "Apache-2.0"
    assert set(told.get_all("Provides-Extra")) == {"app", "paper", "ray", "sweep", "test"}
    needed = {line.split("<")[0].split("~")[0] for line in told.get_all("Requires-Dist") if ";" not in line}
    assert "torch" in needed
    assert not needed & {"streamlit", "plotly", "optuna", "ray"}
    assert b"nvib = nvib.lab.cli:main" in packed[f"{info}/entry_points.txt"]


def test_library(installed, elsewhere, env):
    script = """if True:
        import nvib, nvib.assets
        loaded = nvib.load("minilm")
        print(nvib.__file__, nvib.__version__, loaded.prior is not None, loaded.broad is not None, sep="\\n")
    """
    place, *rest = run(installed / "python", "-c", script, cwd=elsewhere, env=env).splitlines()
    assert Path(place).is_relative_to(installed.parent)
    assert rest == [nvib.__version__, "True", "True"]


def test_code(installed, elsewhere, env):
    """What the button Code prints runs beside an installed package, as its first lines say, with nothing set."""
    code = script(
        EXAMPLES["minilm"], Shape("minilm", "x", ("encoder",), {"encoder": 6}, 12, True, "", "cpu", "float32")
    )
    (elsewhere / "view.py").write_text(code, "utf-8")
    assert code.splitlines()[3].removeprefix("#     ").split() == ["python", "view.py"]
    assert "attention on the prior" in run(installed / "python", "view.py", cwd=elsewhere, env=env)


def test_command(installed, elsewhere, env):
    options = ["--model", "minilm", "--text", "A wheel.\nA barrow.", "--encoder-sigma", "0.2", "--json"]
    told = json.loads(run(installed / "nvib", "observe", *options, cwd=elsewhere, env=env))
    assert told["app"] == nvib.__version__
    assert told["scenario"]["encoder_sigma"] == 0.2


def test_serve(installed, elsewhere, env):
    """A page of pictures that travel in the wheel, in the app's own colours, though nothing of it lies here."""
    with serving(installed, elsewhere, env) as address, chromium() as browser:
        page = browser.new_context(color_scheme="light").new_page()
        page.goto(f"{address}/Gallery")
        expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=WAIT)
        assert page.get_by_test_id("stException").count() == 0
        expect(page.get_by_test_id("stSidebar")).to_have_css("background-color", "rgb(246, 248, 250)")
        expect(page.locator("a", has_text="Method").first).to_be_attached()
