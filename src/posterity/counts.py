"""Numbers of draws and seeds that a user gave, checked in one place."""

from __future__ import annotations

import numbers
from typing import Any


def checked_draws(draws: Any, least: int = 1) -> int:
    """A number of draws.

    Raises:
        ValueError: it is no whole number, or below `least`.

    >>> checked_draws(200)
    200
    """
    if not _is_whole(draws) or draws < least:
        raise ValueError(f"draws: must be a whole number from {least}, not {draws!r}.")
    return int(draws)


def checked_seed(seed: Any) -> int:
    """A seed.

    Raises:
        TypeError: it is no whole number.

    >>> checked_seed(0)
    0
    """
    if not _is_whole(seed):
        raise TypeError(f"seed: expected an integer, got {seed!r}.")
    return int(seed)


def _is_whole(given: Any) -> bool:
    return isinstance(given, numbers.Integral) and not isinstance(given, bool)
