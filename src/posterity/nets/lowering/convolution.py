"""The rule for `conv_general_dilated`."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from posterity.nets.lowering.layouts import Turned, turned_to, type_of
from posterity.nets.lowering.primitives import CONVOLVED, conv_outputs
from posterity.nets.lowering.tiles import MOST_PLACES, Axis, places_of


def convolution(x: Any, w: Any, params: dict[str, Any]) -> Turned | None:
    """A `conv_general_dilated` by `conv_outputs`, or None where that is not for it."""
    x_type, w_type = type_of(x), type_of(w)
    spatial = len(x_type.shape) - 2
    groups = params["feature_group_count"]
    plain = (
        spatial in (1, 2)
        and x_type.dtype == w_type.dtype
        and x_type.dtype in CONVOLVED
        and params["preferred_element_type"] in (None, x_type.dtype)
        and params["batch_group_count"] == 1
        and set(params["lhs_dilation"]) == {1}
        and min(*x_type.shape, *w_type.shape) > 0
    )
    if not plain:
        return None
    numbers = params["dimension_numbers"]
    (x_rows, x_channels, *x_space), (w_out, w_in, *w_space) = numbers[0], numbers[1]
    x = turned_to(x, (x_channels, *x_space, x_rows))
    w = turned_to(w, (*w_space, w_in, w_out))
    along = [
        Axis(size, kernel, stride, low, high, dilation)
        for size, kernel, stride, (low, high), dilation in zip(
            x.shape[1:-1],
            w.shape,
            params["window_strides"],
            params["padding"],
            params["rhs_dilation"],
        )
    ]
    if spatial == 1:
        x, w = x[:, None], w[None]
        along.insert(0, Axis(1, 1, 1, 0, 0, 1))
    axes = (along[0], along[1])
    if min(a.out for a in axes) < 1 or places_of(axes) > MOST_PLACES:
        return None
    if groups == 1:
        y = conv_outputs.bind(x, w, axes=axes, stacked=False)
    else:
        x = x.reshape(groups, -1, *x.shape[1:])
        w = jnp.moveaxis(w.reshape(*w.shape[:3], groups, -1), 3, 0)
        y = conv_outputs.bind(x, w, axes=axes, stacked=True)
        y = y.reshape(-1, *y.shape[2:])
    y = y[:, 0] if spatial == 1 else y
    y_rows, y_channels, *y_space = numbers[2]
    return Turned(y, (y_channels, *y_space, y_rows))
