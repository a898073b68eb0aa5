"""NUTS, HMC and adjusted microcanonical sampling against known posteriors; and faults that show.

The same check runs on honest samplers and on broken ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from oracles import conjugate, z_limit
from posterity.diagnostics.convergence import ess_bulk, mcse_mean, rhat
from posterity.methods.mcmc import hmc, paths
from posterity.methods.mcmc import mass_matrix as metrics
from posterity.methods.mcmc.paths import Path, Point

pytestmark = pytest.mark.slow

SEEDS = range(5)
ENOUGH = 6_400  # bulk ESS of every quantity


class Known(NamedTuple):
    """A posterior with its means and variances: of θ as `draws` gives it, (chain, draw, D)."""

    model: Any
    data: Any
    mean: np.ndarray
    var: np.ndarray
    draws: Callable[[po.Posterior], np.ndarray]


# -- posteriors -----------------------------------------------------------------------------------


def narrow_gaussian() -> Known:
    """20 dimensions, condition number 1,000, in a random orientation and off the origin."""
    rng = np.random.default_rng(11)
    turn = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    cov = turn @ np.diag(np.logspace(-1.5, 1.5, 20)) @ turn.T
    mean = rng.normal(size=20)

    def program(mean: Any, chol: Any) -> None:
        numpyro.sample("theta", dist.MultivariateNormal(mean, scale_tril=chol))

    data = (mean, np.linalg.cholesky(cov))
    return Known(po.Model.from_numpyro(program), data, mean, np.diag(cov), site("theta"))


def logistic_regression() -> Known:
    """Two coefficients and 12 rows, so that the posterior is skewed; moments by quadrature."""
    rng = np.random.default_rng(12)
    x = rng.normal(size=(12, 2))
    y = (rng.uniform(size=12) < 1 / (1 + np.exp(-x @ [2.0, -1.0]))).astype(float)

    def program(x: Any, y: Any) -> None:
        w = numpyro.sample("w", dist.Normal(0, 2).expand([2]).to_event(1))
        numpyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    axis = np.linspace(-14, 14, 1_401)  # seven prior sds either way
    w = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    logits = w @ x.T
    log_p = (y * logits - np.logaddexp(0, logits)).sum(-1) - 0.5 * (w**2).sum(-1) / 4
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mean = np.einsum("ij,ijk->k", p, w)
    var = np.einsum("ij,ijk->k", p, (w - mean) ** 2)
    return Known(po.Model.from_numpyro(program), (x, y), mean, var, site("w"))


def regression() -> Known:
    oracle = conjugate()
    return Known(
        oracle.model,
        oracle.data,
        oracle.mean,
        np.diag(oracle.cov),
        lambda posterior: np.asarray(posterior.distribution.theta, float),
    )


def site(name: str) -> Callable[[po.Posterior], np.ndarray]:
    return lambda posterior: np.asarray(posterior.weights(name), float)


POSTERIORS = {p.__name__: p for p in (narrow_gaussian, logistic_regression, regression)}


# -- the check ------------------------------------------------------------------------------------


def assert_exact(known: Known, method: Any, seed: int, comparisons: int) -> None:
    """r-hat, effective sample size, and every mean and variance within its Monte Carlo error.

    Args:
        comparisons: how many in all the declared rate of failure is shared by.
    """
    posterior = po.fit(known.model, known.data, method, seed=seed, progress=False)
    draws = known.draws(posterior)
    assert rhat(draws).max() < 1.01
    assert ess_bulk(draws).min() >= ENOUGH, ess_bulk(draws)
    assert_moments(draws, known, comparisons)


def assert_moments(draws: np.ndarray, known: Known, comparisons: int) -> None:
    squares = (draws - known.mean) ** 2
    for values, truth in ((draws, known.mean), (squares, known.var)):
        z = (values.mean(axis=(0, 1)) - truth) / mcse_mean(values)
        assert np.abs(z).max() < z_limit(comparisons), z


# Draws for an ESS of 6,400 at the least, by posterior: what is narrow and turned takes more where
# the metric is diagonal.
METHODS = {
    "NUTS": lambda draws: po.NUTS(draws=draws),
    "NUTS, dense": lambda draws: po.NUTS(draws=draws, metric="dense"),
    "HMC": lambda draws: po.HMC(leapfrogs=16, draws=draws, metric="dense"),
    "MAMCLMC": lambda draws: po.MAMCLMC(draws=draws, length=2.0),
}
DRAWS = {
    ("narrow_gaussian", "NUTS"): 4_000,
    ("narrow_gaussian", "NUTS, dense"): 3_000,
    ("narrow_gaussian", "HMC"): 4_000,
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_means_and_variances(posterior: str, name: str) -> None:
    known = POSTERIORS[posterior]()
    method = METHODS[name](DRAWS.get((posterior, name), 6_000))
    comparisons = 2 * known.mean.size * len(SEEDS)
    for seed in SEEDS:
        assert_exact(known, method, seed, comparisons)


# -- faults ---------------------------------------------------------------------------------------


def accept_always(patch: pytest.MonkeyPatch) -> None:
    """HMC that takes every end of a path, though it says how many it should have taken."""
    honest = hmc.fixed_length

    def path(density: Any, metric: Any, key: Any, start: Point, step: Any, count: Any) -> Path:
        said = honest(density, metric, key, start, step, count)
        end = jax.lax.fori_loop(
            0, count, lambda _, point: paths.leapfrog(density, metric, point, step), start
        )
        return said._replace(theta=end.theta, gradient=end.gradient, log_joint=end.log_joint)

    patch.setattr(hmc, "fixed_length", path)


def wrong_sign(patch: pytest.MonkeyPatch) -> None:
    """The second half of the momentum's step goes downhill."""

    def leapfrog(density: Any, metric: Any, point: Point, step: Any) -> Point:
        half = point.momentum + 0.5 * step * point.gradient
        theta = point.theta + step * metric.velocity(half)
        log_joint, gradient = density(theta)
        return Point(theta, half - 0.5 * step * gradient, gradient, log_joint)

    patch.setattr(paths, "leapfrog", leapfrog)


