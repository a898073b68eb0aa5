"""Convolutions and pooling that are fast inside a compiled loop on CPU.

Inside a `lax.scan` XLA computes a convolution on CPU by plain loops, ten times slower than matrix
products. `lowered` traces a function and computes its convolutions as products of patches, and its
pooling by comparisons: the same numbers but for rounding.

Two things make the products fast. The batch is the last axis, (channels, height, width, batch), so
that every copy moves long runs. And neighbouring outputs are computed together, as a *tile*: a tile
of t outputs along an axis reads (t − 1) stride + kernel inputs instead of t · kernel, so that fewer
patches are copied, at the price of products with zeros in an enlarged kernel.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.extend.core import primitives
from jax.interpreters import ad, batching, mlir

TILES = (1, 2, 4)  # outputs per tile and axis: larger ones lost on all shapes measured
# Copying one element of a patch takes as long as this many multiplications in a product. Fitted to
# the three layers of LeNet-5, 28²·1→6, 14²·6→16 and 7²·16→120, on two cores.
COPY_COST = 30
MOST_PATCHES = 2**25  # elements at once; larger batches go piece by piece, to bound the memory
MOST_PLACES = 128  # in a kernel, a tile or a window: each is a slice, and takes time to compile
CONVOLVED = (np.dtype(np.float32), np.dtype(np.float64))


# ---- A convolution, one axis at a time ---------------------------------------------------------


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


def _with_tiles(axes: Axes, channels: int, outputs: int) -> Axes:
    """The axes with the tiles that cost least: rows of patches × (rows of products + COPY_COST)."""

    def choices(axis: Axis) -> list[Axis]:
        fits = [t for t in TILES if t == 1 or (t <= axis.out and axis.dilation == 1)]
        return [axis._replace(tile=tile) for tile in fits]

    def cost(pair: Axes) -> int:
        a, b = pair
        patch = _places(pair) * channels
        return patch * a.tiles * b.tiles * (a.tile * b.tile * outputs + COPY_COST)

    pairs = list(itertools.product(choices(axes[0]), choices(axes[1])))
    small = [pair for pair in pairs if _places(pair) <= MOST_PLACES]
    return min(small or pairs[:1], key=cost)


def _places(axes: Axes) -> int:
    """How many slices the patches are made of."""
    return len(axes[0].offsets) * len(axes[1].offsets)


def _pad(x: jax.Array, axis: int, low: int, high: int, between: int = 0) -> jax.Array:
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (low, high, between)
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _patches(x: jax.Array, axes: Axes) -> jax.Array:
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


def _tiled(y: jax.Array, axes: Axes) -> jax.Array:
    """Outputs (C, H, W, N) as (what a tile gives, tiles · N)."""
    a, b = axes
    channels, _, _, rows = y.shape
    y = _pad(_pad(y, 1, 0, a.tiles * a.tile - a.out), 2, 0, b.tiles * b.tile - b.out)
    y = y.reshape(channels, a.tiles, a.tile, b.tiles, b.tile, rows)
    return y.transpose(2, 4, 0, 1, 3, 5).reshape(-1, a.tiles * b.tiles * rows)


def _untiled(y: jax.Array, axes: Axes, channels: int, rows: int) -> jax.Array:
    a, b = axes
    y = y.reshape(a.tile, b.tile, channels, a.tiles, b.tiles, rows).transpose(2, 3, 0, 4, 1, 5)
    y = y.reshape(channels, a.tiles * a.tile, b.tiles * b.tile, rows)
    return y[:, : a.out, : b.out]


def _spread(w: jax.Array, axis: int, new: int, along: Axis) -> jax.Array:
    """The kernel of a tile: a copy for each of its outputs, along a new axis, zeros elsewhere."""
    if along.tile == 1:
        return jnp.expand_dims(w, new)
    free = len(along.offsets) - along.kernel
    starts = [output * along.stride for output in range(along.tile)]
    return jnp.stack([_pad(w, axis, start, free - start) for start in starts], new)


def _gathered(w: jax.Array, axis: int, new: int, along: Axis) -> jax.Array:
    """The transpose of `_spread`."""
    if along.tile == 1:
        return lax.squeeze(w, (new,))
    parts = [
        lax.slice_in_dim(
            lax.index_in_dim(w, output, new, False), start, start + along.kernel, 1, axis
        )
        for output, start in ((o, o * along.stride) for o in range(along.tile))
    ]
    return functools.reduce(lax.add, parts)


def _overlapped(d: jax.Array, axis: int, new: int, along: Axis) -> jax.Array:
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


def _product(a: jax.Array, b: jax.Array, contract: tuple[int, int]) -> jax.Array:
    return lax.dot_general(a, b, (((contract[0],), (contract[1],)), ((), ())))


# ---- The three products of a convolution --------------------------------------------------------
#
# Inputs x (C, H, W, N), kernel w (h, w, C, K) and outputs y (K, H', W', N) make one trilinear form
# ⟨y, x * w⟩. Each pair of them gives the gradient with respect to the third.


def _outputs(x: jax.Array, w: jax.Array, axes: Axes) -> jax.Array:
    channels, outputs, rows = x.shape[0], w.shape[3], x.shape[3]
    axes = _with_tiles(axes, channels, outputs)
    kernel = _spread(_spread(w, 0, 3, axes[0]), 1, 4, axes[1])
    patches = _patches(x, axes)
    y = _product(kernel.reshape(patches.shape[0], -1), patches, (0, 0))
    return _untiled(y, axes, outputs, rows)


def _inputs(y: jax.Array, w: jax.Array, axes: Axes) -> jax.Array:
    channels, outputs, rows = w.shape[2], w.shape[3], y.shape[3]
    a, b = axes = _with_tiles(axes, channels, outputs)
    kernel = _spread(_spread(w, 0, 3, a), 1, 4, b)
    y = _tiled(y, axes)
    d = _product(kernel.reshape(-1, y.shape[0]), y, (1, 0))
    d = d.reshape(len(a.offsets), len(b.offsets), channels, a.tiles, b.tiles, rows)
    return _overlapped(_overlapped(d, 1, 4, b), 0, 2, a)


def _kernel(x: jax.Array, y: jax.Array, axes: Axes) -> jax.Array:
    channels, outputs = x.shape[0], y.shape[0]
    a, b = axes = _with_tiles(axes, channels, outputs)
    w = _product(_patches(x, axes), _tiled(y, axes), (1, 1))
    w = w.reshape(len(a.offsets), len(b.offsets), channels, a.tile, b.tile, outputs)
    return _gathered(_gathered(w, 1, 4, b), 0, 3, a)


def _piecewise(
    product: Callable[..., jax.Array], rows_at: tuple[int | None, ...], a: Any, b: Any, axes: Axes
) -> jax.Array:
    """`product(a, b)` in pieces of the batch, where all its patches at once would be too large.

    Args:
        rows_at: where the batch is in a, in b and in the product; None: it has none (of the
            product: its pieces are added).
    """
    *sources, target = rows_at
    channels, outputs = _channels(product, a, b)
    tiled = _with_tiles(axes, channels, outputs)
    per_row = _places(tiled) * tiled[0].tiles * tiled[1].tiles
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
    if product is _kernel:
        return a.shape[0], b.shape[0]
    return b.shape[2], b.shape[3]


def _bilinear(
    name: str,
    product: Callable[..., jax.Array],
    rows_at: tuple[int | None, ...],
    shape: Callable[..., tuple[int, ...]],
) -> core.Primitive:
    """A primitive of two arrays, each with a leading axis of stacked problems if `stacked`."""
    primitive = core.Primitive(name)

    def compute(a: jax.Array, b: jax.Array, *, axes: Axes, stacked: bool) -> jax.Array:
        once = functools.partial(_piecewise, product, rows_at, axes=axes)
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
    _outputs,
    (3, None, 3),
    lambda x, w, axes: (w[3], axes[0].out, axes[1].out, x[3]),
)
conv_inputs = _bilinear(
    "conv_inputs",
    _inputs,
    (3, None, 3),
    lambda y, w, axes: (w[2], axes[0].size, axes[1].size, y[3]),
)
conv_kernel = _bilinear(
    "conv_kernel",
    _kernel,
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


# A bias (C,) broadcast to (C, ...). Its gradient is a product: a sum XLA would do in the order in
# which the user's net has its axes, and first copy what it sums into that order.
per_channel = core.Primitive("per_channel")


def _per_channel(bias: jax.Array, *, shape: tuple[int, ...]) -> jax.Array:
    return lax.broadcast_in_dim(bias, shape, (0,))


def _per_channel_transposed(t: Any, bias: Any, *, shape: tuple[int, ...]) -> list[Any]:
    if isinstance(t, ad.Zero):
        return [ad.Zero(bias.aval)]
    t = t.reshape(shape[0], -1)
    return [_product(t, jnp.ones(t.shape[1], t.dtype), (1, 0))]


def _per_channel_batched(values: Any, mapped: Any, *, shape: tuple[int, ...]) -> tuple[Any, int]:
    bias = jnp.moveaxis(values[0], mapped[0], 0)
    return lax.broadcast_in_dim(bias, (bias.shape[0], *shape), (0, 1)), 0


per_channel.def_impl(jax.jit(_per_channel, static_argnames="shape"))
per_channel.def_abstract_eval(lambda bias, *, shape: jax.core.ShapedArray(shape, bias.dtype))
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


# ---- Rules for equations -------------------------------------------------------------------------


class Turned(NamedTuple):
    """A value kept with its axes in another order, `array = value.transpose(order)`."""

    array: jax.Array
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's."""
        return tuple(self.array.shape[self.order.index(axis)] for axis in range(len(self.order)))

    @property
    def plain(self) -> jax.Array:
        """The value."""
        return self.array.transpose(np.argsort(self.order))

    def turned(self, order: tuple[int, ...]) -> jax.Array:
        """The value with its axes in this order."""
        return self.array if order == self.order else self.plain.transpose(order)


