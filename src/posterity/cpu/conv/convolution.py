"""The rule for `conv_general_dilated`: by spectra or by patches, whichever costs less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from posterity.cpu.conv import spectra
from posterity.cpu.conv.layouts import AbstractKept, Places, Turned, turned_to, type_of
from posterity.cpu.conv.lazy import Convolved, spectra_of
from posterity.cpu.conv.primitives import CONVOLVED, conv_outputs
from posterity.cpu.conv.tiles import MOST_PLACES, Axes, Axis, cost_of_patches, places_of

LINE = Axis(1, 1, 1, 0, 0, 1)  # the second axis of a convolution that has one


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
    at = tuple(
        Places(first, second, tuple(along)) for first, second, *along in params["dimension_numbers"]
    )
    along = [
        Axis(x_type.shape[i], w_type.shape[j], stride, low, high, dilation)
        for i, j, stride, (low, high), dilation in zip(
            at[0].along,
            at[1].along,
            params["window_strides"],
            params["padding"],
            params["rhs_dilation"],
        )
    ]
    if min(axis.out for axis in along) < 1:
        return None
    axes = (along[0], along[1] if len(along) == 2 else LINE)
    groups = params["feature_group_count"]
    outputs, inputs = w_type.shape[at[1].rows], w_type.shape[at[1].channels]
    rows = x_type.shape[at[0].rows]
    by_patches = cost_of_patches(axes, inputs, outputs)
    if groups == 1 and spectra.cost(axes, inputs, outputs, rows) < by_patches:
        return _by_spectra(x, w, axes, at)
    return None if places_of(axes) > MOST_PLACES else _by_patches(x, w, axes, groups, at)


def _by_spectra(x: Any, w: Any, axes: Axes, at: Sequence[Places]) -> Convolved:
    w = turned_to(w, (*at[1].along, at[1].rows, at[1].channels))
    w = w[:, None] if axes[1] is LINE else w
    y = spectra.product(spectra.of_kernel(w, axes), spectra_of(x, axes, at[0]))
    return Convolved(y, axes, at[2])


def _by_patches(x: Any, w: Any, axes: Axes, groups: int, at: Sequence[Places]) -> Turned:
    x = turned_to(x, (at[0].channels, *at[0].along, at[0].rows))
    w = turned_to(w, at[1].order)
    if axes[1] is LINE:
        x, w = x[:, :, None], w[:, None]
    if groups == 1:
        y = conv_outputs.bind(x, w, axes=axes, stacked=False)
    else:
        x = x.reshape(groups, -1, *x.shape[1:])
        w = jnp.moveaxis(w.reshape(*w.shape[:3], groups, -1), 3, 0)
        y = conv_outputs.bind(x, w, axes=axes, stacked=True)
        y = y.reshape(-1, *y.shape[2:])
    y = y[:, :, 0] if axes[1] is LINE else y
    return Turned(y, (at[2].channels, *at[2].along, at[2].rows))
