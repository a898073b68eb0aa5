"""Recurrent nets against a loop over time, and Equinox's GRU cell."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from nets.images import random_params
from oracles import z_limit


def sigmoid(u):
    return 1 / (1 + np.exp(-u))


def forward(net, params, x):
    first, last = jax.tree.map(lambda a: np.asarray(a, np.float64), params["layers"])
    h, n = np.zeros((len(x), net.hidden)), net.hidden
    for t in range(x.shape[1]):
        given = x[:, t] @ first["weight"] + first["bias"]
        if net.cell == "tanh":
            h = np.tanh(given + h @ first["recurrent"])
            continue
        (wr, wz, wn), (ur, uz, un) = (np.split(u, 3, 1) for u in (given, h @ first["recurrent"]))
        z = sigmoid(wz + uz)
        candidate = np.tanh(wn + sigmoid(wr + ur) * (un + first["candidate_bias"]))
        h = (1 - z) * candidate + z * h
    assert h.shape[1] == n
    return h @ last["weight"] + last["bias"]


@pytest.mark.parametrize("cell", ["gru", "tanh"])
@pytest.mark.parametrize("time", [1, 9])
def test_the_net_is_the_loop_over_time(cell, time):
    net = po.nets.Recurrent(3, 5, 2, cell=cell)
    params = random_params(net)
    x = np.random.default_rng(2).normal(size=(4, time, 3)).astype(np.float32)
    found = net.apply(params, jnp.asarray(x))
    np.testing.assert_allclose(found, forward(net, params, x), rtol=1e-4, atol=1e-5)


def test_the_gru_is_equinoxs():
    net = po.nets.Recurrent(3, 5, 2)
    params = random_params(net)
    first, last = params["layers"]
    cell = eqx.nn.GRUCell(3, 5, key=jax.random.key(0))
    cell = eqx.tree_at(
        lambda c: (c.weight_ih, c.weight_hh, c.bias, c.bias_n),
        cell,
        (first["weight"].T, first["recurrent"].T, first["bias"], first["candidate_bias"]),
    )
    x = jax.random.normal(jax.random.key(1), (4, 7, 3))
    h = jnp.zeros((4, 5))
    for t in range(7):
        h = jax.vmap(cell)(x[:, t], h)
    np.testing.assert_allclose(
        net.apply(params, x), h @ last["weight"] + last["bias"], rtol=1e-4, atol=1e-5
    )


def test_a_missing_feature_axis_is_one_feature():
    net = po.nets.Recurrent(1, 4, 1)
    params, x = random_params(net), jnp.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(net.apply(params, x), net.apply(params, x[..., None]))
    for wrong in (x[:, :, None, None], jnp.ones((2, 6, 2))):
        with pytest.raises(ValueError, match="with 1 features"):
            net.apply(params, wrong)
    with pytest.raises(ValueError, match="with 2 features"):
        po.nets.Recurrent(2, 4, 1).apply(params, x)


def test_init_has_variance_one_over_fan_in():
    first, last = po.nets.Recurrent(20, 60, 40).init(jax.random.key(0))["layers"]
    for weight in (first["weight"], first["recurrent"], last["weight"]):
        each = np.asarray(weight, float) * np.sqrt(weight.shape[0])
        assert abs((each**2).mean() - 1) < z_limit(3) * np.sqrt(2 / each.size)
    assert not any(np.asarray(b).any() for b in (first["bias"], first["candidate_bias"]))


@pytest.mark.parametrize(
    ("given", "message"),
    [((0, 1, 1), "in_size"), ((1, -1, 1), "hidden"), ((1, 1, 1.5), "out_size")],
)
def test_sizes_below_one_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        po.nets.Recurrent(*given)


def test_unknown_cells_are_refused():
    with pytest.raises(ValueError, match='"gru", "tanh"'):
        po.nets.Recurrent(1, 1, 1, cell="lstm")


@pytest.mark.parametrize("cell", ["gru", "tanh"])
def test_a_fit_remembers_the_first_number_and_comes_back_from_its_file(tmp_path, cell):
    x = np.random.default_rng(0).choice([-1.0, 1.0], (40, 5))
    net = po.nets.Recurrent(1, 6, 1, cell=cell)
    model = po.Model(net, po.priors.Normal(0, 3), po.likelihoods.Normal(0.1))
    posterior = po.fit(model, (x, x[:, 0]), po.MAP(steps=1_000), progress=False)
    assert po.metrics.rmse(x[:, 0], posterior.predict(x)) < 0.3
    loaded = po.load(posterior.save(tmp_path / "memory"))
    assert repr(loaded.target.net) == repr(net)
    np.testing.assert_array_equal(loaded.predict(x).mean, posterior.predict(x).mean)
