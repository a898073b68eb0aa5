"""The three products of a convolution, of its inputs x, kernel w and outputs y.

They make one trilinear form ⟨y, x * w⟩: each pair gives the gradient with respect to the third.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from posterity.cpu.conv.tiles import (
    Axes,
    gathered,
    overlapped,
    patches_of,
    places_of,
    spread,
    tiles_of,
    untiled,
    with_tiles,
)

MOST_PATCHES = 2**25  # elements at once; larger batches go piece by piece, to bound the memory


def dot(a: jax.Array, b: jax.Array, contract: tuple[int, int]) -> jax.Array:
    """The product of two arrays over one axis of each."""
    return lax.dot_general(a, b, (((contract[0],), (contract[1],)), ((), ())))


def to_outputs(x: jax.Array, w: jax.Array, axes: Axes) -> jax.Array:
    """The convolution, y."""
    channels, outputs, rows = x.shape[0], w.shape[3], x.shape[3]
    axes = with_tiles(axes, channels, outputs)
    kernel = spread(spread(w, 0, 3, axes[0]), 1, 4, axes[1])
    patches = patches_of(x, axes)
    y = dot(kernel.reshape(patches.shape[0], -1), patches, (0, 0))
    return untiled(y, axes, outputs, rows)


def to_inputs(y: jax.Array, w: jax.Array, axes: Axes) -> jax.Array:
    """The gradient with respect to x, where `y` is that with respect to the outputs."""
    channels, outputs, rows = w.shape[2], w.shape[3], y.shape[3]
    a, b = axes = with_tiles(axes, channels, outputs)
    kernel = spread(spread(w, 0, 3, a), 1, 4, b)
    y = tiles_of(y, axes)
    d = dot(kernel.reshape(-1, y.shape[0]), y, (1, 0))
    d = d.reshape(len(a.offsets), len(b.offsets), channels, a.tiles, b.tiles, rows)
    return overlapped(overlapped(d, 1, 4, b), 0, 2, a)


def to_kernel(x: jax.Array, y: jax.Array, axes: Axes) -> jax.Array:
    """The gradient with respect to w, where `y` is that with respect to the outputs."""
    channels, outputs = x.shape[0], y.shape[0]
    a, b = axes = with_tiles(axes, channels, outputs)
    w = dot(patches_of(x, axes), tiles_of(y, axes), (1, 1))
    w = w.reshape(len(a.offsets), len(b.offsets), channels, a.tile, b.tile, outputs)
    return gathered(gathered(w, 1, 4, b), 0, 3, a)


def piecewise(
    product: Callable[..., jax.Array], rows_at: tuple[int | None, ...], a: Any, b: Any, axes: Axes
) -> jax.Array:
    """`product(a, b)` in pieces of the batch, where all its patches at once would be too large.

    Args:
        rows_at: where the batch is in a, in b and in the product; None: it has none (of the
            product: its pieces are added).
    """
    *sources, target = rows_at
    channels, outputs = _channels(product, a, b)
    tiled = with_tiles(axes, channels, outputs)
    per_row = places_of(tiled) * tiled[0].tiles * tiled[1].tiles
    rows = a.shape[3]
    wanted = -(-per_row * channels * rows // MOST_PATCHES)
    pieces = next(p for p in range(min(wanted, rows), rows + 1) if rows % p == 0)
    if pieces <= 1:
        return product(a, b, axes)
    size = rows // pieces

    def piece(index: Any) -> jax.Array:
        parts = [
            v if at is None else lax.dynamic_slice_in_dim(v, index * size, size, at)
            for v, at in zip((a, b), sources)
        ]
        return product(*parts, axes)

    if target is None:
        zero = jnp.zeros(jax.eval_shape(piece, 0).shape, a.dtype)
        return lax.fori_loop(0, pieces, lambda index, total: total + piece(index), zero)
    made = jnp.moveaxis(lax.map(piece, jnp.arange(pieces)), 0, target)
    return made.reshape(*made.shape[:target], rows)


def _channels(product: Callable[..., jax.Array], a: Any, b: Any) -> tuple[int, int]:
    if product is to_kernel:
        return a.shape[0], b.shape[0]
    return b.shape[2], b.shape[3]
