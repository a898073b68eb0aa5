"""SGHMC and SGNHT: exact steps on a normal posterior, the noise's heat, recovery at rest."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from oracles import conjugate
from posterity.data.batches import as_batches
from posterity.model.net_target import Target

ORACLE = conjugate()
TARGET = Target.build(ORACLE.model, ORACLE.x.shape[1:], (), 40)
FULL = as_batches(ORACLE.data, ORACLE.model.likelihood, None).full
STEP, FRICTION = 0.05, 0.2


def linear_step() -> np.ndarray:
    """(θ, v) → the next, without noise, around the mean: written out from the docstring."""
    eye, zero = np.eye(3), np.zeros((3, 3))
    drift = np.block([[eye, STEP / 2 * eye], [zero, eye]])
    kick = np.block([[eye, zero], [-STEP / 2 * ORACLE.precision, eye]])
    rub = np.block([[eye, zero], [zero, (1 - FRICTION) * eye]])
    return drift @ kick @ rub @ kick @ drift


def test_a_step_of_sghmc_is_the_one_in_its_docstring() -> None:
    method = po.SGHMC(draws=1, step_size=STEP, friction=FRICTION, temperature=0.0)
    theta, momentum = ORACLE.mean + np.array([0.1, -0.2, 0.3]), np.array([1.0, 0.5, -0.5])
    state = method.init(jax.random.key(0), TARGET, jnp.asarray(theta, jnp.float32))
    state = state._replace(momentum=jnp.asarray(momentum, jnp.float32))
    new, _ = method.step(jax.random.key(1), TARGET, state, FULL)
    expected = linear_step() @ np.concatenate([theta - ORACLE.mean, momentum])
    found = np.concatenate([new.position - ORACLE.mean, new.momentum])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_its_law_has_the_exact_covariance_of_a_normal_posterior() -> None:
    """The Lyapunov equation of the step, with the noise of its docstring: no bias in θ."""
    from scipy.linalg import solve_discrete_lyapunov

    eye, zero = np.eye(3), np.zeros((3, 3))
    drift = np.block([[eye, STEP / 2 * eye], [zero, eye]])
    kick = np.block([[eye, zero], [-STEP / 2 * ORACLE.precision, eye]])
    noise = (drift @ kick)[:, 3:] * np.sqrt(1 - (1 - FRICTION) ** 2)
    law = solve_discrete_lyapunov(linear_step(), noise @ noise.T)
    np.testing.assert_allclose(law[:3, :3], ORACLE.cov, rtol=1e-8)


@pytest.mark.parametrize("kind", [po.SGHMC, po.SGNHT])
def test_friction_takes_as_much_as_noise_gives(kind: type) -> None:
    """Steps too short to move: v′ = (1 − α) v + √(1 − (1 − α)²) η, element by element."""
    method = kind(draws=1, step_size=1e-6, friction=0.5)
    state = method.init(jax.random.key(0), TARGET, jnp.zeros(3))
    state = state._replace(momentum=jnp.asarray([1.0, 0.0, -2.0]))
    keys = jax.random.split(jax.random.key(1), 20_000)
    step = jax.vmap(lambda key: method.step(key, TARGET, state, FULL)[0].momentum)
    noise = np.asarray(step(keys), np.float64) - 0.5 * np.asarray(state.momentum)
    error = np.sqrt(1 - 0.5**2) / np.sqrt(20_000)
    assert np.abs(noise.mean(0)).max() < 5 * error + 1e-3
    np.testing.assert_allclose(np.cov(noise.T), 0.75 * np.eye(3), atol=0.75 * 5 * np.sqrt(2 / 2e4))


def test_a_thermostat_at_its_mean_is_sghmc_with_that_friction() -> None:
    thermostat = po.SGNHT(draws=1, step_size=1e-6, friction=FRICTION)
    state = thermostat.init(jax.random.key(0), TARGET, jnp.zeros(3))
    np.testing.assert_allclose(np.exp(-state.friction), 1 - FRICTION, rtol=1e-6)
    state = state._replace(momentum=jnp.ones(3))
    keys = jax.random.split(jax.random.key(1), 20_000)
    step = jax.vmap(lambda key: thermostat.step(key, TARGET, state, FULL)[0].momentum)
    moved = np.asarray(step(keys), np.float64)
    keep = 1 - FRICTION
    assert np.abs(moved.mean() - keep) < 5 * np.sqrt((1 - keep**2) / 60_000) + 1e-3
    assert np.abs(moved.var(0).mean() - (1 - keep**2)) < 5 * np.sqrt(2 / 60_000)


def test_a_thermostat_cools_what_noisy_gradients_heat() -> None:
    """ξ rises until the mean of v² is one; SGHMC's v² stays too large at the same step."""
    kept = {"draws": 2_000, "thin": 5, "batch_size": 20, "step_size": 0.004, "friction": 0.05}
    oracle = conjugate(rows=400)
    heat = {}
    for name, method in {"SGHMC": po.SGHMC(**kept), "SGNHT": po.SGNHT(**kept)}.items():
        object.__setattr__(method, "replacement", True)
        posterior = po.fit(oracle.model, oracle.data, method, progress=False)
        white = (np.asarray(posterior.distribution.theta[0]) - oracle.mean) @ np.linalg.cholesky(
            oracle.precision
        )
        heat[name] = float((white**2).mean())
    assert heat["SGHMC"] > 2 * heat["SGNHT"], heat
    assert 0.5 < heat["SGNHT"] < 1.5, heat


@pytest.mark.parametrize("method", [po.SGHMC(step_size=0.1), po.SGNHT(step_size=0.1)])
def test_a_failed_step_is_tried_again_from_rest_with_half_the_step(method) -> None:
    state = method.init(jax.random.key(0), TARGET, jnp.zeros(3))._replace(momentum=jnp.ones(3))
    back = method.retreat(state)
    np.testing.assert_array_equal(back.momentum, 0)
    assert float(back.going.shrink) == 0.5
    _, info = method.step(jax.random.key(1), TARGET, back, FULL)
    np.testing.assert_allclose(info.step_size, 0.05, rtol=1e-6)


def test_friction_is_a_share() -> None:
    for method in (po.SGHMC, po.SGNHT):
        with pytest.raises(ValueError, match="friction must lie between 0 and 1"):
            method(step_size=0.1, friction=1.0)
