"""Families against exact posteriors: what each can represent it finds, and nothing else."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from oracles import Conjugate, conjugate, z_limit
from posterity.methods.vi import objectives
from posterity.methods.vi.families import as_family
from posterity.methods.vi.families.family import AbstractFamily
from posterity.methods.vi.families.flow import Flow
from posterity.methods.vi.families.full_rank import FullRank
from posterity.methods.vi.families.low_rank import LowRank
from posterity.methods.vi.families.mean_field import MeanField
from posterity.model.net_target import Target

FAMILIES = [MeanField(), FullRank(), LowRank(2), Flow(2, 8)]
names = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)


def correlated() -> Conjugate:
    """A regression whose weights are correlated up to 0.9 under the posterior."""
    rng = np.random.default_rng(3)
    common = rng.normal(size=(60, 1))
    x = 0.5 * rng.normal(size=(60, 4)) + common * np.array([1.0, 0.9, 1.1, -1.0])
    y = x @ np.array([1.0, -0.5, 0.3, 0.8]) + 0.5 * rng.normal(size=60)
    return Conjugate(x.astype(np.float32), y.astype(np.float32).astype(float), 0.5, 1.5)


ORACLE = correlated()


def covariance_error(posterior: po.Posterior) -> float:
    """Largest error of the covariance, in units of the exact standard deviations."""
    q = posterior.distribution
    cov = np.diag(np.asarray(q.sd) ** 2) if not hasattr(q, "cov") else np.asarray(q.cov)
    sd = np.sqrt(np.diag(ORACLE.cov))
    return float(np.abs((cov - ORACLE.cov) / np.outer(sd, sd)).max())


def fit(family: str | AbstractFamily, **settings) -> po.Posterior:
    method = po.ADVI(**{"steps": 12_000, "draws": 16, "stop": False, "family": family, **settings})
    return po.fit(ORACLE.model, ORACLE.data, method, progress=False)


@pytest.mark.parametrize("kl", ["closed", "sticking"])
@pytest.mark.parametrize("family", ["full-rank", LowRank(4)], ids=["full-rank", "low-rank"])
def test_a_correlated_posterior_is_recovered(family: str | AbstractFamily, kl: str) -> None:
    """Covariance to 2 %: of optimisation with iterates averaged, not of sampling."""
    posterior = fit(family, kl=kl, draws=64)
    assert covariance_error(posterior) < 0.02
    sd = np.sqrt(np.diag(ORACLE.cov))
    np.testing.assert_array_less(np.abs(posterior.distribution.mean - ORACLE.mean) / sd, 0.02)


def test_mean_field_does_not_recover_it() -> None:
    """Its best is known: the conditional sds, far below the marginal ones, and no covariance."""
    posterior = fit("mean-field")
    np.testing.assert_allclose(posterior.distribution.sd, ORACLE.mean_field_sd, rtol=0.02)
    assert covariance_error(posterior) > 0.5


def test_a_flow_reaches_the_evidence() -> None:
    """A normal posterior is within its reach: the ELBO is the evidence but for a few hundredths."""
    posterior = fit(Flow(2, 16), steps=6_000)
    estimate = po.elbo(posterior, ORACLE.data, draws=20_000)
    assert estimate.value < ORACLE.log_evidence + z_limit() * estimate.error
    assert estimate.value > ORACLE.log_evidence - 0.1
    assert estimate.value > ORACLE.best_elbo + 0.5  # what mean-field can reach at most


@names
def test_log_prob_is_that_of_the_draws(family: AbstractFamily) -> None:
    """E over q of p/q is one for a p that q covers: a density off by any factor would show."""
    phi = started(family, size=3)
    noise = jax.random.normal(jax.random.key(1), (20_000, family.noise_size(3)))
    thetas, log_q = jax.jit(family.push_with_log_prob)(phi, noise)
    mean, sd = np.mean(thetas, axis=0), np.std(thetas, axis=0)
    narrow = dist.MultivariateNormal(jnp.asarray(mean), jnp.diag(jnp.asarray(0.25 * sd**2)))
    weights = np.exp(np.asarray(narrow.log_prob(thetas) - log_q, np.float64))
    error = weights.std() / np.sqrt(weights.size)
    assert abs(weights.mean() - 1) < z_limit() * error
    np.testing.assert_allclose(
        jax.jit(family.log_prob)(phi, thetas[:50]), log_q[:50], rtol=1e-3, atol=1e-3
    )


@names
def test_moments_are_those_of_the_draws(family: AbstractFamily) -> None:
    phi = started(family, size=3)
    noise = jax.random.normal(jax.random.key(2), (20_000, family.noise_size(3)))
    thetas = np.asarray(jax.jit(family.push)(phi, noise), np.float64)
    mean, sd = (np.asarray(part, np.float64) for part in jax.jit(family.mean_and_sd)(phi))
    # The flow's own moments are of 4,096 draws; those of the others are exact.
    share = 1 / np.sqrt(20_000) + (1 / np.sqrt(4_096) if isinstance(family, Flow) else 0)
    assert np.abs((thetas.mean(0) - mean) / sd).max() < z_limit(6) * share
    fourth = np.mean(((thetas - thetas.mean(0)) / thetas.std(0)) ** 4, axis=0).max()
    assert np.abs(thetas.var(0) / sd**2 - 1).max() < z_limit(6) * np.sqrt(fourth) * share


def both_kls(family: AbstractFamily, target: Target, phi, noise):
    thetas, log_q = objectives.draw(family, phi, noise, "sampled")
    sampled = log_q - jax.vmap(target.log_prior)(thetas)
    return sampled, objectives.kl(target, family, phi, thetas)


@pytest.mark.parametrize("family", FAMILIES[:3], ids=lambda family: type(family).__name__)
def test_closed_and_sampled_kl_agree(family: AbstractFamily) -> None:
    """Under a normal prior, a mixed one, and one with a bounded support."""
    for prior in (
        po.priors.Normal(0.3, 0.7),
        {"*.weight": dist.Laplace(0.0, 1.0), "*": dist.Normal(0.0, 0.5)},
        {"*.weight": dist.HalfNormal(1.0), "*": dist.Normal(0.0, 0.5)},
    ):
        model = po.Model(po.nets.MLP(2, [2], 1), prior, po.likelihoods.Normal(0.5))
        target = Target.build(model, (2,), (), 10)
        phi = started(family, target.size)
        noise = jax.random.normal(jax.random.key(3), (20_000, family.noise_size(target.size)))
        sampled, closed = eqx.filter_jit(both_kls)(family, target, phi, noise)
        sampled = np.asarray(sampled, np.float64)
        assert abs(closed - sampled.mean()) < z_limit() * sampled.std() / np.sqrt(sampled.size)


@pytest.mark.parametrize("family", FAMILIES[:3], ids=lambda family: type(family).__name__)
def test_sticking_the_landing_has_no_noise_at_the_optimum(family: AbstractFamily) -> None:
    """Where q is the target itself, every draw's gradient is zero; else its mean is the same."""
    phi = started(family, size=3)
    exact = jax.lax.stop_gradient(phi)

    def loss(phi, noise, kind):
        thetas, log_q = objectives.draw(family, phi, noise, kind)
        return jnp.mean(log_q - family.log_prob(exact, thetas))

    noise = jax.random.normal(jax.random.key(4), (5, family.noise_size(3)))
    gradient = jax.jit(jax.grad(loss), static_argnums=2)
    stuck, plain = (gradient(phi, noise, kind) for kind in ("sticking", "sampled"))
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(plain))
    for leaf in jax.tree.leaves(stuck):
        np.testing.assert_allclose(leaf, 0, atol=1e-4 * largest)


