"""Settings of priors: numbers, or numbers to be learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from posterity.checks import Settings
from posterity.learnable import is_learned


def positive(wrong: Settings, **given: Any) -> Any:
    """A positive, finite number, or one to be learned."""
    return _checked(wrong.positive, given)


def share(wrong: Settings, **given: Any) -> Any:
    """A number between 0 and 1, or one to be learned."""
    return _checked(wrong.fractions, given)


def number(wrong: Settings, **given: Any) -> Any:
    """A finite number, or one to be learned."""
    return _checked(wrong.finite, given)


def _checked(check: Callable[..., None], given: dict[str, Any]) -> Any:
    (value,) = given.values()
    if is_learned(value):
        return value
    check(**given)
    try:
        return float(value)
    except (TypeError, ValueError):  # said by the check
        return value
