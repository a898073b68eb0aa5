"""SGLD: BlackJAX's step, preconditioners, temperature, and what is refused."""

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
BATCHES = as_batches(ORACLE.data, ORACLE.model.likelihood, 10)


def test_a_step_is_blackjax_s() -> None:
    import blackjax.sgmcmc.sgld as theirs

    method, key = po.SGLD(draws=1, step_size=1e-3), jax.random.key(3)
    batch = BATCHES.batch(BATCHES.start(key), 0)
    state = method.init(key, TARGET, jnp.array([0.1, 0.2, 0.3]))
    ours, _ = method.step(key, TARGET, state, batch)
    slope = jax.grad(TARGET.log_joint)
    expected = theirs.build_kernel()(key, state.position, slope, batch, 1e-3)
    np.testing.assert_allclose(ours.position, expected, rtol=1e-6)


def test_a_preconditioner_is_a_change_of_scale() -> None:
    """With P the posterior's variances, ε = 0.1 forgets in about ten steps, in all directions."""
    var = np.diag(ORACLE.cov)
    method = po.SGLD(draws=4_000, thin=5, step_size=0.02, preconditioner=var, chains=4)
    posterior = po.fit(ORACLE.model, ORACLE.data, method, progress=False)
    draws = np.asarray(posterior.distribution.theta, np.float64)
    precision, scale = ORACLE.precision, np.diag(var)
    widened = precision @ (np.eye(3) - 0.02 * scale @ precision / 2)
    found = np.cov(draws.reshape(-1, 3).T)
    np.testing.assert_allclose(np.diag(found), np.diag(np.linalg.inv(widened)), rtol=0.15)


def test_temperature_zero_descends_and_says_it_is_tempered() -> None:
    method = po.SGLD(draws=10, warmup=3_000, step_size=2e-3, temperature=0.0)
    posterior = po.fit(ORACLE.model, ORACLE.data, method, progress=False)
    np.testing.assert_allclose(posterior.sample(1)[0, 0], ORACLE.mean, atol=1e-3)
    assert any("temperature 0" in warning for warning in posterior.result.warnings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"step_size": -1.0}, "step_size must be positive"),
        ({"step_size": 1e-3, "preconditioner": "adam"}, 'must be one of "rmsprop"'),
        ({"step_size": 1e-3, "preconditioner": [1.0, -1.0]}, r"preconditioner\[1\] = -1"),
        ({"step_size": 1e-3, "preconditioner": np.eye(2)}, r"of shape \(2, 2\)"),
        ({"warmup": 0}, "no time to learn"),
        ({"step_size": 1e-3, "temperature": -1.0}, "temperature must be 0 or more"),
        ({"bias": 0.0}, "bias must be positive"),
        ({"step_size": 1e-3, "draws": 0}, "draws must be a whole number"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        po.SGLD(**settings)


def test_a_preconditioner_of_another_size_is_refused_with_the_parameters() -> None:
    method = po.SGLD(draws=5, step_size=1e-3, preconditioner=np.ones(4))
    with pytest.raises(ValueError, match=r"4 rows for 3 numbers in θ \(layers.0.weight\)"):
        po.fit(ORACLE.model, ORACLE.data, method, progress=False)