class Spread(NamedTuple):
    """A value not yet broadcast: axis i of `small` is axis `axes[i]` of `shape`."""

    small: jax.Array
    axes: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def plain(self) -> jax.Array:
        """The value."""
        return self.turned(tuple(range(len(self.shape))))

    def turned(self, order: tuple[int, ...]) -> jax.Array:
        """The value with its axes in this order."""
        ones = [i for i, size in enumerate(self.small.shape) if size == 1]
        small = lax.squeeze(self.small, ones)
        places = [order.index(axis) for i, axis in enumerate(self.axes) if i not in ones]
        small = small.transpose(np.argsort(places))
        shape = tuple(self.shape[axis] for axis in order)
        if places == [0] and small.dtype in CONVOLVED:
            return per_channel.bind(small, shape=shape)
        return lax.broadcast_in_dim(small, shape, sorted(places))


def _plain(value: Any) -> Any:
    return value.plain if isinstance(value, (Turned, Spread)) else value


def _type(value: Any) -> jax.ShapeDtypeStruct:
    if isinstance(value, Turned):
        return jax.ShapeDtypeStruct(value.shape, value.array.dtype)
    if isinstance(value, Spread):
        return jax.ShapeDtypeStruct(value.shape, value.small.dtype)
    return jax.ShapeDtypeStruct(jnp.shape(value), jnp.result_type(value))


