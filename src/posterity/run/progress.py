"""A progress bar that shows the figure that matters."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from posterity.run.watching import Watcher


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
        """Show the bar."""
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
        """Move the bar."""
        rate = steps / max(time.perf_counter() - self._began, 1e-9)
        shown = f"{self.figure.replace('_', ' ')} {_short(figure)}"
        for name, value in also.items():
            shown += f", {name.replace('_', ' ')} {_short(value)}"
        if failures:
            shown += f", {failures} steps not finite"
        self._bar.update(self._task, completed=steps, rate=f"{rate:,.0f}/s", shown=shown)

    def stop(self) -> None:
        """Leave the finished bar."""
        if self._bar is not None:
            self._bar.stop()


def _short(value: float) -> str:
    return f"{value:,.1f}" if math.isfinite(value) and abs(value) >= 10 else f"{value:.3g}"
