"""A dense layer after a convolution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from cpu.conv.comparing import (
    NCHW,
    NHWC,
    force,
    lowering_changes,
    normal,
)
from posterity.cpu.conv.evaluation import lowered

FLAT = {
    "as it is": lambda h: h,
    "activation": lambda h: jax.nn.gelu(jnp.tanh(h)) + jax.nn.leaky_relu(h),
    "by features": lambda h: h * normal(5, *h.shape) + normal(6, 1, h.shape[1]),
    "by rows": lambda h: h / (2 + normal(5, h.shape[0], 1) ** 2) - 0.3,
    "with itself": lambda h: h * jnp.where(h > 0, h, -2.0 * h),
    "normalised": lambda h: h / jnp.sqrt(1 + jnp.sum(h**2, axis=1, keepdims=True)),
}


@pytest.mark.parametrize(
    ("layout", "way"),
    [(NHWC, "patches"), (NHWC, "spectra"), (NCHW, "spectra")],
    ids=["rows-last-patches", "rows-last-spectra", "channels-first"],
    indirect=["way"],
)
@pytest.mark.parametrize("name", FLAT)
def test_a_dense_layer_takes_features_as_they_are_kept(name: str, layout: Any, way: str) -> None:
    shapes = {NHWC: ((4, 6, 5, 2), (3, 3, 2, 7)), NCHW: ((4, 2, 6, 5), (7, 2, 3, 3))}[layout]

    def net(x: jax.Array, kernel: jax.Array, w: jax.Array, v: jax.Array) -> jax.Array:
        h = jax.nn.relu(lax.conv_general_dilated(x, kernel, (1, 1), "SAME", None, None, layout))
        h = FLAT[name](h.reshape(h.shape[0], -1))
        return h @ w + (v @ h.T).T

    sizes = ((4, 3), (210, 3), (3, 210))
    x, kernel, w, v = (normal(i, *s) for i, s in enumerate((*shapes, *sizes[1:])))
    assert lowering_changes(net, x, kernel, w, v) <= 1


def test_the_weights_are_turned_and_not_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    force("patches", monkeypatch)

    def net(x: jax.Array, kernel: jax.Array, w: jax.Array) -> jax.Array:
        h = jax.nn.relu(lax.conv_general_dilated(x, kernel, (1, 1), "SAME", None, None, NHWC))
        return h.reshape(h.shape[0], -1) @ w

    args = normal(0, 4, 6, 5, 2), normal(1, 3, 3, 2, 7), normal(2, 210, 3)
    *_, product, turned = jax.make_jaxpr(lowered(net))(*args).eqns
    assert product.primitive.name == "dot_general"
    assert product.params["dimension_numbers"] == (((0,), (0,)), ((), ()))
    assert turned.primitive.name == "transpose"
