"""Figures: what they show is there, named and finite, and nothing of matplotlib's state is left."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from posterity.diagnostics.history import History
from posterity.plots import style

pytest.importorskip("matplotlib")


def fit(net, likelihood, x, y, method):
    model = po.Model(net, po.priors.Normal(0, 1), likelihood)
    return po.fit(model, (x, y), method, progress=False)


@pytest.fixture(scope="module")
def plane():
    """Two inputs and two classes, split at x₁ = 0."""
    x = np.random.default_rng(0).normal(size=(80, 2))
    y = (x[:, 0] > 0).astype(int)
    net = po.nets.MLP(2, [4], 1, activation=jnp.tanh)
    return fit(net, po.likelihoods.Bernoulli(), x, y, po.ADVI(steps=1_000)), x, y


@pytest.fixture(scope="module")
def three():
    """Two inputs and three classes."""
    x = np.random.default_rng(1).normal(size=(90, 2))
    y = np.arange(90) % 3
    return fit(po.nets.MLP(2, [], 3), po.likelihoods.Categorical(3), x, y, po.MAP(steps=50)), x, y


@pytest.fixture(scope="module")
def line():
    """One input, a real target with unknown noise, and draws of two chains."""
    x = np.linspace(-1, 1, 40)[:, None]
    y = 2 * x[:, 0] + 0.3 * np.random.default_rng(2).normal(size=40)
    likelihood = po.likelihoods.Normal(dist.HalfNormal(1.0))
    method = po.SGLD(draws=100, step_size=1e-3, chains=2)
    return fit(po.nets.MLP(1, [], 1), likelihood, x, y, method), x, y


def labels(ax):
    return ax.get_xlabel(), ax.get_ylabel()


def key(ax):
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def colours(ax):
    """The values behind the colours of a surface."""
    (mesh,) = [found for found in ax.collections if type(found).__name__ == "QuadMesh"]
    return np.asarray(mesh.get_array())


def drawn(ax):
    """The Axes, once it has been rendered without an error."""
    ax.figure.canvas.draw()
    return ax


# -- data ---------------------------------------------------------------------------------------


def test_data_of_two_inputs_has_a_marker_set_per_class(plane):
    _, x, y = plane
    ax = drawn(po.plots.data(x, y, x_names=["a", "b"], class_names=["no", "yes"]))
    assert labels(ax) == ("a", "b")
    assert key(ax) == ["no", "yes"]
    assert [len(found.get_offsets()) for found in ax.collections] == [(y == 0).sum(), y.sum()]


def test_data_of_one_input_is_y_over_x(line):
    _, x, y = line
    ax = drawn(po.plots.data(x, y, y_name="height (m)", rescale_x=(10.0, 2.0)))
    assert labels(ax) == ("x", "height (m)")
    np.testing.assert_allclose(ax.collections[0].get_offsets(), np.stack([10 + 2 * x[:, 0], y], 1))


def test_data_with_a_real_target_over_two_inputs_is_coloured(plane):
    _, x, _ = plane
    ax = drawn(po.plots.data(x, x[:, 0] * 1.5, y_name="depth"))
    assert ax.figure.axes[-1].get_ylabel() == "depth"


def test_data_takes_names_from_a_data_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"width $": [0.0, 1.0, 2.0], "cost $": [1.0, 0.0, 1.0]})
    ax = drawn(po.plots.data(frame, [0, 1, 1]))
    assert labels(ax) == (r"width \$", r"cost \$")  # escaped: not mathematics


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((3, 3)), np.zeros(3), "one or two inputs"),
        (np.zeros((3, 2)), np.zeros(4), "one target per row"),
        (np.full((3, 2), np.nan), np.zeros(3), "not finite"),
    ],
)
def test_data_refuses_what_it_cannot_show(x, y, message):
    with pytest.raises(ValueError, match=message):
        po.plots.data(x, y)


# -- surfaces -----------------------------------------------------------------------------------


def test_probability_surface_shows_the_prediction(plane):
    posterior, x, y = plane
    ax = drawn(po.plots.probability_surface(posterior, x, y, grid=20, draws=50))
    assert labels(ax) == ("x₁", "x₂")
    assert ax.figure.axes[-1].get_ylabel() == "probability of class 1"
    values = colours(ax).reshape(20, 20)
    assert np.isfinite(values).all()
    assert ((values >= 0) & (values <= 1)).all()
    assert values[:, -1].mean() > 0.8 > 0.2 > values[:, 0].mean()
    assert key(ax) == ["class 0", "class 1"]


def test_probabilities_of_the_two_classes_add_up_to_one(plane):
    posterior, x, _ = plane
    one, zero = (
        colours(po.plots.probability_surface(posterior, x, class_index=k, grid=5, draws=50))
        for k in (1, 0)
    )
    np.testing.assert_allclose(one + zero, 1, atol=1e-6)


def test_probability_surface_of_a_class_among_three(three):
    posterior, x, y = three
    surfaces = [
        colours(po.plots.probability_surface(posterior, x, y, class_index=k, grid=5))
        for k in range(3)
    ]
    np.testing.assert_allclose(sum(surfaces), 1, atol=1e-5)
    with pytest.raises(ValueError, match="0 … 2"):
        po.plots.probability_surface(posterior, x, class_index=3)


def test_sd_and_epistemic_surfaces_are_those_of_the_predictive(plane):
    posterior, x, y = plane
    for draw, of, name in (
        (po.plots.sd_surface, lambda pred: pred.sd, "sd of y"),
        (
            po.plots.epistemic_surface,
            lambda pred: np.sqrt(pred.epistemic),
            "sd of the probability over draws",
        ),
    ):
        ax = drawn(draw(posterior, x, y, grid=4, draws=30))
        assert ax.figure.axes[-1].get_ylabel() == name
        sides = [np.linspace(*style.span(x[:, k], 0.2), 4) for k in (0, 1)]
        points = np.stack([side.ravel() for side in np.meshgrid(*sides)], 1)
        expected = of(posterior.predict(points, draws=30))
        np.testing.assert_allclose(colours(ax).ravel(), expected, rtol=1e-5)


def test_surfaces_refuse_other_models(plane, line):
    with pytest.raises(ValueError, match="two inputs"):
        po.plots.sd_surface(line[0], line[1])
    with pytest.raises(ValueError, match="no classes"):
        po.plots.probability_surface(line[0], line[1])
    with pytest.raises(ValueError, match="2 names"):
        po.plots.sd_surface(plane[0], plane[1], x_names=["one"], grid=3, draws=2)


# -- bands --------------------------------------------------------------------------------------


def band_heights(ax):
    """Mean height of each filled band."""
    return [np.ptp(found.get_paths()[0].vertices[:, 1]) for found in ax.collections[:2]]


def test_band_shows_mean_two_intervals_and_data(line):
    posterior, x, y = line
    ax = drawn(po.plots.band(posterior, x, y, x_names=["t (s)"], y_name="h (m)", grid=30))
    assert labels(ax) == ("t (s)", "h (m)")
    assert key(ax) == ["90 % interval of h (m)", "90 % interval of the mean", "mean", "data"]
    at, mean = ax.lines[0].get_data()
    np.testing.assert_allclose(mean, posterior.predict(at[:, None]).mean, rtol=1e-5)
    wide, narrow = band_heights(ax)
    assert wide > narrow > 0


def test_band_in_original_units(line):
    posterior, x, _ = line
    plain = po.plots.band(posterior, x, grid=10)
    moved = po.plots.band(posterior, x, grid=10, rescale=(100.0, 10.0), rescale_x=(5.0, 3.0))
    (at, mean), (at_moved, mean_moved) = plain.lines[0].get_data(), moved.lines[0].get_data()
    np.testing.assert_allclose(at_moved, 5 + 3 * at, rtol=1e-6)
    np.testing.assert_allclose(mean_moved, 100 + 10 * mean, rtol=1e-5)
    np.testing.assert_allclose(band_heights(moved), 10 * np.array(band_heights(plain)), rtol=1e-4)


def test_band_of_two_classes_and_of_a_point():
    x = np.linspace(-2, 2, 30)[:, None]
    y = (x[:, 0] > 0).astype(int)
    posterior = fit(po.nets.MLP(1, [], 1), po.likelihoods.Bernoulli(), x, y, po.MAP(steps=100))
    ax = drawn(po.plots.band(posterior, x, y, grid=10, class_names=["off", "on"]))
    assert ax.get_ylabel() == "probability of on"
    assert key(ax) == ["mean", "data"]  # a point has no interval of the mean


def test_band_refuses_two_inputs(plane):
    with pytest.raises(ValueError, match="one input"):
        po.plots.band(plane[0], plane[1])


# -- histories ----------------------------------------------------------------------------------


def test_elbo_is_named_and_averages_a_long_run(plane):
    posterior = plane[0]
    ax = drawn(po.plots.elbo(posterior))
    assert labels(ax) == ("step", "ELBO (nats)")
    elbo = posterior.history.elbo
    step, mean = ax.lines[0].get_data()
    assert len(step) <= 400
    assert np.isfinite(mean).all()
    np.testing.assert_allclose(
        mean[-1], elbo[int(2 * step[-1]) - elbo.size + 1 :].mean(), rtol=1e-4
    )


def test_history_falls_back_to_the_methods_own_figure(line):
    ax = drawn(po.plots.elbo(line[0]))
    assert labels(ax) == ("step after warm-up", "log joint (nats)")
    assert key(ax) == ["chain 1", "chain 2"]


def with_history(posterior, **fields):
    return po.Posterior(
        posterior.target,
        posterior.distribution,
        history=History({name: np.asarray(values) for name, values in fields.items()}),
        settings=posterior.settings,
        result=posterior.result,
    )


def test_steep_first_steps_are_left_out_and_mentioned(plane):
    elbo = -100 - 1e6 * np.exp(-np.arange(5_000) / 10)
    ax = drawn(po.plots.elbo(with_history(plane[0], elbo=elbo, ok=np.ones(5_000, bool))))
    assert ax.get_ylim()[0] > -200
    assert "from −1,000,100" in ax.texts[0].get_text()


def test_steps_that_are_not_finite_leave_a_figure(plane):
    elbo = np.where(np.arange(3_000) % 7 == 0, np.nan, -5.0)
    elbo[:100] = -np.inf
    ax = drawn(po.plots.elbo(with_history(plane[0], elbo=elbo)))
    assert np.isfinite(ax.lines[0].get_ydata()).all()
    with pytest.raises(ValueError, match="no finite number"):
        po.plots.elbo(with_history(plane[0], elbo=np.full(10, np.nan)))
    with pytest.raises(ValueError, match="no history"):
        po.plots.elbo(with_history(plane[0]))


def test_a_field_is_chosen_by_name(plane):
    assert po.plots.history(plane[0], "step_size").get_ylabel() == "step size"
    with pytest.raises(ValueError, match="it kept elbo"):
        po.plots.history(plane[0], "energy")


# -- weights ------------------------------------------------------------------------------------


def test_trace_has_a_line_per_chain(line):
    ax = drawn(po.plots.trace(line[0], "likelihood.scale"))
    assert labels(ax) == ("draw", "value")
    assert key(ax) == ["chain 1", "chain 2"]
    drawn_values = np.array([found.get_ydata() for found in ax.lines])
    np.testing.assert_allclose(drawn_values, line[0].weights("likelihood.scale"))


def test_trace_of_draws_without_order_is_a_density(plane):
    ax = drawn(po.plots.trace(plane[0], "layers.0.weight"))
    assert labels(ax) == ("value", "density")
    assert ax.get_title(loc="left") == "layers.0.weight (3 of 8 elements)"


def test_density_integrates_to_one_where_the_posterior_is(plane):
    posterior = plane[0]
    ax = drawn(po.plots.density(posterior, "layers.1.bias"))
    at, density = ax.lines[0].get_data()
    assert abs(np.trapezoid(density, at) - 1) < 0.02
    drawn_values = posterior.weights("layers.1.bias", draws=4_000)
    assert abs(np.trapezoid(at * density, at) - drawn_values.mean()) < 0.05 * drawn_values.std()


def test_density_of_a_point_is_a_line(three):
    ax = drawn(po.plots.density(three[0], "layers.0.bias"))
    assert ax.get_ylabel() == "point"
    assert len(ax.lines) == 3


def test_weights_shows_every_parameter(plane, line):
    figure = po.plots.weights(line[0])
    figure.canvas.draw()
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == [path for path in line[0].target.paths for _ in range(2)]
    assert len(po.plots.weights(plane[0]).axes) == 4
    few = po.plots.weights(plane[0], most_paths=1)
    assert few.get_suptitle() == "1 of 4 parameters"
    with pytest.raises(KeyError, match="there are layers"):
        po.plots.weights(plane[0], ["nothing"])


# -- checks -------------------------------------------------------------------------------------


def test_calibration_and_confidence(plane, three):
    for posterior, x, y in (plane, three):
        pred = posterior.predict(x, draws=50)
        ax = drawn(po.plots.calibration(pred, y))
        assert labels(ax) == ("probability of the predicted class", "share of rows predicted right")
        assert np.isfinite(ax.lines[1].get_xydata()).all()
        ax = drawn(po.plots.confidence(pred, y))
        right = int((pred.label == y).sum())
        assert key(ax) == [f"right ({right})", f"wrong ({len(y) - right})"]
        # The stacked histogram's upper heights are all rows of each bin.
        assert sum(patch.get_height() for patch in ax.patches) == len(y)


def test_calibration_share_is_that_of_the_rows(plane):
    posterior, x, y = plane
    pred = posterior.predict(x, draws=50)
    said, share = po.plots.calibration(pred, y, bins=1).lines[1].get_data()
    np.testing.assert_allclose(said, pred.probs.max(1).mean(), rtol=1e-5)
    np.testing.assert_allclose(share, (pred.label == y).mean(), rtol=1e-6)


def test_predicted_observed(line):
    posterior, x, y = line
    pred = posterior.predict(x)
    ax = drawn(po.plots.predicted_observed(pred, y, y_name="h"))
    assert labels(ax) == ("predicted h", "observed h")
    np.testing.assert_allclose(ax.collections[-1].get_offsets(), np.stack([pred.mean, y], 1))
    bars = np.asarray(ax.collections[0].get_segments())[..., 0]
    np.testing.assert_allclose(bars, np.stack(pred.interval(0.9), 1), rtol=1e-4, atol=1e-4)


def test_checks_refuse_the_other_kind_and_other_rows(plane, line):
    classes, real = plane[0].predict(plane[1]), line[0].predict(line[1])
    with pytest.raises(ValueError, match="use calibration"):
        po.plots.predicted_observed(classes, plane[2])
    with pytest.raises(ValueError, match="use predicted_observed"):
        po.plots.calibration(real, line[2])
    with pytest.raises(ValueError, match="expected shape"):
        po.plots.confidence(classes, plane[2][:-1])


# -- the whole ----------------------------------------------------------------------------------


def test_draws_into_given_axes(plane, line):
    figure = style.new_figure((8, 4))
    left, right = figure.subplots(1, 2)
    assert po.plots.data(plane[1], plane[2], ax=left) is left
    assert po.plots.band(line[0], line[1], grid=5, ax=right) is right


def test_every_class_has_its_own_marker():
    seen = {(style.colour(index), style.marker(index)) for index in range(49)}
    assert len(seen) == 49


def test_matplotlib_is_imported_late_and_without_pyplot():
    code = (
        "import sys, numpy as np, posterity as po; po.plots;"
        "assert 'matplotlib' not in sys.modules;"
        "po.plots.data(np.ones((3, 2)), np.array([0, 1, 1]));"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"posterity\[plots\]"):
        po.plots.data(np.ones((3, 2)), np.array([0, 1, 1]))
