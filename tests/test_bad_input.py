"""Bad data: refused with the argument, the place and the remedy, or fitted rightly; never NaN."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po

ROWS = 12
RNG = np.random.default_rng(8)
X = RNG.normal(size=(ROWS, 2))
REAL_Y = X[:, 0] + 0.1 * RNG.normal(size=ROWS)
METHOD = po.ADVI(steps=50, stop=False, starts=1)


def model(likelihood, outputs):
    net = po.nets.MLP(2, [3], outputs, activation=jnp.tanh)
    return po.Model(net, po.priors.Normal(), likelihood)


LIKELIHOODS = {
    "bernoulli": (model(po.likelihoods.Bernoulli(), 1), (REAL_Y > 0).astype(float)),
    "categorical": (model(po.likelihoods.Categorical(3), 3), np.arange(ROWS) % 3.0),
    "normal": (model(po.likelihoods.Normal(0.5), 1), REAL_Y),
    "normal-learned": (model(po.likelihoods.Normal(dist.HalfNormal(1.0)), 1), REAL_Y),
    "normal-net": (model(po.likelihoods.Normal("net"), 2), REAL_Y),
    "student": (model(po.likelihoods.StudentT(4.0, 0.5), 1), REAL_Y),
    "poisson": (model(po.likelihoods.Poisson(), 1), np.arange(ROWS) % 4.0),
}
EVERY = pytest.mark.parametrize("name", LIKELIHOODS)
LABELS = pytest.mark.parametrize("name", ["bernoulli", "categorical"])


def put(array, index, value):
    changed = np.array(array, dtype=object if isinstance(value, str) else None)
    changed[index] = value
    return changed


def refused(name, x, y, words):
    """The fit is refused with all of `words` in the message."""
    with pytest.raises((ValueError, TypeError)) as caught:
        po.fit(LIKELIHOODS[name][0], (x, y), METHOD, progress=False)
    text = str(caught.value)
    for word in words:
        assert word in text, text


def fitted(name, x, y):
    """The fit is made, and everything about it is finite."""
    posterior = po.fit(LIKELIHOODS[name][0], (x, y), METHOD, progress=False)
    mean, sd = map(np.asarray, posterior.distribution.mean_and_sd())
    assert np.isfinite(mean).all()
    assert np.isfinite(sd).all()
    assert (sd > 0).all()
    assert np.isfinite(posterior.history.elbo).all()
    pred = posterior.predict(X, draws=20)
    assert np.isfinite(pred.mean).all()
    assert np.isfinite(pred.total).all()
    return mean


BAD_VALUES = {
    "nan": (np.nan, "drop or impute"),
    "inf": (np.inf, "drop or impute"),
    "-inf": (-np.inf, "drop or impute"),
    "1e30": (1e30, "standardise"),
    "-1e30": (-1e30, "standardise"),
}


@EVERY
@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_bad_value_in_x_is_refused_by_place(name, value):
    bad, remedy = BAD_VALUES[value]
    refused(name, put(X, (7, 1), bad), LIKELIHOODS[name][1], ["x[7, 1]", remedy])


@EVERY
@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_bad_value_in_y_is_refused_by_place(name, value):
    bad, remedy = BAD_VALUES[value]
    refused(name, X, put(LIKELIHOODS[name][1], 7, bad), ["y[7]", remedy])


@EVERY
def test_the_first_of_several_bad_values_is_named_and_they_are_counted(name):
    x = put(put(X, (9, 0), np.nan), (4, 1), np.nan)
    refused(name, x, LIKELIHOODS[name][1], ["x[4, 1]", "2 such values"])


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64, object])
def test_nan_is_found_in_every_dtype(name, dtype):
    y = LIKELIHOODS[name][1]
    refused(name, put(X, (3, 0), np.nan).astype(dtype), y, ["x[3, 0]"])
    refused(name, X, put(y, 3, np.nan).astype(dtype), ["y[3]"])


@EVERY
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x[:, 0], y), ["x:", "shape", "x[:, None]"]),
        (lambda x, y: (x[:, 0, None], y), ["x:", "columns"]),
        (lambda x, y: (x[..., None].repeat(2, -1), y), ["x"]),
        (lambda x, y: (np.float64(1.0), y), ["x:", "shape ()"]),
        (lambda x, y: (x, y[:, None, None]), ["y:", "shape"]),
        (lambda x, y: (x, np.float64(1.0)), ["y:", "got ()"]),
        (lambda x, y: (x, np.stack([y, y], 1)), ["y"]),
        (lambda x, y: (x[:-2], y), ["data:", "x has 10 rows and y has 12", "is 10"]),
        (lambda x, y: (x, y[:-1]), ["data:", "x has 12 rows and y has 11", "is 11"]),
        (lambda x, y: (x[:0], y[:0]), ["x:", "empty"]),
        (lambda x, y: (x, y[:0]), ["y:", "empty"]),
        (lambda x, y: (x[:, :0], y), ["x:", "empty"]),
    ],
    ids=[
        "x-1d", "x-columns", "x-3d", "x-scalar", "y-3d", "y-scalar", "y-2d", "x-short", "y-short",
        "empty", "y-empty", "x-no-columns",
    ],
)  # fmt: skip
def test_wrong_rank_and_length_are_refused(name, change, words):
    refused(name, *change(X, LIKELIHOODS[name][1]), words)


@LABELS
def test_labels_in_a_column_or_one_hot_are_refused_with_the_remedy(name):
    y = LIKELIHOODS[name][1]
    refused(name, X, y[:, None], ["y:", "Use y[:, 0]"])
    refused(name, X, np.eye(3)[y.astype(int)], ["y:", "y.argmax(1)"])


@EVERY
def test_one_row_is_fitted_or_refused_as_one_class(name):
    y = LIKELIHOODS[name][1][:1]
    if name in ("bernoulli", "categorical"):
        refused(name, X[:1], y, ["y:", "y[0]", "add rows of another class"])
    else:
        fitted(name, X[:1], y)


@LABELS
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_refused(name, label):
    words = ["y:", f"all 12 labels are {label}", "add rows of another class"]
    refused(name, X, np.full(ROWS, label), words)


@EVERY
@pytest.mark.parametrize("column", [0.0, 3.0, -1e4])
def test_a_constant_column_is_fitted(name, column):
    fitted(name, put(X, (slice(None), 1), column), LIKELIHOODS[name][1])


@pytest.mark.parametrize("name", ["normal", "normal-learned", "normal-net", "student", "poisson"])
def test_constant_targets_are_fitted(name):
    fitted(name, X, np.full(ROWS, 2.0))


@LABELS
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-1, ["y[5] = -1", "outside the labels", "(y + 1) / 2"]),
        (3, ["y[5] = 3", "outside the labels", "recode"]),
        (0.5, ["y[5] = 0.5", "not a whole number", "class labels are 0 …"]),
        (1e12, ["y[5] = 1e+12", "outside the labels"]),
    ],
)
def test_labels_outside_the_range_are_refused_by_place(name, value, words):
    refused(name, X, put(LIKELIHOODS[name][1], 5, value), words)


def test_the_label_k_is_refused():
    y = put(LIKELIHOODS["bernoulli"][1], 5, 2)
    refused("bernoulli", X, y, ["y[5] = 2", "outside the labels 0 … 1"])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-1, ["y[5] = -1", "negative", "counts start at 0"]),
        (0.5, ["y[5] = 0.5", "not a whole number", "likelihoods.Normal"]),
        (1e9, ["y[5] = 1e+09", "rescale"]),
    ],
)
def test_counts_outside_the_range_are_refused_by_place(value, words):
    refused("poisson", X, put(LIKELIHOODS["poisson"][1], 5, value), words)


FORMS = {
    "float64": lambda a: a.astype(np.float64),
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 3, axis=0)[::3],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "object": lambda a: a.astype(object),
    "jax": jnp.asarray,
    "lists": lambda a: a.tolist(),
}
_plain_fits: dict[str, np.ndarray] = {}


@EVERY
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_numbers_gives_the_same_fit(name, form):
    y = LIKELIHOODS[name][1].astype(np.float32)
    x = X.astype(np.float32)
    if name not in _plain_fits:
        _plain_fits[name] = fitted(name, x, y)
    np.testing.assert_array_equal(fitted(name, FORMS[form](x), FORMS[form](y)), _plain_fits[name])


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "poisson"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float16])
def test_whole_numbers_of_every_dtype_give_the_same_fit(name, dtype):
    y = LIKELIHOODS[name][1]
    np.testing.assert_array_equal(fitted(name, X, y.astype(dtype)), fitted(name, X, y))


@EVERY
def test_what_is_no_number_is_refused_by_place(name):
    y = LIKELIHOODS[name][1]
    refused(name, put(X, (2, 1), "a"), y, ["x[2, 1] = 'a'", "correct it, or drop the row"])
    refused(name, X, put(y, 2, "cat"), ["y[2] = 'cat'", "correct it, or drop the row"])
    refused(name, X.astype(complex), y, ["x:", "complex", "np.real(x), np.imag(x)"])
    refused(name, X, np.full(ROWS, "2020-01-01", "datetime64[D]"), ["y:", "datetime64"])
    missing = X.astype(object)
    missing[6, 0] = None
    refused(name, missing, y, ["x[6, 0] = None", "impute"])


@EVERY
def test_whole_numbers_too_large_to_square_are_refused_as_such(name):
    x = np.round(X * 10).astype(np.int64)
    x[7, 1] = 9 * 10**18
    refused(name, x, LIKELIHOODS[name][1], ["x[7, 1]", "standardise"])


@EVERY
def test_ragged_rows_are_refused(name):
    refused(name, [[1.0, 2.0], [3.0]], LIKELIHOODS[name][1][:2], ["x", "rows must have one length"])


# -- large but legal numbers ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["normal", "normal-learned", "normal-net", "student"])
@pytest.mark.parametrize("scale", [1e6, 1e14])
def test_targets_in_large_units_are_fitted_or_refused(name, scale):
    try:
        fitted(name, X, REAL_Y * scale)
    except ValueError as error:
        assert "Standardise x and y" in str(error)  # noqa: PT017


@EVERY
@pytest.mark.parametrize("scale", [1e6, 1e14])
def test_inputs_in_large_units_are_fitted_or_refused(name, scale):
    try:
        fitted(name, X * scale, LIKELIHOODS[name][1])
    except ValueError as error:
        assert "Standardise x and y" in str(error)  # noqa: PT017


# -- prediction ----------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: put(x, (7, 1), np.nan), ["x[7, 1]", "drop or impute"]),
        (lambda x: put(x, (7, 1), np.inf), ["x[7, 1]", "drop or impute"]),
        (lambda x: put(x, (7, 1), 1e30), ["x[7, 1]", "standardise"]),
        (lambda x: x[0], ["x:", "for one row use x[None]"]),
        (lambda x: x[:, :1], ["x:", "rows have shape (1,)", "same columns"]),
        (lambda x: x[..., None], ["x:", "rows have shape (2, 1)", "same columns"]),
        (lambda x: x[:0], ["x:", "empty"]),
        (lambda x: put(x, (2, 0), "a"), ["x[2, 0] = 'a'"]),
    ],
    ids=["nan", "inf", "1e30", "one-row", "columns", "3d", "empty", "words"],
)
def test_prediction_refuses_bad_inputs(name, change, words, fits):
    with pytest.raises((ValueError, TypeError)) as caught:
        fits[name].predict(change(X))
    for word in words:
        assert word in str(caught.value)


@EVERY
def test_prediction_takes_every_form(name, fits):
    x = X.astype(np.float32)
    expected = fits[name].predict(x, draws=5).mean
    for form in FORMS.values():
        np.testing.assert_array_equal(fits[name].predict(form(x), draws=5).mean, expected)


@EVERY
def test_predictions_far_away_are_finite(name, fits):
    # A tanh net is bounded, so that even counts stay in range.
    pred = fits[name].predict(X * 1e10, draws=20)
    assert np.isfinite(pred.mean).all()
    assert np.isfinite(pred.sd).all()
    assert np.isfinite(np.stack(pred.interval(0.9))).all()


@pytest.fixture(scope="module")
def fits():
    return {
        name: po.fit(model, (X, y), METHOD, progress=False)
        for name, (model, y) in LIKELIHOODS.items()
    }
