"""The ELBO of a posterior on given data."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import jax
import numpy as np

from posterity.counts import checked_draws, checked_seed
from posterity.cpu.compile import kept_jit
from posterity.distributions.distribution import AbstractDensity, AbstractDistribution
from posterity.dtypes import float_dtype
from posterity.model.target import AbstractTarget


class ELBO(NamedTuple):
    """A Monte Carlo estimate in nats, and its standard error."""

    value: float
    error: float


def elbo(
    target: AbstractTarget, distribution: AbstractDistribution, batch: Any, draws: int, seed: int
) -> ELBO:
    """The evidence lower bound of a density on all rows; see `posterity.elbo`.

    Raises:
        TypeError: stored draws have no density.
    """
    if distribution.stored is not None:
        raise TypeError(
            "elbo: stored draws have no density; only a variational posterior has an ELBO."
        )
    count = checked_draws(draws, 2)  # of one the error is not known
    keys = jax.random.split(jax.random.key(checked_seed(seed)), count)
    density = cast(AbstractDensity, distribution)
    each = np.asarray(_terms(target, density, batch, keys), np.float64)
    return ELBO(float(each.mean()), float(each.std(ddof=1) / math.sqrt(count)))


@kept_jit
def _terms(target: AbstractTarget, q: AbstractDensity, batch: Any, keys: jax.Array) -> jax.Array:
    def term(key: jax.Array) -> jax.Array:
        noise = jax.random.normal(key, (q.noise_size,), float_dtype())
        theta, log_q = q.push_with_log_prob(noise)
        kl = log_q - target.log_prior(theta)
        return target.elbo(target.scaled_log_likelihood(theta, batch), kl)

    return jax.lax.map(term, keys, batch_size=64)
