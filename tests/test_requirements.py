"""What is declared and what is imported: the pinned requirements, the metadata and the code agree."""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SELF = canonicalize_name(PROJECT["name"])
HOMES = packages_distributions()
MODULES = [
    path.relative_to(ROOT)
    for place in ("nvib", "pages", "tools", "benchmarks")
    for path in sorted((ROOT / place).rglob("*.py"))
] + [Path("app.py")]
# What each room may import, the most special room first.
ROOMS = {
    "nvib/lab/sweep/paper.py": ("core", "paper", "sweep"),
    "nvib/lab/sweep/on_ray.py": ("core", "ray", "sweep"),
    "nvib/lab/sweep": ("core", "sweep"),
    "nvib/lab/metrics.py": ("core", "sweep"),
    "nvib/show": ("core", "sweep", "app"),
    "nvib": ("core",),
    "app.py": ("core", "sweep", "app"),
    "pages": ("core", "sweep", "app"),
    "tools": ("core", "sweep", "app", "test"),
    "benchmarks": ("core", "sweep", "app", "test"),
}


def named(lines):
    """The requirements of others by name."""
    found = {}
    for line in lines:
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        assert name not in found, f"{name} stands twice"
        if name != SELF:
            found[name] = wanted
    return found


def pinned(name):
    """The pins of a requirements file."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines())
    return named(line for line in lines if line)


SETS = {"core": named(PROJECT["dependencies"])} | {
    extra: named(lines) for extra, lines in PROJECT["optional-dependencies"].items()
}
FILES = {"requirements.txt": ("core", "sweep", "app"), "requirements-dev.txt": ("test",)}


@pytest.mark.parametrize("name", [*FILES, "requirements-models.txt"])
def test_every_requirement_is_pinned(name):
    for wanted in pinned(name).values():
        assert [one.operator for one in wanted.specifier] == ["=="], wanted


@pytest.mark.parametrize(("file", "sets"), FILES.items())
def test_pins_and_metadata_agree(file, sets):
    pins = pinned(file)
    assert set(pins) == set().union(*(SETS[name] for name in sets))
    for name, pin in pins.items():
        (wanted,) = [SETS[one][name] for one in sets if name in SETS[one]]  # in one of them, and no other
        (exact,) = pin.specifier
        assert wanted.specifier.contains(exact.version), f"{pin} is outside of {wanted}"
        assert wanted.extras == pin.extras


def test_packaged_models_are_not_in_the_metadata():
    """They would bring llama-cpp-python and sentence-transformers, of which nothing is used."""
    assert not set(pinned("requirements-models.txt")) & set().union(*SETS.values())


def test_extras_build_on_each_other():
    within = {
        name: [line for line in lines if SELF in line] for name, lines in PROJECT["optional-dependencies"].items()
    }
    built = {name: [f"{SELF}[sweep]"] for name in ("app", "paper", "ray")}
    assert within == {"sweep": [], "test": [], **built}


def third_party(path):
    """The packages of others that a module imports, at its top or within a function."""
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module and not node.level else []
        else:
            continue
        yield from {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"nvib", "tools"}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_are_declared(path):
    room = next(room for room in ROOMS if path.is_relative_to(room))
    allowed = set().union(*(SETS[name] for name in ROOMS[room]))
    for module in third_party(path):
        homes = {canonicalize_name(name) for name in HOMES.get(module, [])}
        assert homes & allowed, (
            f"{path} imports {module} ({homes or 'of no package'}), not in {' or '.join(ROOMS[room])}"
        )


def test_library_and_command_line_need_no_extra():
    """They work where what only the extras bring is missing."""
    extras = set().union(*(SETS[name] for name in ("sweep", "app", "paper", "ray")))
    hidden = {module for module, homes in HOMES.items() if extras & set(map(canonicalize_name, homes))}
    hidden -= {"click"}  # which others bring
    assert hidden >= {"streamlit", "plotly", "optuna", "sacrebleu", "torchmetrics", "datasets", "ray"}
    script = f"""if True:
        import sys
        sys.modules |= dict.fromkeys({sorted(hidden)})
        import nvib
        assert all(getattr(nvib, name) is not None for name in nvib.__all__)
        from nvib.lab.cli import main
        sys.exit(main(["models"]))
    """
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "minilm" in done.stdout
