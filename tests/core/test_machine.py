"""What the machine has: its own memory, or its container's where that is less; and sizes in words."""

import psutil
import pytest

from nvib import machine
from nvib.machine import in_bytes, memory

GB = 10**9


@pytest.fixture
def container(tmp_path, monkeypatch):
    """A function: what Linux tells a container -> the memory that is found."""

    def made(**files):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(machine, "LIMITS", ((tmp_path / "max", tmp_path / "current", tmp_path / "stat"),))
        return memory()

    return made


def test_the_machines_own_where_no_container_has_less(container):
    total = psutil.virtual_memory().total
    assert container()[1] == container(max="max", current="5")[1] == container(max=str(2**62), current="5")[1] == total
    assert 0 < container()[0] < total


def test_a_containers_limit_less_what_it_uses(container):
    free, total = container(max=f"{GB}\n", current=f"{GB // 4}", stat=f"anon 5\ninactive_file {GB // 8}\n")
    assert (free, total) == (GB - GB // 4 + GB // 8, GB)
    assert container(max=f"{GB}", current=f"{2 * GB}", stat="")[0] == 0


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (538_000_000, "538 MB"), (12_400_000_000, "12 GB")],
)
def test_a_size_is_said_in_two_digits_or_three(size, words):
    assert in_bytes(size) == words
