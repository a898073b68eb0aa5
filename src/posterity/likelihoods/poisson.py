"""Counts."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.dtypes import float_dtype
from posterity.likelihoods.likelihood import AbstractLikelihood, Unknowns, refuse_first
from posterity.storable import stored


@stored("likelihoods.Poisson")
class Poisson(AbstractLikelihood):
    """Counts.

        y ~ Poisson(eᶠ),   f = the net's output, the log rate

    Targets are whole numbers from 0, shape (rows,) or (rows, targets).

    >>> Poisson().outputs_per_target
    1
    """

    kind: ClassVar[Literal["classification", "regression", "count"]] = "count"

    @property
    def outputs_per_target(self) -> int:
        """One: the log rate."""
        return 1

    def check(self, y: np.ndarray) -> None:
        """Counts are whole numbers from 0."""
        refuse_first(y < 0, y, "is negative", "counts start at 0")
        refuse_first(
            y != np.floor(y), y, "is not a whole number", "use likelihoods.Normal for real targets"
        )
        largest = 1e7 if float_dtype() is np.float32 else 1e15
        refuse_first(
            y > largest, y, f"is above {largest:g}", "counts this large are not exact: rescale them"
        )

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
