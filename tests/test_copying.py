"""Pickles and copies of models, posteriors and predictions, by whoever wants them."""

from __future__ import annotations

import copy
import hashlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest

import posterity as po
from handmade import gaussian_of, posterior_of
from posterity.distributions.draws import Draws
from posterity.distributions.spool import Spool
from posterity.model.net_target import Target
from posterity.storage.encode import FUNCTIONS

X = np.linspace(-1, 1, 7)[:, None]
JAXS = {
    **FUNCTIONS,
    "swish": jax.nn.swish,
    "relu6": jax.nn.relu6,
    "log_softmax": jax.nn.log_softmax,
    "square": jnp.square,
    "add": jnp.add,
    "maximum": jnp.maximum,
    "logistic": jax.lax.logistic,
    "erf": jax.scipy.special.erf,
}


@jax.jit
def own(x: jax.Array) -> jax.Array:
    return jnp.sin(x)


@jax.custom_jvp
def bent(x: jax.Array) -> jax.Array:
    return jnp.abs(x)


@pytest.mark.parametrize("name", JAXS)
def test_functions_of_jax_go_by_name(name: str) -> None:
    function = JAXS[name]
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function
    assert copy.copy(function) is function


@pytest.mark.parametrize("function", [own, bent])
def test_functions_of_ones_own_that_jax_has_wrapped_go_by_name(function: Any) -> None:
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function


def test_a_wrapped_function_without_a_name_is_named() -> None:
    net = po.nets.MLP(1, [2], 1, activation=jax.jit(lambda x: jnp.sin(x)))
    with pytest.raises((pickle.PicklingError, AttributeError), match="<lambda>"):
        pickle.dumps(net)
    assert copy.deepcopy(net) is net
    twice = copy.deepcopy(jax.jit(lambda x: 2 * x))  # as it was before there was this library
    assert float(twice(3.0)) == 6
    cloudpickle = pytest.importorskip("cloudpickle")
    made = pickle.loads(cloudpickle.dumps(net))
    assert float(made.activation(1.0)) == float(net.activation(1.0))
    assert pickle.loads(cloudpickle.dumps(jax.nn.relu)) is jax.nn.relu


def module(activation: Any = jax.nn.relu) -> eqx.Module:
    return eqx.nn.MLP(1, 1, 4, 1, activation=activation, key=jax.random.key(0))


NETS = {
    "mlp": po.nets.MLP(1, [3], 1),
    "cnn": po.nets.CNN((8, 8, 1), [2], [3], 1, activation=jax.nn.gelu),
    "lenet": po.nets.LeNet5(),
    "resnet": po.nets.ResNet(8, 1, (8, 8, 1)),
    "recurrent": po.nets.Recurrent(1, 2, 1),
    "equinox": module(),
    "equinox, sequential": eqx.nn.Sequential(
        [eqx.nn.Linear(1, 1, key=jax.random.key(0)), eqx.nn.Lambda(jax.nn.gelu)]
    ),
    "equinox, own": module(own),
}


@pytest.mark.parametrize("name", NETS)
def test_models_come_back(name: str) -> None:
    net = NETS[name]
    likelihood = po.likelihoods.Normal(po.learned(0.5))
    if name == "lenet":
        likelihood = po.likelihoods.Categorical(10)
    model = po.Model(net, {"*": dist.Normal(0.0, po.learned(1.0))}, likelihood)
    for made in (pickle.loads(pickle.dumps(model)), copy.copy(model), copy.deepcopy(model)):
        assert made.parameters() == model.parameters()
        assert jax.tree.structure(made) == jax.tree.structure(model)
        for one, other in zip(jax.tree.leaves(made), jax.tree.leaves(model)):
            assert np.array_equal(one, other)


def test_one_number_to_be_learned_in_two_places_stays_one() -> None:
    number = po.learned(0.5)
    model = po.Model(
        po.nets.MLP(1, [], 1), po.priors.Normal(0, number), po.likelihoods.Normal(number)
    )
    made = pickle.loads(pickle.dumps(model))
    assert len(Target.build(made, (1,), (), 5).slots) == 1


def gaussian(net: Any) -> po.Posterior:
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(dist.HalfNormal(1.0)))
    size = Target.build(model, (1,), (), 10).size
    q = gaussian_of(np.linspace(-1, 1, size), np.full(size, 0.2))
    return posterior_of(model, q, history={"elbo": np.arange(3.0)})


def said(posterior: Any) -> bytes:
    """What a posterior predicts, to the bit."""
    predicted = posterior.predict(X, draws=20)
    return b"".join(np.asarray(a).tobytes() for a in (predicted.mean, predicted.sd))


