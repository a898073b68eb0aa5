"""Gradients of single rows, a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from posterity.curvature.fisher import AbstractFisher
from posterity.model.net_target import Batch

ROWS_BYTES = 2**26  # of gradients of single rows, held at a time


def row_gradients(
    gradient: Callable[[Batch], tuple[jax.Array, jax.Array]],
    batch: Batch,
    size: int,
    fisher: AbstractFisher,
) -> tuple[jax.Array, jax.Array, Any]:
    """Values, mean gradient and covariance over the rows of a batch.

    Args:
        gradient: one row → value () and gradient (D,). batch: B rows. size: D. fisher: the size of
            the covariance.

    Rows are taken a chunk at a time, so that their gradients fit `ROWS_BYTES`; means and spreads of
    chunks are joined exactly (Chan, Golub & LeVeque 1983).

    Returns:
        Values (B,), the mean (D,), and the spread over B − 1.
    """
    count = batch.y.shape[0]
    chunk = max(1, min(count, ROWS_BYTES // (4 * size)))
    while count % chunk:
        chunk -= 1

    def part(some: Batch) -> tuple[jax.Array, jax.Array, Any]:
        values, gradients = jax.vmap(gradient)(some)
        mean = jnp.mean(gradients, axis=0)
        return values, mean, fisher.spread(gradients - mean)

    def join(carry: tuple, some: Batch) -> tuple[tuple, jax.Array]:
        before, mean, spread = carry
        values, its_mean, its_spread = part(some)
        off = its_mean - mean
        share = chunk / (before + chunk)
        between = fisher.spread((jnp.sqrt(before * share) * off)[None])
        spread = fisher.sum(1.0, fisher.sum(1.0, spread, 1.0, its_spread), 1.0, between)
        return (before + chunk, mean + share * off, spread), values

    parts = jax.tree.map(lambda a: a.reshape(-1, chunk, *a.shape[1:]), batch)
    values, mean, spread = part(jax.tree.map(lambda a: a[0], parts))
    if chunk < count:
        start = (jnp.asarray(chunk, mean.dtype), mean, spread)
        later = jax.tree.map(lambda a: a[1:], parts)
        (_, mean, spread), others = jax.lax.scan(join, start, later)
        values = jnp.concatenate([values, others.ravel()])
    return values, mean, fisher.scaled(1 / (count - 1), spread)
