"""Whether a network convolves or pools."""

from __future__ import annotations

from typing import Any

from jax.extend import core

NAMES = ("conv_general_dilated", "reduce_window_max", "reduce_window_sum", "reduce_window")


def convolves(jaxpr: Any) -> bool:
    """Whether a jaxpr, or one inside it, has a convolution or a pooling."""
    return any(
        eqn.primitive.name in NAMES
        or any(convolves(inner) for value in eqn.params.values() for inner in _jaxprs(value))
        for eqn in (jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr).eqns
    )


def _jaxprs(value: Any) -> list[Any]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [each for each in values if isinstance(each, (core.Jaxpr, core.ClosedJaxpr))]
