"""The Newton step of a trust region against a direct solve."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from posterity.methods.vi.newton import newton_step


def test_the_newton_step_solves_the_model_or_ends_at_the_edge() -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(6, 6))
    hessian = jnp.asarray(half @ half.T + np.eye(6), jnp.float32)
    gradient = jnp.asarray(rng.normal(size=6), jnp.float32) * 1e-3
    yes = jnp.asarray(True)
    free = newton_step(lambda v: hessian @ v, gradient, jnp.asarray(10.0), yes)
    exact = -np.linalg.solve(np.asarray(hessian), np.asarray(gradient))
    # The residual ends below √‖g‖ of the gradient, 5 % here.
    np.testing.assert_allclose(free.step, exact, atol=0.06 * np.abs(exact).max())
    assert free.gain > 0
    edge = newton_step(lambda v: hessian @ v, gradient, jnp.asarray(1e-5), yes)
    assert float(jnp.linalg.norm(edge.step)) == pytest.approx(1e-5, rel=1e-4)
    # Negative curvature is followed to the edge, and brings a gain.
    saddle = newton_step(lambda v: -hessian @ v, gradient, jnp.asarray(2.0), yes)
    assert float(jnp.linalg.norm(saddle.step)) == pytest.approx(2.0, rel=1e-4)
    assert saddle.gain > 0
    # The gain is what the model loses on the way.
    for move, matrix in ((free, hessian), (edge, hessian), (saddle, -hessian)):
        lost = -move.step @ gradient - 0.5 * move.step @ (matrix @ move.step)
        np.testing.assert_allclose(move.gain, lost, rtol=1e-3)
    none = newton_step(lambda v: hessian @ v, gradient, jnp.asarray(1.0), ~yes)
    assert not np.asarray(none.step).any()
    assert int(none.products) == 0
