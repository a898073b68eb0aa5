"""Residual nets against loops in NumPy, and against what normalisation promises."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from nets.images import conv, pool, random_params
from posterity.storage.encode import Decoder, Encoder


def frn(layer, h, stride):
    u = conv(h, layer["weight"], stride)
    power = (u**2).mean((1, 2), keepdims=True)
    return layer["scale"] * u / np.sqrt(power + 1e-6) + layer["shift"]


def act(layer, u):
    if "threshold" in layer:
        return np.maximum(u, layer["threshold"])
    return u / (1 + np.exp(-u))


def forward(net, params, x):
    """The net by loops over pixels, in float64; strides are where channels double."""
    first, *blocks, last = jax.tree.map(lambda a: np.asarray(a, np.float64), params["layers"])
    large = net.depth in (18, 34)
    h = act(first, frn(first, x.astype(np.float64), 2 if large else 1))
    h = pool(h, 3, 2) if large else h
    for block in blocks:
        stride = 2 if "shortcut" in block else 1
        u = frn(block["second"], act(block["first"], frn(block["first"], h, stride)), 1)
        kept = frn(block["shortcut"], h, 2) if "shortcut" in block else h
        h = act(block["second"], kept + u)
    return h.mean((1, 2)) @ last["weight"] + last["bias"]


@pytest.mark.parametrize("activation", ["tlu", "silu"])
@pytest.mark.parametrize(("depth", "shape"), [(8, (9, 7, 2)), (14, (8, 8, 1))])
def test_the_net_is_the_loop_over_pixels(depth, shape, activation):
    net = po.nets.ResNet(depth, 3, shape, activation=activation)
    params = random_params(net)
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    found = jax.jit(net.apply)(params, x)
    np.testing.assert_allclose(found, forward(net, params, x), rtol=5e-4, atol=5e-4)


def test_the_net_for_large_images_is_the_loop_over_pixels():
    net = po.nets.ResNet(18, 3, (33, 40, 1))
    params = random_params(net)
    x = np.random.default_rng(1).normal(size=(1, 33, 40, 1)).astype(np.float32)
    found = jax.jit(net.apply)(params, x)
    np.testing.assert_allclose(found, forward(net, params, x), rtol=2e-3, atol=2e-3)


def convolutions(net):
    """Weights with a kernel, but for shortcuts, and all parameters."""
    params = jax.eval_shape(net.init, jax.random.key(0))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    main = [path for path, leaf in leaves if leaf.ndim == 4 and "shortcut" not in str(path)]
    return len(main), sum(leaf.size for _, leaf in leaves)


@pytest.mark.parametrize("depth", [8, 18, 20, 34, 56])
def test_depth_counts_the_convolutions_and_the_last_layer(depth):
    assert convolutions(po.nets.ResNet(depth))[0] == depth - 1


def test_sizes_are_those_of_the_papers():
    # He et al.'s 0.27 million in 19 convolutions and 64·10 + 10; ours add two projections
    # (16·32 + 32·64) and, as batch normalisation would, scale and shift, and the thresholds.
    kernels = 9 * (3 * 16 + 6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2)
    channels = 16 * 7 + 32 * 6 + 64 * 6
    shortcuts = 16 * 32 + 32 * 64
    expected = kernels + shortcuts + 3 * channels + 2 * (32 + 64) + 650
    assert convolutions(po.nets.ResNet(20)) == (19, expected)
    # torchvision's resnet18 has 11,689,512 parameters with batch norm's scales and shifts; ours
    # adds a threshold for every channel that is activated.
    thresholds = 64 * 5 + 128 * 4 + 256 * 4 + 512 * 4
    assert convolutions(po.nets.ResNet(18, 1000)) == (17, 11_689_512 + thresholds)
    assert convolutions(po.nets.ResNet(18, 1000, activation="silu")) == (17, 11_689_512)


def test_rows_do_not_depend_on_each_other():
    net = po.nets.ResNet(8, 2, (8, 8, 1))
    params = random_params(net)
    x = jax.random.normal(jax.random.key(0), (4, 8, 8))
    apply = jax.jit(net.apply)
    alone = jnp.concatenate([apply(params, row[None]) for row in x])
    np.testing.assert_allclose(apply(params, x), alone, rtol=1e-5, atol=1e-5)


def test_a_normalised_convolution_does_not_care_for_the_scale_of_its_weights():
    net = po.nets.ResNet(8, 2, (8, 8, 1))
    params = random_params(net)
    x = jax.random.normal(jax.random.key(0), (3, 8, 8))
    apply = jax.jit(net.apply)
    before = apply(params, x)
    params["layers"][2]["second"]["weight"] *= 7
    np.testing.assert_allclose(apply(params, x), before, rtol=1e-3, atol=1e-3)


def test_init_starts_as_plain_relu_and_its_gradient_is_finite_even_of_a_blank_image():
    net = po.nets.ResNet(8, 2, (8, 8, 1))
    params = net.init(jax.random.key(0))
    assert float(params["layers"][0]["scale"].min()) == 1
    assert not any(np.asarray(params["layers"][0][name]).any() for name in ("shift", "threshold"))
    gradient = jax.jit(jax.grad(lambda p: net.apply(p, jnp.zeros((1, 8, 8))).sum()))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 21}, "18, 34 or 6n"),
        ({"depth": 2}, "18, 34 or 6n"),
        ({"activation": "relu"}, '"tlu", "silu"'),
        ({"out_size": 0}, "out_size"),
        ({"depth": 18, "in_shape": (32, 32, 3)}, "above 32. Use depth 20"),
        ({"in_shape": (4, 4, 1)}, "above 4"),
        ({"in_shape": (28, 28)}, "3 numbers"),
    ],
)
def test_nets_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        po.nets.ResNet(**arguments)


def test_it_comes_back_from_plain_data():
    for net in (po.nets.ResNet(), po.nets.ResNet(18, 7, (64, 40, 1), activation="silu")):
        data = Encoder().encode(net, "net")
        assert repr(Decoder({}).decode(json.loads(json.dumps(data)), "net")) == repr(net)


def test_a_file_of_endless_depth_is_refused():
    data = Encoder().encode(po.nets.ResNet(), "net")
    data["parts"]["depth"] = 6 * 10**9 + 2
    with pytest.raises(ValueError, match="depth must be"):
        Decoder({}).decode(data, "net")
