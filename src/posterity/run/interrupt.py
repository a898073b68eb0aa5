"""Ctrl-C as a request: what was fitted so far is kept."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Interrupt:
    """While open, the first Ctrl-C sets `asked`; a second one raises KeyboardInterrupt.

    Outside the main thread, where signals cannot be caught, it never asks.
    """

    def __init__(self) -> None:
        self.asked = False
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

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
