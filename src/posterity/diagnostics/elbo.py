"""The ELBO of a posterior on given data."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from posterity.distributions.distribution import AbstractDensity
from posterity.dtypes import float_dtype
from posterity.model.target import AbstractTarget
from posterity.posterior import Posterior


class ELBO(NamedTuple):
    """A Monte Carlo estimate in nats, and its standard error."""

    value: float
    error: float


def elbo(posterior: Posterior, data: Any, *, draws: int = 10_000, seed: int = 0) -> ELBO:
    """The evidence lower bound of a posterior with a density, evaluated on all of the data.

        ELBO = E_q[ log p(y | x, θ) + log p(θ) − log q(θ) ] ≤ log p(y | x)

    Every term is by Monte Carlo, so that it checks what the fit computed in closed form.

    Args:
        posterior: a posterior whose distribution has a density: all that variational fits return.
        data: what it was fitted to.
        draws: draws of θ.
        seed: random seed.

    Returns:
        `ELBO(value, error)` with the standard error of the value.

    Raises:
        TypeError: the posterior holds draws, which have no density.
    """
    if not isinstance(posterior.distribution, AbstractDensity):
        raise TypeError(
            "elbo: stored draws have no density; only a variational posterior has an ELBO."
        )
    batch = posterior.whole(data)
    keys = jax.random.split(jax.random.key(seed), draws)
    each = np.asarray(_terms(posterior.target, posterior.distribution, batch, keys), np.float64)
    return ELBO(float(each.mean()), float(each.std(ddof=1) / math.sqrt(draws)))


@eqx.filter_jit
def _terms(target: AbstractTarget, q: AbstractDensity, batch: Any, keys: jax.Array) -> jax.Array:
    def term(key: jax.Array) -> jax.Array:
        noise = jax.random.normal(key, (q.noise_size,), float_dtype())
        theta, log_q = q.push_with_log_prob(noise)
        kl = log_q - target.log_prior(theta)
        return target.elbo(target.scaled_log_likelihood(theta, batch), kl)

    return jax.lax.map(term, keys, batch_size=64)
