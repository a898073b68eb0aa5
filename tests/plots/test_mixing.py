"""Figures of chains: traces, ranks, autocorrelation, energy; what they show is the draws."""

from __future__ import annotations

import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from handmade import draws_of, gaussian_of, linear, posterior_of
from posterity.diagnostics import convergence as chains
from posterity.diagnostics import monitored as watched
from posterity.plots import gallery

pytest.importorskip("matplotlib")

RNG = np.random.default_rng(0)
X = np.linspace(-1, 1, 30)[:, None].astype(np.float32)
MODEL = linear(po.likelihoods.Normal(dist.HalfNormal(1.0)), bias=True)
THETA = RNG.normal(size=(3, 400, 3)).astype(np.float32)
ENERGY = {"energy": RNG.normal(50, 3, (3, 400))}
REAL = posterior_of(MODEL, draws_of(THETA), history=ENERGY)
CLASSES = posterior_of(linear(po.likelihoods.Categorical(3), 3), draws_of(THETA))
MEANS = THETA[..., :1] + THETA[..., 1:2] * X[:, 0]


def drawn(figure):
    figure.canvas.draw()
    return figure


def titles(figure):
    return [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]


def key(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_traces_are_the_draws_by_chain_with_their_figures():
    figure = drawn(po.plots.traces(REAL, X, y_name="height (m)"))
    worst = int(chains.rhat(MEANS).argmax())
    assert any(title.startswith(f"prediction, row {worst} ") for title in titles(figure))
    assert "likelihood.scale" in titles(figure)[-1]
    assert len(titles(figure)) == 4
    assert key(figure) == ["chain 1", "chain 2", "chain 3"]
    for ax in figure.axes[::2][:3]:
        row = int(ax.get_title(loc="left").split()[2])
        shown = np.array([line.get_ydata() for line in ax.lines])
        np.testing.assert_allclose(shown, MEANS[..., row], atol=1e-5)
        assert f"r-hat {float(chains.rhat(MEANS[..., row])):.3f}" in ax.get_title(loc="left")
        assert ax.get_ylabel() == "height (m)"
    counts = np.array([patch.get_data().values for patch in figure.axes[1].patches])
    np.testing.assert_array_equal(counts.sum(axis=1), 400)
    assert figure.axes[-2].get_xlabel() == "draw"


def test_draws_are_numbered_by_the_chain_where_not_all_are_looked_at(monkeypatch):
    monkeypatch.setattr(watched, "MOST_DRAWS", 300)
    monkeypatch.setattr(watched, "FEWEST_DRAWS", 50)
    traces = po.plots.traces(REAL, X).axes[0].lines[0].get_xdata()
    np.testing.assert_array_equal(traces, np.arange(1, 401, 4))
    lags = po.plots.autocorrelation(REAL, X).axes[0].lines[1].get_xdata()
    assert lags[1] - lags[0] == 4


def test_predictions_in_original_units():
    figure = po.plots.traces(REAL, X, rescale=(100.0, 10.0))
    row = int(figure.axes[0].get_title(loc="left").split()[2])
    shown = np.array([line.get_ydata() for line in figure.axes[0].lines])
    np.testing.assert_allclose(shown, 100 + 10 * MEANS[..., row], rtol=1e-5)


def test_ranks_are_shares_of_all_draws_beside_what_is_expected():
    figure = drawn(po.plots.ranks(REAL, X, most=2))
    assert len(titles(figure)) == 3
    assert key(figure) == ["by chance (8 in 10)", "expected"]
    for ax in figure.axes:
        bars = [patch.get_data() for patch in ax.patches]
        bottoms = [bar.baseline for bar in bars]
        assert bottoms == [2, 1, 0]
        shares = np.array([bar.values - bar.baseline for bar in bars]) / 0.45
        np.testing.assert_allclose(shares.mean(axis=1), 1.0)  # of each chain
        np.testing.assert_allclose(shares.mean(axis=0), 1.0)  # and in each bin
        assert (np.abs(shares - 1) < 1).all()
        assert [line.get_ydata()[0] for line in ax.lines] == [2.45, 1.45, 0.45]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [
        "chain 3",
        "chain 2",
        "chain 1",
    ]


def test_a_chain_elsewhere_leaves_its_share_of_the_ranks():
    theta = THETA.copy()
    theta[2] += 50
    ax = drawn(po.plots.ranks(posterior_of(MODEL, draws_of(theta)), X, most=1)).axes[0]
    last = ax.patches[2].get_data()
    assert (last.values - last.baseline > 0).mean() == pytest.approx(1 / 3, abs=0.1)


def test_autocorrelation_is_that_of_each_chain():
    slow = np.repeat(THETA, 4, axis=1)[:, :1_000]
    figure = drawn(po.plots.autocorrelation(posterior_of(MODEL, draws_of(slow)), None))
    (ax,) = figure.axes
    assert ax.get_title(loc="left").startswith("likelihood.scale\nbulk ESS ")
    expected = chains.autocorrelation(np.exp(slow[..., 2]))
    shown = [line for line in ax.lines if line.get_label().startswith("chain")]
    assert len(shown) == 3
    for chain, line in enumerate(shown):
        lags = line.get_xdata()
        np.testing.assert_allclose(line.get_ydata(), expected[chain, : len(lags)], atol=1e-4)
        assert lags[-1] >= 8
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lag (draws)", "autocorrelation")


def test_energy_has_two_densities_and_the_figure_of_each_chain():
    ax = po.plots.energy(REAL)
    drawn(ax.figure)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "energy − its mean",
        "change from draw to draw",
    ]
    for patch in ax.patches:
        heights, edges, _ = patch.get_data()
        assert (heights * np.diff(edges)).sum() == pytest.approx(1.0)
    said = ax.texts[0].get_text()
    for value in chains.bfmi(ENERGY["energy"]):
        assert f"{value:.2f}" in said
    assert ax.get_xlabel() == "energy (nats)"


