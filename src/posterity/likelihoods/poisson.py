"""Counts."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.likelihoods.likelihood import AbstractLikelihood, Kind, Unknowns
from posterity.likelihoods.regression import diagonal
from posterity.storable import stored


@stored("likelihoods.Poisson")
class Poisson(AbstractLikelihood):
    """Counts.

        y ~ Poisson(eᶠ),   f = the net's output, the log rate

    Targets are whole numbers from 0, shape (rows,) or (rows, targets).

    >>> Poisson().outputs_per_target
    1
    """

    kind: ClassVar[Kind] = "count"

    @property
    def outputs_per_target(self) -> int:
        """One: the log rate."""
        return 1

    @property
    def bounds(self) -> tuple[float, float]:
        """0 and ∞."""
        return 0.0, np.inf

    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """Poisson with the exponential of the net's outputs as rate."""
        return dist.Poisson(jnp.exp(outputs[:, 0]), validate_args=False)

    def log_prob(self, outputs: jax.Array, y: jax.Array, unknowns: Unknowns) -> jax.Array:
        """y f − eᶠ − log y!, without the logarithm of a rate that may have underflowed."""
        f = outputs[:, 0]
        each = y * f - jnp.exp(f) - jax.lax.lgamma(y + 1.0)
        return each.reshape(each.shape[0], -1).sum(-1)

    def cdf(self, given: dist.Distribution, y: jax.Array) -> jax.Array:
        """P(Y ≤ y) = Q(⌊y⌋ + 1, rate), the regularised upper incomplete gamma function."""
        whole = jnp.floor(y)
        q = jax.scipy.special.gammaincc(jnp.maximum(whole, 0) + 1, given.rate)
        return jnp.where(whole < 0, 0.0, q)

    def curvature(self, outputs: jax.Array, unknowns: Unknowns) -> jax.Array:
        """The rate eᶠ."""
        return diagonal(jnp.exp(outputs))

    def expected(self, mean: np.ndarray, var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean, which is sufficient: log p is linear in y but for a constant."""
        del var
        return mean[:, None], np.ones((len(mean), 1))
