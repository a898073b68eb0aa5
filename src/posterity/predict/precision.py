"""Rows that single precision cannot hold: computed again in double, or named.

A Poisson rate of 10²⁰ has a mean that float32 holds, and squares and draws that it does not. Such
rows are few; they are found by their mean and variance, and everything about them is computed in
double precision from the same draws of θ. Where that does not suffice either, one sentence says so.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.cpu.compile import kept_jit
from posterity.distributions.distribution import aside_key
from posterity.dtypes import float_dtype
from posterity.inputs import take
from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.model.target import widened
from posterity.predict.source import Source

LARGE = 1e15  # |mean| and sd from which sums of squares over draws leave single precision
EXACT = 2.0**23  # counts up to here, and one more, single precision tells apart
REACH = 10.0  # sds from the mean in which counts must be told apart
SHOWN = 5  # rows that a sentence lists


class InDouble(eqx.Module):
    """Draws of a distribution, number by number as they are, for computations in double precision.

    It looks like draws in a file, so that folds read it in windows.
    """

    distribution: Any
    key: jax.Array
    draws: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        """D, the length of θ."""
        return self.distribution.size

    @property
    def stored(self) -> int:
        """How many draws there are."""
        return self.draws

    @property
    def in_file(self) -> bool:
        """True: they are made in windows."""
        return True

    def even(self, start: int, stop: int) -> np.ndarray:
        """Draws number `start` … `stop` − 1 (n, D), as single precision has them."""
        if self.distribution.stored is not None:
            return self.distribution.even(start, stop)
        with jax.enable_x64(False):
            numbers = jnp.arange(start, stop)
            return np.asarray(_drawn(self.distribution, self.key, numbers))

    def draw(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """Draw number `index`, outside compiled code."""
        del key
        return jnp.asarray(self.even(int(index), int(index) + 1)[0])

    def aside(self, key: jax.Array, index: jax.Array) -> Any:
        """The key of draw number `index`."""
        return aside_key(key, index)


@kept_jit
def _drawn(distribution: Any, key: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.vmap(lambda index: distribution.draw(key, index))(numbers)


def too_large(found: Any, draws: int, likelihood: AbstractLikelihood) -> np.ndarray:
    """Which rows single precision cannot hold, by their moments: (rows,) booleans.

    Args:
        found: `Moments` by row. draws: how many were summed. likelihood: of the targets.
    """
    rows = len(found.mean)
    if float_dtype() is not np.float32:
        return np.zeros(rows, bool)
    with np.errstate(all="ignore"):
        mean, m2, var = (np.asarray(part, np.float64) for part in (found.mean, found.m2, found.var))
        variance = var + m2 / draws
        bad: np.ndarray = ~(np.isfinite(mean) & (np.abs(mean) < LARGE) & (variance < LARGE**2))
        if likelihood.kind == "count":
            bad = bad | ~(np.abs(mean) + REACH * np.sqrt(variance) < EXACT)
        elif likelihood.kind == "regression":
            bad = bad | (var == 0)  # a variance below what single precision holds
    rows_bad = np.asarray(bad.reshape(rows, -1).any(1))
    return rows_bad | ~np.isfinite(np.asarray(found.entropy))


@contextmanager
def in_double(source: Source, *rows: Any) -> Iterator[tuple[Any, ...]]:
    """Within: double precision, and the source and arrays of rows for it."""
    # JAX's own convolutions take double precision as they take single.
    target = dataclasses.replace(source.target.in_double(), cpu_kernels=False)
    draws = InDouble(source.distribution, source.key, int(source.draws))
    with jax.enable_x64(True):
        yield source._replace(target=target, distribution=draws), *map(widened, rows)


def redone(
    found: Any, bad: np.ndarray, function: Callable[..., Any], source: Source, *rows: Any
) -> Any:
    """What was found, with the rows that are `bad` computed again in double precision.

    Args:
        found: arrays with a first axis of rows. bad: (rows,) booleans.
        function: called with a source and arrays of rows.
        source, rows: what `found` was computed from.

    Returns:
        Arrays in double precision, where any row is bad.
    """
    if not bad.any():
        return found
    try:
        with in_double(source, *(take(part, np.flatnonzero(bad)) for part in rows)) as given:
            again = function(*given)
    except (TypeError, ValueError):  # a net of single precision alone
        return found

    def merge(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        merged = np.asarray(old, np.float64)
        merged[bad] = new
        return merged

    return jax.tree.map(merge, found, again)


def split(
    function: Callable[..., np.ndarray], source: Source, double: np.ndarray, *rows: Any
) -> np.ndarray:
    """`function(source, *rows)`, whose first axis is of rows, with some of them in double.

    Args:
        double: which rows, (rows,) booleans.
    """
    if not double.any():
        return function(source, *rows)
    with in_double(source, *(take(part, np.flatnonzero(double)) for part in rows)) as given:
        wide = function(*given)
    if double.all():
        return wide
    plain = function(source, *(take(part, np.flatnonzero(~double)) for part in rows))
    out = np.empty((len(double), *wide.shape[1:]), np.result_type(plain, wide))
    out[double], out[~double] = wide, plain
    return out


def whole(drawn: np.ndarray) -> np.ndarray:
    """Counts as integers, where 64 bits hold them all; else as they are."""
    if drawn.dtype.kind != "f" or not (np.abs(drawn) < 2.0**63).all():
        return drawn
    return drawn.astype(np.int64)


def saturated(drawn: np.ndarray) -> np.ndarray:
    """Which draws are the largest integer of their type, as larger ones become, or no number."""
    if drawn.dtype.kind in "iu":
        return drawn == np.iinfo(drawn.dtype).max
    return ~np.isfinite(drawn)


def tell(what: str, bad: np.ndarray, why: str, stacklevel: int = 3) -> None:
    """Warn of rows whose figures are no numbers.

    Args:
        what: the call and the figure. bad: which rows, (rows,) booleans. why: and what to do.
    """
    if bad.any():
        warnings.warn(f"{what} at {rows_of(bad)}: {why}", RuntimeWarning, stacklevel=stacklevel)


def rows_of(bad: np.ndarray) -> str:
    """Rows in words.

    >>> rows_of(np.array([False, True, True]))
    'rows 1, 2 (2 of 3)'
    """
    numbers = np.flatnonzero(bad)
    listed = ", ".join(map(str, numbers[:SHOWN])) + (", …" if len(numbers) > SHOWN else "")
    return f"row{'s' * (len(numbers) > 1)} {listed} ({len(numbers)} of {len(bad)})"


def fitting(value: np.ndarray, dtype: Any) -> np.ndarray:
    """An array in `dtype`, where it holds every number of it; else as it is, in double precision.

    >>> [fitting(np.array([size]), np.float32).dtype for size in (1e30, 1e50)]
    [dtype('float32'), dtype('float64')]
    """
    info, size = np.finfo(dtype), np.abs(value)
    held = (size <= info.max) & ((size >= info.tiny) | (size == 0)) | ~np.isfinite(value)
    return value.astype(dtype) if held.all() else value
