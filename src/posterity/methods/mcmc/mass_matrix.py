"""Metrics: what momenta are drawn from, and how they move θ.

A metric is an estimate of the posterior's covariance, M⁻¹. Momenta come from N(0, M), and θ moves
along M⁻¹ p, so that a posterior of that covariance looks round.
"""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular


class AbstractMetric(eqx.Module):
    """M⁻¹, as two maps."""

    @abstractmethod
    def velocity(self, momentum: jax.Array) -> jax.Array:
        """M⁻¹ p."""

    @abstractmethod
    def momentum(self, noise: jax.Array) -> jax.Array:
        """p ~ N(0, M) from standard normal noise (D,)."""


class Diagonal(AbstractMetric):
    """M⁻¹ = diag(var).

    Args:
        var: (D,).
    """

    var: jax.Array

    def velocity(self, momentum: jax.Array) -> jax.Array:
        return self.var * momentum

    def momentum(self, noise: jax.Array) -> jax.Array:
        return noise / jnp.sqrt(self.var)


class Dense(AbstractMetric):
    """M⁻¹ = cov = chol cholᵀ.

    Args:
        cov, chol: (D, D).
    """

    cov: jax.Array
    chol: jax.Array

    def velocity(self, momentum: jax.Array) -> jax.Array:
        return self.cov @ momentum

    def momentum(self, noise: jax.Array) -> jax.Array:
        """chol⁻ᵀ ε."""
        return solve_triangular(self.chol, noise, trans=1, lower=True)


class LowRank(AbstractMetric):
    """M⁻¹ = diag(sd) (I + V diag(values − 1) Vᵀ) diag(sd).

    Args:
        sd: (D,). vectors: V (D, K), orthonormal columns. values: (K,), 1 where there is nothing.
    """

    sd: jax.Array
    vectors: jax.Array
    values: jax.Array

    def velocity(self, momentum: jax.Array) -> jax.Array:
        return self.sd * self._scaled(self.sd * momentum, self.values)

    def momentum(self, noise: jax.Array) -> jax.Array:
        """diag(sd)⁻¹ (I + V diag(values^−½ − 1) Vᵀ) ε."""
        return self._scaled(noise, self.values**-0.5) / self.sd

    def _scaled(self, vector: jax.Array, values: jax.Array) -> jax.Array:
        return vector + self.vectors @ ((values - 1) * (self.vectors.T @ vector))
