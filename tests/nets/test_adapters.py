"""Nets from elsewhere: the right paths, the right numbers, and what is refused."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import posterity as po
from posterity.model.net_target import Batch, Target
from posterity.nets import as_net

nnx = pytest.importorskip("flax.nnx")

RNG = np.random.default_rng(2)
X = RNG.normal(size=(6, 2)).astype(np.float32)
Y = RNG.normal(size=6).astype(np.float32)
WEIGHTS = {
    "b0": RNG.normal(size=3),
    "w0": RNG.normal(size=(3, 2)),
    "b1": RNG.normal(size=1),
    "w1": RNG.normal(size=(1, 3)),
}
EXPECTED = (np.tanh(X @ WEIGHTS["w0"].T + WEIGHTS["b0"]) @ WEIGHTS["w1"].T + WEIGHTS["b1"])[:, 0]


class NNXNet(nnx.Module):
    def __init__(self, *, dropout=False, norm=None):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(2, 3, rngs=rngs)
        self.last = nnx.Linear(3, 1, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs) if dropout else None
        self.norm = norm(3, rngs=rngs) if norm else None

    def __call__(self, x):
        h = jnp.tanh(self.first(x))
        h = self.norm(h) if self.norm else h
        h = self.dropout(h) if self.dropout else h
        return self.last(h)


def function_net():
    def init(key):
        return {"inner": [jnp.zeros((3, 2)), jnp.zeros(3)], "outer": (jnp.zeros(3), jnp.zeros(()))}

    def apply(params, x):
        (w0, b0), (w1, b1) = params["inner"], params["outer"]
        return jnp.tanh(x @ w0.T + b0) @ w1 + b1

    return init, apply


def equinox_net(**kwargs):
    return eqx.nn.MLP(2, 1, 3, 1, activation=jnp.tanh, key=jax.random.key(0), **kwargs)


w = WEIGHTS
ADAPTED = {
    "mlp": (
        lambda: po.nets.MLP(2, [3], 1, activation=jnp.tanh),
        {
            "layers.0.weight": w["w0"],
            "layers.0.bias": w["b0"],
            "layers.1.weight": w["w1"],
            "layers.1.bias": w["b1"],
        },
    ),
    "equinox": (
        equinox_net,
        {
            "layers.0.weight": w["w0"],
            "layers.0.bias": w["b0"],
            "layers.1.weight": w["w1"],
            "layers.1.bias": w["b1"],
        },
    ),
    "nnx": (
        NNXNet,
        {
            "first.kernel": w["w0"].T,
            "first.bias": w["b0"],
            "last.kernel": w["w1"].T,
            "last.bias": w["b1"],
        },
    ),
    "functions": (
        function_net,
        {"inner.0": w["w0"], "inner.1": w["b0"], "outer.0": w["w1"][0], "outer.1": w["b1"][0]},
    ),
}


@pytest.mark.parametrize("name", ADAPTED)
def test_every_kind_of_net_has_its_paths_and_gives_the_same_numbers(name):
    build, params = ADAPTED[name]
    model = po.Model(build(), po.priors.Normal(0, 2), po.likelihoods.Normal(0.5))
    target = Target.build(model, (2,), (), 6)
    assert set(target.paths) == set(params)
    theta = target.unconstrain(params)
    batch = Batch(jnp.asarray(X), jnp.asarray(Y))
    log_likelihood = target.log_likelihood(theta, batch)
    np.testing.assert_allclose(
        log_likelihood, stats.norm(EXPECTED, 0.5).logpdf(Y), rtol=1e-4, atol=1e-4
    )
    flat = np.concatenate([np.ravel(value) for value in params.values()])
    np.testing.assert_allclose(
        target.log_prior(theta), stats.norm(0, 2).logpdf(flat).sum(), rtol=1e-5
    )


@pytest.mark.parametrize("name", ADAPTED)
def test_every_kind_of_net_is_fitted(name):
    model = po.Model(ADAPTED[name][0](), po.priors.Normal(), po.likelihoods.Normal(0.5))
    posterior = po.fit(model, (X, Y), po.MAP(steps=200), progress=False)
    log_joint = posterior.history.log_joint
    assert posterior.result.ok
    assert log_joint[-1] > log_joint[0]


@pytest.mark.parametrize("name", ["equinox", "nnx"])
def test_a_net_that_holds_weights_starts_there(name):
    net = ADAPTED[name][0]()
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(0.5))
    target = Target.build(model, (2,), (), 6)
    params = target.constrain(target.net_draw(jax.random.key(9)))
    expected = jax.vmap(net)(X) if name == "equinox" else net(X)
    weights, _ = target.split(target.unconstrain(params))
    np.testing.assert_allclose(target.net.apply(weights, X), expected, rtol=1e-5)
    assert as_net(net).holds_weights
    assert not as_net(function_net()).holds_weights


def with_norm(norm):
    key = jax.random.key(0)
    return eqx.nn.Sequential([eqx.nn.Linear(2, 3, key=key), norm, eqx.nn.Linear(3, 1, key=key)])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: with_norm(eqx.nn.Dropout(0.2)), ["Dropout", "inference_mode"]),
        (
            lambda: with_norm(eqx.nn.BatchNorm(3, "batch", mode="ema")),
            ["BatchNorm", "LayerNorm"],
        ),
        (lambda: NNXNet(dropout=True), ["Dropout", "RngCount"]),
        (lambda: NNXNet(norm=nnx.BatchNorm), ["BatchStat", "LayerNorm"]),
    ],
    ids=["eqx-dropout", "eqx-batchnorm", "nnx-dropout", "nnx-batchnorm"],
)
def test_dropout_and_batch_statistics_are_refused(build, words):
    with pytest.raises(ValueError) as caught:
        as_net(build())
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    "build",
    [
        lambda: eqx.nn.inference_mode(with_norm(eqx.nn.Dropout(0.2))),
        lambda: with_norm(eqx.nn.Dropout(0.0)),
        lambda: with_norm(eqx.nn.LayerNorm(3)),
        lambda: NNXNet(norm=nnx.LayerNorm),
    ],
)
def test_switched_off_dropout_and_layer_norm_are_accepted(build):
    model = po.Model(build(), po.priors.Normal(), po.likelihoods.Normal(0.5))
    target = Target.build(model, (2,), (), 6)
    outputs, _ = target.outputs(target.net_draw(jax.random.key(0)), jnp.asarray(X))
    assert outputs.shape == (6, 1)
    assert np.isfinite(np.asarray(outputs)).all()


def test_a_net_of_this_library_stays_what_it_is():
    net = po.nets.MLP(2, [3], 1)
    assert as_net(net) is net
