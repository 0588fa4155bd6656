"""Where a model's files are: a local folder, or the hub's snapshot of it, checked for what loading needs."""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from nvib.characters import quoted
from nvib.errors import NVError
from nvib.models.catalogue import CATALOGUE, resolve
from nvib.models.packaged import Progress

HUB_TIMEOUT = 3.0  # seconds, for each step of a request
HUB_PATIENCE = 4.0  # seconds, for the hub's first answer in all
# What transformers reads of a repository: the top folder's safetensors, settings and vocabularies.
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.spm", "*.jinja"]
HUB_LEFT_OUT = ["*/*", "consolidated*"]
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
WHOLE = 1 << 30  # bytes of a file up to which a local model's revision is of all of them
SAMPLES, SAMPLE = 1024, 1 << 16  # places in a larger one, and bytes read at each


def locate(name: str, revision: str | None, tell: Progress) -> tuple[Path, str]:
    """The folder of a local or hub model, checked for what loading needs, and its exact revision."""
    advice = f"choose {', '.join(CATALOGUE)}, a hub id such as owner/name, or a local folder"
    if not name:
        raise NVError(f"No model was named: {advice}.")
    folder = _local(name)
    if folder is not None:
        _check(f"The folder {quoted(name)}", folder)
        return folder, _fingerprint(folder)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise NVError(f"There is no model {quoted(name)}: {advice}.") from error
    if revision is not None and (".." in revision or not re.fullmatch(r"[\w./-]{1,100}", revision)):
        raise NVError(f"revision={quoted(revision)} is no commit, branch or tag; give one of the model's.")
    tell(0.0, f"Looking for {name} on the hub")
    folder = _fetch(name, revision)
    return folder, folder.name  # the hub's cache names a snapshot by its commit


def _local(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # longer than a path may be, a null byte, nobody's home
        return None


def _check(what: str, folder: Path) -> None:
    """Raise NVError unless the folder holds a configuration and safetensors weights."""
    try:
        files = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise NVError(f"{what} cannot be read ({error.strerror}); check its permissions.") from error
    if "adapter_config.json" in files:  # which transformers reads with peft alone, and else leaves out in silence
        raise NVError(f"{what} holds an adapter (adapter_config.json); merge it into its model, and save that whole.")
    if "config.json" not in files:
        raise NVError(f"{what} has no config.json; give one that save_pretrained wrote.")
    if not any(file.endswith(".safetensors") for file in files):
        pickled = any(file.endswith(PICKLES) for file in files)
        instead = ", only pickled ones, which can run code" if pickled else ""
        raise NVError(f"{what} has no safetensors weights{instead}; save the model as safetensors.")


def _fetch(name: str, revision: str | None) -> Path:
    """The snapshot of a hub model on this machine, downloaded if need be. Raises NVError with one sentence."""
    commit = _commit(name, revision)
    at = f" at revision {quoted(revision)}" if revision else ""
    absent = (
        f"The model {quoted(name)}{at} is not on this machine and the hub cannot be reached; choose an embedded model."
    )
    try:
        folder = Path(
            snapshot_download(
                name, revision=commit or revision, local_files_only=commit is None, etag_timeout=HUB_TIMEOUT,
                allow_patterns=HUB_FILES, ignore_patterns=HUB_LEFT_OUT,
            )
        )  # fmt: skip
    except GatedRepoError as error:
        raise NVError(
            f"The hub gives {quoted(name)} only to people it knows; log in, or choose another model."
        ) from error
    except LocalEntryNotFoundError as error:
        raise NVError(absent) from error
    except Exception as error:  # the transport's errors share no public base class
        raise NVError(f"Fetching {quoted(name)} failed ({first_sentence(error)}); try again.") from error
    if commit is None and not (folder / "config.json").exists():  # of another program, which needed less of it
        raise NVError(absent)
    _check(f"The hub's model {quoted(name)}", folder)
    return folder


def _commit(name: str, revision: str | None) -> str | None:
    """The exact commit of a hub model, or None when the hub cannot be reached and only a cached copy may serve.

    Asked once, and in a thread, for a mute name server or network answers no timeout: a visitor offline should not
    wait for either.
    """
    answer: SimpleQueue[str | Exception | None] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put(HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT).sha)
        except Exception as error:  # offline mode, no network, no access: no public base class
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answer.get(timeout=HUB_PATIENCE)
    except Empty:
        return None
    if isinstance(found, RevisionNotFoundError):
        raise NVError(
            f"The hub's model {quoted(name)} has no revision {quoted(revision or 'main')}; check it."
        ) from found
    if isinstance(found, RepositoryNotFoundError):
        raise NVError(f"The hub has no model {quoted(name)} that is open to you; check its name.") from found
    return None if isinstance(found, Exception) else found


def first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return re.split(r"[.!?](?:\s|$)", text)[0][:160] or type(error).__name__


def state(name: str) -> tuple[tuple[str, int, int, int], ...]:
    """What tells that a local folder's files were written anew: name, size, and times in ns; () for any other model."""
    folder, found = None if resolve(name) in CATALOGUE else _local(resolve(name)), []
    for path in _read(folder) if folder else ():
        with suppress(OSError):  # it is being replaced
            stat = path.stat()
            found.append((path.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return tuple(found)


def _read(folder: Path) -> list[Path]:
    """The files of a folder that loading may read."""
    return sorted({path for pattern in HUB_FILES for path in folder.glob(pattern) if path.is_file()})


def _fingerprint(folder: Path) -> str:
    """A short hash of a local model: each file that loading may read, by name and content.

    Of a file beyond a gigabyte evenly spaced samples: they tell two trainings of one architecture apart.
    """
    digest = hashlib.sha256()
    for path in _read(folder):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            if size <= WHOLE:
                digest.update(hashlib.file_digest(file, "sha256").digest())
                continue
            for step in range(SAMPLES):
                file.seek(size * step // SAMPLES)
                digest.update(file.read(SAMPLE))
    return f"local {digest.hexdigest()[:12]}"
