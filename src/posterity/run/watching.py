"""What a run tells while it goes on, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
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
