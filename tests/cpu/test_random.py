"""The noise of the loop is JAX's own, bit for bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posterity.cpu.random import normal


@pytest.mark.parametrize("shape", [(1,), (40,), (2, 45), (70_001,)])
@pytest.mark.parametrize("seed", [0, 1, 2**31, 12345])
def test_it_is_jax_s(shape: tuple[int, ...], seed: int) -> None:
    key = jax.random.fold_in(jax.random.key(seed), 7)
    ours = jax.jit(lambda key: normal(key, shape, np.dtype("float32")))(key)
    theirs = jax.jit(lambda key: jax.random.normal(key, shape, jnp.float32))(key)
    np.testing.assert_array_equal(ours, theirs)


def test_other_generators_and_doubles_are_jax_s_too() -> None:
    key = jax.random.key(0, impl="rbg")
    expected = jax.random.normal(key, (5,))
    np.testing.assert_array_equal(normal(key, (5,), np.dtype("float32")), expected)
    with jax.enable_x64(True):
        key = jax.random.key(0)
        found = normal(key, (5,), np.dtype("float64"))
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, jax.random.normal(key, (5,), jnp.float64))


def test_chains_in_step_get_the_noise_of_chains_alone() -> None:
    keys = jax.random.split(jax.random.key(4), 3)
    together = jax.vmap(lambda key: normal(key, (6,), np.dtype("float32")))(keys)
    alone = [normal(key, (6,), np.dtype("float32")) for key in keys]
    np.testing.assert_array_equal(together, np.stack(alone))
