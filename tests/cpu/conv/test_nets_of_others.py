"""Equinox and Flax networks, lowered."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import pytest

from cpu.conv.comparing import (
    IMAGES,
    SLOW,
    difference,
    loss,
    names,
    normal,
)
from posterity.cpu.conv.evaluation import lowered


class EquinoxCNN(eqx.Module):
    convolutions: list[eqx.nn.Conv2d]
    pool: eqx.nn.MaxPool2d
    average: eqx.nn.AvgPool2d
    out: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        a, b, c = jax.random.split(key, 3)
        self.convolutions = [
            eqx.nn.Conv2d(1, 4, 3, padding=1, key=a),
            eqx.nn.Conv2d(4, 6, 3, padding=1, key=b),
        ]
        self.pool, self.average = eqx.nn.MaxPool2d(2, 2), eqx.nn.AvgPool2d(2, 2)
        self.out = eqx.nn.Linear(24, 3, key=c)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.pool(jax.nn.relu(self.convolutions[0](x)))
        return self.out(self.average(jax.nn.relu(self.convolutions[1](x))).reshape(-1))


def test_an_equinox_net_of_one_example() -> None:
    cnn, x = EquinoxCNN(jax.random.key(0)), normal(1, 4, 1, 8, 8)

    def apply(cnn: EquinoxCNN, x: jax.Array) -> jax.Array:
        return jax.vmap(cnn)(x)

    for fast in (lowered(apply), lambda cnn, x: jax.vmap(lowered(cnn))(x)):
        assert difference(fast(cnn, x), apply(cnn, x)) <= 1
        ours, theirs = (eqx.filter_jit(eqx.filter_grad(loss(f)))(cnn, x) for f in (fast, apply))
        assert difference(ours, theirs, 5_000) <= 1
    assert not names(lambda x: lowered(apply)(cnn, x), x) & SLOW


def test_an_nnx_net_of_a_batch() -> None:
    nnx = pytest.importorskip("flax.nnx")

    class CNN(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.first = nnx.Conv(1, 4, (3, 3), rngs=rngs)
            self.second = nnx.Conv(4, 6, (3, 3), strides=2, rngs=rngs)
            self.out = nnx.Linear(24, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            x = nnx.max_pool(nnx.relu(self.first(x)), (2, 2), strides=(2, 2))
            return self.out(nnx.relu(self.second(x)).reshape(x.shape[0], -1))

    graph, state = nnx.split(CNN(nnx.Rngs(0)))
    x = normal(1, *IMAGES)

    def apply(state: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(x)

    assert difference(lowered(apply)(state, x), apply(state, x)) <= 1
    ours, theirs = (jax.jit(jax.grad(loss(f)))(state, x) for f in (lowered(apply), apply))
    assert difference(ours, theirs, 5_000) <= 1
    assert not names(lambda x: lowered(apply)(state, x), x) & SLOW
