"""A progress bar for predictions that take more than a second."""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

PATIENCE = 1.0  # seconds before a bar is shown

_wanted: contextvars.ContextVar[bool | None] = contextvars.ContextVar("wanted", default=None)


@contextlib.contextmanager
def progress(shown: bool | None) -> Iterator[None]:
    """Show bars within, show none, or show them on a terminal (None)."""
    before = _wanted.set(shown)
    try:
        yield
    finally:
        _wanted.reset(before)


class Bar:
    """Draws done of all, rate and time left, on standard error, once it takes a second.

    Args:
        name: what is being computed. total: how many draws.
    """

    def __init__(self, name: str, total: int) -> None:
        wanted = _wanted.get()
        self.name, self.total = name, total
        self.shown = os.isatty(2) if wanted is None else wanted
        self.began = time.perf_counter()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int) -> None:
        """Move the bar to so many draws."""
        seconds = time.perf_counter() - self.began
        if not self.shown or (self._bar is None and (seconds < PATIENCE or done >= self.total)):
            return
        if self._bar is None:
            self._show()
        rate = f"{done / max(seconds, 1e-9):,.3g} draws/s"
        self._bar.update(self._task, completed=done, rate=rate)

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
        )
        self._task = self._bar.add_task(self.name, total=self.total, rate="")
        self._bar.start()
