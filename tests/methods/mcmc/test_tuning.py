"""The tuning of microcanonical Langevin: its metric is the sds of what it has seen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from posterity.methods.mcmc.tuning import MOMENTS, Tuning


def test_the_metric_is_the_sds_of_the_part_that_takes_moments() -> None:
    steps, first, last = 20, 8, 12
    assert last == round(MOMENTS * steps)
    theta = 100 + np.random.default_rng(0).normal(size=(steps, 3)) * [0.1, 1.0, 10.0]
    tuning = Tuning(steps, 5e-4)
    tuned = tuning.init(jnp.zeros(3))
    update = jax.jit(tuning.update)
    for at in range(last):
        place = jnp.asarray(theta[at], jnp.float32)
        tuned = update(tuned, jnp.asarray(at), place, jnp.zeros(()), jnp.ones((), bool))
    np.testing.assert_allclose(tuned.sd, theta[first:last].std(0), rtol=1e-2)
