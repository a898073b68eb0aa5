"""What tests of runs share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from posterity.run.progress import Watcher


@pytest.fixture
def own_handler() -> Iterator[None]:
    """A Ctrl-C that a fit leaves unhandled ends the test, not the test run."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def press(own_handler: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """`press(12)` before a fit: Ctrl-C after its 12th dispatch; gives the steps of all."""

    def press(at: int) -> list[int]:
        updates: list[int] = []

        def update(self: Watcher, steps: int, *figures: object) -> None:
            updates.append(steps)
            if len(updates) == at:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Watcher, "update", update)
        return updates

    return press
