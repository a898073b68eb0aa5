"""Settings of priors, checked."""

from __future__ import annotations

import math
from typing import Any

from posterity.learnable import is_learned


def positive(name: str, given: Any) -> Any:
    """A positive, finite number, or one to be learned."""
    if not is_learned(given) and not 0 < float(given) < math.inf:
        raise ValueError(f"{name} must be positive and finite, not {float(given)}.")
    return number(name, given)


def number(name: str, given: Any) -> Any:
    """A finite number, or one to be learned."""
    if is_learned(given):
        return given
    if not math.isfinite(given):
        raise ValueError(f"{name} must be finite, not {float(given)}.")
    return float(given)
