"""What variational inference asks of a family of distributions."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.distributions.distribution import AbstractDensity
from posterity.distributions.mixture import Mixture
from posterity.methods.method import of_chain

Phi = Any


class AbstractFamily(eqx.Module):
    """A family q(θ; φ), reparameterised: θ = push(φ, ε) with ε ~ N(0, I).

    A family is frozen settings. φ is an array, or a pytree of them, that an optimiser moves.

    Attributes:
        independent: whether the elements of θ are independent normals, which estimators that draw
            per example need.
        closed: whether `dependence` is known, so that the KL to a normal prior has a closed form.
    """

    independent: ClassVar[bool] = False
    closed: ClassVar[bool] = True

    def noise_size(self, size: int) -> int:
        """How many standard normal numbers make one draw of θ of length `size`."""
        return size

    def prepare(self, size: int) -> None:
        """Build what cannot be built while JAX traces; called once before a run."""

    def opened(self, phi: Phi) -> Phi:
        """φ in the form in which a step takes its gradient apart; all but `init` take either."""
        return phi

    @abstractmethod
    def init(self, key: jax.Array, theta: jax.Array, sd: float) -> Phi:
        """φ with mean θ (D,) and every standard deviation near `sd`."""

    @abstractmethod
    def centre(self, phi: Phi) -> jax.Array:
        """Where q sits: its mean, or for a flow what its mean is near to, (D,)."""

    @abstractmethod
    def push(self, phi: Phi, noise: jax.Array) -> jax.Array:
        """Draws θ (draws, D) from noise (draws, noise_size)."""

    @abstractmethod
    def mean_and_sd(self, phi: Phi) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation of every element of θ: (D,) each."""

    def log_prob(self, phi: Phi, thetas: jax.Array) -> jax.Array:
        """log q of every draw: (draws,)."""
        return jax.vmap(self.density(phi).log_prob)(thetas)

    def push_with_log_prob(self, phi: Phi, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draws and their log q."""
        thetas = self.push(phi, noise)
        return thetas, self.log_prob(phi, thetas)

    def dependence(self, phi: Phi) -> jax.Array:
        """Σ H(qᵢ) − H(q) ≥ 0: what the entropy lacks of that of independent elements, in nats."""
        return jnp.zeros(())

    def root(self, phi: Phi) -> tuple[jax.Array, jax.Array | None]:
        """(sd, factor) with the covariance diag(sd²) + factor factorᵀ, where `closed`."""
        return self.mean_and_sd(phi)[1], None

    @abstractmethod
    def density(self, phi: Phi) -> AbstractDensity:
        """q as a distribution that a posterior can hold."""

    def to_distribution(self, phi: Phi) -> AbstractDensity:
        """`density`, of a φ that is finished."""
        return self.density(phi)

    def mixture(self, phi: Phi) -> AbstractDensity:
        """`to_distribution` of a φ with a leading chain axis: the mixture of several chains."""
        chains = jax.tree.leaves(phi)[0].shape[0]
        return equal_mixture([self.to_distribution(of_chain(phi, k)) for k in range(chains)])


def equal_mixture(components: list[Any]) -> AbstractDensity:
    """The mixture of densities of one kind, of equal weights; the density itself if it is one."""
    count = len(components)
    return components[0] if count == 1 else Mixture.of(np.full(count, 1 / count), components)


def softplus(x: jax.Array) -> jax.Array:
    """log(1 + eˣ), as `jax.nn.softplus`, in operations that are quicker to trace."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def inverse_softplus(sd: float, like: jax.Array) -> jax.Array:
    """The number whose softplus is `sd`."""
    return jnp.log(jnp.expm1(jnp.asarray(sd, like.dtype)))
