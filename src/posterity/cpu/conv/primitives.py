"""Convolutions as primitives: how JAX computes, differentiates and batches them.

`conv_outputs`, `conv_inputs` and `conv_kernel` are each other's gradients, so that derivatives of
any order are made of them. `per_channel` is the bias that follows a convolution.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from posterity.cpu.conv.products import dot, piecewise, to_inputs, to_kernel, to_outputs
from posterity.cpu.conv.tiles import Axes

CONVOLVED = (np.dtype(np.float32), np.dtype(np.float64))


def _bilinear(
    name: str,
    product: Callable[..., jax.Array],
    rows_at: tuple[int | None, ...],
    shape: Callable[..., tuple[int, ...]],
) -> core.Primitive:
    """A primitive of two arrays, each with a leading axis of stacked problems if `stacked`."""
    primitive = core.Primitive(name)

    def compute(a: jax.Array, b: jax.Array, *, axes: Axes, stacked: bool) -> jax.Array:
        once = functools.partial(piecewise, product, rows_at, axes=axes)
        return jax.vmap(once)(a, b) if stacked else once(a, b)

    def abstract(a: Any, b: Any, *, axes: Axes, stacked: bool) -> Any:
        lead = a.shape[:1] if stacked else ()
        inner = shape(a.shape[len(lead) :], b.shape[len(lead) :], axes)
        return jax.core.ShapedArray((*lead, *inner), a.dtype)

    primitive.def_impl(jax.jit(compute, static_argnames=("axes", "stacked")))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    return primitive


conv_outputs = _bilinear(
    "conv_outputs",
    to_outputs,
    (3, None, 3),
    lambda x, w, axes: (w[3], axes[0].out, axes[1].out, x[3]),
)
conv_inputs = _bilinear(
    "conv_inputs",
    to_inputs,
    (3, None, 3),
    lambda y, w, axes: (w[2], axes[0].size, axes[1].size, y[3]),
)
conv_kernel = _bilinear(
    "conv_kernel",
    to_kernel,
    (3, 3, None),
    lambda x, y, axes: (axes[0].kernel, axes[1].kernel, x[0], y[0]),
)

# The gradient of each with respect to its first and to its second argument, given t like its value.
ad.defbilinear(
    conv_outputs,
    lambda t, x, w, **how: conv_inputs.bind(t, w, **how),
    lambda t, x, w, **how: conv_kernel.bind(x, t, **how),
)
ad.defbilinear(
    conv_inputs,
    lambda t, y, w, **how: conv_outputs.bind(t, w, **how),
    lambda t, y, w, **how: conv_kernel.bind(t, y, **how),
)
ad.defbilinear(
    conv_kernel,
    lambda t, x, y, **how: conv_inputs.bind(y, t, **how),
    lambda t, x, y, **how: conv_outputs.bind(x, t, **how),
)


# A bias (C,) broadcast along other axes. Its gradient is a product: a sum XLA would do in the order
# in which the user's net has its axes, and first copy what it sums into that order.
per_channel = core.Primitive("per_channel")


def _per_channel(bias: jax.Array, *, shape: tuple[int, ...], axis: int) -> jax.Array:
    return lax.broadcast_in_dim(bias, shape, (axis,))


def _per_channel_transposed(t: Any, bias: Any, *, shape: tuple[int, ...], axis: int) -> list[Any]:
    if isinstance(t, ad.Zero):
        return [ad.Zero(bias.aval)]
    behind = math.prod(shape[axis + 1 :])
    t = dot(t.reshape(-1, behind), jnp.ones(behind, t.dtype), (1, 0))
    return [t.reshape(-1, shape[axis]).sum(0)]


def _per_channel_batched(
    values: Any, mapped: Any, *, shape: tuple[int, ...], axis: int
) -> tuple[Any, int]:
    bias = jnp.moveaxis(values[0], mapped[0], 0)
    return lax.broadcast_in_dim(bias, (bias.shape[0], *shape), (0, axis + 1)), 0


per_channel.def_impl(jax.jit(_per_channel, static_argnames=("shape", "axis")))
per_channel.def_abstract_eval(lambda bias, *, shape, axis: jax.core.ShapedArray(shape, bias.dtype))
mlir.register_lowering(per_channel, mlir.lower_fun(_per_channel, multiple_results=False))
ad.deflinear2(per_channel, _per_channel_transposed)
batching.primitive_batchers[per_channel] = _per_channel_batched


def _batch_rule(primitive: core.Primitive, merge_first: Any, merge_second: Any) -> None:
    """Many problems that share an array are one larger problem; others are stacked.

    Args:
        merge_first, merge_second: if only that array is mapped, the axes of it and of the value
            that take up the mapped axis.
    """

    def rule(values: Any, mapped: Any, *, axes: Axes, stacked: bool) -> tuple[jax.Array, int]:
        size = next(v.shape[m] for v, m in zip(values, mapped) if m is not None)
        one = [m is not None for m in mapped]
        if not stacked and not all(one):
            which = one.index(True)
            into, out_of = (merge_first, merge_second)[which]
            moved = jnp.moveaxis(values[which], mapped[which], into)
            shape = moved.shape
            merged = moved.reshape(*shape[:into], shape[into] * shape[into + 1], *shape[into + 2 :])
            pair = [merged if i == which else v for i, v in enumerate(values)]
            made = primitive.bind(*pair, axes=axes, stacked=False)
            inner = (size, made.shape[out_of] // size)
            return made.reshape(*made.shape[:out_of], *inner, *made.shape[out_of + 1 :]), out_of
        full = [
            jnp.broadcast_to(v, (size, *v.shape)) if m is None else jnp.moveaxis(v, m, 0)
            for v, m in zip(values, mapped)
        ]
        if not stacked:
            return primitive.bind(*full, axes=axes, stacked=True), 0
        flat = [v.reshape(-1, *v.shape[2:]) for v in full]
        made = primitive.bind(*flat, axes=axes, stacked=True)
        return made.reshape(size, -1, *made.shape[1:]), 0

    batching.primitive_batchers[primitive] = rule


_batch_rule(conv_outputs, (3, 3), (3, 0))
_batch_rule(conv_inputs, (3, 3), (2, 0))
_batch_rule(conv_kernel, (0, 2), (0, 3))
