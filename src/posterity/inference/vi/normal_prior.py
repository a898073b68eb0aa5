"""The normal part of a prior, element by element, and the KL of an independent normal q to it."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posterity.target import Target


class NormalPrior(NamedTuple):
    """What of the prior is normal: mean and precision of every element of θ, (D,) each.

    The precision is 0 where the prior is not normal. `whole` is whether there is no such element.
    """

    loc: jax.Array
    precision: jax.Array
    whole: bool

    @classmethod
    def of(cls, target: Target, like: jax.Array) -> NormalPrior:
        """The normal part of a target's prior, in the dtype of `like`."""
        normal, other = target.normal_blocks()
        loc, precision = jnp.zeros_like(like), jnp.zeros_like(like)
        for block, mean, sd in normal:
            at = slice(block.start, block.stop)
            loc = loc.at[at].set(_flat(mean, block.shape))
            precision = precision.at[at].set(1 / _flat(sd, block.shape) ** 2)
        return cls(loc, precision, not other)

    def log_prob(self, theta: jax.Array) -> jax.Array:
        """The log density of the normal elements of one θ."""
        return -0.5 * (jnp.sum(self.precision * (theta - self.loc) ** 2) - self._log_norm())

    def rest(self, target: Target, theta: jax.Array) -> jax.Array:
        """log p(θ) less the normal part: 0 where all of the prior is normal."""
        if self.whole:
            return jnp.zeros((), theta.dtype)
        return target.log_prior(theta) - self.log_prob(theta)

    def kl(self, target: Target, mean: jax.Array, sd: jax.Array, thetas: jax.Array) -> jax.Array:
        """KL( N(mean, sd²) ‖ prior ): in closed form where the prior is normal, else by `thetas`.

            E_q log p = −½ Σ precision (sd² + (mean − loc)²) + ½ Σ log(precision / 2π) + E_q rest

        Args:
            mean, sd: q, (D,). thetas: draws of q, (draws, D).
        """
        spread = sd**2 + (mean - self.loc) ** 2
        expected = -0.5 * (jnp.sum(self.precision * spread) - self._log_norm())
        if not self.whole:
            expected += jnp.mean(jax.vmap(lambda theta: self.rest(target, theta))(thetas))
        entropy = jnp.sum(jnp.log(sd)) + 0.5 * (1 + math.log(2 * math.pi)) * sd.size
        return -entropy - expected

    def _log_norm(self) -> jax.Array:
        """Σ log(precision / 2π) over the normal elements."""
        normal = self.precision > 0
        safe = jnp.where(normal, self.precision, 2 * math.pi)
        return jnp.sum(jnp.log(safe / (2 * math.pi)))


def _flat(value: object, shape: tuple[int, ...]) -> jax.Array:
    return jnp.broadcast_to(jnp.asarray(value), shape).reshape(int(np.prod(shape)))
