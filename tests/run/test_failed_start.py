"""Starts: finite for 20 architectures; and where there is none, the message says where it fails."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from posterity.data.batches import as_batches
from posterity.model.net_target import Batch, Target
from posterity.run.failed_start import blame, origin
from posterity.run.start import start_points

NET = po.nets.MLP(1, [3, 4], 1, activation=jnp.tanh)
X = np.linspace(-1, 1, 10, dtype=np.float32)[:, None]
Y = X[:, 0]


def fit(model: po.Model, method: Any = None, **settings: Any) -> po.Posterior:
    return po.fit(model, (X, Y), method or po.MAP(steps=20), progress=False, **settings)


def start_with(path: str, value: float, prior: Any = None) -> tuple[po.Model, np.ndarray]:
    """A model, and its θ of ones with `value` as the last number of `path`."""
    model = po.Model(NET, prior or po.priors.Normal(), po.likelihoods.Normal(1.0))
    target = Target.build(model, (1,), (), 10)
    theta = np.ones(target.size, np.float32)
    theta[{p.path: p.stop - 1 for p in target.parameters}[path]] = value
    return model, theta


# A flat prior of the whole net, one prior by path, and one with values of its own.
PRIORS = {
    "one": po.priors.Normal(),
    "by path": {"layers.*.bias": dist.Normal(0, 2), "*": dist.Normal(0, 1)},
}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("path", ["layers.0.weight", "layers.1.bias", "layers.2.weight"])
def test_the_layer_of_a_hopeless_prior_is_named(path: str, prior: str) -> None:
    model, theta = start_with(path, 1e25, PRIORS[prior])
    with pytest.raises(ValueError, match=rf"log prior there is -inf, first in '{path}'\. .*1e\+25"):
        fit(model, init=theta)


@pytest.mark.parametrize("method", [po.ADVI(steps=20, starts=1), po.NUTS(chains=2, warmup=20)])
def test_every_method_names_the_layer(method: Any) -> None:
    model, theta = start_with("layers.1.weight", 1e25)
    with pytest.raises(ValueError, match=r"from the start \(the θ given\).*'layers.1.weight'"):
        fit(model, method, init=theta)


def test_the_layer_of_a_hopeless_gradient_is_named() -> None:
    """√w has no gradient at 0: only that layer's is not finite."""

    def apply(params: Any, x: jax.Array) -> jax.Array:
        return x @ params["first"] @ jnp.sqrt(jnp.abs(params["second"]))

    net = (lambda key: {"first": jnp.ones((1, 2)), "second": jnp.zeros((2, 1))}, apply)
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(1.0))
    message = r"own first weights, seed 7\); the gradient there is not finite, first in 'second'\."
    with pytest.raises(ValueError, match=message):
        fit(model, seed=7)


def test_rows_and_layers_are_named_together() -> None:
    model, theta = start_with("layers.2.bias", 1e20, po.priors.Normal(0, 1e10))
    with pytest.raises(ValueError, match=r"row 0 there is -inf.*The largest.*'layers.2.bias'"):
        fit(model, init=theta)


def test_a_site_of_a_program_is_named() -> None:
    def program(y: Any) -> None:
        at = numpyro.sample("at", dist.Normal())
        wide = numpyro.sample("wide", dist.Normal())
        numpyro.sample("y", dist.Normal(at + jnp.sqrt(wide), 1.0), obs=y)

    model = po.Model.from_numpyro(program)
    with pytest.raises(ValueError, match=r"not finite, first in 'wide'"):
        po.fit(model, (Y,), po.MAP(steps=5), init={"at": 0.0, "wide": 0.0}, progress=False)


def test_a_start_that_is_finite_alone_is_not_blamed() -> None:
    model, theta = start_with("layers.0.bias", 1.0)
    target = Target.build(model, (1,), (), 10)
    said = blame(target, jnp.asarray(theta), Batch(jnp.asarray(X), jnp.asarray(Y)))
    assert said.startswith("density and gradient are finite there, but nowhere a step away.")


