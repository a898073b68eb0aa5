"""The leading directions of the Fisher information matrix, and its diagonal."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.cpu.random import normal
from posterity.curvature.diagonal import diagonal_base
from posterity.curvature.fisher import AbstractFisher

RANK = 16  # leading directions of a low-rank estimate


class Leading(NamedTuple):
    """diag(rest) + UᵀU: variances that are exact, and the leading directions U (RANK, D)."""

    rest: jax.Array
    directions: jax.Array


class LowRank(AbstractFisher):
    """The leading directions, and all variances: for many weights that depend on one another."""

    def spread(self, deviations: jax.Array) -> Leading:
        """The strongest directions of the deviations, and what is left of each variance."""
        return _leading(deviations, jnp.sum(deviations**2, axis=0))

    def sum(self, a: Any, first: Leading, b: Any, second: Leading) -> Leading:
        """Of both; what a direction loses in it goes to the variances."""
        directions = jnp.concatenate(
            [jnp.sqrt(a) * first.directions, jnp.sqrt(b) * second.directions]
        )
        variances = a * first.rest + b * second.rest + jnp.sum(directions**2, axis=0)
        return _leading(directions, variances)

    def scaled(self, a: Any, spread: Leading) -> Leading:
        """Of both parts."""
        return Leading(a * spread.rest, jnp.sqrt(a) * spread.directions)

    def factor(self, spread: Leading, prior: jax.Array) -> tuple[Leading, jax.Array]:
        """M, and B where it is diagonal."""
        matrix = Leading(spread.rest + prior, spread.directions)
        base = None if isinstance(self.base, str) else self.base
        return matrix, diagonal_base(base, prior)

    def largest(self, factor: tuple[Leading, jax.Array]) -> jax.Array:
        """A bound: of the diagonal part, and of the leading directions."""
        matrix, base = factor
        if isinstance(self.base, str):
            return jnp.ones((), base.dtype)
        directions = matrix.directions / jnp.sqrt(base)
        # The directions are orthogonal but for B, so that this norm is nearly an eigenvalue;
        # LAPACK's eigenvalues in float32 can fail where some are all but zero.
        products = directions @ directions.T
        return jnp.max(matrix.rest / base) + jnp.max(jnp.sum(jnp.abs(products), axis=1))

    def move(
        self,
        factor: tuple[Leading, jax.Array],
        key: jax.Array,
        gradient: jax.Array,
        inverse: jax.Array,
        heat: jax.Array,
    ) -> jax.Array:
        """By Woodbury's identity."""
        (rest, directions), base = factor
        noise_key, more_key = jax.random.split(key)
        noise = normal(noise_key, gradient.shape, gradient.dtype)
        if isinstance(self.base, str):
            more = normal(more_key, directions.shape[:1], gradient.dtype)
            zeta = jnp.sqrt(rest) * noise + more @ directions
            rest, directions = (1 + inverse) * rest, jnp.sqrt(1 + inverse) * directions
        else:
            zeta = jnp.sqrt(base) * noise
            rest = rest + inverse * base
        pushed = gradient + jnp.sqrt(heat * inverse) * zeta
        scaled = directions / rest
        small = jnp.eye(directions.shape[0], dtype=directions.dtype) + scaled @ directions.T
        inner = jnp.linalg.solve(small, scaled @ pushed)
        return 2 * (pushed / rest - inner @ scaled)


def _leading(directions: jax.Array, variances: jax.Array) -> Leading:
    """The RANK strongest directions of UᵀU, and the rest of the variances (D,)."""
    if directions.shape[0] > RANK:
        products = directions @ directions.T
        # A little more on the diagonal: with zeros among them the eigenvalues may not be found.
        ridge = 1e-6 * jnp.trace(products) * jnp.eye(len(products), dtype=products.dtype)
        _, vectors = jnp.linalg.eigh(products + ridge)
        directions = vectors[:, -RANK:].T @ directions
    short = RANK - directions.shape[0]
    directions = jnp.concatenate(
        [directions, jnp.zeros((short, directions.shape[1]), directions.dtype)]
    )
    return Leading(jnp.maximum(variances - jnp.sum(directions**2, axis=0), 0.0), directions)
