"""SGFS: its limit of small steps, its settings, and its sizes on one problem."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from oracles import conjugate
from posterity.data.batches import as_batches
from posterity.model.net_target import Target

ORACLE = conjugate(rows=400)
TARGET = Target.build(ORACLE.model, ORACLE.x.shape[1:], (), 400)
BATCHES = as_batches(ORACLE.data, ORACLE.model.likelihood, 20, replacement=True)
BASE = np.array([[2.0, 0.3, 0.0], [0.3, 1.0, 0.2], [0.0, 0.2, 0.5]])


def moves(method: po.SGFS, keys: jax.Array) -> np.ndarray:
    """First moves from one place on one batch."""
    theta = jnp.array([0.1, 0.2, 0.3])
    batch = BATCHES.batch(BATCHES.start(keys[0]), 0)
    state = method.init(keys[0], TARGET, theta)
    step = jax.vmap(lambda key: method.step(key, TARGET, state, batch)[0].position - theta)
    return np.asarray(jax.jit(step)(keys), np.float64)


@pytest.mark.parametrize("base", [None, BASE], ids=["identity", "matrix"])
def test_small_steps_are_langevin_steps_with_the_inverse_of_b(base) -> None:
    size, keys = 1e-7, jax.random.split(jax.random.key(0), 20_000)
    found = moves(po.SGFS(draws=1, batch_size=20, step_size=size, preconditioner=base), keys)
    batch = BATCHES.batch(BATCHES.start(keys[0]), 0)
    slope = np.asarray(jax.grad(TARGET.log_joint)(jnp.array([0.1, 0.2, 0.3]), batch))
    inverse = np.linalg.inv(np.eye(3) if base is None else base)
    cov = size * inverse
    half = np.linalg.inv(np.linalg.cholesky(cov))
    white = (found - size / 2 * inverse @ slope) @ half.T
    # Means and covariances of 20,000 moves, 9 comparisons; float32 rounds θ at 1e-8.
    assert np.abs(white.mean(0)).max() < 5 / np.sqrt(20_000) + 1e-2
    assert np.abs(white.T @ white / 20_000 - np.eye(3)).max() < 5 * np.sqrt(2 / 20_000) + 1e-2


def test_without_noise_of_its_own_a_step_is_newton_s_over_gamma() -> None:
    """B / ε → 0: 2 (γ N Î + Λ₀)⁻¹ times the gradient, and nothing random."""
    keys = jax.random.split(jax.random.key(0), 3)
    method = po.SGFS(draws=1, batch_size=20, step_size=1e9)
    found = moves(method, keys)
    batch = BATCHES.batch(BATCHES.start(keys[0]), 0)
    theta = np.array([0.1, 0.2, 0.3])
    x, y = np.asarray(batch.x, np.float64), np.asarray(batch.y, np.float64)
    each = x * ((y - x @ theta) / ORACLE.noise**2)[:, None]
    gamma = (20 + 400) / 20
    matrix = gamma * 400 * np.cov(each.T) + np.eye(3) / ORACLE.prior**2
    slope = 400 * each.mean(0) - theta / ORACLE.prior**2
    np.testing.assert_allclose(found[0], 2 * np.linalg.solve(matrix, slope), rtol=1e-3)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)
    papers = moves(po.SGFS(draws=1, batch_size=20, step_size=1e9, with_prior=False), keys)
    matrix = gamma * 400 * np.cov(each.T)
    np.testing.assert_allclose(papers[0], 2 * np.linalg.solve(matrix, slope), rtol=1e-3)


def test_a_tempered_step_is_newton_s_on_the_tempered_density() -> None:
    """Of p^(1/T): information and precision are 1/T of themselves, the noise's variance 1/T²."""
    heat, keys = 3.0, jax.random.split(jax.random.key(0), 1)
    found = moves(po.SGFS(draws=1, batch_size=20, step_size=1e9, temperature=heat), keys)
    batch = BATCHES.batch(BATCHES.start(keys[0]), 0)
    theta = np.array([0.1, 0.2, 0.3])
    x, y = np.asarray(batch.x, np.float64), np.asarray(batch.y, np.float64)
    each = x * ((y - x @ theta) / ORACLE.noise**2)[:, None]
    spread = (400 / heat + 400**2 / 20 / heat**2) * np.cov(each.T)
    slope = (400 * each.mean(0) - theta / ORACLE.prior**2) / heat
    matrix = spread + np.eye(3) / ORACLE.prior**2 / heat
    np.testing.assert_allclose(found[0], 2 * np.linalg.solve(matrix, slope), rtol=1e-3)


