"""Tiles of a convolution: neighbouring outputs that are computed together.

Arrays are laid out as inputs (C, H, W, N), kernel (h, w, C, K) and outputs (K, H', W', N). A tile
of t outputs along an axis reads (t − 1) stride + kernel inputs instead of t · kernel, so that fewer
patches are copied, at the price of products with zeros in an enlarged kernel.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# Outputs per tile and axis: larger ones lost on all shapes of `benchmarks/convolutions.py`.
TILES = (1, 2, 4)
# Copying one element of a patch takes as long as this many multiplications in a product. Fitted to
# the three layers of LeNet-5, 28²·1→6, 14²·6→16 and 7²·16→120, on two cores.
COPY_COST = 30
MOST_PLACES = 128  # in a kernel, a tile or a window: each is a slice, and takes time to compile


class Axis(NamedTuple):
    """One spatial axis of a convolution: sizes of input and kernel, and how they meet."""

    size: int
    kernel: int
    stride: int
    before: int
    after: int
    dilation: int
    tile: int = 1

    @property
    def reach(self) -> int:
        """Inputs from the first to the last that one output reads."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def out(self) -> int:
        """Outputs."""
        return (self.size + self.before + self.after - self.reach) // self.stride + 1

    @property
    def tiles(self) -> int:
        """Tiles that cover the outputs; the last may reach beyond them."""
        return -(-self.out // self.tile)

    @property
    def step(self) -> int:
        """Inputs from one tile to the next."""
        return self.tile * self.stride

    @property
    def offsets(self) -> range:
        """Inputs that a tile reads, from its first. Only a tile of one output is dilated."""
        if self.tile == 1:
            return range(0, self.reach, self.dilation)
        return range((self.tile - 1) * self.stride + self.reach)

    @property
    def padding(self) -> tuple[int, int, int]:
        """What `lax.pad` adds to the input, so that all tiles are full."""
        end = (self.tiles - 1) * self.step + self.offsets[-1] + 1
        return self.before, end - self.size - self.before, 0


Axes = tuple[Axis, Axis]


def with_tiles(axes: Axes, channels: int, outputs: int) -> Axes:
    """The axes with the tiles that cost least: rows of patches × (rows of products + COPY_COST)."""

    def choices(axis: Axis) -> list[Axis]:
        fits = [t for t in TILES if t == 1 or (t <= axis.out and axis.dilation == 1)]
        return [axis._replace(tile=tile) for tile in fits]

    pairs = list(itertools.product(choices(axes[0]), choices(axes[1])))
    small = [pair for pair in pairs if places_of(pair) <= MOST_PLACES]
    return min(small or pairs[:1], key=lambda pair: _cost(pair, channels, outputs))


def _cost(axes: Axes, channels: int, outputs: int) -> float:
    """In multiplications for each row of the batch."""
    a, b = axes
    patch = places_of(axes) * channels
    return patch * a.tiles * b.tiles * (a.tile * b.tile * outputs + COPY_COST)


def cost_of_patches(axes: Axes, channels: int, outputs: int) -> float:
    """What a convolution by patches costs, in multiplications for each row of the batch."""
    if places_of(axes) > MOST_PLACES:
        return math.inf
    return _cost(with_tiles(axes, channels, outputs), channels, outputs)


def places_of(axes: Axes) -> int:
    """How many slices the patches are made of."""
    return len(axes[0].offsets) * len(axes[1].offsets)


def _pad(x: jax.Array, axis: int, low: int, high: int, between: int = 0) -> jax.Array:
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (low, high, between)
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def patches_of(x: jax.Array, axes: Axes) -> jax.Array:
    """Inputs (C, H, W, N) as (what a tile reads, tiles · N)."""
    a, b = axes
    channels, _, _, rows = x.shape
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), a.padding, b.padding, (0, 0, 0)])
    ends = ((a.tiles - 1) * a.step + 1, (b.tiles - 1) * b.step + 1)
    shifts = [
        lax.slice(
            x, (0, i, j, 0), (channels, i + ends[0], j + ends[1], rows), (1, a.step, b.step, 1)
        )
        for i, j in itertools.product(a.offsets, b.offsets)
    ]
    return jnp.concatenate(shifts, 0).reshape(-1, a.tiles * b.tiles * rows)


def tiles_of(y: jax.Array, axes: Axes) -> jax.Array:
    """Outputs (C, H, W, N) as (what a tile gives, tiles · N)."""
    a, b = axes
    channels, _, _, rows = y.shape
    y = _pad(_pad(y, 1, 0, a.tiles * a.tile - a.out), 2, 0, b.tiles * b.tile - b.out)
    y = y.reshape(channels, a.tiles, a.tile, b.tiles, b.tile, rows)
    return y.transpose(2, 4, 0, 1, 3, 5).reshape(-1, a.tiles * b.tiles * rows)


def untiled(y: jax.Array, axes: Axes, channels: int, rows: int) -> jax.Array:
    """What `tiles_of` made, as outputs (C, H, W, N)."""
    a, b = axes
    y = y.reshape(a.tile, b.tile, channels, a.tiles, b.tiles, rows).transpose(2, 3, 0, 4, 1, 5)
    y = y.reshape(channels, a.tiles * a.tile, b.tiles * b.tile, rows)
    return y[:, : a.out, : b.out]


def spread(w: jax.Array, axis: int, new: int, along: Axis) -> jax.Array:
    """The kernel of a tile: a copy for each of its outputs, along a new axis, zeros elsewhere."""
    if along.tile == 1:
        return jnp.expand_dims(w, new)
    free = len(along.offsets) - along.kernel
    starts = [output * along.stride for output in range(along.tile)]
    return jnp.stack([_pad(w, axis, start, free - start) for start in starts], new)


def gathered(w: jax.Array, axis: int, new: int, along: Axis) -> jax.Array:
    """The transpose of `spread`."""
    if along.tile == 1:
        return lax.squeeze(w, (new,))
    parts = [
        lax.slice_in_dim(
            lax.index_in_dim(w, output, new, False), start, start + along.kernel, 1, axis
        )
        for output, start in ((o, o * along.stride) for o in range(along.tile))
    ]
    return functools.reduce(lax.add, parts)


def overlapped(d: jax.Array, axis: int, new: int, along: Axis) -> jax.Array:
    """The transpose of reading tiles: d[offset, tile] summed where tiles overlap.

    Args:
        d: `along.offsets` at `axis`, which is removed, and `along.tiles` at `new`, which becomes
            `along.size`.
    """
    step, last = along.step, along.offsets[-1] + 1
    new -= 1  # once `axis` is gone
    if along.tile == 1:
        parts = []
        for index, offset in enumerate(along.offsets):
            low = offset - along.before
            high = along.size - low - (along.tiles - 1) * step - 1
            part = lax.index_in_dim(d, index, axis, False)
            parts.append(_pad(part, new, low, high, step - 1))
        return functools.reduce(lax.add, parts)
    # Whole steps first, so that few large blocks are added instead of many rows.
    overlap = -(-last // step)
    d = _pad(d, axis, 0, overlap * step - last)
    d = d.reshape(*d.shape[:axis], overlap, step, *d.shape[axis + 1 :])
    parts = [
        _pad(lax.index_in_dim(d, index, axis, False), new + 1, index, overlap - 1 - index)
        for index in range(overlap)
    ]
    x = jnp.moveaxis(functools.reduce(lax.add, parts), axis, new + 1)
    whole = (along.tiles + overlap - 1) * step
    x = x.reshape(*x.shape[:new], whole, *x.shape[new + 2 :])
    return _pad(x, new, -along.before, along.size + along.before - whole)
