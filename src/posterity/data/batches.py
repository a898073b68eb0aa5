"""Data in memory: checked once, then batches drawn inside the compiled loop."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity import remedies
from posterity.frames import read_frame
from posterity.inputs import Given, InputSpec, as_finite, as_numbers, padded, read
from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.model.arguments import Order
from posterity.model.net_target import Batch

ROWS_AHEAD = 8_192  # permuted at a time: short passes would break the compiled loop up
ROUNDED = 8_192  # rows up to which batches have room for a power of two of them
LANES = 16  # rows at a time for a CPU's vectors: other numbers of rows take longer
SPARED = 25 * 10**7  # multiplications for rows that fill a room, 0.1 s: a tenth of compiling again
SORTED = 2**20  # rows up to which permutations are sorts of packed integers


class Batches(eqx.Module):
    """All rows of the data, handed out in batches without replacement.

    The rows form a stream: a random permutation of all N rows, then another, and so on. Batch t is
    rows tB … (t+1)B − 1 of the stream. So every pass uses every row exactly once, every batch has
    exactly B rows (one may end a pass and begin the next), and N/B is always the right scale.

    There is `room` for more rows than N, and N is an array: a compiled loop serves every N of the
    same room. Where each step uses all rows, copies of the last row fill the room, and count for
    nothing.

    Args:
        x: inputs: an array (room, ...), or a tuple or dictionary of them; one array's transpose
            where `columns`. y: targets (room,) or (room, targets).
        rows: N, of which `x` and `y` have data.
        batch_size: B, or None for all rows.
        columns: whether `x` is stored column by column, for nets that compute features first: the
            net's own transpose then costs nothing, which is a tenth of a small net's step.
        replacement: whether each row of a batch is any of all rows, whatever came before. The noise
            of one batch then says nothing of the next's, which SGFS and others rely on; "a pass" is
            N rows so drawn.
        mask: (room,), True for rows of data, where each step uses all rows and the room may be
            larger than N; otherwise None.
    """

    x: Any
    y: jax.Array
    rows: Any
    batch_size: int | None = eqx.field(static=True)
    columns: bool = eqx.field(static=True, default=False)
    replacement: bool = eqx.field(static=True, default=False)
    mask: jax.Array | None = None

    @property
    def full(self) -> Batch:
        """All rows as one batch, and no others; on the host where there is room for more."""
        if self.batch_size is None and self.mask is None:
            return Batch(self.x.T if self.columns else self.x, self.y)
        # Sliced by NumPy: nothing is compiled.
        x, y = jax.tree.map(np.asarray, (self.x, self.y))
        x = x.T if self.columns else x
        return jax.tree.map(lambda leaf: leaf[: int(self.rows)], Batch(x, y))

    def some(self, count: int) -> Batch:
        """Up to `count` evenly spaced rows, on the host."""
        last = int(self.rows) - 1
        rows = np.linspace(0, last, min(count, last + 1)).astype(int)

        # By NumPy: nothing is compiled.
        x, y = jax.tree.map(np.asarray, (self.x, self.y))
        x = x.T if self.columns else x
        return Batch(*jax.tree.map(lambda leaf: leaf[rows], (x, y)))

    @property
    def room(self) -> int:
        """For how many rows there are places: N or more."""
        return self.y.shape[0]

    @property
    def _passes(self) -> int:
        """How many permutations are drawn at a time: several where passes are short."""
        return max(1, ROWS_AHEAD // self.room)

    @property
    def _span(self) -> Any:
        """How many rows the passes have that are drawn at a time."""
        return self._passes * self.rows

    def start(self, key: jax.Array) -> Order:
        """The beginning of the stream of `key`."""
        zero = jnp.zeros((), jnp.int32)
        if self.batch_size is None:
            return Order(zero, zero, jnp.zeros(0, jnp.int32))
        return Order(zero, zero, self._permutations(key, zero, self._passes + 1))

    def left(self, order: Order) -> jax.Array:
        """How many batches begin before the rows of `order` have to be renewed."""
        if self.batch_size is None:
            return jnp.array(jnp.iinfo(jnp.int32).max, jnp.int32)
        return -(-(self._span - order.offset) // self.batch_size)

    def batch(self, order: Order, index: jax.Array) -> Batch:
        """The batch `index` steps on from `order`; `index` must be below `left(order)`."""
        if self.batch_size is None:
            x = self.x.T if self.columns else self.x
            return Batch(x, self.y, self.mask)
        start = order.offset + index * self.batch_size
        rows = jax.lax.dynamic_slice(order.rows, (start,), (self.batch_size,))
        # Permutations are in bounds; checking that again would cost more than the copy.
        take = lambda a: a.at[rows].get(mode="promise_in_bounds")
        return Batch(*jax.tree.map(take, (self.x, self.y)))

    def advance(self, key: jax.Array, order: Order, steps: jax.Array) -> Order:
        """The order after `steps` ≤ `left(order)` batches, with new permutations where needed."""
        if self.batch_size is None:
            return order
        span = self._span
        offset = order.offset + steps * self.batch_size

        def renew() -> Order:
            # The last pass, of which the next batch may need rows, and then new ones.
            later = self._permutations(key, order.epoch + self._passes + 1, self._passes)
            last = jax.lax.dynamic_slice(order.rows, (span,), (self.room,))
            rows = jax.lax.dynamic_update_slice(order.rows, last, (0,))
            rows = jax.lax.dynamic_update_slice(rows, later, (self.rows,))
            return Order(order.epoch + self._passes, offset - span, rows)

        return jax.lax.cond(offset >= span, renew, lambda: order._replace(offset=offset))

    def _permutations(self, key: jax.Array, first: jax.Array, count: int) -> jax.Array:
        """Permutations number `first` … of the stream of `key`, one after the other.

        They are N rows each, in an array of `count` × `room`.
        """
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(count))
        if self.replacement:
            draw = lambda key: jax.random.randint(key, (self.room,), 0, self.rows, jnp.int32)
            return jax.vmap(draw)(keys).ravel()
        found = jax.vmap(lambda key: permutation(key, self.room, self.rows))(keys).ravel()
        # Without the rest of each: place i is in pass i div N, and every pass before it had a rest.
        # A CPU divides floats 8 at a time and whole numbers one by one. Half a place away from
        # whole quotients, floats are right for the 2²¹ places that there are at most.
        place = jnp.arange(found.size, dtype=jnp.int32)
        quotient = (place.astype(jnp.float32) + 0.5) / jnp.float32(self.rows)
        passes_before = quotient.astype(jnp.int32)
        return found[place + passes_before * (self.room - self.rows)]


def room_for(rows: int, spare: float | None = None) -> int:
    """For how many rows there are places: a power of two, or an eighth more than N at most.

    Args:
        rows: N. spare: up to how many rows that only fill the room are worth their time, where each
            step takes all rows. None where batches are drawn: up to `ROUNDED` rows the room then
            costs a step nothing, and above `SORTED` there is none, as such permutations take no
            rest.

    >>> room_for(433), room_for(60_000), room_for(433, spare=10), room_for(433, spare=100)
    (512, 61440, 448, 512)
    """
    power = 1 << (rows - 1).bit_length()
    if spare is None:
        part = 1 if rows > SORTED else power if rows <= ROUNDED else power // 16
    else:
        part = max(LANES, power if power - rows <= spare else power // 16)
    return -(-rows // part) * part


def permutation(key: jax.Array, n: int, rows: jax.Array | None = None) -> jax.Array:
    """A random permutation of 0 … n − 1, int32; with `rows`, of 0 … rows − 1, and then the rest.

    Each round sorts numbers whose high bits are random and whose low bits are the position, which
    on CPU is 4 to 10 times faster than `jax.random.permutation`'s sort of pairs. Rounds are added
    until less than one pair is expected to tie, and so to keep its order, in all of them.
    """
    if n > SORTED:
        return jax.random.permutation(key, n).astype(jnp.int32)
    low = max(1, math.ceil(math.log2(n)))
    mask = jnp.uint32((1 << low) - 1)
    order = jnp.arange(n, dtype=jnp.uint32)
    position = order
    # Of the rest, all high bits are ones: it stays where it is.
    rest = jnp.uint32(0) if rows is None else jnp.where(position < rows, 0, ~mask)
    for number in range(math.ceil((2 * low - 1) / (32 - low))):
        bits = jax.random.bits(jax.random.fold_in(key, number), (n,), jnp.uint32)
        shuffled = jnp.sort((bits & ~mask) | rest | position) & mask
        order = shuffled if number == 0 else order[shuffled]
    return order.astype(jnp.int32)


class Pair(NamedTuple):
    """Data ``(x, y)`` whose rows have been counted and whose targets have been checked.

    Attributes:
        x: inputs as they were given. y: targets in the likelihood's dtype, row by row those of x.
        given: targets as they were given. y_columns: names of the columns of several targets; None
            where they have none.
    """

    x: Given
    y: np.ndarray
    given: np.ndarray
    y_columns: tuple[str, ...] | None = None

    def batches(
        self,
        batch_size: int | None,
        inputs: InputSpec | None = None,
        *,
        features_first: bool = False,
        replacement: bool = False,
        spare: float | None = 0.0,
    ) -> Batches:
        """The data where the compiled loop can use them.

        Args:
            batch_size, features_first, replacement: as `as_batches`.
            inputs: the types of x; None for floats.
            spare: as `as_batches`.

        Raises:
            ValueError: NaN or infinite inputs, or a batch size out of range.
        """
        x, y, rows = self.x.converted(inputs), self.y, self.x.rows
        if batch_size is not None:
            if not isinstance(batch_size, (int, np.integer)) or not 1 <= batch_size <= rows:
                raise ValueError(
                    f"batch_size: must be a whole number from 1 to the {rows} rows of the data, "
                    f"not {batch_size!r}; leave it out to use all rows in every step."
                )
            if batch_size == rows and not replacement:
                # Who asks for N rows may take them one by one, and finds no others.
                batch_size, spare = None, None
        one = isinstance(x, np.ndarray) and x.ndim == 2
        columns = features_first and batch_size is None and one
        exact = batch_size is None and spare is None
        room = rows if exact else room_for(rows, spare if batch_size is None else None)
        x, y = padded((x, y), room)
        x = np.ascontiguousarray(x.T) if columns else x
        mask = None if exact or batch_size is not None else np.arange(room) < rows
        # jnp.asarray would compile a copy first.
        x, y, mask = jax.device_put((x, y, mask), may_alias=room > rows)
        size = None if batch_size is None else int(batch_size)
        return Batches(x, y, np.int32(rows), size, columns, replacement, mask)


def as_pair(
    data: Any,
    likelihood: AbstractLikelihood,
    inputs: InputSpec | None = None,
    y_columns: tuple[str, ...] | None = None,
    *,
    one_class: bool = False,
) -> Pair:
    """Data as inputs and targets of the same rows.

    Where x and y are data frames or series with an index, rows are joined by their labels, as
    pandas does it. Several targets are put in the order of `y_columns`.

    Args:
        data, likelihood: as `as_batches`. inputs, y_columns: what a model was fitted to, if it was.
        one_class: whether labels may all be the same, as in a test set.

    Raises:
        TypeError, ValueError: as `as_batches`, but for values of x that are not finite.
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise TypeError(
            f"data: expected a pair (x, y) of arrays, got {type(data).__name__}"
            + (f" of length {len(data)}." if isinstance(data, (tuple, list)) else ".")
        )
    x = read(data[0])
    x = x if inputs is None else x.matched(inputs)
    frame = read_frame(data[1], "y")
    arranged = data[1] if frame is None else frame.arranged(y_columns, x.labels, "x")
    given = as_numbers(arranged, "y")
    y = as_targets(given, likelihood, one_class=one_class, written=data[1])
    if x.rows != y.shape[0]:
        raise ValueError(
            f"data: x has {x.rows} rows and y has {y.shape[0]}; the first row without a "
            f"partner is {min(x.rows, y.shape[0])}. They must describe the same rows."
        )
    names = frame.columns if frame and y.ndim > 1 else None
    return Pair(x, y, given, y_columns or names)


