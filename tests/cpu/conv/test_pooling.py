"""Pooling by comparing and adding slices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cpu.conv.comparing import (
    SLOW,
    difference,
    lowering_changes,
    names,
    normal,
)
from posterity.cpu.conv.evaluation import lowered


@pytest.mark.parametrize("window", [(2, 2), (3, 2), (3, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 3)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_max_pooling_takes_the_first_of_equals(window: Any, stride: Any, padding: str) -> None:
    def pool(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *stride, 1), padding)

    x = jax.random.randint(jax.random.key(0), (3, 9, 8, 4), 0, 3).astype(jnp.float32)
    cotangent = normal(1, *jax.eval_shape(pool, x).shape)

    def both(f: Any) -> Any:
        value, pull = jax.vjp(f, x)
        return value, pull(cotangent)

    # One compiled call each: operations one by one would compile twenty.
    ours, theirs = (jax.jit(lambda f=f: both(f))() for f in (lowered(pool), pool))
    assert jnp.array_equal(ours[0], theirs[0])
    assert difference(ours[1], theirs[1]) <= 1
    # Forward mode of JAX breaks ties in another way, so only without them.
    assert lowering_changes(pool, normal(2, *x.shape)) <= 1
    assert not names(lowered(pool), x) & SLOW


def test_dilated_and_whole_windows_have_equal_values() -> None:
    x = normal(0, 2, 8, 8, 3)
    for window, dilation in (((1, 2, 2, 1), (1, 2, 3, 1)), ((1, 8, 8, 1), (1, 1, 1, 1))):

        def pool(x: jax.Array, window: Any = window, dilation: Any = dilation) -> jax.Array:
            return lax.reduce_window(
                x, -jnp.inf, lax.max, window, (1, 1, 1, 1), "VALID", window_dilation=dilation
            )

        assert jnp.array_equal(lowered(pool)(x), pool(x))


def test_pooling_keeps_nan_and_infinity() -> None:
    def pool(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    x = normal(0, 1, 4, 4, 1).at[0, 0, 1, 0].set(jnp.nan).at[0, 2:, 2:, 0].set(-jnp.inf)
    np.testing.assert_array_equal(lowered(pool)(x), pool(x))


def test_average_pooling() -> None:
    def pool(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, 0.0, lax.add, (1, 1, 2, 3), (1, 1, 2, 3), "VALID") / 6

    x = normal(0, 2, 3, 7, 9)
    assert lowering_changes(pool, x) <= 1
    assert not names(lowered(pool), x) & SLOW

    def overlapping(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, 0.0, lax.add, (1, 1, 3, 3), (1, 1, 1, 1), "SAME")

    assert lowering_changes(overlapping, x) <= 1