def _turned(value: Any, order: tuple[int, ...]) -> Any:
    lazy = isinstance(value, (Turned, Spread))
    return value.turned(order) if lazy else value.transpose(order)


def _convolution(x: Any, w: Any, params: dict[str, Any]) -> Turned | None:
    """A `conv_general_dilated` by `conv_outputs`, or None where that is not for it."""
    x_type, w_type = _type(x), _type(w)
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
    x = _turned(x, (x_channels, *x_space, x_rows))
    w = _turned(w, (*w_space, w_in, w_out))
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
    if min(a.out for a in axes) < 1 or _places(axes) > MOST_PLACES:
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
    """`pool` with the first axis last, as in convolutions, if no window covers that."""
    pooled = [i for i, size in enumerate(windows.size) if (size, windows.stride[i]) != (1, 1)]
    if not pooled or pooled[0] == 0 or windows.padding[0] != (0, 0):
        return pool(_plain(x), windows)
    rest = [i for i in range(1, len(windows.size)) if i not in pooled]
    order = (*rest, *pooled, 0)
    return Turned(pool(_turned(x, order), windows.turned(order)), order)


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


def _pooling(x: Any, params: dict[str, Any], *, largest: bool) -> Any:
    """A `reduce_window_max` or `_sum` by comparing or adding slices, or None."""
    windows = Windows(
        params["window_dimensions"],
        params["window_strides"],
        tuple(map(tuple, params["padding"])),
        params["window_dilation"],
    )
    of = _type(x)
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


