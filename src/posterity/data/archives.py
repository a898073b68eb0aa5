"""Arrays from npz archives, whose sizes are checked before anything is unpacked."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from posterity import memory
from posterity.files import regular

HARMLESS = 2**28  # bytes in memory, up to which nobody asks how small the file is
RATIO = 200  # of bytes in memory and in the file; tables of numbers compress to a tenth or so
NARROW = 8  # bytes that a value takes at least, once it is a float


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no archive of arrays, or would take too much memory.
    """
    regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(_size(archive, entry) for entry in archive.infolist())
    except Exception as error:  # a broken archive raises one of many types
        raise _unreadable(path, error) from error
    refuse_large(path, size, "np.savez(path, **arrays) writes it so")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            if bad := [name for name, each in arrays.items() if not isinstance(each, np.ndarray)]:
                raise ValueError(f"{bad[0]!r} is no array")
            return arrays
    except Exception as error:
        raise _unreadable(path, error) from error


def refuse_large(path: Path, size: int, plainly: str) -> None:
    """Refuse a file that takes `size` bytes of memory, more than there are or than it looks like.

    Args:
        plainly: how such a file is written without compression: then its own size bounds it.

    Raises:
        ValueError: too large.
    """
    packed = path.stat().st_size
    if size > HARMLESS and size > RATIO * packed:
        raise ValueError(
            f"{path}: its {memory.said(packed)} would become {memory.said(size)} in memory, as a "
            f"file made to fill it would. If it is right, save it without compression: {plainly}."
        )
    if not memory.fits(size):
        raise ValueError(
            f"{path}: it would take {memory.said(size)} of memory, more than half of what is free. "
            "Use a part of its rows."
        )


def _size(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """Bytes that an entry takes in memory, by its header."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return max(math.prod(shape) * max(dtype.itemsize, NARROW), entry.file_size)


def _unreadable(path: Path, error: Any) -> ValueError:
    return ValueError(f"{path}: it is not a readable npz file of arrays ({error}).")
