"""Arrays of draws in a file: written as they come, read by rows."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


class Spool:
    """An array (chain, draw, ...) in a file.

    It is written at its place, chain by chain, and read by rows. Both go by plain file operations,
    which take no more memory than what they are given or return; `array` maps the file.

    Args:
        path: the file, which has the array from byte `offset` on. shape, dtype: of the array.
        temporary: whether the file goes when this object does.

    >>> import numpy as np
    >>> spool = Spool.create(None, (2, 3, 4), np.float32)
    >>> spool.write(1, 0, np.ones((2, 4), np.float32))
    >>> spool.rows(np.array([4, 0, 3])).sum(axis=1).tolist()
    [4.0, 0.0, 4.0]
    """

    def __init__(
        self,
        path: Path,
        offset: int,
        shape: tuple[int, ...],
        dtype: Any,
        *,
        temporary: bool = False,
        writable: bool = False,
    ) -> None:
        self.path, self.offset = path, offset
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.temporary = temporary
        self.written = False
        # Held open: this stays the file it was, whatever is renamed over its name.
        self._file: BinaryIO = path.open("r+b" if writable else "rb", buffering=0)
        if temporary:
            _unname(path)
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _release, self._file, path if temporary else None)

    @classmethod
    def create(cls, folder: Path | None, shape: tuple[int, ...], dtype: Any) -> Spool:
        """A new .npy file: ``draws.npy`` in a folder of the user's, or a temporary one.

        Raises:
            OSError: the folder cannot be written to.
        """
        path = _temporary() if folder is None else _unused(folder)
        made = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), tuple(shape))
        offset = int(made.offset)
        del made
        return cls(path, offset, shape, dtype, temporary=folder is None, writable=True)

    @property
    def width(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape[2:], dtype=np.int64)) * self.dtype.itemsize

    @property
    def array(self) -> np.ndarray:
        """The array, mapped: NumPy reads what it touches."""
        with self._lock:  # it looks for the end of the file
            return np.memmap(self._file, self.dtype, "r", self.offset, self.shape)

    def write(self, chain: int, at: int, rows: np.ndarray) -> None:
        """Write consecutive rows of one chain.

        Raises:
            OSError: the disk is full, or gone; the message names the file.
        """
        data = np.ascontiguousarray(rows, self.dtype)
        self.written = True
        place = self.offset + (chain * self.shape[1] + at) * self.width
        try:
            with self._lock:
                self._file.seek(place)
                left = data.data.cast("B")
                while len(left):
                    left = left[self._file.write(left) :]
        except OSError as error:
            raise OSError(
                error.errno,
                f"spool: the draws could not be written to {self.path} ({error}). Make room there, "
                'or name another folder: po.fit(..., spool="folder")',
            ) from error

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Rows of given numbers, chain after chain: (n, ...), in the order asked for."""
        numbers = np.asarray(numbers, np.int64)
        found = np.empty((len(numbers), *self.shape[2:]), self.dtype)
        ends = np.flatnonzero(np.diff(numbers) != 1) + 1
        starts = np.concatenate([[0], ends])[: len(numbers)]
        stops = np.concatenate([ends, [len(numbers)]])[: len(numbers)]
        with self._lock:
            for run in np.argsort(numbers[starts], kind="stable"):  # in the order of the file
                start, stop = int(starts[run]), int(stops[run])
                self._read(int(numbers[start]), found[start:stop].data.cast("B"))
        return found

    def discard(self, *, useless: bool = False) -> None:
        """Close and remove the file if it holds nothing, or nothing of use."""
        if useless or not self.written:
            self._end()
            self.path.unlink(missing_ok=True)

    def _read(self, number: int, into: memoryview) -> None:
        self._file.seek(self.offset + number * self.width)
        while len(into):
            got = self._file.readinto(into)  # type: ignore[attr-defined]
            if not got:
                raise OSError(f"{self.path} has been cut short: its draws cannot be read any more.")
            into = into[got:]


def scratch(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array to write to in a temporary file, which goes with the last view of it."""
    path = _temporary()
    made = np.memmap(path, dtype, "w+", shape=shape)
    _unname(path)
    weakref.finalize(made._mmap, path.unlink, missing_ok=True)  # type: ignore[attr-defined]
    return made


def _unname(path: Path) -> None:
    """Take the name from an open file: it then goes with the process, however that ends.

    Where the system does not allow it the name stays, and goes with the object.
    """
    with contextlib.suppress(OSError):
        path.unlink()


def usual_folder() -> Path:
    """Where temporary files go: not to a file system that is itself kept in memory."""
    usual = Path(tempfile.gettempdir())
    other = Path("/var/tmp")
    if _in_memory(usual) and other.is_dir() and os.access(other, os.W_OK):
        return other
    return usual


def _in_memory(folder: Path) -> bool:
    """Whether a folder is on a tmpfs, as far as the system says."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return False
    real = folder.resolve()
    around = [m for m in mounts if len(m) > 2 and real.is_relative_to(m[1])]
    return bool(around) and max(around, key=lambda m: len(m[1]))[2] in ("tmpfs", "ramfs")


def _temporary() -> Path:
    handle, name = tempfile.mkstemp(".npy", "posterity-draws-", usual_folder())
    os.close(handle)
    return Path(name)


def _unused(folder: Path) -> Path:
    """``draws.npy``, ``draws-2.npy``, …: no file of another run is written over."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = folder / ("draws.npy" if number == 1 else f"draws-{number}.npy")
        with contextlib.suppress(FileExistsError):
            path.open("xb").close()
            return path
        number += 1


def _release(file: BinaryIO, path: Path | None) -> None:
    file.close()
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()
