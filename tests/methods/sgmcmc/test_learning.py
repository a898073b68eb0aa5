"""What the warm-up learns: noise and curvature against what they are in a linear regression."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import posterity as po
from oracles import Conjugate, conjugate
from posterity.data.batches import as_batches
from posterity.methods.sgmcmc.learning import Learned, Learning
from posterity.model.net_target import Target

ORACLE = conjugate(rows=200)
SCALE = jnp.array([0.5, 1.0, 2.0])


def learned(batch_size: int | None, scale: jax.Array, steps: int = 600) -> Learned:
    """After so many batches at the exact mean."""
    batches = as_batches(ORACLE.data, ORACLE.model.likelihood, batch_size, replacement=True)
    target = Target.build(ORACLE.model, ORACLE.x.shape[1:], (), 200)
    theta = jnp.asarray(ORACLE.mean, jnp.float32)
    learning = Learning(noise=True, curvature=True, squares=True, memory=steps)

    def step(carry: tuple, index: jax.Array) -> tuple:
        found, order = carry
        batch = batches.batch(order, 0)
        gradient = jax.grad(target.log_joint)(theta, batch)
        now = jnp.ones((), bool)
        found = learning.update(found, now, target, theta, gradient, scale, batch)
        return (found, batches.advance(jax.random.key(1), order, 1)), None

    start = learning.init(theta), batches.start(jax.random.key(1))
    return jax.jit(lambda: jax.lax.scan(step, start, jnp.arange(steps))[0][0])()


def row_gradients(oracle: Conjugate) -> np.ndarray:
    residual = oracle.y - oracle.x @ oracle.mean
    return oracle.x * (residual / oracle.noise**2)[:, None]


def test_noise_is_the_variance_of_a_batch_gradient() -> None:
    found = learned(20, jnp.ones(3))
    exact = 200**2 / 20 * row_gradients(ORACLE).var(axis=0)
    # ½ (g − g′)² of 599 pairs that share gradients: its relative error is about √(3 / 599), and a
    # little more as the gradients' fourth moments exceed the normal's.
    np.testing.assert_allclose(found.noise, exact, rtol=5 * np.sqrt(3.5 / 599))


def test_curvature_is_the_largest_eigenvalue_in_the_scaled_coordinates() -> None:
    for scale in (jnp.ones(3), SCALE):
        found = learned(None, scale)
        root = np.diag(np.asarray(scale))
        exact = np.linalg.eigvalsh(root @ ORACLE.precision @ root)[-1]
        np.testing.assert_allclose(found.curvature, exact, rtol=0.02)


def test_squares_are_of_the_mean_gradient_of_a_row() -> None:
    found = learned(20, jnp.ones(3))
    exact = row_gradients(ORACLE).var(axis=0) / 20
    np.testing.assert_allclose(found.squares, exact, rtol=5 * np.sqrt(3 / 600))


def test_a_chosen_step_size_has_about_the_bias_it_was_chosen_for() -> None:
    method = po.SGLD(draws=200, warmup=2_000, bias=0.05, chains=2)
    posterior = po.fit(ORACLE.model, ORACLE.data, method, progress=False)
    step = posterior.history.step_size[:, -1]
    steepest = np.linalg.eigvalsh(ORACLE.precision)[-1]
    # With all rows there is no noise but that of θ's own moves: at most a fifth here.
    bias = step * steepest / 2
    assert (bias < 0.05 * 1.02).all()
    assert (bias > 0.05 * 0.8).all()


def test_nothing_is_learned_after_the_warm_up() -> None:
    method = po.SGLD(draws=300, warmup=200, batch_size=10, preconditioner="rmsprop")
    posterior = po.fit(ORACLE.model, ORACLE.data, method, progress=False)
    assert np.ptp(posterior.history.step_size) == 0