def metric_not_inverted(patch: pytest.MonkeyPatch) -> None:
    """Momenta from N(0, M⁻¹) in place of N(0, M)."""
    patch.setattr(metrics.Diagonal, "momentum", lambda self, noise: noise * jnp.sqrt(self.var))


def stale_gradient(patch: pytest.MonkeyPatch) -> None:
    """A step reports the gradient of where it came from."""
    honest = paths.leapfrog

    def leapfrog(density: Any, metric: Any, point: Point, step: Any) -> Point:
        return honest(density, metric, point, step)._replace(gradient=point.gradient)

    patch.setattr(paths, "leapfrog", leapfrog)


def shifted(patch: pytest.MonkeyPatch) -> None:
    """Draws reported a tenth of a posterior sd off."""
    sd = jnp.sqrt(jnp.asarray(np.diag(conjugate().cov), jnp.float32))
    patch.setattr(hmc.HMC, "theta", lambda self, state: state.position + 0.1 * sd)


def path_not_reset(patch: pytest.MonkeyPatch) -> None:
    """A refused path leaves the gradient of its end behind."""
    honest = hmc.fixed_length

    def path(density: Any, metric: Any, key: Any, start: Point, *rest: Any) -> Path:
        found = honest(density, metric, key, start, *rest)
        refused = jnp.all(found.theta == start.theta)
        return found._replace(gradient=jnp.where(refused, 2 * found.gradient, found.gradient))

    patch.setattr(hmc, "fixed_length", path)


@pytest.fixture
def fresh_compilations() -> Iterator[None]:
    """Compiled code knows nothing of a patch, and must not outlive it."""
    jax.clear_caches()
    yield
    jax.clear_caches()


# Steps long enough that their errors matter, as an aim of 0.6 makes them.
LOOSE = po.HMC(leapfrogs=6, target_acceptance=0.6, draws=10_000)


def assert_one_exact() -> None:
    known = regression()
    assert_exact(known, LOOSE, 0, 2 * known.mean.size)


@pytest.mark.usefixtures("fresh_compilations")
def test_the_check_passes_without_a_fault() -> None:
    assert_one_exact()


@pytest.mark.usefixtures("fresh_compilations")
@pytest.mark.parametrize(
    "fault",
    [accept_always, wrong_sign, metric_not_inverted, stale_gradient, shifted, path_not_reset],
    ids=lambda fault: fault.__name__,
)
def test_faults_are_caught(fault: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        assert_one_exact()
