"""The MLP against a NumPy forward pass."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from oracles import z_limit
from posterity.nets import mlp


def forward(params, x, activation):
    h = np.asarray(x, np.float64)
    for index, layer in enumerate(params["layers"]):
        h = (activation(h) if index else h) @ np.asarray(layer["weight"], np.float64).T
        h = h + np.asarray(layer.get("bias", 0.0), np.float64)
    return h


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("sizes", "function", "oracle"),
    [
        ([3, 2], jnp.tanh, np.tanh),
        ([1, 5, 1], jnp.tanh, np.tanh),
        ([4, 7, 6, 3], jax.nn.relu, lambda h: np.maximum(h, 0)),
        ([2, 100, 2], jnp.sin, np.sin),
    ],
)
def test_by_rows_and_by_columns_are_the_numpy_forward_pass(sizes, function, oracle, bias):
    net = po.nets.MLP(sizes[0], sizes[1:-1], sizes[-1], activation=function, use_bias=bias)
    rng = np.random.default_rng(0)
    shapes = net.init(jax.random.key(0))
    params = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), jnp.float32), shapes)
    x = rng.normal(size=(6, sizes[0])).astype(np.float32)
    expected = forward(params, x, oracle)
    assert net.features_first == (max(sizes) <= mlp.FEATURES_FIRST_WIDTH)
    for found in (net.apply(params, x), net._by_rows(params, x), net._by_columns(params, x)):
        assert found.shape == (6, sizes[-1])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_init_draws_weights_with_variance_one_over_fan_in_and_zero_biases():
    net = po.nets.MLP(4, [60], 50)
    params = net.init(jax.random.key(3))
    for layer, fan_in in zip(params["layers"], (4, 60)):
        weight = np.asarray(layer["weight"], float).ravel()
        limit = z_limit(4)
        assert abs(weight.mean()) < limit / np.sqrt(fan_in * weight.size)
        assert abs((weight**2).mean() * fan_in - 1) < limit * np.sqrt(2 / weight.size)
        assert not np.asarray(layer["bias"]).any()


def test_init_depends_on_the_key_alone_and_no_two_weights_agree():
    net = po.nets.MLP(2, [3], 1)
    flat = [
        np.concatenate(
            [np.ravel(layer["weight"]) for layer in net.init(jax.random.key(k))["layers"]]
        )
        for k in (0, 0, 1)
    ]
    np.testing.assert_array_equal(flat[0], flat[1])
    assert not np.isin(flat[0], flat[2]).any()
    assert np.unique(flat[0]).size == flat[0].size


def test_without_bias_there_are_no_bias_parameters():
    params = po.nets.MLP(2, [3], 1, use_bias=False).init(jax.random.key(0))
    assert [set(layer) for layer in params["layers"]] == [{"weight"}, {"weight"}]


@pytest.mark.parametrize(("a", "hidden", "b"), [(0, [3], 1), (2, [0], 1), (2, [3], 0), (-1, [], 1)])
def test_sizes_below_one_are_refused(a, hidden, b):
    with pytest.raises(ValueError, match="must be a whole number from 1"):
        po.nets.MLP(a, hidden, b)
