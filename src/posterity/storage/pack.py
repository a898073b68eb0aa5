"""Distributions as named arrays and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from posterity.distributions.distribution import AbstractDistribution
from posterity.distributions.draws import Draws
from posterity.distributions.flow import Flow, FlowShape
from posterity.distributions.mixture import Mixture
from posterity.distributions.normal import FullRank, Gaussian, LowRank
from posterity.distributions.spooled import SpooledDraws
from posterity.dtypes import float_dtype

DISTRIBUTIONS: dict[str, type] = {
    kind.__name__: kind for kind in (Gaussian, FullRank, LowRank, Flow, Draws)
}
# The arrays of each, as their axes: D is the number of parameters, None any length.
Axes = tuple[str | None, ...]
FIELDS: dict[str, dict[str, Axes]] = {
    "Gaussian": {"mean": ("D",), "sd": ("D",)},
    "FullRank": {"mean": ("D",), "chol": ("D", "D")},
    "LowRank": {"mean": ("D",), "sd": ("D",), "factor": ("D", None)},
    "Flow": {"mean": ("D",), "sd": ("D",), "weights": (None,)},
    "Draws": {"theta": (None, None, "D")},
}
# What a distribution is rebuilt from beside its arrays.
Kind = dict[str, Any]


def pack(given: AbstractDistribution, prefix: str = "") -> tuple[Kind, dict[str, Any]]:
    """What kind of distribution it is, as plain data, and its arrays by name.

    Draws in a file are `Draws`, with themselves as their array.
    """
    if isinstance(given, SpooledDraws):
        return {"distribution": "Draws", "flow": None}, {prefix + "theta": given}
    kind: Kind = {"distribution": type(given).__name__, "flow": None}
    parts: Any = given
    arrays = {}
    if isinstance(given, Mixture):
        parts = given.components
        kind["components"] = type(parts).__name__
        arrays[prefix + "mixture"] = np.ascontiguousarray(given.weights)
    if isinstance(given, Flow):
        kind["flow"] = {"layers": given.shape.layers, "width": given.shape.width}
    for field in FIELDS[type(parts).__name__]:
        arrays[prefix + field] = np.ascontiguousarray(getattr(parts, field))
    return kind, arrays


def unpack(
    kind: Kind, tensors: Mapping[str, Any], size: int, prefix: str = ""
) -> AbstractDistribution:
    """The inverse of `pack`, for θ of length `size`.

    Raises:
        ValueError: an array of another shape, or with values that are not finite.
    """
    name = str(kind["distribution"])
    if name == "Draws" and isinstance(spooled := tensors[prefix + "theta"], SpooledDraws):
        return _checked(spooled, size)
    if name != "Mixture":
        return _built(name, kind, _arrays(name, tensors, size, prefix))
    weights = tensors[prefix + "mixture"]
    if weights.ndim != 1 or not (weights > 0).all() or abs(weights.sum() - 1) > 1e-3:
        raise ValueError("the mixture's weights are not positive numbers of sum 1.")
    name = str(kind["components"])
    if name not in ("Gaussian", "FullRank", "LowRank"):
        raise ValueError(f"a mixture of {name} is none of this library's.")
    parts = _arrays(name, tensors, size, prefix, lead=weights.shape)
    return Mixture(jnp.asarray(weights, float_dtype()), DISTRIBUTIONS[name](*parts))


def _arrays(
    name: str,
    tensors: Mapping[str, np.ndarray],
    size: int,
    prefix: str,
    lead: tuple[int, ...] = (),
) -> list:
    arrays = []
    for field, axes in FIELDS[name].items():
        array = tensors[prefix + field]
        inner = array.shape[len(lead) :]
        lengths = [given for given, axis in zip(inner, axes) if axis == "D"]
        if array.shape[: len(lead)] != lead or len(inner) != len(axes) or set(lengths) - {size}:
            raise ValueError(
                f"{prefix}{field} has shape {array.shape}, but the model has {size} parameters."
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{prefix}{field} holds values that are not finite.")
        arrays.append(jnp.asarray(array, float_dtype()))
    return arrays


def _checked(draws: SpooledDraws, size: int) -> SpooledDraws:
    """Draws in a file, whose shape and values are as they must be."""
    if draws.size != size:
        raise ValueError(f"theta has shape {draws.shape}, but the model has {size} parameters.")
    if not all(np.isfinite(block).all() for block in draws.blocks()):
        raise ValueError("theta holds values that are not finite.")
    return draws


def _built(name: str, kind: Kind, arrays: list) -> AbstractDistribution:
    if name == "Flow":
        mean, sd, weights = arrays
        shape = FlowShape(mean.size, *(int(kind["flow"][part]) for part in ("layers", "width")))
        if shape.start().shape != weights.shape:
            raise ValueError(
                f"weights has {weights.size} numbers, but its flow has {shape.start().size}."
            )
        return Flow(mean, sd, weights, shape)
    return DISTRIBUTIONS[name](*arrays)
