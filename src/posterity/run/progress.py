"""What a run tells while it goes on and leaves behind, and how it is asked to end."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from posterity.methods.method import Stretch


class Finished(NamedTuple):
    """What a run leaves behind."""

    state: Any
    stretches: list[Stretch]
    memory: Any
    converged: bool
    interrupted: bool
    lost: bool
    steps: int


class Watcher:
    """What a run tells while it goes on; `progress.Bar` shows it."""

    def start(self, total: int) -> None:
        """Before the first step."""

    def update(self, steps: int, figure: float, failures: int, also: dict[str, float]) -> None:
        """After a dispatch.

        Args:
            steps: made so far, per chain. figure: the method's. failures: failed steps so far.
            also: the method's other figures, by name.
        """

    def stop(self) -> None:
        """After the last step, whatever happened."""


class Peek(NamedTuple):
    """A look at a run under way: `call` gets what it would leave behind if it ended there.

    Attributes:
        every: how many steps lie between two looks. call: a true answer ends the run.
    """

    every: int
    call: Callable[[Finished], object]


class Interrupt:
    """While open, the first Ctrl-C sets `asked`; a second one raises KeyboardInterrupt.

    Within `raising`, for work that can be left out, each of them raises. Outside the main thread,
    where signals cannot be caught, it never asks.
    """

    def __init__(self) -> None:
        self.asked = False
        self._raises = False
        self._previous: object = None
        self._open = False

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._ask)
            self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open:
            signal.signal(signal.SIGINT, self._previous)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """While open, each Ctrl-C raises KeyboardInterrupt: whoever opens this goes on without."""
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked or self._raises:
            raise KeyboardInterrupt
        self.asked = True


class Bar(Watcher):
    """Steps, rate, time left and the method's own figure, on standard error.

    Args:
        name: what is being fitted. figure: the name of the figure, such as ``elbo``.
    """

    def __init__(self, name: str, figure: str) -> None:
        self.name = name
        self.figure = figure
        self._bar: Any = None
        self._task: Any = None
        self._began = 0.0

    def start(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}"),
            console=Console(file=sys.stderr),
        )
        self._task = self._bar.add_task(self.name, total=total, rate="compiling", shown="")
        self._bar.start()
        self._began = time.perf_counter()

    def update(self, steps: int, figure: float, failures: int, also: dict[str, float]) -> None:
        rate = steps / max(time.perf_counter() - self._began, 1e-9)
        shown = f"{self.figure.replace('_', ' ')} {_short(figure)}"
        for name, value in also.items():
            shown += f", {name.replace('_', ' ')} {_short(value)}"
        if failures:
            shown += f", {failures} steps not finite"
        self._bar.update(self._task, completed=steps, rate=f"{rate:,.0f}/s", shown=shown)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _short(value: float) -> str:
    return f"{value:,.1f}" if math.isfinite(value) and abs(value) >= 10 else f"{value:.3g}"