@pytest.mark.parametrize("settings", [{"kl": "sampled"}, {"kl": "sticking"}, {"antithetic": True}])
def test_objectives_end_in_the_same_optimum(settings: dict) -> None:
    posterior = fit("mean-field", **settings)
    np.testing.assert_allclose(posterior.distribution.sd, ORACLE.mean_field_sd, rtol=0.03)
    sd = np.sqrt(np.diag(ORACLE.cov))
    np.testing.assert_array_less(np.abs(posterior.distribution.mean - ORACLE.mean) / sd, 0.05)


@names
def test_saving_is_exact(family: AbstractFamily, tmp_path) -> None:
    posterior = fit(family, steps=20, draws=2)
    again = po.load(posterior.save(tmp_path / "q"))
    assert type(again.distribution) is type(posterior.distribution)
    np.testing.assert_array_equal(again.sample(5), posterior.sample(5))


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match="mean-field, low-rank"):
        po.ADVI(family="planar")
    with pytest.raises(ValueError, match="independent"):
        po.ADVI(family="full-rank", estimator="local")
    with pytest.raises(ValueError, match="pairs"):
        po.ADVI(draws=3, antithetic=True)
    with pytest.raises(ValueError, match="sticking"):
        po.ADVI(family="flow", kl="sticking")
    assert as_family("low-rank") == LowRank(10)


def started(family: AbstractFamily, size: int):
    """A φ that is nothing special: correlated, of different sds."""
    family.prepare(size)
    key = jax.random.key(0)
    phi = family.init(key, jnp.linspace(-1, 1, size), 0.5)
    keys = iter(jax.random.split(key, 9))
    return jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), phi)


def test_temperature_and_warm_up_are_reported() -> None:
    posterior = fit("mean-field", steps=50, kl_weight=0.1, kl_warmup=0.5)
    assert "not the Bayesian posterior" in posterior.result.warnings[0]
    assert "rose from 0 to 0.1 over the first 50%" in posterior.result.message
    assert posterior.settings["kl_weight"] == 0.1


def test_a_tempered_optimum_is_the_tempered_posterior() -> None:
    """max E log lik − T KL is at the posterior of the likelihood to the power 1/T."""
    tempered = conjugate(noise=0.5 * np.sqrt(0.25))
    oracle = conjugate()
    method = po.ADVI(steps=8_000, draws=64, stop=False, kl_weight=0.25)
    q = po.fit(oracle.model, oracle.data, method, progress=False).distribution
    precision = np.eye(3) / 1.5**2 + oracle.x.T @ oracle.x / tempered.noise**2
    np.testing.assert_allclose(q.sd, 1 / np.sqrt(np.diag(precision)), rtol=0.02)