@pytest.mark.parametrize("information", ["full", "low-rank", "diagonal"])
@pytest.mark.parametrize("preconditioner", [None, "fisher"])
def test_every_size_samples(information: str, preconditioner: str | None) -> None:
    """Within a fifth of the exact sds; the diagonal's law at long steps is another."""
    method = po.SGFS(
        draws=2_000,
        thin=5,
        batch_size=20,
        information=information,
        preconditioner=preconditioner,
        step_size=4.0 if preconditioner else None,
        chains=2,
    )
    posterior = po.fit(ORACLE.model, ORACLE.data, method, progress=False)
    sd = np.asarray(posterior.distribution.theta, np.float64).reshape(-1, 3).std(0)
    np.testing.assert_allclose(sd, np.sqrt(np.diag(ORACLE.cov)), rtol=0.25)


def test_kept_draws_begin_with_all_that_the_warm_up_learned() -> None:
    """In the warm-up a factorisation serves for long; the first kept step has a fresh one."""
    method = po.SGFS(draws=10, warmup=95, batch_size=20, step_size=0.1)
    keys = jax.random.split(jax.random.key(0), 96)
    batches, state = BATCHES.start(keys[0]), method.init(keys[0], TARGET, jnp.zeros(3))
    step = jax.jit(lambda key, state, batch: method.step(key, TARGET, state, batch)[0])
    batch, renewed = BATCHES.batch(batches, 0), []
    for number, key in enumerate(keys):
        before = np.asarray(state.factor[1])
        state = step(key, state, batch)
        if (np.asarray(state.factor[1]) != before).any():
            renewed.append(number)
    assert renewed[-1] == 95
    assert len(renewed) < 20


def test_step_size_decay_is_short_for_a_schedule() -> None:
    settings = {"draws": 30, "batch_size": 20, "step_size": 0.01}
    short = po.SGFS(step_size_decay=10, **settings)
    long = po.SGFS(schedule=po.schedules.Halving(10), **settings)
    assert short.schedule == long.schedule
    first, second = (
        po.fit(ORACLE.model, ORACLE.data, method, progress=False).sample(30)
        for method in (short, long)
    )
    np.testing.assert_array_equal(first, second)


def test_a_step_size_that_has_fallen_to_nothing_is_no_failure() -> None:
    method = po.SGFS(draws=1_500, warmup=1, batch_size=20, step_size=0.1, step_size_decay=8)
    posterior = po.fit(ORACLE.model, ORACLE.data, method, progress=False)
    assert posterior.history.step_size[0, -1] < 1e-38
    assert not any("not finite" in warning for warning in posterior.result.warnings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "batch_size must be 2 or more"),
        ({"batch_size": 1}, "batch_size must be 2 or more"),
        ({"batch_size": 5, "information": "block"}, 'one of "full", "low-rank", "diagonal"'),
        ({"batch_size": 5, "preconditioner": "rmsprop"}, 'one of "fisher"'),
        ({"batch_size": 5, "preconditioner": -np.eye(3)}, "positive definite"),
        ({"batch_size": 5, "temperature": 0.0}, "temperature must be positive"),
        (
            {"batch_size": 5, "step_size_decay": 5, "schedule": po.schedules.Polynomial(3)},
            "leave one of them out",
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        po.SGFS(**settings)


def test_a_program_has_no_rows_to_score() -> None:
    def program(y=None) -> None:
        loc = numpyro.sample("loc", dist.Normal(0, 1))
        with numpyro.plate("rows", 20):
            numpyro.sample("y", dist.Normal(loc, 1), obs=y)

    model = po.Model.from_numpyro(program)
    with pytest.raises(ValueError, match="batch_size=5 needs data that fall into independent rows"):
        po.fit(model, {"y": np.zeros(20)}, po.SGFS(batch_size=5), progress=False)
