"""Noise of small variational fits: that of several chains is not shared."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from posterity.cpu.once import normals, words

KEYS = jax.random.split(jax.random.key(3), 4)


def test_chains_have_the_noise_that_each_has_alone() -> None:
    """rbg under `vmap` would draw from the first key only, and number a batch otherwise."""
    for draw in (
        lambda key: normals(key, (5,), jnp.float32, None),
        lambda key: words(key, (5,), None),
    ):
        together = np.asarray(jax.jit(jax.vmap(draw))(KEYS))
        alone = np.stack([draw(key) for key in KEYS])
        np.testing.assert_array_equal(together, alone)
        assert len(np.unique(together)) == 20


def test_the_noise_of_chains_is_uncorrelated() -> None:
    count = 10_000
    noise = jax.vmap(lambda key: normals(key, (count,), jnp.float32, None))(KEYS)
    correlations = np.corrcoef(noise)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(count)  # 6 of sd 1 / sqrt(count)


def test_the_noise_of_chains_stays_apart_within_a_loop_and_under_a_gradient() -> None:
    """As a fit draws it: within `vmap` over chains, a compiled loop and `grad`."""

    def of_chain(key: jax.Array) -> jax.Array:
        def step(index: jax.Array, total: jax.Array) -> jax.Array:
            def loss(at: jax.Array) -> jax.Array:
                return jnp.sum(at * normals(jax.random.fold_in(key, index), (3,), at.dtype, None))

            return total + jax.grad(loss)(total)

        return jax.lax.fori_loop(0, 4, step, jnp.zeros(3))

    together = np.asarray(jax.jit(jax.vmap(of_chain))(KEYS))
    np.testing.assert_allclose(together, np.stack([of_chain(key) for key in KEYS]), rtol=1e-6)
    assert len(np.unique(together)) == 12
