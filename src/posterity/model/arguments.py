"""The arguments of a NumPyro program: checked once, and handed out whole."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.frames import refuse_shuffled
from posterity.inputs import as_finite, as_numbers


class Order(NamedTuple):
    """Where a run is in its data; all that is needed to go on from there.

    Attributes:
        epoch: the number of the first pass over the data that `rows` holds.
        offset: how many of `rows` have been used.
        rows: the row numbers of the passes ahead, one permutation after the other; empty for full
            batches.
    """

    epoch: jax.Array
    offset: jax.Array
    rows: jax.Array


class Arguments(eqx.Module):
    """Positional and keyword arguments of a program, in the place of `Batches`.

    Arrays are data to a compiled loop, which serves other numbers of the same shapes; plain
    numbers are constants, so that they may say how long a plate is.

    Attributes:
        arrays: the arrays.
        constants: of every argument its type and value, or None where it is an array. The type is
            there because 1, 1.0 and True are equal.
        structure: how the arguments hang together.
    """

    arrays: tuple[jax.Array, ...]
    constants: tuple[tuple[type, Any] | None, ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)
    batch_size: None = eqx.field(static=True, default=None)

    @property
    def unpacked(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments, as the program is called with them."""
        arrays = iter(self.arrays)
        leaves = [next(arrays) if part is None else part[1] for part in self.constants]
        found = jax.tree.unflatten(self.structure, leaves)
        return tuple(found["args"].values()), found["kwargs"]

    @property
    def rows(self) -> int:
        """1: a program's data are one piece, as nobody but the program knows what a row is."""
        return 1

    @property
    def mask(self) -> None:
        """None: no part of a program's data only fills a room."""
        return None

    @property
    def full(self) -> Arguments:
        """All of the data."""
        return self

    def start(self, key: jax.Array) -> Order:
        """The beginning of a stream of full batches."""
        zero = jnp.zeros((), jnp.int32)
        return Order(zero, zero, jnp.zeros(0, jnp.int32))

    def left(self, order: Order) -> jax.Array:
        """The stream does not end."""
        return jnp.array(jnp.iinfo(jnp.int32).max, jnp.int32)

    def batch(self, order: Order, index: jax.Array) -> Arguments:
        """All of the data."""
        return self

    def advance(self, key: jax.Array, order: Order, steps: jax.Array) -> Order:
        """The same order: every batch is the whole."""
        return order


def as_arguments(data: Any) -> Arguments:
    """Check the arguments of a program once and put them where the compiled loop can use them.

    Args:
        data: a tuple of positional arguments or a dictionary of keyword arguments. Each is an
            array, a plain number, a string, None, or a dictionary of such.

    Raises:
        TypeError: `data` is neither, or an argument holds no numbers.
        ValueError: NaN or infinite values, or integers out of range. The message names the
            argument by position or keyword, and the first bad index.
    """
    if not isinstance(data, (tuple, list, dict)):
        raise TypeError(
            "data: for a program, expected a tuple of positional or a dictionary of keyword "
            f"arguments, got {type(data).__name__}. A single argument is (x,); none is ()."
        )
    if isinstance(data, dict):
        if not all(isinstance(name, str) for name in data):
            raise TypeError("data: as a dictionary, it has the names of arguments as keys.")
        return packed((), data)
    return packed(tuple(data), {})


def packed(args: tuple[Any, ...], kwargs: dict[str, Any], name: str = "data") -> Arguments:
    """`as_arguments` of positional and keyword arguments; `name` is what messages call them."""
    given = {"args": dict(enumerate(args)), "kwargs": kwargs}
    flat, structure = jax.tree_util.tree_flatten_with_path(
        given, is_leaf=lambda part: not isinstance(part, dict)
    )
    labelled = [(value, name + jax.tree_util.keystr(path[1:])) for path, value in flat]
    refuse_shuffled(labelled)
    leaves = [_argument(value, label) for value, label in labelled]
    arrays = tuple(jnp.asarray(leaf) for leaf in leaves if isinstance(leaf, np.ndarray))
    constants = [None if isinstance(leaf, np.ndarray) else (type(leaf), leaf) for leaf in leaves]
    return Arguments(arrays, tuple(constants), structure)


def _argument(given: Any, name: str) -> Any:
    """One argument: an array as an array, a plain value as it is."""
    if given is None or isinstance(given, (bool, str)):
        return given
    if isinstance(given, np.generic):
        given = given.item()
    if isinstance(given, float) and not math.isfinite(given):
        raise ValueError(f"{name} = {given} is not finite.")
    if isinstance(given, (bool, int, float)):
        return given
    array = as_numbers(given, name)
    if array.dtype.kind == "f":
        return as_finite(array, name)
    return _as_integers(array, name)


def _as_integers(array: np.ndarray, name: str) -> np.ndarray:
    """Integers and truth values, in the type that JAX keeps them in."""
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    kept = array.astype(dtype)
    if (bad := kept != array).any():
        first = np.argwhere(bad)[0]
        where = f"[{', '.join(map(str, first))}]" if first.size else ""
        raise ValueError(
            f"{name}{where} = {array[tuple(first)]} is out of the range of {dtype}: subtract an "
            "offset, or give it as a floating-point number."
        )
    return kept
