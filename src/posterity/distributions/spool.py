"""Arrays of draws in a file: written as they come, and mapped."""

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
    """An array (chain, draw, ...) in a new .npy file.

    It is written at its place, chain by chain, by plain file operations: they say so where the
    disk is full. `array` is the file, mapped: NumPy reads what it touches. How many draws of each
    chain have been written is in a file beside it, so that after a kill `written` finds them.

    Args:
        folder: where there is to be a new ``draws.npy``, with ``draws.valid.npy`` beside it; None
            for a temporary file, which goes with the last view of `array`.
        shape, dtype: of the array.

    Raises:
        OSError: the folder cannot be written to.

    >>> import numpy as np
    >>> spool = Spool(None, (2, 3, 4), np.float32)
    >>> spool.write(1, 0, np.ones((2, 4), np.float32))
    >>> spool.array.sum(axis=2).tolist()
    [[0.0, 0.0, 0.0], [4.0, 4.0, 0.0]]
    """

    def __init__(self, folder: Path | None, shape: tuple[int, ...], dtype: Any) -> None:
        self.path = _temporary() if folder is None else _unused(folder)
        made = np.lib.format.open_memmap(self.path, "w+", np.dtype(dtype), tuple(shape))
        self.array = np.memmap(self.path, made.dtype, "r", made.offset, made.shape)
        self.written = False
        self._file: BinaryIO = self.path.open("r+b", buffering=0)
        self._valid = None if folder is None else _Valid(_beside(self.path), shape[0])
        self._lock = threading.Lock()
        if folder is None:
            _temporarily(self.array, self.path)
        self._end = weakref.finalize(self, self._file.close)

    def write(self, chain: int, at: int, rows: np.ndarray) -> None:
        """Write consecutive rows of one chain.

        Raises:
            OSError: the disk is full, or gone; the message names the file.
        """
        data = np.ascontiguousarray(rows, self.array.dtype)
        self.written = True
        place = self.array.offset + chain * self.array.strides[0] + at * self.array.strides[1]
        try:
            with self._lock:
                self._file.seek(place)
                left = data.data.cast("B")
                while len(left):
                    left = left[self._file.write(left) :]
                if self._valid:  # only now: a kill before it costs these rows, and no more
                    self._valid.extend(chain, at, at + len(data))
        except OSError as error:
            raise OSError(
                error.errno,
                f"spool: the draws could not be written to {self.path} ({error}). Make room there, "
                'or name another folder: po.fit(..., spool="folder")',
            ) from error

    def discard(self, *, useless: bool = False) -> None:
        """Close and remove the file if it holds nothing, or nothing of use."""
        if useless or not self.written:
            self._end()
            self.path.unlink(missing_ok=True)
            if self._valid:
                self._valid.discard()


class _Valid:
    """How many draws of each chain are written, from the first on: an array (chain,) in a file.

    Args:
        path: of the file, an .npy file of its own. chains: how many.
    """

    def __init__(self, path: Path, chains: int) -> None:
        self.path = path
        self.counts = np.zeros(chains, np.int64)
        made = np.lib.format.open_memmap(path, "w+", np.int64, (chains,))
        self._offset = made.offset
        self._file: BinaryIO = path.open("r+b", buffering=0)
        self._apart: list[dict[int, int]] = [{} for _ in range(chains)]  # start → stop
        self._end = weakref.finalize(self, self._file.close)

    def extend(self, chain: int, start: int, stop: int) -> None:
        """Draws `start` … `stop` − 1 of a chain are in the file."""
        apart, count = self._apart[chain], int(self.counts[chain])
        apart[start] = max(stop, apart.get(start, 0))
        while joined := [at for at in apart if at <= count]:
            count = max(count, *(apart.pop(at) for at in joined))
        self.counts[chain] = count
        self._file.seek(self._offset)
        self._file.write(self.counts.data)

    def discard(self) -> None:
        """Close and remove the file."""
        self._end()
        self.path.unlink(missing_ok=True)


def written(path: str | os.PathLike[str]) -> np.ndarray:
    """The draws that a run has written to its folder, also one that was killed: mapped.

    Args:
        path: the folder that was given as ``spool=``, or one of its files ``draws.npy``,
            ``draws-2.npy``, …

    Returns:
        θ (chain, draw, D): as many draws of every chain as the shortest has. Room that was never
        written to is left out.

    Raises:
        FileNotFoundError: there are no draws, or nothing says how many there are.
        ValueError: a chain has no draws yet, or the two files do not belong together.

    >>> import tempfile, numpy as np
    >>> spool = Spool(Path(tempfile.mkdtemp()), (2, 1_000, 3), np.float32)
    >>> for chain, count in enumerate((20, 30)):
    ...     spool.write(chain, 0, np.ones((count, 3), np.float32))
    >>> written(spool.path).shape
    (2, 20, 3)
    """
    path = Path(path)
    path = path / "draws.npy" if path.is_dir() else path
    for needed in (path, _beside(path)):
        if not needed.is_file():
            raise FileNotFoundError(f"spool: there is no {needed}.")
    draws, counts = np.load(path, mmap_mode="r"), np.load(_beside(path))
    fits = draws.ndim == 3 and counts.dtype == np.int64 and counts.shape == draws.shape[:1]
    if not fits or not counts.size or counts.min() < 0 or counts.max() > draws.shape[1]:
        raise ValueError(f"spool: {_beside(path)} does not say how many draws {path} has.")
    if not counts.min():
        raise ValueError(
            f"spool: of {np.sum(counts == 0)} of {len(counts)} chains no draw was written to "
            f"{path}: the run ended before its first draws."
        )
    return draws[:, : counts.min()]


def is_mapped(array: Any) -> bool:
    """Whether an array is of a file, so that NumPy reads what it touches."""
    return isinstance(array, np.memmap)


def scratch(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array to write to in a temporary file, which goes with the last view of it."""
    path = _temporary()
    made = np.memmap(path, dtype, "w+", shape=shape)
    _temporarily(made, path)
    return made


def _temporarily(array: np.memmap, path: Path) -> None:
    """Take the name from a mapped file: it then goes with the process, however that ends.

    Where the system does not allow it the name stays, and goes with the last view of the array.
    """
    with contextlib.suppress(OSError):
        path.unlink()
    weakref.finalize(array._mmap, path.unlink, missing_ok=True)  # type: ignore[attr-defined]


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


def _beside(path: Path) -> Path:
    """``draws.valid.npy`` beside ``draws.npy``."""
    return path.with_name(f"{path.stem}.valid.npy")


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
