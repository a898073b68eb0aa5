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

    @property
    @abstractmethod
    def spread(self) -> jax.Array:
        """Positive numbers (D,) whose product is √|M⁻¹|, but for the eigenvalues of `LowRank`."""

    @abstractmethod
    def along(self, direction: jax.Array) -> jax.Array:
        """F u, of a factor M⁻¹ = F Fᵀ: the way in θ of a direction in which all is round."""

    @abstractmethod
    def pull(self, gradient: jax.Array) -> jax.Array:
        """Fᵀ g: a gradient in the coordinates in which all is round."""


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

    @property
    def spread(self) -> jax.Array:
        return jnp.sqrt(self.var)

    def along(self, direction: jax.Array) -> jax.Array:
        return jnp.sqrt(self.var) * direction

    def pull(self, gradient: jax.Array) -> jax.Array:
        return jnp.sqrt(self.var) * gradient


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

    @property
    def spread(self) -> jax.Array:
        return jnp.diagonal(self.chol)

    def along(self, direction: jax.Array) -> jax.Array:
        return self.chol @ direction

    def pull(self, gradient: jax.Array) -> jax.Array:
        return gradient @ self.chol


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

    @property
    def spread(self) -> jax.Array:
        return self.sd

    def along(self, direction: jax.Array) -> jax.Array:
        return self.sd * self._scaled(direction, self.values**0.5)

    def pull(self, gradient: jax.Array) -> jax.Array:
        return self._scaled(self.sd * gradient, self.values**0.5)

    def _scaled(self, vector: jax.Array, values: jax.Array) -> jax.Array:
        return vector + self.vectors @ ((values - 1) * (self.vectors.T @ vector))
