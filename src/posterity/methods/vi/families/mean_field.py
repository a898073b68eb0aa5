"""Independent normals."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posterity.distributions.normal import Gaussian
from posterity.methods.vi.families.family import AbstractFamily, inverse_softplus, softplus
from posterity.storable import stored


class Moments(NamedTuple):
    """Mean and standard deviation of every element of θ: φ as `opened` gives it."""

    mean: jax.Array
    sd: jax.Array


@stored("families.MeanField")
class MeanField(AbstractFamily):
    """Independent normals.

        q(θ) = N(mean, diag(sd²)),   sd = softplus(rho),   φ = [mean, rho]

    φ is one array (2, D), so that an optimiser step is a few elementwise operations.
    """

    independent: ClassVar[bool] = True

    def opened(self, phi: jax.Array) -> Moments:
        """Both rows, whose gradient is then one array, put together once."""
        mean, rho = jax.lax.split(phi, (1, 1))
        return Moments(mean[0], softplus(rho[0]))

    def init(self, key: jax.Array, theta: jax.Array, sd: float) -> jax.Array:
        """φ with mean θ and every standard deviation `sd`."""
        del key
        return jnp.stack([theta, jnp.full_like(theta, inverse_softplus(sd, theta))])

    def mean_and_sd(self, phi: jax.Array | Moments) -> Moments:
        """φ, with the second row mapped to positive numbers."""
        return phi if isinstance(phi, Moments) else self.opened(phi)

    def centre(self, phi: jax.Array | Moments) -> jax.Array:
        return phi[0]

    def push(self, phi: jax.Array | Moments, noise: jax.Array) -> jax.Array:
        """mean + sd ε."""
        mean, sd = self.mean_and_sd(phi)
        return mean + sd * noise

    def density(self, phi: jax.Array | Moments) -> Gaussian:
        return Gaussian(*self.mean_and_sd(phi))

    def to_distribution(self, phi: np.ndarray) -> Gaussian:
        """`Gaussian`, computed on the host.

        For one use, compiling a softplus costs more than a small net's fit.
        """
        mean, rho = phi
        return Gaussian(mean, np.logaddexp(np.zeros((), rho.dtype), rho))
