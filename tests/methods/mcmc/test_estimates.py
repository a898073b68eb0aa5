"""Metrics from draws and gradients: exact of normals, in whatever units, and of use."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from posterity.diagnostics.convergence import rhat
from posterity.methods.mcmc import estimates
from posterity.methods.mcmc.mass_matrix import AbstractMetric

KINDS = ("dense", "low-rank")


def estimate(kind: str, theta: np.ndarray, gradient: np.ndarray) -> AbstractMetric:
    """The metric of draws (n, D) and of the gradients there."""
    count = jnp.asarray(len(theta))
    both = [jnp.asarray(values, jnp.result_type(float)) for values in (theta, gradient)]
    if kind == "low-rank":
        return estimates.low_rank(both[0], both[1], count)
    cov = jnp.stack([jnp.cov(values.T) for values in both])
    return estimates.dense(cov, count)


def inverse(metric: AbstractMetric, size: int) -> np.ndarray:
    return np.asarray(jax.vmap(metric.velocity)(jnp.eye(size)))


def normal(seed: int, size: int, widest: float) -> np.ndarray:
    """F of a covariance F Fᵀ in a random orientation, eigenvalues from 1 / widest to widest."""
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    return turn * np.logspace(-0.5, 0.5, size) ** np.log10(widest)


UNITS = 10.0 ** np.array([-4, 3, 0, 2, -1, 1])


@pytest.mark.parametrize("kind", ["dense", "low-rank"])
def test_a_normal_is_known_from_few_draws_that_need_not_be_its_own(kind: str) -> None:
    """60 draws of six dimensions, from a tenth of the width and far out, in units 10⁷ apart."""
    root = normal(0, 6, 100.0)
    noise = 5 + 0.1 * np.random.default_rng(1).normal(size=(60, 6))
    with jax.enable_x64(True):
        theta, gradient = noise @ root.T, -noise @ np.linalg.inv(root)
        found = inverse(estimate(kind, theta * UNITS, gradient / UNITS), 6)
    white = np.linalg.inv(root)
    values = np.linalg.eigvalsh(white @ (found / np.outer(UNITS, UNITS)) @ white.T)
    np.testing.assert_allclose(values, 1, atol=0.1)  # of the draws alone, from 0.005 to 0.017


@pytest.mark.parametrize("kind", KINDS)
def test_other_units_give_the_same_metric_in_other_units(kind: str) -> None:
    """Of draws that are no normal's, of more dimensions than draws, too."""
    rng = np.random.default_rng(2)
    for size, count in ((6, 40), (40, 25)):
        units = 10.0 ** rng.uniform(-6, 6, size)
        theta = rng.standard_t(3, (count, size)) @ rng.normal(size=(size, size))
        gradient = -np.tanh(theta) + 0.1 * rng.normal(size=theta.shape)
        with jax.enable_x64(True):
            plain = inverse(estimate(kind, theta, gradient), size)
            other = inverse(estimate(kind, theta * units, gradient / units), size)
        np.testing.assert_allclose(other / np.outer(units, units), plain, rtol=1e-6, atol=1e-9)


def test_low_rank_finds_what_is_wide_and_what_is_narrow() -> None:
    """Covariance I + 30 v vᵀ − 0.95 w wᵀ in 50 dimensions: both directions, and nothing else."""
    size, count = 50, 256
    rng = np.random.default_rng(0)
    v, w = np.linalg.qr(rng.normal(size=(size, 2)))[0].T
    cov = np.eye(size) + 30 * np.outer(v, v) - 0.95 * np.outer(w, w)
    theta = rng.multivariate_normal(np.zeros(size), cov, count)
    metric = estimate("low-rank", theta, -theta @ np.linalg.inv(cov))
    found = inverse(metric, size)
    assert abs(v @ found @ v / 31 - 1) < 0.3
    assert abs(w @ found @ w / 0.05 - 1) < 0.3
    white = np.linalg.inv(np.linalg.cholesky(cov))
    assert np.linalg.cond(white @ found @ white.T) < 4


def test_low_rank_takes_nothing_of_white_noise() -> None:
    theta = np.random.default_rng(3).normal(size=(256, 50))
    np.testing.assert_allclose(
        inverse(estimate("low-rank", theta, -theta), 50), np.eye(50), atol=1e-3
    )


def test_low_rank_looks_at_the_given_number_of_draws_only() -> None:
    theta = np.random.default_rng(3).normal(size=(64, 4)).astype(np.float32)
    padded = np.concatenate([theta, 1e3 * np.ones_like(theta)])
    whole, part = (
        estimates.low_rank(jnp.asarray(t), jnp.asarray(-t), jnp.asarray(64))
        for t in (theta, padded)
    )
    p = jnp.arange(4.0)
    np.testing.assert_allclose(whole.velocity(p), part.velocity(p), rtol=1e-4)


# -- a regression on raw years, and one on columns in units of their own ---------------------------


def years(x: Any, y: Any) -> None:
    """As posteriordb's kilpisjarvi_mod: at year 0 the line is 1,982 years from the data."""
    alpha = numpyro.sample("alpha", dist.Normal(9.3, 100.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 0.0333))
    sigma = numpyro.sample("sigma", dist.HalfNormal(10.0))
    numpyro.sample("y", dist.Normal(alpha + beta * x, sigma), obs=y)


def of_years() -> tuple[Any, Any]:
    x = np.arange(1952, 2014).astype(float)
    y = 9.3 + 0.02 * (x - 1982.5) + 1.1 * np.random.default_rng(5).normal(size=x.size)
    return po.Model.from_numpyro(years), (x, y)


@pytest.mark.parametrize("metric", ["dense", "low-rank"])
def test_raw_years_take_short_paths(metric: str) -> None:
    """Three parameters of which two have a correlation of −0.99996: 191 and 411 steps before."""
    model, data = of_years()
    method = po.NUTS(chains=2, warmup=600, draws=150, metric=metric)
    posterior = po.fit(model, data, method, progress=False)
    assert posterior.history.leapfrogs.mean() < 20
    assert rhat(np.asarray(posterior.distribution.theta)).max() < 1.05
