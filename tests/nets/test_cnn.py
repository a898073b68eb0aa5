"""Convolutional nets against loops in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from nets.images import conv, pool, random_params
from oracles import z_limit
from posterity.nets.parts import max_pool


def forward(net, params, x):
    """The net by loops over pixels, in float64."""
    h = np.asarray(x, np.float64).reshape(-1, *net.in_shape)
    layers = [
        {k: np.asarray(v, np.float64) for k, v in layer.items()} for layer in params["layers"]
    ]
    stages = len(net.channels)
    for layer, window in zip(layers[:stages], net.pool):
        h = pool(np.maximum(conv(h, layer["weight"]) + layer["bias"], 0), window)
    h = h.reshape(len(h), -1)
    for layer in layers[stages:-1]:
        h = np.maximum(h @ layer["weight"] + layer["bias"], 0)
    return h @ layers[-1]["weight"] + layers[-1]["bias"]


@pytest.mark.parametrize(
    "net",
    [
        po.nets.CNN((6, 6, 1), [3], [], 2),
        po.nets.CNN((7, 5, 2), [3, 4], [6, 5], 3),  # odd sides: pooling rounds up
        po.nets.CNN((6, 6, 1), [2, 3], [4], 1, kernel=4, pool=[3, 1]),  # an even kernel
        po.nets.CNN((4, 4, 3), [], [5], 2),
    ],
    ids=["one", "odd", "even-kernel", "dense"],
)
def test_the_net_is_the_loop_over_pixels(net):
    params = random_params(net)
    x = np.random.default_rng(1).normal(size=(3, *net.in_shape)).astype(np.float32)
    found = net.apply(params, jnp.asarray(x))
    assert found.shape == (3, net.out_size)
    np.testing.assert_allclose(found, forward(net, params, x), rtol=2e-4, atol=2e-4)


def test_half_windows_at_the_border_see_nothing_but_the_image():
    """Not the zeros of a border, which would be the largest of negative numbers."""
    pooled = max_pool(-jnp.ones((1, 3, 5, 2)), 2)
    np.testing.assert_array_equal(pooled, -np.ones((1, 2, 3, 2)))


def test_a_missing_channel_axis_is_one_channel():
    net = po.nets.CNN((6, 6, 1), [2], [], 2)
    params, x = random_params(net), jnp.ones((2, 6, 6)) * jnp.arange(6.0)
    np.testing.assert_array_equal(net.apply(params, x), net.apply(params, x[..., None]))
    with pytest.raises(ValueError, match=r"\(6, 6, 1\), not \(6, 5\)"):
        net.apply(params, x[:, :, :5])
    with pytest.raises(ValueError, match=r"\(6, 6, 2\), not \(6, 6\)"):
        po.nets.CNN((6, 6, 2), [2], [], 2).apply(params, x)


def test_init_has_hes_variance_and_zero_biases():
    net = po.nets.CNN((8, 8, 3), [40, 50], [60], 70, kernel=5)
    layers = net.init(jax.random.key(1))["layers"]
    limit = z_limit(2 * len(layers))
    for index, layer in enumerate(layers):
        weight = np.asarray(layer["weight"], float)
        var = (2 if index < 3 else 1) / np.prod(weight.shape[:-1])
        assert abs(weight.mean()) < limit * np.sqrt(var / weight.size)
        assert abs((weight**2).mean() / var - 1) < limit * np.sqrt(2 / weight.size)
        assert not np.asarray(layer["bias"]).any()
    flat = np.concatenate([np.ravel(layer["weight"]) for layer in layers])
    assert np.unique(flat).size > 0.98 * flat.size  # no layer repeats another's draws


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_shape": (6, 6)}, "in_shape must have 3 numbers"),
        ({"in_shape": (6, 0, 1)}, r"in_shape\[1\]"),
        ({"channels": [3, -1]}, r"channels\[1\]"),
        ({"hidden": [2.5]}, r"hidden\[0\]"),
        ({"out_size": 0}, "out_size"),
        ({"kernel": True}, "kernel"),
        ({"pool": [2]}, "pool must have 2 numbers"),
        ({"pool": 0}, "pool"),
    ],
)
def test_sizes_that_make_no_net_are_refused(change, message):
    given = {"in_shape": (6, 6, 1), "channels": [2, 3], "hidden": [], "out_size": 2}
    with pytest.raises(ValueError, match=message):
        po.nets.CNN(**{**given, **change})


def test_a_fit_learns_a_class_that_only_place_tells_and_comes_back_from_its_file(tmp_path):
    """A bar in the upper or the lower half, found by a fit and kept by a file."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = 0.3 * rng.normal(size=(60, 8, 8))
    x[np.arange(60), 2 + 4 * y, 2:6] += 1.5
    model = po.Model(
        po.nets.CNN((8, 8, 1), [4, 4], [8], 2, activation=jnp.tanh),
        po.priors.Normal(0, 1),
        po.likelihoods.Categorical(2),
    )
    posterior = po.fit(model, (x, y), po.MAP(steps=200), progress=False)
    assert po.metrics.accuracy(y, posterior.predict(x)) == 1
    loaded = po.load(posterior.save(tmp_path / "bars"))
    assert repr(loaded.target.net) == repr(model.net)
    np.testing.assert_array_equal(loaded.predict(x).probs, posterior.predict(x).probs)
