"""Meaning comes from names and labels, never from positions: through all that takes rows."""

import numpy as np
import pandas as pd
import pytest

import posterity as po

pl = pytest.importorskip("polars")

ROWS = 40
RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(ROWS, 2))
Y = VALUES @ np.array([3.0, -1.0])
SHUFFLED = RNG.permutation(ROWS)
LABELS = {
    "default": np.arange(ROWS),
    "shuffled": SHUFFLED,
    "texts": np.array([f"row {n}" for n in SHUFFLED]),
    "dates": pd.date_range("2026-01-01", periods=ROWS)[SHUFFLED],
    "spaced": 10 * np.arange(ROWS) - 7,
}
EXACT = {"atol": 1e-6, "rtol": 0}


def frame(labels="default", columns=("a", "b")):
    given = pd.DataFrame(VALUES, index=LABELS[labels], columns=["a", "b"])
    return given[list(columns)]


def series(labels="default"):
    return pd.Series(Y, index=LABELS[labels], name="y")


def model(outputs=1):
    return po.Model(po.nets.MLP(2, [], outputs), po.priors.Normal(0, 5), po.likelihoods.Normal(0.5))


def fit(x, y, outputs=1, method=None):
    method = method or po.MAP(steps=400)
    return po.fit(model(outputs), (x, y), method, progress=False)


@pytest.fixture(scope="module")
def fitted():
    """A fit to named columns, and what it predicts at its rows."""
    posterior = fit(frame(), series())
    assert np.abs(posterior.predict(frame()).mean - Y).max() < 0.1
    return posterior


@pytest.fixture(scope="module")
def wide():
    """A density, which can be remembered and updated."""
    return fit(frame(), series(), method=po.ADVI(family="full-rank", steps=400, starts=1))


def arrow(given):
    return pytest.importorskip("pyarrow").Table.from_pandas(given, preserve_index=False)


FRAMES = {
    "pandas": lambda given: given,
    "polars": pl.from_pandas,
    "arrow": arrow,
    "nullable": lambda given: given.astype("Float64"),
    "single precision": lambda given: given.astype("float32"),
    "objects": lambda given: given.astype(object),
}


# -- columns --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FRAMES)
def test_predict_goes_by_names(fitted, kind):
    turned = FRAMES[kind](frame(columns=("b", "a")))
    found = fitted.predict(turned).mean
    np.testing.assert_allclose(found, fitted.predict(VALUES).mean, **EXACT)


def test_everything_that_takes_rows_goes_by_names(fitted, wide, tmp_path):
    turned, y = frame(columns=("b", "a")), series()
    again = po.load(fitted.save(tmp_path / "fit"))
    assert again.target.inputs.columns == ("a", "b")
    expected = fitted.predict(frame()).mean
    np.testing.assert_array_equal(again.predict(turned).mean, expected)
    np.testing.assert_array_equal(fitted.whole((turned, y)).x, fitted.whole((frame(), y)).x)
    straight = wide.update((frame(), y), progress=False)
    crossed = wide.update((turned, y), progress=False)
    np.testing.assert_array_equal(straight.predict(frame()).mean, crossed.predict(turned).mean)
    assert crossed.target.inputs.columns == ("a", "b")
    remembered = [wide.as_prior(remember=given).x for given in (frame(), turned)]
    np.testing.assert_array_equal(*remembered)
    chains = fit(frame(), y, method=po.SGLD(draws=60, step_size=1e-4, warmup=0, chains=2))
    figures = [chains.diagnose(given).predictions for given in (frame(), turned)]
    assert figures[0] == figures[1]


