"""Where runs start: the net, the prior, an array, a dictionary or a posterior."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import posterity as po
from handmade import draws_of, gaussian_of, posterior_of
from oracles import z_limit
from posterity.model.net_target import Target
from posterity.run.start import start_points

NET = po.nets.MLP(1, [4], 1)
MODEL = po.Model(NET, po.priors.Normal(2.0, 0.5), po.likelihoods.Normal(dist.HalfNormal(1.0)))
TARGET = Target.build(MODEL, (1,), (), 10)
D = TARGET.size
X = np.linspace(-1, 1, 10)[:, None]
Y = X[:, 0]


def starts(init, target=TARGET, seed=0, chains=range(3), number=2):
    keys, theta = start_points(init, target, seed, chains, number)
    assert keys.shape == (len(list(chains)),)
    assert theta.shape == (number, len(list(chains)), target.size)
    return keys, np.asarray(theta)


def test_net_starts_have_zero_biases_and_differ_by_chain_and_start():
    _, theta = starts("net")
    params = jax.vmap(jax.vmap(TARGET.constrain))(theta)
    assert not np.asarray(params["layers.0.bias"]).any()
    weights = np.asarray(params["layers.0.weight"]).reshape(6, -1)
    assert np.unique(weights).size == weights.size


def test_prior_starts_have_the_priors_moments():
    _, theta = starts("prior", chains=range(40), number=10)
    weights = theta[..., : D - 1].ravel().astype(float)
    limit = z_limit(2) / np.sqrt(weights.size)
    assert abs(weights.mean() - 2.0) < limit * 0.5
    assert abs(((weights - 2.0) ** 2).mean() - 0.25) < limit * 0.25 * np.sqrt(2)
    scale = np.exp(theta[..., -1].ravel().astype(float))
    assert stats.kstest(scale, stats.halfnorm.cdf).pvalue > 2e-5


@pytest.mark.parametrize("init", ["net", "prior"])
def test_a_chains_start_depends_on_the_seed_and_its_number_only(init):
    keys, theta = starts(init, chains=range(4))
    some_keys, some = starts(init, chains=[2, 3])
    np.testing.assert_array_equal(theta[:, 2:], some)
    np.testing.assert_array_equal(jax.random.key_data(keys)[2:], jax.random.key_data(some_keys))
    other_keys, other = starts(init, seed=1)
    assert not np.array_equal(theta[:, :3], other)
    assert not np.array_equal(jax.random.key_data(keys)[:3], jax.random.key_data(other_keys))


def test_an_array_of_one_point_serves_every_chain_and_start():
    point = np.arange(D, dtype=float)
    _, theta = starts(point)
    np.testing.assert_array_equal(theta, np.broadcast_to(point, (2, 3, D)))


def test_an_array_with_a_row_per_chain_serves_every_start():
    points = np.arange(3.0 * D).reshape(3, D)
    _, theta = starts(points)
    np.testing.assert_array_equal(theta, np.broadcast_to(points, (2, 3, D)))


def test_a_dictionary_is_in_constrained_units():
    params = {
        "layers.0.bias": np.arange(4.0),
        "layers.0.weight": np.ones((4, 1)),
        "layers.1.bias": np.array([7.0]),
        "layers.1.weight": -np.ones((1, 4)),
        "likelihood.scale": 0.5,
    }
    _, theta = starts(params)
    expected = [0, 1, 2, 3, 1, 1, 1, 1, 7, -1, -1, -1, -1, np.log(0.5)]
    np.testing.assert_allclose(theta[1, 2], expected, rtol=1e-6)


def test_a_posterior_gives_its_mean_to_one_chain_and_draws_to_several():
    gaussian = posterior_of(MODEL, gaussian_of(np.arange(D), np.full(D, 0.01)))
    _, one = starts(gaussian, chains=range(1), number=1)
    np.testing.assert_array_equal(one[0, 0], np.arange(D))
    _, several = starts(gaussian)
    assert np.unique(several[..., 1]).size == 6
    assert np.abs(several - np.arange(D)).max() < 0.01 * z_limit(several.size)
    stored = np.arange(6.0 * D).reshape(2, 3, D)
    _, drawn = starts(posterior_of(MODEL, draws_of(stored)))
    assert {tuple(row) for row in drawn.reshape(6, D)} == {tuple(r) for r in stored.reshape(6, D)}


@pytest.mark.parametrize("steps", [1])
@pytest.mark.parametrize("kind", ["array", "dict", "posterior"])
def test_a_fit_begins_there(kind, steps):
    mean = np.linspace(-1, 1, D).astype(np.float32)
    init = {
        "array": mean,
        "dict": TARGET.constrain(jnp.asarray(mean)),
        "posterior": posterior_of(MODEL, gaussian_of(mean, np.ones(D))),
    }[kind]
    posterior = po.fit(MODEL, (X, Y), po.MAP(steps=steps), init=init, progress=False)
    params = {path: np.asarray(v, float) for path, v in TARGET.constrain(jnp.asarray(mean)).items()}
    h = np.maximum(X @ params["layers.0.weight"].T + params["layers.0.bias"], 0)
    f = (h @ params["layers.1.weight"].T + params["layers.1.bias"])[:, 0]
    scale = params["likelihood.scale"]
    expected = stats.norm(f, scale).logpdf(Y).sum() + stats.halfnorm.logpdf(scale)
    expected += stats.norm(2, 0.5).logpdf(mean[:-1].astype(float)).sum()
    np.testing.assert_allclose(posterior.history.log_joint[0], expected, rtol=1e-5)


def test_a_net_that_holds_weights_starts_there_once_and_is_spread_elsewhere():
    net = eqx.nn.MLP(1, 1, 30, 1, key=jax.random.key(0))
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(1.0))
    target = Target.build(model, (1,), (), 10)
    held = np.asarray(target.net_draw(jax.random.key(0)))
    _, theta = starts("net", target, chains=range(3), number=2)
    np.testing.assert_array_equal(theta[0, 0], held)
    moved = np.concatenate([theta[0, 1:], theta[1]]) - held
    assert (moved != 0).mean() > 0.9
    for p in target.parameters:
        spread = held[p.start : p.stop].std()
        noise = moved[:, p.start : p.stop].astype(float).ravel()
        if spread > 0:
            limit = z_limit(len(target.parameters)) * np.sqrt(2 / noise.size)
            assert abs((noise**2).mean() / spread**2 - 1) < limit
    _, alone = starts("net", target, chains=range(1), number=1)
    np.testing.assert_array_equal(alone[0, 0], held)


@pytest.mark.parametrize(
    ("init", "error", "message"),
    [
        ("zero", ValueError, 'as a word it is "net" or "prior"'),
        (np.zeros(D - 1), ValueError, rf"expected θ of shape \({D},\).*got \({D - 1},\)"),
        (np.zeros((2, D)), ValueError, r"expected θ of shape"),
        (np.where(np.arange(D) == 3, np.nan, 0.0), ValueError, r"init\[3\] is not finite"),
        (np.full((3, D), np.inf), ValueError, r"init\[0, 0\] is not finite"),
        ({"layers.0.bias": np.zeros(4)}, ValueError, r"missing \['layers.0.weight'"),
    ],
)
def test_starts_that_do_not_fit_are_refused(init, error, message):
    with pytest.raises(error, match=message):
        starts(init)


def test_a_start_outside_the_support_is_refused():
    params = dict(TARGET.constrain(jnp.zeros(D)))
    params["likelihood.scale"] = -1.0
    with pytest.raises(ValueError, match="not finite"):
        starts(params)


def test_a_posterior_of_another_model_is_refused():
    other = po.Model(po.nets.MLP(1, [2], 1), po.priors.Normal(), po.likelihoods.Normal(1.0))
    size = Target.build(other, (1,), (), 10).size
    with pytest.raises(ValueError, match="init: the posterior is of another model"):
        starts(posterior_of(other, gaussian_of(np.zeros(size), np.ones(size))))
