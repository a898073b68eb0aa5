"""Checks of the numbers that users give to methods."""

from __future__ import annotations

import math
import numbers


def check_counts(method: str, **counts: int | None) -> None:
    """Refuse a count that is not a whole number from 1; None means "not given"."""
    for name, value in counts.items():
        if value is None:
            continue
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{method}: {name} must be a whole number from 1, not {value!r}.")


def check_positive(method: str, **values: float) -> None:
    """Refuse a number that is not positive and finite."""
    for name, value in values.items():
        if not isinstance(value, numbers.Real) or not 0 < value < math.inf:
            raise ValueError(f"{method}: {name} must be positive and finite, not {value!r}.")


def check_among(method: str, name: str, given: object, known: tuple[str, ...]) -> None:
    """Raise a ValueError where a setting is none of the words it may be."""
    if given not in known:
        listed = ", ".join(f'"{word}"' for word in known)
        raise ValueError(f"{method}: {name} must be one of {listed}, not {given!r}.")


def check_fraction(method: str, **values: float) -> None:
    """Refuse a number that does not lie between 0 and 1."""
    for name, value in values.items():
        if not isinstance(value, numbers.Real) or not 0 < value < 1:
            raise ValueError(f"{method}: {name} must lie between 0 and 1, not {value!r}.")


def check_nonnegative(method: str, **values: float) -> None:
    """Refuse a number that is negative or not finite."""
    for name, value in values.items():
        if not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
            raise ValueError(f"{method}: {name} must be 0 or more, and finite, not {value!r}.")
