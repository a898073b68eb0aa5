"""Numbers of draws and seeds that a user gave, checked in one place."""

from __future__ import annotations

from typing import Any

from posterity.checks import MOST, is_whole, said


def checked_draws(draws: Any, least: int = 1) -> int:
    """A number of draws.

    Raises:
        ValueError: it is no whole number, or below `least`, or above 10⁸.

    >>> checked_draws(200)
    200
    """
    if not is_whole(draws) or draws < least:
        raise ValueError(f"draws: must be a whole number from {least}, not {said(draws)}.")
    if draws > MOST:
        raise ValueError(f"draws: must be a whole number from {least} to {MOST:,}, not {draws:,}.")
    return int(draws)


def checked_seed(seed: Any) -> int:
    """A seed.

    Raises:
        TypeError: it is no whole number.

    >>> checked_seed(0)
    0
    """
    if not is_whole(seed):
        raise TypeError(f"seed: expected an integer, got {said(seed)}.")
    return int(seed)