def test_where_a_run_started_is_said() -> None:
    assert origin("net", 3) == "the net's own first weights, seed 3"
    assert origin(po.MAP(steps=5), 0) == "a fit by MAP, seed 0"
    assert origin({"w": 1}, 0) == "the parameters given"
    found = fit(po.Model(NET, po.priors.Normal(), po.likelihoods.Normal(1.0)))
    assert origin(found, 0) == "the posterior given"


# -- 100 seeds × 20 architectures -----------------------------------------------------------------

NETS: dict[str, tuple[po.nets.AbstractNet, tuple[int, ...]]] = {}
for activation in (jnp.tanh, jax.nn.relu):
    for hidden in ([1024], [512, 256], [50, 50, 50], [10] * 8, []):
        label = f"MLP {hidden} {activation.__name__}"
        NETS[label] = po.nets.MLP(8, hidden, 1, activation=activation), (8,)
for name in ("gelu", "silu", "elu", "softplus"):
    NETS[f"MLP [200, 200] {name}"] = (
        po.nets.MLP(8, [200, 200], 1, activation=getattr(jax.nn, name)),
        (8,),
    )
IMAGE = (8, 8, 3)
NETS["MLP [1024, 1024] relu"] = po.nets.MLP(8, [1024, 1024], 1, activation=jax.nn.relu), (8,)
NETS["CNN"] = po.nets.CNN(IMAGE, [16, 32], [64], 10), IMAGE
NETS["LeNet5"] = po.nets.LeNet5(), (28, 28, 1)
NETS["ResNet 8"] = po.nets.ResNet(8, 10, in_shape=IMAGE), IMAGE
NETS["GRU"] = po.nets.Recurrent(3, 64, 1), (12, 3)
NETS["recurrent tanh"] = po.nets.Recurrent(3, 64, 1, cell="tanh"), (12, 3)
SEEDS = 100


def test_there_are_20_architectures() -> None:
    assert len(NETS) == 20


@pytest.mark.slow
@pytest.mark.parametrize("init", ["net", "prior"])
@pytest.mark.parametrize("name", NETS)
def test_100_seeds_start(name: str, init: str) -> None:
    """The log joint and its gradient are finite at every start, under standard normal priors."""
    net, shape = NETS[name]
    classes = shape != (8,) and net.out_size == 10
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, *shape)).astype(np.float32)
    y = np.arange(20) % 10 if classes else rng.normal(size=20).astype(np.float32)
    likelihood: Any = po.likelihoods.Categorical(10) if classes else po.likelihoods.Normal(0.1)
    model = po.Model(net, po.priors.Normal(), likelihood)
    batches = as_batches((x, y), likelihood, None, features_first=net.features_first)
    row = jax.eval_shape(lambda: batches.full)
    target = Target.build(model, row.x.shape[1:], row.y.shape[1:], batches.rows)

    @jax.jit
    def ok(thetas: jax.Array) -> tuple[jax.Array, jax.Array]:
        joint = jax.value_and_grad(lambda theta: target.log_joint(theta, batches.full))
        values, gradients = jax.vmap(joint)(thetas)
        return jnp.isfinite(values), jnp.isfinite(gradients).all(axis=1)

    # A chunk of seeds at once: as many as hold 2²³ weights.
    chunk = max(1, min(SEEDS, 2**23 // target.size))
    done = 0
    for first in range(0, SEEDS, chunk):
        seeds = range(first, min(first + chunk, SEEDS))
        thetas = [start_points(init, target, seed, range(1), 1)[1][0, 0] for seed in seeds]
        value, gradient = map(np.asarray, ok(jnp.stack(thetas)))
        assert value.all(), f"log joint, seed {seeds[int(np.argmin(value))]}"
        assert gradient.all(), f"gradient, seed {seeds[int(np.argmin(gradient))]}"
        done += len(thetas)
    assert done == SEEDS
