"""How much memory there is, and whether arrays fit into it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from posterity.dtypes import float_dtype

SHARE = 0.5  # of the memory that is available: what arrays may take before they go to a file
CGROUP = Path("/sys/fs/cgroup")  # where a container's limit stands


def available() -> int | None:
    """Bytes of memory that can be taken without swapping; None where that cannot be known.

    On Linux what the kernel calls available, or less where a container has a limit. Elsewhere all
    of the memory that the machine has, as far as the system tells.
    """
    meminfo = _read(Path("/proc/meminfo"))
    found = re.search(r"MemAvailable:\s*(\d+) kB", meminfo)
    if found:
        return min([int(found.group(1)) * 1024, *_container()])
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def fits(size: int) -> bool:
    """Whether `size` bytes are at most half of the available memory, or that is not known.

    >>> fits(1_000)
    True
    """
    room = available()
    return room is None or size <= SHARE * room


def refuse_size(argument: str, what: str, shape: Sequence[int]) -> None:
    """Refuse an array that would take more than half of the memory there is.

    Args:
        argument: whose value asks for it. what: the array in words. shape: its axes.

    Raises:
        ValueError: it would.
    """
    size = math.prod(shape) * np.dtype(float_dtype()).itemsize
    if not fits(size):
        raise ValueError(
            f"{argument}: {what} take {said(size)}, and {said(available() or 0)} of memory are "
            "free; ask for fewer."
        )


def said(size: float) -> str:
    """Bytes in words.

    >>> said(12.34e9), said(200_000)
    ('12.3 GB', '0.2 MB')
    """
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"


def _container() -> list[int]:
    """What is left of a container's limit, where there is one; caches of files count as free."""
    limit, used = _read(CGROUP / "memory.max"), _read(CGROUP / "memory.current")
    if not (limit.strip().isdigit() and used.strip().isdigit()):
        return []
    cached = re.search(r"^inactive_file (\d+)", _read(CGROUP / "memory.stat"), re.MULTILINE)
    left = int(limit) - int(used) + (int(cached.group(1)) if cached else 0)
    return [max(0, left)]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
