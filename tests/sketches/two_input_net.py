"""A net of two arrays, as an Equinox module: it is called with one row of the tuple."""

from __future__ import annotations

import equinox as eqx
import jax


class TwoInputNet(eqx.Module):
    """output = a · x₀ + b · x₁ + c, for a tuple x of arrays (rows, m) and (rows, n)."""

    first: eqx.nn.Linear
    second: eqx.nn.Linear

    def __init__(self, m: int, n: int, key: jax.Array) -> None:
        one, two = jax.random.split(key)
        self.first = eqx.nn.Linear(m, 1, use_bias=False, key=one)
        self.second = eqx.nn.Linear(n, 1, key=two)

    def __call__(self, x: tuple[jax.Array, jax.Array]) -> jax.Array:
        left, right = x
        return self.first(left) + self.second(right)
