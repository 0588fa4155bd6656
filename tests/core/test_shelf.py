"""A folder that processes share: whole files or none, names that are digests, and bounds."""

import os
import subprocess
import sys

import pytest

from nvib.shelf import YOUNG, Shelf
from tests.support.folders import ROOT

NAME = "0123456789abcdef"


def test_what_is_put_is_there_for_another(tmp_path):
    Shelf(tmp_path / "new", 3).put(NAME, b"kept")
    other = Shelf(tmp_path / "new", 3)
    assert other.get(NAME) == b"kept"
    assert list(other.beginning(NAME[:12])) == [b"kept"]
    assert other.get("f" * 16) is None
    assert list(other.beginning("f" * 12)) == []


@pytest.mark.parametrize("name", ["", "../secret", "0123456789ab/../x", "0123456789AB", "*", "0" * 65, "0123456789a\n"])
def test_a_name_that_is_no_digest_leads_nowhere(name, tmp_path):
    (tmp_path / "secret").write_bytes(b"no")
    shelf = Shelf(tmp_path / "shelf", 3)
    shelf.put(NAME, b"kept")
    assert shelf.get(name) is None
    assert list(shelf.beginning(name)) == []
    with pytest.raises(ValueError, match="is no digest; name a file by one"):
        shelf.put(name, b"x")


def test_the_oldest_go_unless_they_are_young(tmp_path):
    shelf, names = Shelf(tmp_path, 2), [f"{n}" * 12 for n in range(5)]
    for n, name in enumerate(names[:4]):
        shelf.put(name, b"x")
        if n < 2:
            written = (tmp_path / name).stat().st_mtime
            os.utime(tmp_path / name, (written - YOUNG - 60 + n,) * 2)
    assert [shelf.get(name) for name in names[:4]] == [None, None, b"x", b"x"]
    shelf.put(names[4], b"x")
    assert shelf.get(names[2]) == b"x"  # one too many, and young


def test_what_cannot_be_written_is_not_kept(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    shelf = Shelf(tmp_path / "file", 3)
    shelf.put(NAME, b"kept")
    assert shelf.get(NAME) is None


def test_a_reader_sees_whole_files_while_others_write(tmp_path):
    """Two processes write what has the same names, again and again, while this one reads."""
    script = f"""if True:
        from pathlib import Path
        from nvib.shelf import Shelf
        shelf = Shelf(Path({str(tmp_path)!r}), 500)
        for turn in range(60):
            for n in range(8):
                name = f"{{n:012x}}"
                (Path({str(tmp_path)!r}) / name).unlink(missing_ok=True)
                shelf.put(name, bytes([n]) * 300_000)
    """
    writers = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) for _ in range(2)]
    shelf, seen = Shelf(tmp_path, 500), 0
    while any(writer.poll() is None for writer in writers):
        for n in range(8):
            data = shelf.get(f"{n:012x}")
            assert data in (None, bytes([n]) * 300_000)
            seen += data is not None
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen > 8
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