WRONG = {
    "missing": (frame(columns=("a",)), "missing 'b'"),
    "extra": (frame().assign(c=1.0), "unknown 'c'"),
    "renamed": (frame().rename(columns={"b": "B"}), "missing 'b'; unknown 'B'"),
    "all renamed": (frame().set_axis(["u", "v"], axis=1), "missing 'a', 'b'; unknown 'u', 'v'"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("to", ["predict", "update", "remember", "diagnose", "whole"])
def test_other_columns_are_refused_by_name(fitted, wide, case, to):
    x, said = WRONG[case]
    calls = {
        "predict": lambda: fitted.predict(x),
        "update": lambda: fitted.update((x, Y)),
        "remember": lambda: wide.as_prior(remember=x),
        "diagnose": lambda: fitted.diagnose(x),
        "whole": lambda: fitted.whole((x, Y)),
    }
    with pytest.raises(ValueError, match=f"its columns are not those of fit: {said}"):
        calls[to]()


def test_names_after_an_array_and_an_array_after_names_are_taken(fitted):
    plain = fit(VALUES, Y)
    expected = fitted.predict(frame()).mean
    np.testing.assert_allclose(plain.predict(frame()).mean, expected, **EXACT)
    np.testing.assert_allclose(fitted.predict(VALUES).mean, expected, **EXACT)
    for posterior in (plain, fitted):
        with pytest.raises(ValueError, match=r"rows of shape \(2,\)"):
            posterior.predict(np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"rows of shape \(2,\)"):
        plain.predict(frame().assign(c=1.0))


@pytest.mark.parametrize("first", [[0, 1], [1, 0]])
@pytest.mark.parametrize("later", [[0, 1], [1, 0]])
def test_numbers_as_names_say_the_order_too(first, later):
    given = pd.DataFrame(VALUES)
    posterior = fit(given[first], Y)
    np.testing.assert_allclose(posterior.predict(given[later]).mean, Y, atol=0.1)


def test_a_posterior_as_prior_keeps_the_order_of_its_columns(wide):
    for prior in (wide.as_prior(), wide.as_prior(remember=frame())):
        next_model = po.Model(po.nets.MLP(2, [], 1), prior, po.likelihoods.Normal(0.5))
        po.fit(next_model, (frame(), Y), po.MAP(steps=2), progress=False)
        po.fit(next_model, (VALUES, Y), po.MAP(steps=2), progress=False)
        with pytest.raises(ValueError, match=r"'a', 'b' of x.*Give x\[\['a', 'b'\]\]"):
            po.fit(next_model, (frame(columns=("b", "a")), Y), po.MAP(steps=2), progress=False)


def test_arrays_of_xarray_with_labels_are_frames(fitted):
    xarray = pytest.importorskip("xarray")
    given = xarray.DataArray(VALUES, dims=["row", "what"], coords={"what": ["a", "b"]})
    turned = given.sel(what=["b", "a"])
    np.testing.assert_array_equal(fitted.predict(turned).mean, fitted.predict(frame()).mean)
    with pytest.raises(ValueError, match="missing 'b'"):
        fitted.predict(given.sel(what=["a"]))
    labelled = given.assign_coords(row=SHUFFLED)
    np.testing.assert_allclose(
        fit(labelled, series("shuffled")[::-1]).predict(given).mean, Y, atol=0.1
    )


def test_a_standardizer_goes_by_names():
    standardizer = po.data.Standardizer.fit(frame())
    again = po.data.Standardizer.from_json(standardizer.to_json())
    expected = again.transform(VALUES)
    np.testing.assert_array_equal(again.transform(frame(columns=("b", "a"))), expected)
    np.testing.assert_array_equal(again.transform(pl.from_pandas(frame())), expected)
    with pytest.raises(ValueError, match="its columns are not those of fit: missing 'b'"):
        again.transform(frame(columns=("a",)))


def test_arviz_has_the_names(fitted):
    pytest.importorskip("arviz")
    data = fitted.to_arviz()
    assert data["posterior"].coords["layers.0.weight_dim_1"].values.tolist() == ["a", "b"]
    assert data["posterior"].attrs["x_columns"] == ["a", "b"]


def test_columns_that_are_no_numbers_are_named_with_the_remedy():
    given = frame().assign(
        city=pd.Categorical(["Rome", "Oslo"] * (ROWS // 2)),
        day=pd.date_range("2026-01-01", periods=ROWS),
        name=[f"n{n}" for n in range(ROWS)],
    )
    with pytest.raises(
        TypeError, match=r"'city' \(categories\), 'day' \(times\), 'name' \(texts"
    ) as e:
        fit(given, Y)
    assert "x[0, 2] = 'Rome'" in str(e.value)
    assert "pd.get_dummies(x, dtype=float)" in str(e.value)
    with pytest.raises(TypeError, match=r"y: it holds texts.*astype\('category'\)\.cat\.codes"):
        fit(frame(), given["name"])
    with pytest.raises(TypeError, match=r"y\.astype\(float\), labels y\.cat\.codes"):
        fit(frame(), pd.Series([1, 2] * (ROWS // 2), dtype="category"))
    with pytest.raises(ValueError, match=r"x\[3, 0\] = nan is not finite"):
        fit(given[["a", "b"]].astype("Float64").where(given["a"] != given["a"][3]), Y)
    with pytest.raises(TypeError, match=r"x: a lazy frame is read by x\.collect\(\)"):
        fit(pl.from_pandas(frame()).lazy(), Y)


# -- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("kind", ["series", "one column", "array"])
def test_targets_are_joined_by_label(labels, kind):
    x, y = frame(labels), series(labels)
    mixed = np.random.default_rng(1).permutation(ROWS)
    given = {"series": y.iloc[mixed], "one column": y.iloc[mixed].to_frame(), "array": Y}[kind]
    posterior = fit(x, given)
    found = posterior.predict(x).mean.reshape(-1)
    np.testing.assert_allclose(found, Y, atol=0.1)
    updated = fit(x, y, method=po.ADVI(family="full-rank", steps=400, starts=1)).update(
        (x, y.iloc[mixed]), progress=False
    )
    np.testing.assert_allclose(updated.predict(x).mean, Y, atol=0.1)


def test_the_example_of_a_shuffled_frame_and_a_new_series():
    x = frame().iloc[SHUFFLED]
    posterior = fit(x, pd.Series(Y))
    np.testing.assert_allclose(posterior.predict(frame()).mean, Y, atol=0.1)


@pytest.mark.parametrize("case", ["others", "some", "more", "twice"])
def test_other_labels_are_refused(case):
    x, y = frame("spaced"), series("spaced")
    x, y, said = {
        "others": (x, series(), r"different labels: y has none -7.*y\.to_numpy\(\)"),
        "some": (x, y.rename({-7: 5}), r"y has none -7, and 1 of 40 labels of x"),
        "more": (x.iloc[:30], y, r"y\.loc\[x\.index\]"),
        "twice": (
            x.rename(index={3: -7}),
            y.rename({3: -7}).iloc[::-1],
            "the label -7 twice",
        ),
    }[case]
    with pytest.raises(ValueError, match=said):
        fit(x, y)
    if case == "more":
        fit(x, y.loc[x.index])
    else:
        fit(x, y.to_numpy())


def test_labels_that_occur_twice_in_the_same_order_are_those_of_a_bootstrap():
    drawn = frame().sample(ROWS, replace=True, random_state=0)
    posterior = fit(drawn, series().loc[drawn.index])
    np.testing.assert_allclose(posterior.predict(frame()).mean, Y, atol=0.1)


def test_several_inputs_are_joined_by_label():
    x, y = frame("texts"), series("texts")
    net = (
        lambda key: {"w": np.zeros((2, 1), np.float32)},
        lambda p, x: x["a"] @ p["w"][:1] + x["b"] @ p["w"][1:],
    )
    both = {"a": x[["a"]], "b": x[["b"]].iloc[SHUFFLED]}
    wide = po.Model(net, po.priors.Normal(0, 5), po.likelihoods.Normal(0.5))
    posterior = po.fit(wide, (both, y.iloc[::-1]), po.MAP(steps=400), progress=False)
    np.testing.assert_allclose(posterior.predict(both).mean, Y, atol=0.1)


@pytest.mark.parametrize("score", ["rmse", "nll", "coverage"])
def test_scores_join_targets_to_predictions(fitted, score):
    metric = getattr(po.metrics, score)
    x, y = frame("texts"), series("texts")
    pred = fitted.predict(x)
    assert metric(y.iloc[::-1], pred) == metric(Y, pred)
    assert metric(y.iloc[5:15][::-1], pred.take(slice(5, 15))) == metric(
        Y[5:15], pred.take(slice(5, 15))
    )
    with pytest.raises(ValueError, match="different labels"):
        metric(series(), pred)


def test_several_targets_go_by_name(tmp_path):
    y = pd.DataFrame({"up": Y, "down": -Y})
    turned = y[["down", "up"]]
    wide = fit(frame(), y, 2, po.ADVI(family="full-rank", steps=800, starts=1))
    assert wide.target.y_columns == ("up", "down")
    again = po.load(wide.save(tmp_path / "fit"))
    assert again.target.y_columns == ("up", "down")
    updated = again.update((frame(), turned), progress=False)
    np.testing.assert_allclose(updated.predict(frame()).mean, y.to_numpy(), atol=0.1)
    pred = wide.predict(frame())
    assert po.metrics.rmse(turned, pred) == po.metrics.rmse(y.to_numpy(), pred) < 0.1
    with pytest.raises(ValueError, match="y: its columns are not those of fit: missing 'up'"):
        again.update((frame(), turned.rename(columns={"up": "UP"})))


def test_targets_without_names_go_by_their_order_as_inputs_do():
    y = pd.DataFrame({"up": Y, "down": -Y})
    pred = fit(frame(), y, 2).predict(frame())
    assert po.metrics.rmse(pd.DataFrame(y.to_numpy()), pred) < 0.1


def test_arguments_of_a_program_with_shuffled_labels_are_refused():
    import numpyro
    import numpyro.distributions as dist

    def program(x, y):
        slope = numpyro.sample("slope", dist.Normal(0, 5))
        numpyro.sample("y", dist.Normal(slope * x, 0.5), obs=y)

    given = po.Model.from_numpyro(program)
    x, y = frame()["a"], series()
    po.fit(given, {"x": x, "y": y}, po.MAP(steps=2), progress=False)
    with pytest.raises(ValueError, match=r"labels in different orders.*\.loc\["):
        po.fit(given, {"x": x.iloc[SHUFFLED], "y": y}, po.MAP(steps=2), progress=False)
