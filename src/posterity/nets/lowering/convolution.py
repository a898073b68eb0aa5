"""The rule for `conv_general_dilated`: by spectra or by patches, whichever costs less."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from posterity.nets.lowering import spectra
from posterity.nets.lowering.layouts import AbstractKept, Turned, turned_to, type_of
from posterity.nets.lowering.pending import Convolved, spectra_of
from posterity.nets.lowering.primitives import CONVOLVED, conv_outputs
from posterity.nets.lowering.tiles import MOST_PLACES, Axis, cost_of_patches, places_of


class Places(NamedTuple):
    """Where a value has its rows, its channels and its positions."""

    rows: int
    channels: int
    along: tuple[int, ...]


def convolution(x: Any, w: Any, params: dict[str, Any]) -> AbstractKept | None:
    """A `conv_general_dilated` as products, or None where that is not for it."""
    x_type, w_type = type_of(x), type_of(w)
    plain = (
        len(x_type.shape) in (3, 4)
        and x_type.dtype == w_type.dtype
        and x_type.dtype in CONVOLVED
        and params["preferred_element_type"] in (None, x_type.dtype)
        and params["batch_group_count"] == 1
        and set(params["lhs_dilation"]) == {1}
        and min(*x_type.shape, *w_type.shape) > 0
    )
    if not plain:
        return None
    x_at, w_at, y_at = (
        Places(first, second, tuple(along)) for first, second, *along in params["dimension_numbers"]
    )
    along = [
        Axis(x_type.shape[i], w_type.shape[j], stride, low, high, dilation)
        for i, j, stride, (low, high), dilation in zip(
            x_at.along,
            w_at.along,
            params["window_strides"],
            params["padding"],
            params["rhs_dilation"],
        )
    ]
    if min(axis.out for axis in along) < 1:
        return None
    none = Axis(1, 1, 1, 0, 0, 1)
    groups = params["feature_group_count"]
    inputs, outputs = w_type.shape[w_at.channels], w_type.shape[w_at.rows]
    axes = (along[0], along[1] if len(along) == 2 else none)
    if groups == 1:
        by_spectra = spectra.cost(axes, inputs, outputs, x_type.shape[x_at.rows])
        if by_spectra < cost_of_patches(axes, inputs, outputs):
            w = turned_to(w, (*w_at.along, w_at.rows, w_at.channels))
            w = w[:, None] if len(along) == 1 else w
            x = spectra_of(x, axes, x_at.along, x_at.channels, x_at.rows)
            y = spectra.product(spectra.of_kernel(w, axes), x)
            return Convolved(y, axes, y_at.along, y_at.channels, y_at.rows)
    axes = (none, axes[0]) if len(along) == 1 else axes
    if places_of(axes) > MOST_PLACES:
        return None
    return _by_patches(x, w, (axes[0], axes[1]), groups, (x_at, w_at, y_at))


def _by_patches(
    x: Any, w: Any, axes: tuple[Axis, Axis], groups: int, at: tuple[Places, Places, Places]
) -> Turned:
    x_at, w_at, y_at = at
    x = turned_to(x, (x_at.channels, *x_at.along, x_at.rows))
    w = turned_to(w, (*w_at.along, w_at.channels, w_at.rows))
    line = len(x_at.along) == 1
    if line:
        x, w = x[:, None], w[None]
    if groups == 1:
        y = conv_outputs.bind(x, w, axes=axes, stacked=False)
    else:
        x = x.reshape(groups, -1, *x.shape[1:])
        w = jnp.moveaxis(w.reshape(*w.shape[:3], groups, -1), 3, 0)
        y = conv_outputs.bind(x, w, axes=axes, stacked=True)
        y = y.reshape(-1, *y.shape[2:])
    y = y[:, 0] if line else y
    return Turned(y, (y_at.channels, *y_at.along, y_at.rows))
