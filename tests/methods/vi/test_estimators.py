"""Estimators on nets of every kind: same mean value and gradient, less noise, right choices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from flax import nnx
from jax import lax

import posterity as po
from oracles import z_limit
from posterity.methods.vi.estimators.estimator import draw_noise, expected_log_likelihood, plan
from posterity.methods.vi.families.mean_field import MeanField
from posterity.model.net_target import Batch, Target

ROWS = 40
DRAWS = 2_000


class FlaxCNN(nnx.Module):
    """A convolution, pooling and a dense layer, batch first."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(1, 3, (3, 3), rngs=rngs)
        self.dense = nnx.Linear(12, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = nnx.max_pool(nnx.relu(self.conv(x)), (2, 2), strides=(2, 2))
        return self.dense(h.reshape(x.shape[0], -1))


class EquinoxNet(eqx.Module):
    """One example at a time, channels first, with a norm and a scalar gain."""

    conv: eqx.nn.Conv2d
    norm: eqx.nn.LayerNorm
    dense: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.conv = eqx.nn.Conv2d(1, 2, 3, key=first)
        self.norm = eqx.nn.LayerNorm(8)
        self.dense = eqx.nn.Linear(8, 2, key=second)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.conv(jnp.moveaxis(x, -1, 0))
        return self.dense(jnp.tanh(self.norm(h.ravel())))


def residual() -> tuple[Callable, Callable]:
    """x + f(x) twice with the same weights in both blocks, scaled by a known number."""

    def init(key: jax.Array) -> dict[str, jax.Array]:
        keys = jax.random.split(key, 3)
        shapes = {"block": (4, 4), "head": (4, 2), "scale": (4,)}
        return {
            name: 0.5 * jax.random.normal(k, shapes[name]) for name, k in zip(sorted(shapes), keys)
        }

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = x + jnp.tanh(x @ (0.7 * params["block"]))
        return (x * params["scale"]) @ params["head"]

    return init, apply


def recurrent() -> tuple[Callable, Callable]:
    """The same weights at every time step, in a scan."""

    def init(key: jax.Array) -> dict[str, jax.Array]:
        keys = jax.random.split(key, 3)
        shapes = {"h": (3, 3), "out": (3, 2), "x": (2, 3)}
        return {
            name: 0.5 * jax.random.normal(k, shapes[name]) for name, k in zip(sorted(shapes), keys)
        }

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        def step(h: jax.Array, x_t: jax.Array) -> tuple[jax.Array, None]:
            return jnp.tanh(x_t @ params["x"] + h @ params["h"]), None

        h, _ = lax.scan(step, jnp.zeros((x.shape[0], 3)), jnp.moveaxis(x, 1, 0))
        return h @ params["out"]

    return init, apply


IMAGE, VECTOR, SERIES = (4, 4, 1), (4,), (5, 2)
NETS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "mlp by columns": (lambda: po.nets.MLP(4, [5], 2, activation=jnp.tanh), VECTOR),
    "mlp by rows": (lambda: po.nets.MLP(4, [80], 2, activation=jnp.tanh), VECTOR),
    "cnn": (lambda: po.nets.CNN(IMAGE, [3], [4], 2), IMAGE),
    "flax": (lambda: FlaxCNN(nnx.Rngs(0)), IMAGE),
    "equinox": (lambda: EquinoxNet(jax.random.key(0)), IMAGE),
    "residual": (residual, VECTOR),
    "recurrent": (recurrent, SERIES),
}


def built(name: str, prior: Any = None) -> tuple[Target, Batch, jax.Array]:
    """The target of a net, some data, and a φ around the net's own weights."""
    net, shape = NETS[name]
    prior = prior or po.priors.Normal(0, 1)
    model = po.Model(net(), prior, po.likelihoods.Categorical(2))
    target = Target.build(model, shape, (), 3 * ROWS)
    key = jax.random.key(1)
    x = jax.random.normal(key, (ROWS, *shape))
    y = (jnp.arange(ROWS) % 2).astype(jnp.int32)
    phi = MeanField().init(key, target.net_draw(key), 0.3)
    return target, Batch(x, y), phi


