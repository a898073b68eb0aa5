"""Stored draws of θ."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posterity.distributions.distribution import AbstractDistribution
from posterity.distributions.spool import is_mapped
from posterity.dtypes import float_dtype
from posterity.storable import refuse_numbers, stored


@stored("distributions.Draws")
class Draws(AbstractDistribution):
    """Stored draws, all of one weight; a single one is a point.

    They are in memory, or in a file: a mapped array, of which NumPy reads what it touches. What a
    posterior does with them gives the same numbers either way.

    Args:
        theta: (chain, draw, D).
    """

    theta: jax.Array | np.ndarray

    def check_stored(self) -> None:
        """Finite numbers with axes (chain, draw, D), at least one of each."""
        shape, dtype = np.shape(self.theta), self.theta.dtype
        if len(shape) != 3:
            raise ValueError(f"theta has shape {shape}, but needs 3 axes.")
        if dtype.kind != "f":
            raise ValueError(f"theta holds {dtype} and not floating-point numbers.")
        if not self.theta.size:
            raise ValueError(f"theta has shape {shape}, which holds no draw.")
        for block in self.blocks():
            refuse_numbers("theta", block, 2)

    def __getstate__(self) -> dict[str, Any]:
        """For pickles: with the draws themselves where they are in a file."""
        return {**vars(self), "theta": np.array(self.theta) if self.in_file else self.theta}

    @property
    def in_file(self) -> bool:
        """Whether they are a mapped array."""
        return is_mapped(self.theta)

    @property
    def shape(self) -> tuple[int, ...]:
        """(chain, draw, D)."""
        return self.theta.shape

    @property
    def size(self) -> int:
        return self.shape[2]

    @property
    def point(self) -> bool:
        """Whether each chain has one draw."""
        return self.shape[1] == 1

    @property
    def stored(self) -> int:
        """Chains times draws."""
        return self.shape[0] * self.shape[1]

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """θ (n, D) of given numbers, chain after chain, without touching the others."""
        chain, draw = np.divmod(np.asarray(numbers, np.int64), self.shape[1])
        return np.asarray(np.asanyarray(self.theta)[chain, draw], float_dtype())

    def even(self, start: int, stop: int) -> np.ndarray:
        """Draws number `start` … `stop` − 1 of the order of `draw`: (n, D)."""
        order = even_order(self.stored)
        return self.rows(order[np.arange(start, stop) % self.stored])

    def blocks(self) -> Iterator[np.ndarray]:
        """All of θ, chain after chain, in blocks of 16 MB."""
        for numbers in in_blocks(self.stored, self.size * np.dtype(float_dtype()).itemsize):
            yield self.rows(numbers)

    def example(self) -> jax.Array:
        """The first draw of the first chain."""
        return jnp.asarray(self.rows(np.zeros(1, np.int64))[0])

    def examples(self, count: int) -> np.ndarray:
        """Stored draws at even distances, from the first on."""
        return self.rows(np.arange(count) * self.stored // count)

    def spread(self, numbers: int) -> np.ndarray:
        """Every k-th draw of each chain (chain, draw, D)."""
        chains, count, size = self.shape
        step = -(-self.stored * size // numbers)
        chosen = np.arange(count)[::step] + count * np.arange(chains)[:, None]
        return self.rows(chosen.ravel()).reshape(*chosen.shape, size)

    def mean_and_sd(self) -> tuple[jax.Array, jax.Array]:
        """Moments over all stored draws, in double precision; squares are of deviations."""
        mean = sum(block.sum(0, dtype=np.float64) for block in self.blocks()) / self.stored
        square = sum(((block - mean) ** 2).sum(0) for block in self.blocks()) / self.stored
        return jnp.asarray(mean, float_dtype()), jnp.asarray(np.sqrt(square), float_dtype())

    def draw(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """Stored draw number `index` of an order that visits all chains and times evenly.

        Fewer draws than stored are so a thinned sample of them all; more begin again. The stored
        draws are what they are, so `key` does not matter. Those in a file only outside compiled
        code.
        """
        del key
        if self.in_file:
            return jnp.asarray(self.even(int(index), int(index) + 1)[0])
        order = jnp.asarray(even_order(self.stored))
        return jnp.asarray(self.theta).reshape(self.stored, self.size)[order[index % self.stored]]

    def sample(self, key: jax.Array, draws: int) -> jax.Array:
        """Draws number 0 … `draws` − 1 of the order of `draw`: (1, draws, D)."""
        del key
        return jnp.asarray(self.even(0, draws))[None]


@functools.lru_cache(maxsize=4)
def even_order(total: int) -> np.ndarray:
    """0 … total − 1 ordered by the ranks of k φ mod 1, so that every beginning is spread evenly."""
    turns = np.arange(total) * 0.6180339887498949 % 1.0
    return np.argsort(np.argsort(turns)).astype(np.int32)


def in_blocks(total: int, width: int, most: int = 2**24) -> Iterator[np.ndarray]:
    """0 … total − 1 in blocks whose rows, of `width` bytes each, take at most 16 MB."""
    size = max(1, most // max(width, 1))
    for start in range(0, total, size):
        yield np.arange(start, min(start + size, total))
