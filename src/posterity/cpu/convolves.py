"""Whether a network convolves or pools."""

from __future__ import annotations

from typing import Any

from jax.extend import core

# Those with a rule in `posterity.cpu.conv`, by name: this module is imported early.
NAMES = ("conv_general_dilated", "reduce_window_max", "reduce_window_sum")


def convolves(jaxpr: core.Jaxpr | core.ClosedJaxpr) -> bool:
    """Whether a jaxpr, or one inside it, has a convolution or a pooling."""
    return any(
        equation.primitive.name in NAMES or any(map(convolves, subjaxprs(equation)))
        for equation in jaxpr.eqns
    )


def subjaxprs(equation: Any) -> list[Any]:
    """The jaxprs inside an equation."""
    return [each for value in equation.params.values() for each in _jaxprs(value)]


def _jaxprs(value: Any) -> list[Any]:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [each for each in values if isinstance(each, (core.Jaxpr, core.ClosedJaxpr))]
