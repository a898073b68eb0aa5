"""Nets from elsewhere: the right paths, the right numbers, and what is refused."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import posterity as po
from posterity.distributions.draws import Draws
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
    (said,) = posterior.result.warnings
    assert said.startswith("Cannot judge: 6 rows are too few")  # and nothing else
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
        (lambda: NNXNet(dropout=True), ["Dropout (dropout)", "net.eval()"]),
        (lambda: NNXNet(norm=nnx.BatchNorm), ["BatchStat", "LayerNorm", "net.eval()"]),
        (
            lambda: nnx.MultiHeadAttention(2, 4, dropout_rate=0.1, rngs=nnx.Rngs(0)),
            ["MultiHeadAttention (itself)", "net.eval()"],
        ),
    ],
    ids=["eqx-dropout", "eqx-batchnorm", "nnx-dropout", "nnx-batchnorm", "nnx-attention"],
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


# -- modules that hold more than weights ----------------------------------------------------------


class LastState(nnx.Module):
    """What a recurrent cell of any kind says at the end of a sequence of one feature."""

    def __init__(self, cell, **settings):
        rngs = nnx.Rngs(0)
        self.rnn = nnx.RNN(cell(2, 3, rngs=rngs), **settings)
        self.last = nnx.Linear(3, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(self.rnn(x[:, None, :].repeat(4, 1))[:, -1])


class Noisy(nnx.Module):
    """Noise of its own, from keys that it holds."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.rngs, self.last = rngs.fork(), nnx.Linear(2, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(x + 0.1 * jax.random.normal(self.rngs.params(), x.shape))


def frozen_norm():
    net = NNXNet(norm=nnx.BatchNorm)
    net.eval()
    return net


def still_dropout():
    net = NNXNet(dropout=True)
    net.eval()
    return net


def no_dropout():
    net = NNXNet(dropout=True)
    net.dropout.rate = 0.0
    return net


HOLDING = {
    "lstm": lambda: LastState(nnx.LSTMCell),
    "optimised-lstm": lambda: LastState(nnx.OptimizedLSTMCell),
    "gru": lambda: LastState(nnx.GRUCell, reverse=True),
    "simple": lambda: LastState(nnx.SimpleCell, rngs=nnx.Rngs(3)),
    "eval-dropout": still_dropout,
    "dropout-of-0": no_dropout,
    "frozen-batch-norm": frozen_norm,
}


@pytest.mark.parametrize("name", HOLDING)
def test_what_an_nnx_module_holds_beside_weights_is_no_hindrance(name):
    net = HOLDING[name]()
    expected = np.asarray(net(X))[:, 0]
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(0.5))
    target = Target.build(model, (2,), (), 6)
    theta = target.net_draw(jax.random.key(0))
    posterior = po.Posterior(target, Draws(theta[None, None]))
    np.testing.assert_allclose(posterior.predict(X).mean, expected, rtol=1e-5, atol=1e-6)
    # One row alone, and many draws at once.
    np.testing.assert_allclose(posterior.predict(X[:1]).mean, expected[:1], rtol=1e-5, atol=1e-6)
    several = po.Posterior(target, Draws(jnp.stack([theta, theta])[None]))
    np.testing.assert_allclose(several.predict(X[:1]).mean, expected[:1], rtol=1e-5, atol=1e-6)


def test_a_recurrent_nnx_module_is_fitted_and_predicts_one_row():
    model = po.Model(HOLDING["lstm"](), po.priors.Normal(), po.likelihoods.Normal(0.5))
    posterior = po.fit(model, (X, Y), po.ADVI(steps=20, stop=False, starts=1), progress=False)
    assert posterior.predict(X[:1]).mean.shape == (1,)


class Sequences(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.rnn = nnx.Bidirectional(
            nnx.RNN(nnx.GRUCell(2, 3, rngs=rngs)), nnx.RNN(nnx.LSTMCell(2, 3, rngs=rngs))
        )
        self.last = nnx.Linear(6, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(self.rnn(x)[:, -1])


def test_sequences_of_any_one_length_are_predicted_one_by_one():
    x = RNG.normal(size=(5, 4, 2)).astype(np.float32)
    model = po.Model(Sequences(), po.priors.Normal(), po.likelihoods.Normal(0.5))
    target = Target.build(model, (4, 2), (), 5)
    posterior = po.Posterior(target, Draws(target.net_draw(jax.random.key(0))[None, None]))
    together = posterior.predict(x).mean
    alone = [posterior.predict(x[row : row + 1]).mean[0] for row in range(2)]
    np.testing.assert_allclose(alone, together[:2], rtol=1e-5, atol=1e-6)


def test_noise_that_a_module_draws_from_its_own_keys_is_refused():
    model = po.Model(Noisy(), po.priors.Normal(), po.likelihoods.Normal(0.5))
    with pytest.raises(ValueError, match=r"depend on random keys that it holds.*net\.eval\(\)"):
        po.fit(model, (X, Y), po.MAP(steps=1), progress=False)


def test_a_linen_module_is_told_what_to_give():
    from flax import linen

    net = linen.Dense(1)
    with pytest.raises(TypeError, match=r"lambda key: net\.init\(key, x\[:1\]\), net\.apply"):
        as_net(net)
    model = po.Model(
        (lambda key: net.init(key, X[:1]), net.apply), po.priors.Normal(), po.likelihoods.Normal()
    )
    assert set(model.parameters()) == {"params.kernel", "params.bias"}