def _elementwise(primitive: Any, values: Sequence[Any], params: dict[str, Any]) -> Turned | None:
    """An elementwise operation in the order in which its operands are kept.

    So a bias is added where the convolution left its outputs, and its gradient is a sum over them.
    """
    order = next((v.order for v in values if isinstance(v, Turned)), None)
    if order is None:
        return None
    shapes = [_type(value).shape for value in values]
    shape = jnp.broadcast_shapes(*shapes)
    turned = [
        _stretched(value, shape).turned(order) if own else value
        for value, own in zip(values, shapes)
    ]
    return Turned(primitive.bind(*turned, **params), order)


def _stretched(value: Any, shape: tuple[int, ...]) -> Turned | Spread:
    """`value` with its axes of size one broadcast to `shape`."""
    if isinstance(value, Spread):
        return Spread(value.small, value.axes, shape)
    if isinstance(value, Turned) and value.shape == shape:
        return value
    return Spread(_plain(value), tuple(range(len(shape))), shape)


ELEMENTWISE = (lax.add_p, lax.sub_p, lax.mul_p, lax.div_p, lax.max_p, lax.min_p)


def _max_pooling(x: Any, params: dict[str, Any]) -> Any:
    return _pooling(x, params, largest=True)


def _sum_pooling(x: Any, params: dict[str, Any]) -> Any:
    return _pooling(x, params, largest=False)


RULES: dict[Any, Callable[..., Any]] = {
    primitives.conv_general_dilated_p: _convolution,
    primitives.reduce_window_max_p: _max_pooling,
    primitives.reduce_window_sum_p: _sum_pooling,
}


# ---- Equations that hold other equations ---------------------------------------------------------


