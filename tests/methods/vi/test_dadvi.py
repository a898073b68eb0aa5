"""DADVI: exact on quadratics, converged by itself, and honest about its draws."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from oracles import Conjugate, conjugate
from posterity.diagnostics.result import Code
from posterity.distributions.normal import FullRank
from posterity.methods.vi.dadvi import DADVI, Progress, fixed_elbo, fixed_noise
from posterity.model.net_target import Batch, Target

ORACLE = conjugate()


def correlated() -> Conjugate:
    """Columns that share most of what they are: mean-field sds are far too small."""
    rng = np.random.default_rng(5)
    x = (rng.normal(size=(50, 1)) + 0.3 * rng.normal(size=(50, 4))).astype(np.float32)
    y = (x.sum(1) + 0.5 * rng.normal(size=50)).astype(np.float32).astype(float)
    return Conjugate(x, y, noise=0.5, prior=1.5)


def fit(method: DADVI, oracle: Conjugate = ORACLE, **settings: Any) -> po.Posterior:
    return po.fit(oracle.model, oracle.data, method, progress=False, **settings)


# The gradient is below 1e-3 in units of sd, and the least eigenvalue of the correlations of the
# precision is 0.3: means are within 0.004 sd.
@pytest.mark.parametrize("seed", [0, 1])
def test_it_converges_to_the_mean_field_optimum(seed: int) -> None:
    """With uncorrelated draws the ELBO of a quadratic is exact, and so is its optimum."""
    posterior = fit(DADVI(), seed=seed)
    assert posterior.result.code is Code.CONVERGED
    assert posterior.result.ok
    q = posterior.distribution
    width = np.sqrt(np.diag(ORACLE.cov))
    np.testing.assert_array_less(np.abs(np.asarray(q.mean) - ORACLE.mean) / width, 4e-3)
    np.testing.assert_allclose(q.sd, ORACLE.mean_field_sd, rtol=1e-3)
    assert posterior.history.elbo[-1] == pytest.approx(ORACLE.best_elbo, abs=1e-3)


def test_few_draws_are_off_by_their_monte_carlo_error() -> None:
    """D > S/2: the columns of the draws correlate by √(2/S), and so the sds are off by as much."""
    oracle = conjugate(columns=12)
    posterior = fit(DADVI(draws=16), oracle)
    assert posterior.result.code is Code.CONVERGED
    ratio = np.asarray(posterior.distribution.sd) / oracle.mean_field_sd
    assert 1e-3 < np.abs(ratio - 1).max() < 4 * math.sqrt(2 / 16)


def test_linear_response_recovers_the_exact_covariance() -> None:
    """Mean-field sds are 2.5 times too small here; the response is exact to 1e-4."""
    oracle = correlated()
    scale = np.sqrt(np.diag(oracle.cov))
    assert (scale / oracle.mean_field_sd).max() > 2
    posterior = fit(DADVI(linear_response=True), oracle)
    assert posterior.result.code is Code.CONVERGED
    assert isinstance(posterior.distribution, FullRank)
    cov = np.asarray(posterior.distribution.cov)
    np.testing.assert_allclose(
        cov / np.outer(scale, scale), oracle.cov / np.outer(scale, scale), atol=1e-3
    )
    plain = fit(DADVI(), oracle).distribution
    np.testing.assert_allclose(plain.sd, oracle.mean_field_sd, rtol=1e-3)
    np.testing.assert_array_equal(plain.mean, posterior.distribution.mean)


@pytest.mark.parametrize("kl_weight", [0.25, 4.0])
def test_a_tempered_target_has_the_tempered_optimum_and_response(kl_weight: float) -> None:
    """Weight w on the KL is the posterior of noise² w."""
    tempered = dataclasses.replace(ORACLE, noise=ORACLE.noise * math.sqrt(kl_weight))
    target = Target.build(ORACLE.model, (3,), (), 40, kl_weight)
    batch = Batch(*(jnp.asarray(a, jnp.float32) for a in ORACLE.data))
    method = DADVI(linear_response=True)
    key = jax.random.key(0)
    step = jax.jit(lambda state: method.step(key, target, state, batch))
    state = method.init(key, target, jnp.zeros(3))
    for _ in range(30):
        state, info = step(state)
    assert bool(info.still)
    np.testing.assert_allclose(jnp.exp(state.phi[1]), tempered.mean_field_sd, rtol=1e-3)
    state, _ = step(state._replace(phase=jnp.ones_like(state.phase)))
    np.testing.assert_allclose(
        state.chol @ state.chol.T, tempered.cov, atol=1e-3 * np.abs(tempered.cov).max()
    )


def test_a_prior_that_is_not_normal_is_sampled_with_the_same_draws() -> None:
    """A normal prior that is not known to be one: quadratic, so that the optimum is as exact."""
    same = dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), dist.transforms.AffineTransform(0.0, ORACLE.prior)
    )
    model = po.Model(ORACLE.model.net, same, ORACLE.model.likelihood)
    q = po.fit(model, ORACLE.data, DADVI(), progress=False).distribution
    np.testing.assert_allclose(q.sd, ORACLE.mean_field_sd, rtol=1e-3)


def test_the_draws_have_the_moments_of_the_normal() -> None:
    like = jnp.zeros(7)
    noise = np.asarray(fixed_noise(jax.random.key_data(jax.random.key(3)), 30, like), np.float64)
    np.testing.assert_allclose(noise.T @ noise / 30, np.eye(7), atol=1e-5)
    few = np.asarray(fixed_noise(jax.random.key_data(jax.random.key(3)), 6, like), np.float64)
    np.testing.assert_allclose((few**2).mean(0), 1, atol=1e-5)
    for pairs in (noise, few):
        np.testing.assert_array_equal(pairs.mean(0), 0)
        np.testing.assert_allclose((pairs**3).mean(0), 0, atol=1e-6)


def test_the_same_seed_has_the_same_draws_and_the_objective_is_theirs() -> None:
    first, again = (fit(DADVI(draws=4), seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.history.elbo, again.history.elbo)
    target, (x, y) = first.target, ORACLE.data
    batch = Batch(jnp.asarray(x), jnp.asarray(y, jnp.float32))
    q = first.distribution
    values = [
        float(fixed_elbo(target, jnp.stack([q.mean, jnp.log(q.sd)]), noise, batch))
        for noise in jax.random.normal(jax.random.key(9), (2, 20_000, 3))
    ]
    found = po.elbo(first, ORACLE.data)
    assert values[0] == pytest.approx(found.value, abs=5 * found.error)
    assert values[0] != values[1]


def moons_model() -> po.Model:
    net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
    return po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli())


def test_a_network_converges_by_itself(moons: tuple[np.ndarray, ...]) -> None:
    """Mean-field optima of this net lie at −114.2, −116.3 and −119.7 nats."""
    x, y, _, _ = moons
    posterior = po.fit(moons_model(), (x, y), DADVI(), progress=False)
    assert posterior.result.code is Code.CONVERGED
    assert posterior.history.still[-1]
    assert po.elbo(posterior, (x, y)).value > -118


def test_fitting_the_draws_is_told(moons: tuple[np.ndarray, ...]) -> None:
    """40 parameters suit 20 draws so well that other draws see another ELBO."""
    x, y, _, _ = moons
    posterior = po.fit(moons_model(), (x, y), DADVI(draws=20), progress=False)
    (warning,) = posterior.result.warnings
    assert "nats above that of new ones" in warning
    assert "20 draws. Raise draws." in warning
    assert posterior.history.elbo[-1] - po.elbo(posterior, (x, y)).value > 10


def test_too_few_steps_are_told() -> None:
    posterior = fit(DADVI(steps=2))
    assert posterior.result.code is Code.COMPLETED
    assert any("not converged" in warning for warning in posterior.result.warnings)


def test_no_linear_response_without_an_optimum_is_told() -> None:
    """Before the first step the ELBO of this net is not concave: q's own sds are what there is."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 1))
    model = po.Model(po.nets.MLP(1, [5], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    method = DADVI(steps=1, linear_response=True)
    posterior = po.fit(model, (x, np.sin(3 * x[:, 0])), method, progress=False)
    assert any("no linear response" in warning for warning in posterior.result.warnings)
    chol = np.asarray(posterior.distribution.chol)
    np.testing.assert_array_equal(chol, np.diag(np.diag(chol)))
    assert (np.diag(chol) > 0).all()


def test_a_slow_run_is_told() -> None:
    info = {name: np.zeros((1, 2)) for name in ("elbo", "fresh_elbo", "gradient_norm")}
    target = Target.build(ORACLE.model, (3,), (), 40)
    (sentence,) = DADVI().advice(target, info, Progress(converged=True, seconds=12.0))
    assert "took 12 seconds" in sentence
    assert "batch_size" in sentence


def test_draws_are_added_with_the_parameters_as_far_as_the_rows_allow() -> None:
    for rows, wide, draws in ((40, 3, 30), (40, 60, 120), (100_000, 60, 30), (20_000, 60, 52)):
        model = conjugate(rows=2, columns=wide).model
        assert DADVI()._count(rows, Target.build(model, (wide,), (), rows).size) == draws


def test_a_model_too_large_for_its_draws_is_refused() -> None:
    model = po.Model(po.nets.MLP(50, [50], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    with pytest.raises(ValueError, match=r"30000 fixed draws of 2601 parameters.*ADVI or IVON"):
        po.fit(model, (np.zeros((5, 50)), np.arange(5.0)), DADVI(draws=30_000), progress=False)


def test_linear_response_is_refused_for_a_large_model() -> None:
    model = po.Model(po.nets.MLP(50, [50], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    with pytest.raises(ValueError, match="up to 2000 parameters"):
        po.fit(
            model, (np.zeros((5, 50)), np.arange(5.0)), DADVI(linear_response=True), progress=False
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be a whole number from 1"),
        ({"draws": 31}, "draws come in pairs"),
        ({"draws": 0}, "draws must be a whole number from 1"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"init_scale": -1.0}, "init_scale must be positive"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DADVI(**settings)
