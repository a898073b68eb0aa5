"""A normal with any covariance."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from posterity.distributions import normal as distributions
from posterity.methods.vi.families.family import AbstractFamily, inverse_softplus, softplus
from posterity.storable import stored

LARGEST = 2_000  # parameters: the factor has D² / 2 numbers, and each step costs as many products


class FullRankPhi(NamedTuple):
    """mean (D,); rho (D,), whose softplus is the diagonal of chol; lower (D, D), used below it."""

    mean: jax.Array
    rho: jax.Array
    lower: jax.Array


@stored("families.FullRank")
class FullRank(AbstractFamily):
    """A normal with any covariance.

        q(θ) = N(mean, chol cholᵀ),   chol = diag(sd) (softplus-diagonal lower triangle)

    The rows of the factor are in units of `softplus(rho)`, so that one step size fits weights of
    different scale:  chol = diag(softplus(rho)) (I + strictly lower part).

    For up to 2,000 parameters; above, `LowRank`.
    """

    def init(self, key: jax.Array, theta: jax.Array, sd: float) -> FullRankPhi:
        """Independent at first."""
        del key
        if theta.size > LARGEST:
            raise ValueError(
                f"family: full rank for {theta.size} parameters needs {theta.size}² / 2 numbers; "
                f'above {LARGEST} parameters take family="low-rank".'
            )
        zero = jnp.zeros((theta.size, theta.size), theta.dtype)
        return FullRankPhi(theta, jnp.full_like(theta, inverse_softplus(sd, theta)), zero)

    def chol(self, phi: FullRankPhi) -> jax.Array:
        """The lower triangular factor (D, D)."""
        unit = jnp.tril(phi.lower, -1) + jnp.eye(phi.mean.size, dtype=phi.mean.dtype)
        return softplus(phi.rho)[:, None] * unit

    def mean_and_sd(self, phi: FullRankPhi) -> tuple[jax.Array, jax.Array]:
        """The mean, and the roots of the covariance's diagonal."""
        return self.density(phi).mean_and_sd()

    def centre(self, phi: FullRankPhi) -> jax.Array:
        return phi.mean

    def push(self, phi: FullRankPhi, noise: jax.Array) -> jax.Array:
        """mean + chol ε."""
        return phi.mean + noise @ self.chol(phi).T

    def dependence(self, phi: FullRankPhi) -> jax.Array:
        """Σ log sdᵢ − log |chol|."""
        return jnp.sum(jnp.log(self.mean_and_sd(phi)[1]) - jnp.log(softplus(phi.rho)))

    def root(self, phi: FullRankPhi) -> tuple[jax.Array, jax.Array]:
        """Nothing, and chol."""
        return jnp.zeros_like(phi.mean), self.chol(phi)

    def density(self, phi: FullRankPhi) -> distributions.FullRank:
        return distributions.FullRank(phi.mean, self.chol(phi))
