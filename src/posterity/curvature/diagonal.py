"""The diagonal of the Fisher information matrix."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from posterity.cpu.random import normal
from posterity.curvature.fisher import AbstractArrayFisher


class Diagonal(AbstractArrayFisher):
    """Variances alone, for many weights."""

    def spread(self, deviations: jax.Array) -> jax.Array:
        """Σ d²."""
        return jnp.sum(deviations**2, axis=0)

    def factor(self, spread: jax.Array, prior: jax.Array) -> tuple[jax.Array, jax.Array]:
        """M and B."""
        return spread + prior, diagonal_base(self.base, spread + prior)

    def largest(self, factor: tuple[jax.Array, jax.Array]) -> jax.Array:
        """The largest element of M / B."""
        matrix, base = factor
        return jnp.max(matrix / base)

    def move(
        self,
        factor: tuple[jax.Array, jax.Array],
        key: jax.Array,
        gradient: jax.Array,
        inverse: jax.Array,
        heat: jax.Array,
    ) -> jax.Array:
        matrix, base = factor
        noise = normal(key, gradient.shape, gradient.dtype)
        pushed = gradient + jnp.sqrt(heat * inverse * base) * noise
        return 2 * pushed / (matrix + inverse * base)


def diagonal_base(base: Any, matrix: jax.Array) -> jax.Array:
    """B as variances (D,), of M's diagonal where it is M itself."""
    if isinstance(base, str):
        return jnp.maximum(matrix, 1e-6 * jnp.mean(matrix) + jnp.finfo(matrix.dtype).tiny)
    return jnp.ones_like(matrix) if base is None else base