def test_classes_are_shown_as_probabilities():
    figure = drawn(po.plots.traces(CLASSES, X, rescale=None))
    assert len(titles(figure)) == 3
    assert all("class" in title for title in titles(figure))
    assert figure.axes[0].get_ylabel() == "probability"
    binary = posterior_of(linear(po.likelihoods.Bernoulli()), draws_of(THETA[..., :1]))
    assert po.plots.traces(binary, X).axes[0].get_ylabel() == "probability of 1"


def curves(figure):
    """How many curves of chains each panel has."""
    return [sum(line.get_label().startswith("chain") for line in ax.lines) for ax in figure.axes]


def bars(figure):
    """How many sets of bars each panel has."""
    return [len(ax.patches) for ax in figure.axes]


def numbers(figure):
    """Every limit and every height of a line."""
    limits = [[*ax.get_xlim(), *ax.get_ylim()] for ax in figure.axes]
    return np.concatenate([*limits, *(line.get_ydata() for ax in figure.axes for line in ax.lines)])


@pytest.mark.parametrize("count", [1, 5, 9])
def test_any_number_of_chains_can_be_drawn(count):
    theta = RNG.normal(size=(count, 50, 3))
    posterior = posterior_of(MODEL, draws_of(theta), history={"energy": theta[..., 0]})
    plots = po.plots.traces, po.plots.ranks, po.plots.autocorrelation
    traces, ranks, lags = (drawn(plot(posterior, X)) for plot in plots)
    energy = po.plots.energy(posterior)
    drawn(energy.figure)
    # Three predictions and the scale, each of every chain.
    assert curves(traces) == [count, 0] * 4
    assert bars(traces) == [0, count] * 4
    assert bars(ranks) == [count] * 4
    assert curves(lags) == [count] * 4
    said = energy.texts[0].get_text()
    assert said.count("chain ") == min(count, 8)
    assert ("… and 1 more" in said) == (count == 9)
    for figure in (traces, ranks, lags, energy.figure):
        assert np.isfinite(numbers(figure)).all()


def test_chains_that_stand_still_can_be_drawn():
    theta = np.zeros((2, 50, 3))
    posterior = posterior_of(MODEL, draws_of(theta), history={"energy": theta[..., 0]})
    plots = po.plots.traces, po.plots.ranks, po.plots.autocorrelation
    traces, ranks, lags = (drawn(plot(posterior, X)) for plot in plots)
    energy = po.plots.energy(posterior)
    drawn(energy.figure)
    for ax, value in zip(traces.axes[::2], [0, 0, 0, 1]):
        assert all((line.get_ydata() == value).all() for line in ax.lines)
    assert curves(traces) == [2, 0] * 4
    assert curves(lags) == [2] * 4
    assert all("r-hat –" in title for title in (*titles(traces), *titles(ranks)))
    assert all("bulk ESS –" in title for title in titles(lags))
    assert [patch.get_data().values.argmax() for patch in energy.patches] == [15] * 4  # of 31
    assert "chain 1: –" in energy.texts[0].get_text()
    for ax in ranks.axes:  # equal draws have equal ranks: no chain is above another
        one, other = (patch.get_data() for patch in ax.patches[:2])
        np.testing.assert_allclose(one.values - one.baseline, other.values - other.baseline)
    for figure in (traces, ranks, lags, energy.figure):
        assert np.isfinite(numbers(figure)).all()


def test_what_has_no_chains_is_refused():
    density = posterior_of(MODEL, gaussian_of([0.0] * 3, [1.0] * 3))
    for plot in (po.plots.traces, po.plots.ranks, po.plots.autocorrelation):
        with pytest.raises(ValueError, match="no chains"):
            plot(density, X)
    with pytest.raises(ValueError, match="no energies"):
        po.plots.energy(density)
    with pytest.raises(ValueError, match="x: give inputs"):
        po.plots.traces(CLASSES)


def test_a_report_shows_them_where_there_are_chains():
    rows = gallery.Rows.of("rows", REAL, (X, X[:, 0]), gallery.Names())
    found = [picture.title for picture in gallery.pictures(REAL, rows, None, gallery.Names())]
    assert [title for title in ("Energy", "Traces", "Ranks", "Autocorrelation") if title in found]
    assert found[-1] == "Weights"
    alone = [picture.title for picture in gallery.pictures(CLASSES, None, None, gallery.Names())]
    assert alone == ["Weights"]