def as_batches(
    data: Any,
    likelihood: AbstractLikelihood,
    batch_size: int | None,
    *,
    features_first: bool = False,
    replacement: bool = False,
    inputs: InputSpec | None = None,
    y_columns: tuple[str, ...] | None = None,
    spare: float | None = 0.0,
) -> Batches:
    """Check data once and put it where the compiled loop can use it.

    Args:
        data: a pair ``(x, y)``; x as `posterity.inputs.read` takes it; y (N,) or (N, targets).
        likelihood: says which targets are possible.
        batch_size: rows per step, 1 … N; None for all.
        features_first: whether the net begins by transposing the rows.
        replacement: whether batches are drawn with replacement.
        inputs: the description of x that a model was fitted to; None for floats of any shape.
        y_columns: the names of the targets that it was fitted to; None where they have none.
        spare: where each step takes all rows, as `room_for`; None for a room of exactly N.

    Raises:
        TypeError: `data` is no pair, or an array holds no numbers.
        ValueError: NaN or infinite values, wrong rank or length, no rows, targets outside the
            likelihood's support, or a batch size out of range. The message names the argument,
            the first bad index and the remedy.
    """
    pair = as_pair(data, likelihood, inputs, y_columns)
    return pair.batches(
        batch_size, inputs, features_first=features_first, replacement=replacement, spare=spare
    )


