"""ArviZ: groups, names, axes and coordinates."""

from __future__ import annotations

import sys

import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from posterior.handmade import gaussian_of, linear, posterior_of

pytest.importorskip("arviz")

X = np.linspace(-1, 1, 12)[:, None]
NET = po.nets.MLP(1, [3], 1)
MODEL = po.Model(NET, po.priors.Normal(), po.likelihoods.Normal(dist.HalfNormal(1.0)))
SHAPES = {
    "layers.0.bias": (3,),
    "layers.0.weight": (3, 1),
    "layers.1.bias": (1,),
    "layers.1.weight": (1, 3),
    "likelihood.scale": (),
}


def groups(data):
    """Group names without their slashes, of `InferenceData` (0.x) or `DataTree` (1.x)."""
    names = data.groups() if callable(data.groups) else data.groups
    return {name.strip("/") for name in names} - {""}


@pytest.fixture(scope="module")
def nuts():
    method = po.NUTS(chains=2, warmup=20, draws=6)
    return po.fit(MODEL, (X, X[:, 0]), method, progress=False)


def test_parameters_are_variables_with_chain_and_draw(nuts):
    data = nuts.to_arviz()
    assert set(data["posterior"].data_vars) == set(SHAPES)
    for path, shape in SHAPES.items():
        variable = data["posterior"][path]
        assert variable.shape == (2, 6, *shape)
        names = tuple(f"{path}_dim_{axis}" for axis in range(len(shape)))
        assert variable.dims == ("chain", "draw", *names)
        for name, length in zip(names, shape):
            np.testing.assert_array_equal(variable.coords[name], np.arange(length))
        np.testing.assert_array_equal(variable.values, nuts.weights(path))


def test_statistics_have_arvizs_names(nuts):
    data = nuts.to_arviz()
    assert groups(data) == {"posterior", "sample_stats"}
    stats = data["sample_stats"]
    assert {"lp", "diverging", "acceptance_rate", "tree_depth"} <= set(stats.data_vars)
    assert stats["lp"].shape == (2, 6)
    np.testing.assert_array_equal(stats["lp"].values, nuts.history.log_joint)
    np.testing.assert_array_equal(stats["diverging"].values, nuts.history.divergent)


def test_statistics_of_thinned_draws_are_those_of_their_own_steps():
    method = po.SGLD(draws=5, step_size=1e-3, thin=3, chains=2)
    posterior = po.fit(MODEL, (X, X[:, 0]), method, progress=False)
    lp = posterior.to_arviz()["sample_stats"]["lp"]
    np.testing.assert_array_equal(lp.values, posterior.history.log_joint[:, 2::3])


def test_draws_of_a_gaussian_are_made_on_demand_and_have_no_statistics():
    posterior = posterior_of(linear(po.likelihoods.Normal(0.5)), gaussian_of([1.0], [0.5]))
    data = posterior.to_arviz(n=7, seed=3)
    assert groups(data) == {"posterior"}
    variable = data["posterior"]["layers.0.weight"]
    assert variable.shape == (1, 7, 1, 1)
    np.testing.assert_array_equal(
        variable.values, posterior.weights("layers.0.weight", n=7, seed=3)
    )


def test_without_arviz_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    posterior = posterior_of(linear(po.likelihoods.Normal(0.5)), gaussian_of([1.0], [0.5]))
    with pytest.raises(ImportError, match=r"posterity\[arviz\]"):
        posterior.to_arviz()
