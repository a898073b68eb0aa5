"""All of the Fisher information matrix."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from posterity.cpu.random import normal
from posterity.curvature.fisher import AbstractArrayFisher


class Full(AbstractArrayFisher):
    """All of the matrix: D² numbers, and a factorisation that the caller renews now and then.

    With B = LLᵀ and L⁻¹ M L⁻ᵀ = Q diag(λ) Qᵀ, a move is 2 T (λ + 4/ε)⁻¹ (Tᵀ g + √(4/ε) η) with
    T = L⁻ᵀ Q, for any ε.
    """

    def spread(self, deviations: jax.Array) -> jax.Array:
        """Σ d dᵀ."""
        return deviations.T @ deviations

    def factor(self, spread: jax.Array, prior: jax.Array) -> tuple[jax.Array, jax.Array]:
        """T (D, D) and λ (D,)."""
        matrix = spread + jnp.diag(prior)
        size = matrix.shape[0]
        eye = jnp.eye(size, dtype=matrix.dtype)
        if isinstance(self.base, str):
            # Directions of which nothing is known, neither from rows nor from the prior.
            floor = 1e-6 * jnp.trace(matrix) / size + jnp.finfo(matrix.dtype).tiny
            values, vectors = jnp.linalg.eigh(matrix)
            return vectors / jnp.sqrt(jnp.maximum(values, floor)), jnp.ones_like(prior)
        if self.base is None:
            values, vectors = jnp.linalg.eigh(matrix)
            return vectors, jnp.maximum(values, 0.0)
        base = self.base if self.base.ndim == 2 else jnp.diag(self.base)
        back = jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(base), eye, lower=True)
        values, vectors = jnp.linalg.eigh(back @ matrix @ back.T)
        return back.T @ vectors, jnp.maximum(values, 0.0)

    def largest(self, factor: tuple[jax.Array, jax.Array]) -> jax.Array:
        """The largest λ."""
        return jnp.max(factor[1])

    def move(
        self,
        factor: tuple[jax.Array, jax.Array],
        key: jax.Array,
        gradient: jax.Array,
        inverse: jax.Array,
        heat: jax.Array,
    ) -> jax.Array:
        """In the coordinates where M and B are diagonal, and back."""
        turn, values = factor
        noise = normal(key, gradient.shape, gradient.dtype)
        pushed = gradient @ turn + jnp.sqrt(heat * inverse) * noise
        return turn @ (2 * pushed / (values + inverse))
