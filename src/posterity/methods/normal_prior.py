"""The normal part of a prior, element by element."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.model.net_target import Target


class NormalPrior(NamedTuple):
    """What of the prior is normal: mean and precision of every element of θ, (D,) each.

    The precision is 0 where the prior is not normal; `other` are the blocks of such elements.
    """

    loc: jax.Array
    precision: jax.Array
    other: tuple[Any, ...]

    @classmethod
    def of(cls, target: Target, like: jax.Array) -> NormalPrior:
        """The normal part of a target's prior, in the dtype of `like`."""
        normal, other = target.normal_blocks()
        loc, precision = jnp.zeros_like(like), jnp.zeros_like(like)
        for block, mean, sd in normal:
            at = slice(block.start, block.stop)
            loc = loc.at[at].set(mean)
            precision = precision.at[at].set(1 / sd**2)
        return cls(loc, precision, other)

    def rest(self, target: Target, theta: jax.Array) -> jax.Array:
        """What of log p(θ) is not normal: 0 where all of it is."""
        return target.log_prior_of(theta, self.other)
