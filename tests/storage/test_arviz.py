"""ArviZ: groups, names, axes and coordinates."""

from __future__ import annotations

import sys

import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from handmade import draws_of, gaussian_of, linear, posterior_of

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


@pytest.fixture(scope="module")
def moving():
    """Chains that have left their start."""
    method = po.NUTS(chains=2, warmup=150, draws=60)
    return po.fit(MODEL, (X, X[:, 0]), method, progress=False)


def test_users_own_code_runs_on_it(moving):
    """Summary, energies and plots find what they look for, and say what we say."""
    az = pytest.importorskip("arviz")
    data = moving.to_arviz()
    table = az.summary(data, round_to=12)
    assert "likelihood.scale" in table.index
    assert "layers.1.weight[0, 2]" in table.index
    assert len(table) == 11
    (scale,) = moving.diagnostics.named
    row = table.loc["likelihood.scale"]
    assert row["mean"] == pytest.approx(scale.mean, rel=1e-4)
    for theirs, ours in (("r_hat", scale.rhat), ("ess_bulk", scale.ess_bulk)):
        if theirs in row:
            assert np.isfinite(ours)
            assert row[theirs] == pytest.approx(ours, rel=1e-3)
    np.testing.assert_allclose(az.bfmi(data), moving.diagnostics.sampler.bfmi, rtol=1e-3)


def test_their_plots_run_on_it(moving):
    az = pytest.importorskip("arviz")
    matplotlib = pytest.importorskip("matplotlib")
    if int(az.__version__.split(".")[0]) >= 1:
        pytest.skip("the plots of ArviZ 1 are another package")
    matplotlib.use("agg")
    data = moving.to_arviz()
    import matplotlib.pyplot as plt

    scale = {"var_names": ["likelihood.scale"]}
    drawn = {
        "energy": az.plot_energy(data),
        "trace": az.plot_trace(data, **scale),
        "rank": az.plot_rank(data, **scale),
        "autocorr": az.plot_autocorr(data, **scale),
    }
    panels = {name: np.ravel(axes) for name, axes in drawn.items()}
    assert {name: len(found) for name, found in panels.items()} == {
        "energy": 1,
        "trace": 2,
        "rank": 1,
        "autocorr": 2,  # of each chain
    }
    for found in panels.values():
        assert all(ax.lines or ax.patches or ax.collections for ax in found)
    values = moving.weights("likelihood.scale")
    lines = panels["trace"][1].lines
    for chain in values:
        assert any(np.array_equal(line.get_ydata(), chain) for line in lines)
    plt.close("all")


def test_it_says_where_it_comes_from(nuts):
    for name in ("posterior", "sample_stats"):
        attrs = nuts.to_arviz()[name].attrs
        assert attrs["inference_library"] == "posterity"
        assert attrs["inference_method"] == "NUTS"
        assert attrs["tuning_steps"] == 20
        assert attrs["sampling_time"] > 0


def test_a_thinned_draw_is_divergent_if_one_of_its_steps_is():
    history = {
        "divergent": np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1]], bool),
        "depth": np.array([[1, 2, 3, 4, 5, 6, 7, 1, 2]]),
    }
    posterior = posterior_of(
        linear(po.likelihoods.Normal(0.5)),
        draws_of(np.zeros((1, 3, 1))),
        history=history,
        thin=3,
        max_depth=7,
    )
    stats = posterior.to_arviz()["sample_stats"]
    assert stats["diverging"].values.tolist() == [[True, False, True]]
    assert stats["tree_depth"].values.tolist() == [[3, 6, 2]]
    assert stats["reached_max_treedepth"].values.tolist() == [[False, False, True]]


def test_statistics_of_thinned_draws_are_those_of_their_own_steps():
    method = po.SGLD(draws=5, step_size=1e-3, thin=3, chains=2)
    posterior = po.fit(MODEL, (X, X[:, 0]), method, progress=False)
    lp = posterior.to_arviz()["sample_stats"]["lp"]
    np.testing.assert_array_equal(lp.values, posterior.history.log_joint[:, 2::3])


def test_draws_of_a_gaussian_are_made_on_demand_and_have_no_statistics():
    posterior = posterior_of(linear(po.likelihoods.Normal(0.5)), gaussian_of([1.0], [0.5]))
    data = posterior.to_arviz(draws=7, seed=3)
    assert groups(data) == {"posterior"}
    variable = data["posterior"]["layers.0.weight"]
    assert variable.shape == (1, 7, 1, 1)
    np.testing.assert_array_equal(
        variable.values, posterior.weights("layers.0.weight", draws=7, seed=3)
    )


def test_without_arviz_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    posterior = posterior_of(linear(po.likelihoods.Normal(0.5)), gaussian_of([1.0], [0.5]))
    with pytest.raises(ImportError, match=r"posterity\[arviz\]"):
        posterior.to_arviz()
