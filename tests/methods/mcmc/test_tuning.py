"""The tuning of microcanonical Langevin: its metric is of what its windows have seen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from methods.mcmc.test_estimates import of_years
from posterity.diagnostics.convergence import rhat
from posterity.methods.mcmc.tuning import WINDOWS, Tuned, Tuning

SDS = np.array([0.1, 1.0, 10.0])


def tuned(steps: int, theta: np.ndarray, dense: bool = True) -> Tuned:
    """After places θ with the gradients of independent normals of sds 0.1, 1, 10, 0.1, 1, …"""
    sds = np.resize(SDS, theta.shape[1])
    places = jnp.asarray(np.stack([theta, -theta / sds**2], 1), jnp.float32)
    tuning = Tuning(steps, 5e-4)

    def see(state: Tuned, row: tuple[jax.Array, jax.Array]) -> tuple[Tuned, None]:
        at, place = row
        zero = jnp.zeros(())
        return tuning.update(state, at, place, zero, zero, jnp.ones((), bool)), None

    start = tuning.init(jnp.zeros(theta.shape[1]), dense)
    rows = jnp.arange(len(theta)), places
    return jax.jit(lambda start, rows: jax.lax.scan(see, start, rows)[0])(start, rows)


@pytest.mark.parametrize("dense", [True, False])
def test_the_metric_is_of_the_last_window(dense: bool) -> None:
    """With correlations or without; whatever came before it."""
    size = 6
    steps, sds = 1_000, np.resize(SDS, size)
    theta = sds * np.random.default_rng(0).normal(size=(steps, size))
    theta[:160] *= 100
    metric = tuned(steps, theta[: int(WINDOWS * steps)], dense).metric
    found = np.asarray(jax.vmap(metric.velocity)(jnp.eye(size)))
    np.testing.assert_allclose(
        found / np.outer(sds, sds), np.eye(size), atol=0.02 if dense else 0.35
    )


def test_steps_keep_their_length_in_theta_when_the_metric_changes() -> None:
    """On average over directions: ε times the mean of log F."""
    theta = SDS * 1e-3 * np.random.default_rng(1).normal(size=(600, 3))
    before, after = tuned(1_000, theta[:-1]), tuned(1_000, theta)
    lengths = [
        np.log(t.step_size) + np.mean(np.log(np.diagonal(t.metric.chol))) for t in (before, after)
    ]
    assert abs(lengths[1] - lengths[0]) < 0.05


def columns(x: jax.Array, y: jax.Array) -> None:
    """24 coefficients, an intercept and the noise."""
    a = numpyro.sample("a", dist.Normal(0, 10.0))
    b = numpyro.sample("b", dist.Normal(0, 10.0).expand([24]).to_event(1))
    s = numpyro.sample("s", dist.HalfNormal(5.0))
    numpyro.sample("y", dist.Normal(a + x @ b, s), obs=y)


def test_raw_years_mix_at_the_default_warm_up() -> None:
    """Three parameters, two of them with a correlation of −0.99996; r-hat was 1.6."""
    model, data = of_years()
    posterior = po.fit(model, data, po.MCLMC(draws=300), progress=False)
    assert rhat(np.asarray(posterior.distribution.theta)).max() < 1.05


def test_columns_in_units_of_their_own_mix_at_the_default_warm_up() -> None:
    """24 correlated columns with sds from 0.1 to 1,000, not centred."""
    rng = np.random.default_rng(7)
    z = rng.normal(size=(300, 24)) @ (np.eye(24) + 0.4 * rng.normal(size=(24, 24)))
    z /= z.std(0)
    x = (z + rng.uniform(0, 3, 24)) * 10 ** rng.uniform(-1, 3, 24)
    y = z @ rng.normal(size=24) + rng.normal(size=300)
    model = po.Model.from_numpyro(columns)
    posterior = po.fit(model, (x, y), po.MCLMC(draws=300), progress=False)
    assert rhat(np.asarray(posterior.distribution.theta)).max() < 1.05
