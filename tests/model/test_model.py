"""Model: what it takes, what it refuses, and the names of its parameters."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro.distributions as dist
import pytest

import posterity as po

NET = po.nets.MLP(2, [3], 1)


def test_parameters_have_paths_and_shapes_in_tree_order():
    model = po.Model(NET, po.priors.Normal(), po.likelihoods.Bernoulli())
    assert list(model.parameters().items()) == [
        ("layers.0.bias", (3,)),
        ("layers.0.weight", (3, 2)),
        ("layers.1.bias", (1,)),
        ("layers.1.weight", (1, 3)),
    ]


def test_nested_trees_are_named_by_their_keys():
    def init(key):
        return {"b": [jnp.ones(2), (jnp.ones(()),)], "a": {"w": jnp.ones((1, 2))}}

    model = po.Model((init, lambda p, x: x), po.priors.Normal(), po.likelihoods.Bernoulli())
    assert model.parameters() == {"a.w": (1, 2), "b.0": (2,), "b.1.0": ()}


@pytest.mark.parametrize("likelihood", [None, "Bernoulli", dist.Normal(0.0, 1.0)])
def test_what_is_no_likelihood_is_refused(likelihood):
    with pytest.raises(TypeError, match=r"likelihood: expected one of po\.likelihoods"):
        po.Model(NET, po.priors.Normal(), likelihood)


def test_a_likelihood_that_is_not_built_is_refused():
    with pytest.raises(TypeError, match="likelihood"):
        po.Model(NET, po.priors.Normal(), po.likelihoods.Bernoulli)


@pytest.mark.parametrize("net", [None, 3, "MLP", lambda x: x, (1, 2), (lambda k: {},)])
def test_what_is_no_net_is_refused(net):
    with pytest.raises(TypeError, match=r"net: expected one of po\.nets"):
        po.Model(net, po.priors.Normal(), po.likelihoods.Bernoulli())


def test_a_net_without_parameters_is_refused():
    with pytest.raises(ValueError, match="no floating-point parameters"):
        po.Model((lambda k: {}, lambda p, x: x), po.priors.Normal(), po.likelihoods.Bernoulli())


def test_a_parameter_of_whole_numbers_is_refused_by_name():
    def init(key):
        return {"w": jnp.ones(2), "steps": jnp.zeros(3, jnp.int32)}

    with pytest.raises(TypeError, match=r"'steps' has dtype int32"):
        po.Model((init, lambda p, x: x), po.priors.Normal(), po.likelihoods.Bernoulli())


def test_prior_patterns_are_checked_when_the_model_is_made():
    with pytest.raises(ValueError, match=r"layers\.0\.bias"):
        po.Model(NET, {"weights": dist.Normal(0.0, 1.0)}, po.likelihoods.Bernoulli())
