"""Stochastic-gradient samplers against exact posteriors, over five seeds, with faults put in."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from oracles import Conjugate, conjugate, z_limit
from posterity.methods.sgmcmc.sgld import SGLD
from posterity.methods.sgmcmc.stochastic import Now
from posterity.model.target import AbstractTarget

pytestmark = pytest.mark.slow

SEEDS = range(5)
CHAINS = 8
# So many rows that the Fisher information of the rows there are is the precision to 1 %.
LARGE = conjugate(rows=20_000)
SMALL = conjugate(rows=200)
STEEPEST = float(np.linalg.eigvalsh(LARGE.precision)[-1])


def whitened(posterior: po.Posterior, oracle: Conjugate) -> np.ndarray:
    """Draws (chain, draw, D) in coordinates where the exact posterior is N(0, I)."""
    root = np.linalg.cholesky(oracle.precision)
    return (np.asarray(posterior.distribution.theta, np.float64) - oracle.mean) @ root


def covariance_error(posterior: po.Posterior, oracle: Conjugate) -> tuple[float, float]:
    """Largest relative error of a variance in any direction, and its Monte Carlo error."""
    draws = whitened(posterior, oracle)
    of_chains = np.stack([chain.T @ chain / len(chain) for chain in draws])
    values, vectors = np.linalg.eigh(of_chains.mean(0))
    worst = int(np.argmax(np.abs(values - 1)))
    along = np.einsum("i,cij,j->c", vectors[:, worst], of_chains, vectors[:, worst])
    return float(values[worst] - 1), float(along.std(ddof=1) / np.sqrt(len(along)))


def scored(seed: int, **settings: Any) -> po.Posterior:
    # A batch of 1,000 makes γ = 21: a chain forgets in some ten steps.
    method = po.SGFS(
        draws=10_000, thin=10, warmup=2_000, batch_size=1_000, chains=CHAINS, **settings
    )
    return po.fit(LARGE.model, LARGE.data, method, seed=seed, progress=False)


NORMAL_LIMIT = {
    "identity": {"step_size": 1e3},
    "fisher": {"step_size": 1e3, "preconditioner": "fisher"},
}


@pytest.mark.parametrize("settings", NORMAL_LIMIT.values(), ids=NORMAL_LIMIT)
@pytest.mark.parametrize("seed", SEEDS)
def test_fisher_scoring_in_its_normal_limit_has_the_exact_covariance(
    settings: dict[str, Any], seed: int
) -> None:
    posterior = scored(seed, **settings)
    error, its = covariance_error(posterior, LARGE)
    assert its < 0.05 / 4  # first that it is known well enough
    assert abs(error) < 0.05, error
    means = whitened(posterior, LARGE).mean(1)
    z = means.mean(0) / (means.std(0, ddof=1) / np.sqrt(CHAINS))
    assert np.abs(z).max() < t_limit(3), z


@pytest.mark.parametrize("seed", SEEDS)
def test_langevin_at_such_steps_is_off_by_a_fifth_and_more(seed: int) -> None:
    """SGFS with B = I and ε takes steps of SGLD's ε / 2; at a thousandth of those SGLD is off."""
    method = po.SGLD(
        draws=2_000, thin=10, warmup=2_000, batch_size=1_000, chains=CHAINS, step_size=1 / STEEPEST
    )
    posterior = po.fit(LARGE.model, LARGE.data, method, seed=seed, progress=False)
    error, its = covariance_error(posterior, LARGE)
    assert error > 0.2 + 5 * its


@pytest.mark.parametrize("seed", SEEDS)
def test_the_noise_estimate_takes_the_gradients_heat_off(seed: int) -> None:
    """SGHMC at a step where the noise heats it by a third: with V̂ it is right.

    The columns are independent: V̂ has the variances of the noise, not its correlations.
    """
    rng = np.random.default_rng(11)
    x = rng.normal(size=(2_000, 3)).astype(np.float32)
    oracle = Conjugate(x, x @ np.array([1.0, -0.5, 0.3]) + 0.5 * rng.normal(size=2_000), 0.5, 1.5)
    step = 0.1 / np.sqrt(np.linalg.eigvalsh(oracle.precision)[-1])
    kept = {"draws": 10_000, "thin": 20, "warmup": 20_000, "batch_size": 100, "chains": CHAINS}
    error, its = {}, {}
    for estimate in (False, True):
        method = po.SGHMC(step_size=step, noise_estimate=estimate, **kept)
        object.__setattr__(method, "replacement", True)  # the same noise for both
        posterior = po.fit(oracle.model, oracle.data, method, seed=seed, progress=False)
        error[estimate], its[estimate] = covariance_error(posterior, oracle)
    assert its[True] < 0.02
    assert abs(error[True]) < 0.05 * error[False] + t_limit(1) * its[True], error
    assert error[False] > 0.5, error


def t_limit(comparisons: int) -> float:
    """As `z_limit`, for means over `CHAINS` chains whose spread is estimated from them."""
    from scipy.stats import t

    from oracles import FAILURE_RATE

    return float(t.ppf(1 - FAILURE_RATE / comparisons / 2, CHAINS - 1))


def exact_at_small_steps(seed: int = 0) -> tuple[float, float]:
    """SGLD on all rows at a step whose bias is known: error less bias, and its error."""
    precision = SMALL.precision
    step = 0.02 / float(np.linalg.eigvalsh(precision)[-1])
    method = po.SGLD(draws=20_000, thin=25, warmup=5_000, step_size=step, chains=CHAINS)
    posterior = po.fit(SMALL.model, SMALL.data, method, seed=seed, progress=False)
    known = np.mean(1 / (1 - step * np.linalg.eigvalsh(precision) / 2))
    of_chains = (whitened(posterior, SMALL) ** 2).mean((1, 2)) - known
    return float(of_chains.mean()), float(of_chains.std(ddof=1) / np.sqrt(CHAINS))


@pytest.mark.parametrize("seed", SEEDS)
def test_langevin_has_its_known_bias(seed: int) -> None:
    error, its = exact_at_small_steps(seed)
    assert its < 0.02
    assert abs(error) < t_limit(1) * its


def test_faults_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of half the variance in SGLD; and in SGFS a missing N/B and two wrong γ."""
    now = SGLD._now

    def colder(self: SGLD, going: Any) -> Now:
        return now(self, going)._replace(heat=jnp.asarray(0.5))

    with monkeypatch.context() as patch:
        patch.setattr(SGLD, "_now", colder)
        jax.clear_caches()
        error, its = exact_at_small_steps()
        assert abs(error) > t_limit(1) * its
    faults = {
        "scaled": ("summed", lambda self, mean: 1_000 * mean),  # N/B missing: the sum over B rows
        "γ = 1": ("batch_noise", lambda self, cov, batch: 0.0 * cov),
        "γ = N": ("batch_noise", lambda self, cov, batch: self.rows**2 / batch * cov * 4),
    }
    for name, (method, faulty) in faults.items():
        with monkeypatch.context() as patch:
            patch.setattr(AbstractTarget, method, faulty)
            jax.clear_caches()
            error, _ = covariance_error(scored(0, step_size=1e3), LARGE)
            assert not abs(error) < 0.05, (name, error)
    jax.clear_caches()


def test_limit_of_the_t_distribution_is_wider_than_the_normal() -> None:
    assert t_limit(1) > z_limit(1)
