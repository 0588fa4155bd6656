"""What this machine has: the memory of a device, free and in all, within the limit of a container."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import torch

CONTROL = Path("/sys/fs/cgroup")  # where Linux tells a container its limit, version 2 before version 1
LIMITS = (
    (CONTROL / "memory.max", CONTROL / "memory.current", CONTROL / "memory.stat"),
    (
        CONTROL / "memory" / "memory.limit_in_bytes",
        CONTROL / "memory" / "memory.usage_in_bytes",
        CONTROL / "memory" / "memory.stat",
    ),
)


def memory(device: torch.device | str = "cpu") -> tuple[int, int]:
    """The bytes that a device has free, and in all; of "cpu" the machine's own, or its container's where that is less.

    Apple's MPS shares the machine's.
    """
    if torch.device(device).type == "cuda":
        free, total = torch.cuda.mem_get_info(torch.device(device))
        return int(free), int(total)
    found = psutil.virtual_memory()
    free, total = int(found.available), int(found.total)
    for limit, used, told in LIMITS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            most = int(limit.read_text())
            return min(free, max(0, most - int(used.read_text()) + _idle(told))), min(total, most)
    return free, total


def _idle(told: Path) -> int:
    """What a container holds of files that nobody has used for a while, which goes when room is needed."""
    with suppress(OSError, ValueError):
        for line in told.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    return 0


def in_bytes(size: int) -> str:
    """A size as one reads it: of two digits or three."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 10 or unit == "bytes" else f"{value:.1f} {unit}"
