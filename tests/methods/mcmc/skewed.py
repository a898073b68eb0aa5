"""A target with skew, curvature and unequal widths, of which independent draws are easily made."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from oracles import z_limit

CURVE, WIDTH, SHAPE = 0.5, 0.6, 2.0


def log_density(theta: jax.Array) -> jax.Array:
    """A banana, θ₁ ~ N(0, 1) and θ₂ ~ N(½ θ₁², 0.6²), and θ₃, the log of a Gamma(2)."""
    banana = -0.5 * theta[0] ** 2 - 0.5 * ((theta[1] - CURVE * theta[0] ** 2) / WIDTH) ** 2
    return banana + SHAPE * theta[2] - jnp.exp(theta[2])


density = jax.value_and_grad(log_density)


def draws(seed: int, count: int) -> jax.Array:
    """Independent draws (count, 3)."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=count)
    second = CURVE * first**2 + WIDTH * rng.normal(size=count)
    return jnp.asarray(np.stack([first, second, np.log(rng.gamma(SHAPE, size=count))], 1))


def moments(theta: np.ndarray) -> np.ndarray:
    """Functions whose means a wrong law would not have: (count, 10)."""
    a, b, c = np.asarray(theta, float).T
    return np.stack([a, b, c, a * a, b * b, c * c, a * b, a * a * b, b * c, np.exp(c)], 1)


def check_invariant(transition: Callable, seed: int, count: int = 20_000) -> None:
    """One transition, from draws of the target, changes no mean by more than chance does.

    Args:
        transition: key, θ → θ. seed: of starts and keys. count: how many starts.
    """
    before = draws(seed, count)
    after = jax.jit(jax.vmap(transition))(jax.random.split(jax.random.key(seed), count), before)
    change = moments(np.asarray(after)) - moments(np.asarray(before))
    assert (np.abs(change).max(axis=1) > 0).mean() > 0.5  # it moves
    z = change.mean(axis=0) / (change.std(axis=0) / np.sqrt(count))
    assert np.abs(z).max() < z_limit(z.size), z