def _call(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    inner = params.get("jaxpr", params.get("call_jaxpr"))
    return _run(inner, values)


def _remat(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    run = functools.partial(_run, params["jaxpr"])
    kept = jax.checkpoint(
        lambda *v: run(v), prevent_cse=params["prevent_cse"], policy=params["policy"]
    )
    return kept(*values)


def _custom_jvp(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    """The value is lowered, the user's derivative is kept and lowered too."""
    call = jax.custom_jvp(lambda *v: _run(params["call_jaxpr"], v))

    def derivative(primals: Any, tangents: Any) -> Any:
        rule = lowered(lambda p, t: jax.jvp(bind, p, t)[1])
        return call(*primals), rule(primals, tangents)

    call.defjvp(derivative)
    return call(*values)


def _custom_vjp(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    """The value is lowered, the user's derivative is kept as it is."""
    call = jax.custom_vjp(lambda *v: _run(params["call_jaxpr"], v))
    call.defvjp(lambda *v: jax.vjp(bind, *v), lambda pull, cotangents: pull(cotangents))
    return call(*values)


def _scan(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    consts, carried = params["num_consts"], params["num_carry"]
    fixed, carry, rows = _cut(values, consts, consts + carried)

    def body(carry: Any, row: Any) -> Any:
        made = _run(params["jaxpr"], [*fixed, *carry, *row])
        return made[:carried], made[carried:]

    carry, rows = lax.scan(body, carry, rows, params["length"], params["reverse"], params["unroll"])
    return [*carry, *rows]


def _while(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    asked, fixed, carry = _cut(
        values, params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    )
    return lax.while_loop(
        lambda carry: _run(params["cond_jaxpr"], [*asked, *carry])[0],
        lambda carry: _run(params["body_jaxpr"], [*fixed, *carry]),
        carry,
    )


def _cond(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    index, *operands = values
    branches = [lambda *v, b=branch: _run(b, v) for branch in params["branches"]]
    return lax.switch(index, branches, *operands)


def _cut(values: Sequence[Any], first: int, second: int) -> tuple[list[Any], ...]:
    return list(values[:first]), list(values[first:second]), list(values[second:])


HOLDERS: dict[Any, Callable[..., Any]] = {
    primitives.jit_p: _call,
    primitives.closed_call_p: _call,
    primitives.remat_p: _remat,
    primitives.custom_jvp_call_p: _custom_jvp,
    primitives.custom_vjp_call_p: _custom_vjp,
    primitives.scan_p: _scan,
    primitives.while_p: _while,
    primitives.cond_p: _cond,
}


# ---- Evaluation ----------------------------------------------------------------------------------


def _concerns(jaxpr: Any) -> bool:
    """Whether `jaxpr`, or one that it holds, has an equation with a rule."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    return any(
        equation.primitive in RULES
        or (equation.primitive in HOLDERS and any(map(_concerns, _held(equation))))
        for equation in jaxpr.eqns
    )


def _held(equation: Any) -> list[Any]:
    parts = jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
    )
    return [part for part in parts if hasattr(part, "eqns")]


def _run(jaxpr: Any, values: Sequence[Any]) -> list[Any]:
    """Evaluate `jaxpr`, open without constants or closed, by the rules."""
    consts = getattr(jaxpr, "consts", ())
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    known: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *values]))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else known[atom]

    for equation in jaxpr.eqns:
        made = _evaluate(equation, [read(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, made))
    return [_plain(read(atom)) for atom in jaxpr.outvars]


def _evaluate(equation: Any, values: list[Any]) -> Sequence[Any]:
    primitive, params = equation.primitive, equation.params
    if primitive in RULES:
        made = RULES[primitive](*values, params)
        if made is not None:
            return [made]
    if primitive in ELEMENTWISE:
        made = _elementwise(primitive, values, params)
        if made is not None:
            return [made]
    values = [_plain(value) for value in values]
    if primitive is lax.broadcast_in_dim_p and jnp.ndim(values[0]) and params["sharding"] is None:
        return [Spread(values[0], params["broadcast_dimensions"], params["shape"])]

    def bind(*values: Any) -> Sequence[Any]:
        with equation.ctx.manager:
            made = primitive.bind(*values, **primitive.get_bind_params(params))
        return made if primitive.multiple_results else [made]

    if primitive in HOLDERS and any(map(_concerns, _held(equation))):
        return HOLDERS[primitive](values, params, bind)
    return bind(*values)


def lowered(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with its convolutions and pooling computed in a way that is fast on CPU.

        conv(x, w) = reshape(w) · patches(x),    its gradients likewise

    The values are those of `function` but for rounding, and so are derivatives of any order; where
    several inputs of a pooling window are equally large the first has the derivative, as in JAX. It
    replaces `lax.conv_general_dilated` with one or two spatial axes and any strides, padding,
    kernel dilation and groups, `lax.reduce_window` of a maximum, and of a sum if windows tile the
    input; also inside `jit`, `vmap`, `scan`, conditionals and checkpoints. Everything else, a
    function without these and any platform but CPU are left as they are: transposed convolutions
    too, and kernels or windows of more than `MOST_PLACES` places.

    Args:
        function: a function of pytrees of arrays. Leaves that are no arrays stay as they are.

    Returns:
        A function of the same arguments and results. The platform is `jax.default_backend()` when
        it is traced.

    >>> import jax, jax.numpy as jnp
    >>> def smooth(x):
    ...     return jax.lax.conv(x, jnp.ones((1, 1, 3, 3)) / 9, (1, 1), "VALID")
    >>> lowered(smooth)(jnp.ones((2, 1, 5, 5))).shape
    (2, 1, 3, 3)
    """

    @functools.wraps(function)
    def computed(*args: Any, **kwargs: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*args, **kwargs)
        leaves, tree = jax.tree.flatten((args, kwargs))
        arrays, fill = _separated(leaves)
        results: list[Any] = []  # of the trace: what is no array, and how to put it back

        def flat(*arrays: Any) -> list[Any]:
            given, named = jax.tree.unflatten(tree, fill(arrays))
            made, result_tree = jax.tree.flatten(function(*given, **named))
            out, fill_out = _separated(made)
            results[:] = [result_tree, fill_out]
            return out

        closed = jax.make_jaxpr(flat)(*arrays)
        if not _concerns(closed):
            return function(*args, **kwargs)
        result_tree, fill_out = results
        return jax.tree.unflatten(result_tree, fill_out(_run(closed, arrays)))

    return computed


def _separated(leaves: list[Any]) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
    """The arrays among `leaves`, and a function that puts others in their places."""
    at = [
        i for i, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray, np.generic))
    ]

    def fill(arrays: Sequence[Any]) -> list[Any]:
        filled = list(leaves)
        for i, array in zip(at, arrays):
            filled[i] = array
        return filled

    return [leaves[i] for i in at], fill