ROUND = """
import pickle, sys
import jax
jobs = pickle.load(open(sys.argv[1], "rb"))
for posterior, predicted, x in jobs:
    again = posterior.predict(x, draws=20)
    for made in (again, predicted):
        said = made.mean, made.sd, predicted.quantile(0.1)
        print(*(part.tobytes().hex() for part in said))
"""


@pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle", "joblib"])
@pytest.mark.parametrize("name", ["mlp", "equinox"])
def test_posteriors_and_predictions_come_back_to_the_bit(
    name: str, way: str, tmp_path: Path
) -> None:
    posterior = gaussian(NETS[name])
    predicted = posterior.predict(X, draws=20)
    made, again = there_and_back((posterior, predicted), way, tmp_path)
    assert said(made) == said(posterior)
    assert made.settings == posterior.settings
    np.testing.assert_array_equal(made.history.elbo, posterior.history.elbo)
    np.testing.assert_array_equal(again.quantile(0.1), predicted.quantile(0.1))
    np.testing.assert_array_equal(again.log_prob(X[:, 0]), predicted.log_prob(X[:, 0]))
    made.facts["more"] = 1
    assert ("more" in posterior.facts) == (way == "copy")
    assert made.save(tmp_path / "a").exists()


def there_and_back(given: Any, way: str, folder: Path) -> Any:
    if way == "pickle":
        return pickle.loads(pickle.dumps(given))
    if way == "joblib":
        joblib = pytest.importorskip("joblib")
        joblib.dump(given, folder / "given")
        return joblib.load(folder / "given")
    return tuple(getattr(copy, way)(part) for part in given)


def test_pickles_are_read_in_a_fresh_process(tmp_path: Path) -> None:
    jobs = []
    for net in (NETS["mlp"], NETS["equinox"]):
        posterior = gaussian(net)
        jobs.append((posterior, posterior.predict(X, draws=20), X))
    (tmp_path / "jobs").write_bytes(pickle.dumps(jobs))
    command = [sys.executable, "-c", ROUND, str(tmp_path / "jobs")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = []
    for _, predicted, _ in jobs:
        line = [predicted.mean, predicted.sd, predicted.quantile(0.1)]
        expected += [" ".join(part.tobytes().hex() for part in line)] * 2
    assert done.stdout.splitlines() == expected


def test_draws_in_a_file_are_pickled_with_their_numbers_and_shared_by_copies() -> None:
    theta = np.random.default_rng(0).normal(size=(2, 30, 2)).astype(np.float32)
    spool = Spool(None, theta.shape, theta.dtype)
    for chain, draws in enumerate(theta):
        spool.write(chain, 0, draws)
    model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    posterior = posterior_of(model, Draws(spool.array))
    made = pickle.loads(pickle.dumps(posterior))
    assert not made.distribution.in_file
    np.testing.assert_array_equal(made.distribution.theta, theta)
    for one in (copy.copy(posterior), copy.deepcopy(posterior)):
        assert one.distribution.theta is posterior.distribution.theta
    assert said(made) == said(posterior)


def test_a_fit_is_pickled_with_its_method_but_for_functions_of_the_users() -> None:
    model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    for method in (po.MAP(steps=3), po.MAP(steps=3, optimizer=optax.adam(0.1))):
        posterior = po.fit(model, (X, X[:, 0]), method, progress=False)
        made = pickle.loads(pickle.dumps(posterior))
        assert made.method == (method if method.optimizer is None else None)
        assert copy.deepcopy(posterior).method is method
        assert made.predictive_draws == posterior.predictive_draws
        assert made.settings == posterior.settings


def slope(x: jax.Array, y: jax.Array) -> None:
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(slope * x, 0.5), obs=y)


def test_the_posterior_of_a_program_comes_back() -> None:
    model = po.Model.from_numpyro(slope)
    posterior = po.fit(model, {"x": X[:, 0], "y": X[:, 0]}, po.MAP(steps=3), progress=False)
    for made in (pickle.loads(pickle.dumps(posterior)), copy.deepcopy(posterior)):
        np.testing.assert_array_equal(made.weights("slope"), posterior.weights("slope"))
        assert made.target.rows == posterior.target.rows
    assert pickle.loads(pickle.dumps(model)).program is slope


def test_what_is_learned_and_updated_comes_back() -> None:
    model = po.Model(
        po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(po.learned(0.5))
    )
    first = po.fit(model, (X, X[:, 0]), po.ADVI(steps=3, stop=False), progress=False)
    prior = first.as_prior()
    made = pickle.loads(pickle.dumps(prior))
    digest = [hashlib.sha256(np.asarray(a).tobytes()).digest() for a in jax.tree.leaves(prior)]
    assert digest == [
        hashlib.sha256(np.asarray(a).tobytes()).digest() for a in jax.tree.leaves(made)
    ]
    assert pickle.loads(pickle.dumps(first)).learned == first.learned
