"""A normal whose covariance is diagonal plus low rank."""

from __future__ import annotations

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from posterity.checks import MOST_SIDE_BY_SIDE, Settings
from posterity.distributions import normal as distributions
from posterity.methods.vi.families.family import AbstractFamily, inverse_softplus, softplus
from posterity.storable import stored


class LowRankPhi(NamedTuple):
    """mean (D,); rho (D,), whose softplus is the diagonal's root; factor (D, K) in its units."""

    mean: jax.Array
    rho: jax.Array
    factor: jax.Array


@stored("families.LowRank")
class LowRank(AbstractFamily):
    """A normal whose covariance is diagonal plus low rank.

        q(θ) = N(mean, diag(sd²) + F Fᵀ),   sd = softplus(rho),   F = diag(sd) factor

    Args:
        rank: K, the number of directions in which elements of θ may move together.

    Ong, Nott & Smith 2018, "Gaussian variational approximation with a factor covariance structure".
    """

    rank: int = eqx.field(static=True, default=10)

    def __check_init__(self) -> None:
        wrong = Settings("LowRank")
        wrong.counts(most=MOST_SIDE_BY_SIDE, rank=self.rank)
        wrong.refuse()

    def _rank(self, size: int) -> int:
        return min(self.rank, size)

    def noise_size(self, size: int) -> int:
        """D + K."""
        return size + self._rank(size)

    def init(self, key: jax.Array, theta: jax.Array, sd: float) -> LowRankPhi:
        """Nearly independent at first: at F = 0 its gradient would vanish."""
        rank = self._rank(theta.size)
        factor = 0.1 / math.sqrt(rank) * jax.random.normal(key, (theta.size, rank), theta.dtype)
        return LowRankPhi(theta, jnp.full_like(theta, inverse_softplus(sd, theta)), factor)

    def mean_and_sd(self, phi: LowRankPhi) -> tuple[jax.Array, jax.Array]:
        """The mean, and the roots of the covariance's diagonal."""
        return self.density(phi).mean_and_sd()

    def centre(self, phi: LowRankPhi) -> jax.Array:
        return phi.mean

    def push(self, phi: LowRankPhi, noise: jax.Array) -> jax.Array:
        """mean + sd (ε₁ + factor ε₂)."""
        size = phi.mean.size
        return phi.mean + softplus(phi.rho) * (noise[:, :size] + noise[:, size:] @ phi.factor.T)

    def dependence(self, phi: LowRankPhi) -> jax.Array:
        """½ Σ log(1 + |factorᵢ|²) − ½ log |I + factorᵀ factor|."""
        small = jnp.eye(phi.factor.shape[1], dtype=phi.mean.dtype) + phi.factor.T @ phi.factor
        chol = jnp.linalg.cholesky(small)
        alone = 0.5 * jnp.sum(jnp.log1p(jnp.sum(phi.factor**2, axis=1)))
        return alone - jnp.sum(jnp.log(jnp.diag(chol)))

    def root(self, phi: LowRankPhi) -> tuple[jax.Array, jax.Array]:
        sd = softplus(phi.rho)
        return sd, sd[:, None] * phi.factor

    def density(self, phi: LowRankPhi) -> distributions.LowRank:
        sd = softplus(phi.rho)
        return distributions.LowRank(phi.mean, sd, sd[:, None] * phi.factor)
