"""Weights by layer: the histograms are those of the posterior's moments."""

from __future__ import annotations

import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from handmade import draws_of, gaussian_of, posterior_of

pytest.importorskip("matplotlib")

NET = po.nets.MLP(2, [3], 1)
PATHS = ["layers.0.weight", "layers.1.weight"]


def model(net=NET, likelihood=None):
    return po.Model(net, po.priors.Normal(), likelihood or po.likelihoods.Normal(0.1))


@pytest.fixture
def posterior():
    rng = np.random.default_rng(0)
    return posterior_of(
        model(), gaussian_of(rng.normal(size=13), np.exp(rng.normal(-2, 1, 13))), columns=2
    )


def stairs(ax):
    """Name → (heights, edges) of every line."""
    found = {patch.get_label(): patch.get_data() for patch in ax.patches}
    return {
        name: (np.asarray(values), np.asarray(edges)) for name, (values, edges, _) in found.items()
    }


def test_a_line_per_layer_holds_all_of_its_weights(posterior):
    figure = po.plots.layers(posterior)
    figure.canvas.draw()
    means, sds = figure.axes
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "posterior mean of a weight",
        "posterior sd of a weight",
    ]
    assert {ax.get_ylabel() for ax in figure.axes} == {"weights of the layer (%)"}
    assert sds.get_xscale() == "log"
    assert [text.get_text() for text in sds.get_legend().get_texts()] == PATHS
    mean, sd = (np.asarray(a) for a in posterior.distribution.mean_and_sd())
    at = {p.path: slice(p.start, p.stop) for p in posterior.target.parameters}
    for ax, values in ((means, mean), (sds, sd)):
        drawn = stairs(ax)
        assert list(drawn) == PATHS
        for path, (heights, edges) in drawn.items():
            assert heights.sum() == pytest.approx(100)
            count = np.histogram(values[at[path]], edges)[0]
            np.testing.assert_allclose(heights, 100 * count / count.sum())


def test_parameters_are_chosen_by_name(posterior):
    figure = po.plots.layers(posterior, ["layers.0.bias"])
    assert list(stairs(figure.axes[0])) == ["layers.0.bias"]
    with pytest.raises(KeyError, match=r"there are layers\.0\.bias"):
        po.plots.layers(posterior, ["layers.0.wait"])
    for paths in ([], "layers.0.bias"):
        with pytest.raises(ValueError, match="paths: expected names"):
            po.plots.layers(posterior, paths)


def test_the_likelihoods_unknowns_are_no_layer():
    net = po.nets.MLP(1, [], 1, use_bias=False)
    given = model(net, po.likelihoods.Normal(dist.HalfNormal(1.0)))
    figure = po.plots.layers(posterior_of(given, gaussian_of([0.3, 0.1], [0.1, 0.1])))
    assert list(stairs(figure.axes[0])) == ["layers.0.weight"]
    figure.canvas.draw()  # one weight, one sd: axes of some width all the same
    assert all(np.ptp(ax.get_xlim()) > 0 for ax in figure.axes)


def test_a_point_has_no_standard_deviations():
    figure = po.plots.layers(posterior_of(model(), draws_of(np.ones((1, 13))), columns=2))
    figure.canvas.draw()
    (ax,) = figure.axes
    assert ax.get_xlabel() == "posterior mean of a weight"
    assert ax.get_legend() is not None


def test_many_layers_have_many_colours():
    net = po.nets.MLP(2, [2] * 11, 1, use_bias=False)
    size = 2 * 2 * 11 + 2
    given = gaussian_of(np.linspace(-1, 1, size), np.linspace(0.01, 0.2, size))
    figure = po.plots.layers(posterior_of(model(net), given, columns=2))
    colours = [patch.get_edgecolor() for patch in figure.axes[0].patches]
    assert len(colours) == len(set(colours)) == 12
