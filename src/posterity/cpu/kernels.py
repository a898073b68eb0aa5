"""The switch of all that bets on the insides of JAX to be fast on CPUs."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

VARIABLE = "POSTERITY_CPU_KERNELS"
OFF = ("off", "0", "no", "false")


def kernels_on() -> bool:
    """Whether kernels for CPUs are used: unless ``POSTERITY_CPU_KERNELS=off``."""
    return os.environ.get(VARIABLE, "").lower() not in OFF


def lowered(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with its convolutions as products, where kernels are on and JAX takes them.

    What these kernels do follows from rules for JAX's own primitives. Where a JAX release has
    changed these, the function is computed as it is, and one warning says so.

    Args:
        function: of pytrees of arrays; see `posterity.cpu.conv.lowered`.

    >>> lowered(lambda x: 2 * x)(3)
    6
    """
    if not kernels_on():
        return function

    @functools.wraps(function)
    def computed(*args: Any, **kwargs: Any) -> Any:
        try:
            from posterity.cpu import conv
        except ImportError as error:
            _warn(error)
            return function(*args, **kwargs)
        return conv.lowered(function, _warn)(*args, **kwargs)

    return computed


@functools.cache
def _warned() -> None:
    warnings.warn(
        "The kernels for convolutions on CPUs do not work with this release of JAX; its own, which "
        f"are slower, take their place. {VARIABLE}=off silences this.",
        RuntimeWarning,
        stacklevel=2,
    )


def _warn(error: Exception) -> None:
    """Say once per process that the kernels failed."""
    del error
    _warned()
