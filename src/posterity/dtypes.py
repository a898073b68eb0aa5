"""The one place that decides the precision of parameters and data."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

_config: Any = jax.config  # its flags are made at run time, unknown to type checkers


def float_dtype() -> Any:
    """The floating-point type of θ and of the data: float32, or float64 under ``jax_enable_x64``.

    >>> float_dtype().__name__
    'float32'
    """
    return np.float64 if _config.jax_enable_x64 else np.float32


def largest_magnitude() -> float:
    """The largest |value| whose square and sums of squares stay finite in `float_dtype`."""
    return 1e15 if float_dtype() is np.float32 else 1e120
