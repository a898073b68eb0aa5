"""LeNet-5 layer by layer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po

# Weights and biases of the layers of TensorFlow Probability's Bayesian LeNet example.
SIZES = [(5 * 5 * 1 + 1) * 6, (5 * 5 * 6 + 1) * 16, (5 * 5 * 16 + 1) * 120, 5881 * 84, 85 * 10]


def test_layers_have_the_known_sizes():
    params = jax.eval_shape(po.nets.LeNet5().init, jax.random.key(0))
    found = [sum(leaf.size for leaf in jax.tree.leaves(layer)) for layer in params["layers"]]
    assert found == SIZES
    assert sum(found) == 545_546


def test_takes_images_with_and_without_a_channel_axis():
    net = po.nets.LeNet5()
    params = net.init(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (2, 28, 28))
    out = net.apply(params, x)
    assert out.shape == (2, 10)
    np.testing.assert_array_equal(out, net.apply(params, x[..., None]))
    # He's variance keeps the scale of images through the layers.
    assert 0.05 < float(jnp.std(out)) < 5


def test_other_images_and_classes():
    net = po.nets.LeNet5(7, (33, 20, 3), activation=jnp.tanh)
    params = jax.eval_shape(net.init, jax.random.key(0))
    assert params["layers"][3]["weight"].shape == (9 * 5 * 120, 84)
    x = jax.ShapeDtypeStruct((4, 33, 20, 3), jnp.float32)
    assert jax.eval_shape(net.apply, params, x).shape == (4, 7)


def test_it_makes_a_model_whose_parameters_are_named():
    model = po.Model(po.nets.LeNet5(), po.priors.Normal(0, 1), po.likelihoods.Categorical(10))
    assert list(model.parameters()) == [
        f"layers.{layer}.{name}" for layer in range(5) for name in ("bias", "weight")
    ]
    with pytest.raises(ValueError, match=r"x: the net cannot take rows of shape \(28, 27\)"):
        po.fit(model, (np.zeros((4, 28, 27)), [0, 1, 2, 3]), po.MAP(steps=1))
