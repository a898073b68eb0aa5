"""Families of approximate posteriors: what q(θ) may look like."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.inference.vi.noise import quick_key
from posterity.posterior.distributions import Gaussian


class MeanField(eqx.Module):
    """Independent normals.

        q(θ) = N(mean, diag(sd²)),   sd = softplus(rho),   φ = [mean, rho]

    φ is one array (2, D), so that an optimiser step is a few elementwise operations.
    """

    def init(self, theta: jax.Array, sd: float) -> jax.Array:
        """φ with mean θ and every standard deviation `sd`."""
        rho = jnp.log(jnp.expm1(jnp.asarray(sd, theta.dtype)))
        return jnp.stack([theta, jnp.full_like(theta, rho)])

    def mean_and_sd(self, phi: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation of every element of θ: (D,) each."""
        return phi[0], softplus(phi[1])

    def draw(self, key: jax.Array, phi: jax.Array, draws: int) -> jax.Array:
        """`draws` reparameterised draws θ = mean + sd ε: (draws, D)."""
        mean, sd = self.mean_and_sd(phi)
        return mean + sd * jax.random.normal(quick_key(key), (draws, mean.shape[0]), mean.dtype)

    def to_distribution(self, phi: jax.Array | np.ndarray) -> Gaussian:
        """q as a distribution that a posterior can hold.

        Computed on the host: for one use, compiling a softplus costs more than a small net's fit.
        """
        mean, rho = np.asarray(phi)
        sd = np.logaddexp(np.zeros((), rho.dtype), rho)
        return Gaussian(jax.device_put(mean), jax.device_put(sd))


def softplus(x: jax.Array) -> jax.Array:
    """log(1 + eˣ), as `jax.nn.softplus`, in operations that take a third of the time to trace."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))
