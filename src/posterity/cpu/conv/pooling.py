"""The rules for pooling: comparing or adding slices."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from posterity.cpu.conv.layouts import Turned, plain_of, settled, turned_to, type_of
from posterity.cpu.conv.tiles import MOST_PLACES


def max_pooling(x: Any, params: dict[str, Any]) -> Any:
    """A `reduce_window_max` by comparing slices, or None where that is not for it."""
    return _pooling(x, params, largest=True)


def sum_pooling(x: Any, params: dict[str, Any]) -> Any:
    """A `reduce_window_sum` by adding slices, or None where that is not for it."""
    return _pooling(x, params, largest=False)


def _pooling(x: Any, params: dict[str, Any], *, largest: bool) -> Any:
    """The pooling of largest values or of sums, or None."""
    windows = Windows(
        params["window_dimensions"],
        params["window_strides"],
        tuple(map(tuple, params["padding"])),
        params["window_dilation"],
    )
    of = type_of(x)
    reach = [(n - 1) * d + 1 for n, d in zip(windows.size, windows.dilation)]
    room = [n + sum(pair) for n, pair in zip(of.shape, windows.padding)]
    plain = (
        jnp.issubdtype(of.dtype, jnp.floating)
        and set(params["base_dilation"]) == {1}
        and all(0 < r <= n for r, n in zip(reach, room))
        and math.prod(of.shape) > 0
    )
    possible = math.prod(windows.size) <= MOST_PLACES if largest else windows.tiling
    if not (plain and possible):
        return None
    return _batch_last(_max_pool if largest else _sum_pool, x, windows)


class Windows(NamedTuple):
    """Pooling windows: size, stride, padding and dilation per axis."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @property
    def tiling(self) -> bool:
        """Whether windows neither overlap nor leave gaps nor meet padding."""
        flat = all(low == high == 0 for low, high in self.padding)
        return flat and self.size == self.stride and set(self.dilation) == {1}

    def turned(self, order: tuple[int, ...]) -> Windows:
        """Those of an array with its axes in this order."""
        return Windows(
            tuple(self.size[i] for i in order),
            tuple(self.stride[i] for i in order),
            tuple(self.padding[i] for i in order),
            tuple(self.dilation[i] for i in order),
        )


def _batch_last(pool: Callable[..., jax.Array], x: Any, windows: Windows) -> Any:
    """`pool` with the first axis last, as in convolutions, if no window covers that.

    The other axes stay in the order in which a convolution left them.
    """
    pooled = [i for i, size in enumerate(windows.size) if (size, windows.stride[i]) != (1, 1)]
    if not pooled or pooled[0] == 0 or windows.padding[0] != (0, 0):
        return pool(plain_of(x), windows)
    rest = [i for i in range(1, len(windows.size)) if i not in pooled]
    order = (*rest, *pooled, 0)
    x = settled(x)
    if isinstance(x, Turned) and x.order[-1] == 0:
        order = x.order
    return Turned(pool(turned_to(x, order), windows.turned(order)), order)


def _split(x: jax.Array, windows: Windows) -> tuple[jax.Array, tuple[int, ...]]:
    """Windows that tile, as axes of their own: (count, size) for each axis, and where sizes are."""
    counts = [n // size for n, size in zip(x.shape, windows.size)]
    x = x[tuple(slice(0, count * size) for count, size in zip(counts, windows.size))]
    shape: list[int] = []
    places: list[int] = []
    for count, size in zip(counts, windows.size):
        shape.append(count)
        if size > 1:
            places.append(len(shape))
            shape.append(size)
    return x.reshape(shape), tuple(places)


def _shifts(x: jax.Array, windows: Windows, fill: float) -> list[jax.Array]:
    """For each place in a window, in row-major order, what all windows have there."""
    if windows.tiling:
        split, places = _split(x, windows)
        split = jnp.moveaxis(split, places, range(len(places)))
        split = split.reshape(-1, *split.shape[len(places) :])
        return [split[index] for index in range(split.shape[0])]
    x = lax.pad(x, jnp.asarray(fill, x.dtype), [(*pair, 0) for pair in windows.padding])
    reach = [(n - 1) * d for n, d in zip(windows.size, windows.dilation)]
    counts = [(n - r - 1) // s + 1 for n, r, s in zip(x.shape, reach, windows.stride)]
    shifts = []
    for place in itertools.product(*map(range, windows.size)):
        start = [p * d for p, d in zip(place, windows.dilation)]
        stop = [a + (c - 1) * s + 1 for a, c, s in zip(start, counts, windows.stride)]
        shifts.append(lax.slice(x, start, stop, windows.stride))
    return shifts


def _maximum(x: jax.Array, windows: Windows) -> tuple[jax.Array, jax.Array]:
    """Of each window the maximum, and a mark of the first place that has it."""
    first, *others = _shifts(x, windows, -jnp.inf)
    best, place = first, jnp.zeros(first.shape, jnp.float32)
    for index, other in enumerate(others, 1):
        place = jnp.where(other > best, float(index), place)
        best = lax.max(best, other)
    # XLA computes again, for each input, what is cheap. It takes a tanh to be dear, and keeps it.
    return best, jnp.tanh(place / MOST_PLACES)


def _marked(mark: jax.Array, place: Any) -> jax.Array:
    """Whether marks are those of the places."""
    marks = np.tanh(np.asarray(place, np.float32) / MOST_PLACES)
    return jnp.abs(mark - marks) < 0.3 / MOST_PLACES


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_pool(x: jax.Array, windows: Windows) -> jax.Array:
    return functools.reduce(lax.max, _shifts(x, windows, -jnp.inf))


@_max_pool.defjvp
def _max_pool_jvp(windows: Windows, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    best, mark = _maximum(x, windows)
    if not windows.tiling:
        parts = [
            jnp.where(_marked(mark, place), shift, 0)
            for place, shift in enumerate(_shifts(dx, windows, 0.0))
        ]
        return best, functools.reduce(lax.add, parts)
    # One comparison per input: its transpose is a single pass, without pads and adds.
    split, at = _split(dx, windows)
    shape = [n if axis in at else 1 for axis, n in enumerate(split.shape)]
    places = np.arange(math.prod(shape)).reshape(shape)
    here = _marked(jnp.expand_dims(mark, at), places)
    return best, jnp.where(here, split, 0).sum(at)


def _sum_pool(x: jax.Array, windows: Windows) -> jax.Array:
    split, places = _split(x, windows)
    return split.sum(places)