def estimates(name: str, estimator: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values (DRAWS,) and gradients (DRAWS, 2 D) of the expected log likelihood."""
    target, batch, phi = built(name)
    chosen, family = plan(target, estimator), MeanField()

    def value(phi: jax.Array, key: jax.Array) -> jax.Array:
        theta = family.push(phi, jax.random.normal(key, (1, target.size)))[0]
        noise = None if chosen.shared else draw_noise(chosen, key, ROWS, batch.x.dtype)
        moments = family.mean_and_sd(phi)
        return expected_log_likelihood(target, chosen, moments, theta, noise, batch)

    keys = jax.random.split(jax.random.key(2), DRAWS)
    both = jax.jit(lambda keys: lax.map(lambda key: jax.value_and_grad(value)(phi, key), keys))
    values, gradients = both(keys)
    return np.asarray(values, np.float64), np.asarray(gradients, np.float64).reshape(DRAWS, -1)


@pytest.fixture(scope="module", params=list(NETS))
def sampled(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    kinds = ("shared", "local", "flipout")
    return request.param, {kind: estimates(request.param, kind) for kind in kinds}


def test_mean_value_and_gradient_agree(sampled: tuple[str, dict[str, Any]]) -> None:
    """Every element of the mean gradient within the |z| that so many comparisons allow."""
    _, found = sampled
    for kind in ("local", "flipout"):
        for ours, shared in zip(found[kind], found["shared"]):
            ours, shared = ours.reshape(DRAWS, -1), shared.reshape(DRAWS, -1)
            error = np.sqrt((ours.var(0) + shared.var(0)) / DRAWS)
            z = np.abs(ours.mean(0) - shared.mean(0)) / np.maximum(error, 1e-12)
            assert z.max() < z_limit(z.size), kind


def test_gradients_are_less_noisy(sampled: tuple[str, dict[str, Any]]) -> None:
    """Total variance over all elements, below that of the shared draw."""
    name, found = sampled
    shared = found["shared"][1].var(0).sum()
    for kind in ("local", "flipout"):
        assert found[kind][1].var(0).sum() < shared, (name, kind)


EXPECTED = {
    "mlp by columns": {"layers.0.weight": "local", "layers.0.bias": "shared"},
    "flax": {"conv.kernel": "flipout", "dense.kernel": "local", "dense.bias": "shared"},
    "equinox": {"conv.weight": "flipout", "dense.weight": "local", "norm.weight": "shared"},
    "residual": {"block": "flipout", "head": "local", "scale": "shared"},
    "recurrent": {"h": "flipout", "x": "flipout", "out": "local"},
}


@pytest.mark.parametrize("name", list(EXPECTED))
def test_local_is_local_only_where_a_weight_has_one_value(name: str) -> None:
    target, _, _ = built(name)
    chosen = plan(target, "local").by_path()
    assert {path: chosen[path] for path in EXPECTED[name]} == EXPECTED[name]


def test_per_position_is_by_name_only() -> None:
    target, _, _ = built("flax")
    assert plan(target, "local-per-position").by_path()["conv.kernel"] == "local-per-position"
    target, _, _ = built("recurrent")  # in a loop, one noise would serve all positions
    assert plan(target, "local-per-position").by_path()["h"] == "flipout"


def test_a_weight_with_a_bounded_prior_is_shared() -> None:
    prior = {"layers.0.weight": dist.HalfNormal(1.0), "*": dist.Normal(0.0, 1.0)}
    target, _, _ = built("mlp by columns", prior)
    chosen = plan(target, "flipout").by_path()
    assert chosen["layers.0.weight"] == "shared"
    assert chosen["layers.1.weight"] == "flipout"


def twice(second: Callable) -> Target:
    """A net that multiplies by W, and then does `second` with it."""
    net = (
        lambda key: {"W": jax.random.normal(key, (4, 4))},
        lambda params, x: second(x @ params["W"], params["W"])[:, :1],
    )
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(1.0))
    return Target.build(model, (4,), (), 10)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (lambda h, W: h, "flipout"),
        (lambda h, W: h @ W, "flipout"),  # alike: the same signs serve both
        (lambda h, W: h @ W.T, "shared"),  # not alike: an example's weight would have two values
        (lambda h, W: h / jnp.sum(W**2), "shared"),
        (lambda h, W: h @ (W @ W), "shared"),
        (lambda h, W: h @ jnp.concatenate([W, W], axis=1), "shared"),
    ],
)
def test_one_example_never_meets_two_values_of_a_weight(second: Any, expected: str) -> None:
    assert plan(twice(second), "flipout").by_path()["W"] == expected


def test_an_examples_output_is_that_of_one_weight() -> None:
    """Flipout in a recurrent net: one weight explains what an example sees at all times."""
    target, batch, phi = built("recurrent")
    chosen, family = plan(target, "flipout"), MeanField()
    theta = family.push(phi, jax.random.normal(jax.random.key(5), (1, target.size)))[0]
    noise = draw_noise(chosen, jax.random.key(6), ROWS, batch.x.dtype)
    each = [
        expected_log_likelihood(
            target,
            chosen,
            family.mean_and_sd(phi),
            theta,
            jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], noise),
            Batch(batch.x[row : row + 1], batch.y[row : row + 1]),
        )
        for row in range(3)
    ]
    mean = target.split(phi[0])[0]
    deviation = target.split(theta - phi[0])[0]
    for row in range(3):
        at, weights = 0, {}
        for path, choice in zip(chosen.paths, chosen.choices):
            signs = []
            for shape in (choice.use.signs_in, choice.use.signs_out):
                n = int(np.prod(shape))
                signs.append(np.asarray(noise.signs[row, at : at + n]))
                at += n
            weights[path] = mean[path] + deviation[path] * np.outer(*signs)
        logits = target.net.apply(weights, batch.x[row : row + 1])
        log_p = jax.nn.log_softmax(logits)[0, batch.y[row]]
        np.testing.assert_allclose(each[row], target.rows * log_p, rtol=1e-4)


def test_a_single_input_needs_no_sign_of_its_own() -> None:
    """(s x) Δ r = x Δ (s r): the signs of the product are enough for one weight per example."""
    net = (
        lambda key: {"w": jnp.zeros((1, 3))},
        lambda weights, x: x @ weights["w"],
    )
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Categorical(3))
    target = Target.build(model, (1,), (), 10)
    chosen = plan(target, "flipout")
    noise = draw_noise(chosen, jax.random.key(6), 4, jnp.float32)
    assert noise.signs.shape == (4, 3)
    assert set(np.unique(noise.signs)) == {-1.0, 1.0}
    mean, theta = jnp.array([0.5, -1.0, 2.0]), jnp.array([1.5, 0.2, 2.3])
    batch = Batch(jnp.array([[1.0], [-2.0], [0.5], [3.0]]), jnp.array([0, 1, 2, 0]))
    found = expected_log_likelihood(target, chosen, (mean, mean), theta, noise, batch)
    logits = batch.x * (mean + (theta - mean) * noise.signs)
    each = jax.nn.log_softmax(logits)[jnp.arange(4), batch.y]
    np.testing.assert_allclose(found, 10 / 4 * each.sum(), rtol=1e-5)


def test_the_fit_says_which_estimator_each_weight_got() -> None:
    x = np.linspace(-1, 1, 30)[:, None]
    model = po.Model(po.nets.MLP(1, [4], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    posterior = po.fit(model, (x, x[:, 0]), po.ADVI(steps=20, estimator="local"), progress=False)
    assert posterior.facts["estimators"]["layers.1.weight"] == "local"
    assert not [w for w in posterior.result.warnings if "estimator" in w]


def test_a_fit_warns_where_the_estimator_applies_to_nothing() -> None:
    net = (
        lambda key: {"w": jax.random.normal(key, (1,))},
        lambda params, x: jnp.sin(params["w"] * x),
    )
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(0.1))
    x = np.linspace(-1, 1, 30)[:, None]
    posterior = po.fit(model, (x, x[:, 0]), po.ADVI(steps=20, estimator="flipout"), progress=False)
    assert any("applied to no weight" in warning for warning in posterior.result.warnings)


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(ValueError, match="estimator must be one of"):
        po.ADVI(estimator="reparam")


@pytest.mark.parametrize("antithetic", [True, False])
def test_in_a_fit_every_row_has_noise_of_its_own(antithetic: bool) -> None:
    target, batch, _ = built("mlp by columns")
    method = po.ADVI(estimator="local", draws=2, antithetic=antithetic)
    chosen, different = plan(target, "local"), 1 if antithetic else 2
    z = method._per_example(chosen, jax.random.key(0), different, batch, None).z
    assert z.shape[:2] == (2, ROWS)
    rows = np.abs(np.asarray(z).reshape(2 * ROWS, -1))
    assert len(np.unique(rows, axis=0)) == different * ROWS
