"""Where a run keeps its draws: in memory, or in a file if they would not fit."""

from __future__ import annotations

import shutil
import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from posterity import memory
from posterity.distributions.spool import Spool, usual_folder
from posterity.dtypes import float_dtype
from posterity.methods.method import AbstractMethod

FIGURES = 10  # numbers of four bytes that a step leaves in the history, or some more than most do

Folder = bool | str | PathLike[str] | None


class DrawStore:
    """Room for the draws of all chains (chain, draw, D), filled as they come.

    Args:
        room: an array or a file of that shape. note: a sentence for the result.
    """

    def __init__(self, room: np.ndarray | Spool, note: str = "") -> None:
        self.room = room
        self.note = note
        self.start = 0  # draws of each chain from earlier stretches of the run

    def put(self, chain: int, at: int, draws: np.ndarray) -> None:
        """Keep draws (chain, draw, D) of the chains from number `chain` on, as draw `at`, …"""
        at += self.start
        if isinstance(self.room, Spool):
            for number, rows in enumerate(draws):
                self.room.write(chain + number, at, rows)
        else:
            self.room[chain : chain + len(draws), at : at + draws.shape[1]] = draws

    def first(self, count: int) -> np.ndarray:
        """The first `count` draws of every chain in this stretch."""
        room = self.room.array if isinstance(self.room, Spool) else self.room
        return room[:, self.start : self.start + count]

    def give_up(self, *, useless: bool) -> None:
        """The run has failed: no file is left behind that holds nothing, or nothing of use."""
        if isinstance(self.room, Spool):
            self.room.discard(useless=useless)


def open_store(method: AbstractMethod, size: int, spool: Folder) -> DrawStore | None:
    """Room for the draws of a run; None where a method keeps none.

        bytes = chains × draws × D × bytes of a number   (+ 40 bytes per step for the history)

    Args:
        method: its settings say how many draws there will be. size: D.
        spool: None for a temporary file where the draws take more than half of the memory that is
            available, else for memory; a folder for a file there; False for memory whatever comes,
            True for a temporary file.

    Raises:
        ValueError: the folder cannot be written to, or its disk has too little room.
    """
    if not method.collects:
        return None
    dtype = np.dtype(float_dtype())
    shape = method.chains, _count(method), size
    needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    history = 4 * FIGURES * method.chains * (method.total_steps - method.warmup)
    if (spool is None and memory.fits(needed + history)) or spool is False:
        return DrawStore(np.empty(shape, dtype))
    folder = None if isinstance(spool, bool) or spool is None else Path(spool)
    file = _file(folder, shape, dtype, needed)
    takes = f"The draws take {memory.said(needed)}"
    if spool is None:
        free = memory.said(memory.available() or 0)
        # Before the run, so that whoever wants it otherwise need not wait for its end.
        warnings.warn(
            f"{takes} and {free} of memory are free; they are written to a file in "
            f"{file.path.parent} as they come, and go with the posterior. "
            'spool="folder" keeps them; fewer draws, or thin=, need less.',
            stacklevel=3,
        )
    where = "a temporary file, which goes with the posterior" if folder is None else str(file.path)
    return DrawStore(file, f"{takes}; they are in {where}.")


def _count(method: AbstractMethod) -> int:
    """How many draws a chain keeps."""
    draws = (method.total_steps - method.warmup) // method.thin
    last = method.thin * np.arange(1, draws + 1) - 1  # the step that each is
    return max(1, int(method.keeps(last).sum()))


def _file(folder: Path | None, shape: tuple[int, ...], dtype: Any, needed: int) -> Spool:
    """The file, after a look at the room on its disk."""
    place = usual_folder() if folder is None else folder
    try:
        place.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(place).free
        if free >= needed:
            return Spool(folder, shape, dtype)
    except OSError as error:
        raise ValueError(
            f"spool: the draws cannot be written to {place} ({error}). {_remedy(folder)}"
        ) from error
    raise ValueError(
        f"spool: the draws take {memory.said(needed)}, but {place} has {memory.said(free)} left. "
        f"Ask for fewer draws or chains, or raise thin. {_remedy(folder)}"
    )


def _remedy(folder: Path | None) -> str:
    if folder is None:
        return 'Or name a folder on another disk: po.fit(..., spool="folder").'
    return "Or name another folder."
