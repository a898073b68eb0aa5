"""NumPyro programs that several test files fit, and a fit of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import posterity as po

Y = np.random.default_rng(3).normal(1.0, 0.5, 20)
SD = 0.5


def normal(y, sd):
    mu = numpyro.sample("mu", dist.Normal(0, 2))
    numpyro.deterministic("twice", 2 * mu)
    numpyro.sample("y", dist.Normal(mu, sd), obs=y)


def exact() -> tuple[float, float]:
    """The mean and sd of `mu` in `normal`."""
    precision = 1 / 2**2 + Y.size / SD**2
    return Y.sum() / SD**2 / precision, precision**-0.5


def mixed(x, y=None, groups=3):
    """Simplex, flat prior, a support that another site decides, plate, factor, deterministic."""
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
    below = numpyro.sample("below", dist.Uniform(0, tau))
    flat = numpyro.sample("flat", dist.ImproperUniform(dist.constraints.positive, (), (2,)))
    with numpyro.plate("group", groups):
        z = numpyro.sample("z", dist.Normal(0, 1))
    theta = numpyro.deterministic("theta", mu + tau * z)
    numpyro.factor("penalty", -jnp.sum(flat**2) - below)
    numpyro.sample("y", dist.Normal(theta * share, x), obs=y)


MIXED = {"x": np.array([1.0, 2.0, 0.5]), "y": np.array([1.0, -2.0, 3.0])}


def fit(
    method: Any, program: Callable[..., None] = normal, data: Any = (Y, SD), **settings: Any
) -> po.Posterior:
    return po.fit(po.Model.from_numpyro(program), data, method, progress=False, **settings)