def as_targets(
    y: Any,
    likelihood: AbstractLikelihood,
    name: str = "y",
    *,
    one_class: bool = False,
    written: Any = None,
) -> np.ndarray:
    """Targets as an array in the likelihood's dtype, checked against its support.

    Args:
        one_class: whether labels may all be the same, as in a test set. written: what the user gave
            where `y` was made of it, for the remedy.

    Raises:
        TypeError, ValueError: as `as_batches`.
    """
    array = as_numbers(y, name)
    own = y if written is None else written
    classes = likelihood.classes > 0
    if array.ndim != 1 and (classes or array.ndim != 2):
        remedy = ""
        if array.ndim == 2 and array.shape[1] == 1:
            remedy = " " + remedies.column_of(own, name)
        elif classes and array.ndim == 2:
            remedy = " " + remedies.classes_of(own, name)
        wanted = "(rows,)" if classes else "(rows,) or (rows, targets)"
        raise ValueError(f"{name}: expected shape {wanted}, got {array.shape}.{remedy}")
    if 0 in array.shape:
        raise ValueError(f"{name}: it is empty, shape {array.shape}; at least one row is needed.")
    array = as_finite(array, name)
    likelihood.check(array)
    if classes and not one_class and (array == array[0]).all():
        raise ValueError(
            f"{name}: all {array.size} labels are {int(array[0])} (first at {name}[0]). One class "
            "teaches nothing about the boundary: add rows of another class."
        )
    return array.astype(likelihood.target_dtype)
