"""Metrics against formulas written out by hand, and scikit-learn where it has them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

import posterity as po
from handmade import draws_of, linear, posterior_of
from oracles import z_limit
from posterity import metrics

RNG = np.random.default_rng(6)
X = RNG.normal(size=(40, 1)).astype(np.float32)
W = np.array([0.5, 1.0, 2.5])
F = W[:, None] * X[:, 0]
Y = (X[:, 0] + RNG.normal(size=40)).astype(np.float32)
LABELS = (RNG.random(40) < special.expit(2 * X[:, 0])).astype(int)
K = RNG.normal(size=(3, 3))
THREE = RNG.integers(0, 3, 40)

REAL = posterior_of(linear(po.likelihoods.Normal(0.8)), draws_of(W[:, None])).predict(X)
BINARY = posterior_of(linear(po.likelihoods.Bernoulli()), draws_of(W[:, None])).predict(X)
MULTI = posterior_of(linear(po.likelihoods.Categorical(3), 3), draws_of(K)).predict(X)
COUNT = posterior_of(linear(po.likelihoods.Poisson()), draws_of(0.3 * W[:, None])).predict(X)

P1 = special.expit(F).mean(0)
PK = special.softmax(K[:, None, :] * X[:, 0][None, :, None], -1).mean(0)


def test_nll_is_the_mean_of_the_mixtures_density():
    density = stats.norm(F, 0.8).pdf(Y).mean(0)
    assert metrics.nll(Y, REAL) == pytest.approx(-np.log(density).mean(), rel=1e-5)
    p = np.where(LABELS == 1, P1, 1 - P1)
    assert metrics.nll(LABELS, BINARY) == pytest.approx(-np.log(p).mean(), rel=1e-5)
    picked = PK[np.arange(40), THREE]
    assert metrics.nll(THREE, MULTI) == pytest.approx(-np.log(picked).mean(), rel=1e-5)


def test_rmse_is_of_the_predictive_mean():
    expected = np.sqrt(((F.mean(0) - Y) ** 2).mean())
    assert metrics.rmse(Y, REAL) == pytest.approx(expected, rel=1e-5)


def test_accuracy_counts_the_most_probable_class():
    assert metrics.accuracy(LABELS, BINARY) == pytest.approx(((P1 > 0.5) == LABELS).mean())
    assert metrics.accuracy(THREE, MULTI) == pytest.approx((PK.argmax(1) == THREE).mean())


def test_brier_is_the_squared_distance_to_the_one_hot_truth():
    # For two classes twice the familiar (p − y)².
    assert metrics.brier(LABELS, BINARY) == pytest.approx(2 * ((P1 - LABELS) ** 2).mean(), rel=1e-5)
    total = sum(sum((PK[i, k] - (THREE[i] == k)) ** 2 for k in range(3)) for i in range(40))
    assert metrics.brier(THREE, MULTI) == pytest.approx(total / 40, rel=1e-5)


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_ece_is_guos_formula(bins):
    confidence, right = PK.max(1), PK.argmax(1) == THREE
    expected = 0.0
    for b in range(bins):
        inside = (confidence >= b / bins) & ((confidence < (b + 1) / bins) | (b == bins - 1))
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            expected += inside.sum() / 40 * gap
    assert metrics.ece(THREE, MULTI, bins=bins) == pytest.approx(expected, rel=1e-4)


def test_coverage_counts_targets_inside_the_central_interval():
    def quantile(q):
        low, high = np.full(40, -30.0), np.full(40, 30.0)
        for _ in range(60):
            middle = (low + high) / 2
            below = stats.norm(F, 0.8).cdf(middle).mean(0) < q
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return low

    for p in (0.5, 0.9):
        inside = (quantile((1 - p) / 2) <= Y) & (quantile((1 + p) / 2) >= Y)
        assert metrics.coverage(Y, REAL, p) == pytest.approx(inside.mean())


def test_coverage_of_data_from_the_model_is_nominal():
    w = np.array([0.7, 1.3])
    x = RNG.normal(size=(4_000, 1)).astype(np.float32)
    pred = posterior_of(linear(po.likelihoods.Normal(0.8)), draws_of(w[:, None])).predict(x)
    y = RNG.choice(w, 4_000) * x[:, 0] + 0.8 * RNG.normal(size=4_000)
    found = metrics.coverage(y, pred, 0.8)
    assert abs(found - 0.8) < z_limit() * np.sqrt(0.8 * 0.2 / 4_000)


@pytest.mark.parametrize(
    ("pred", "y", "names"),
    [
        (BINARY, LABELS, ["accuracy", "nll", "brier", "ece"]),
        (MULTI, THREE, ["accuracy", "nll", "brier", "ece"]),
        (REAL, Y, ["rmse", "nll", "coverage_90"]),
        (COUNT, np.arange(40) % 4, ["rmse", "nll", "coverage_90"]),
    ],
    ids=["binary", "multi", "real", "count"],
)
def test_score_has_the_metrics_that_fit(pred, y, names):
    found = metrics.score(y, pred)
    assert list(found) == names
    for name, value in found.items():
        each = metrics.coverage if name == "coverage_90" else getattr(metrics, name)
        assert value == each(y, pred)
        assert np.isfinite(value)


def test_metrics_of_classes_refuse_numbers():
    for metric in (metrics.accuracy, metrics.brier, metrics.ece):
        with pytest.raises(AttributeError, match="is for class labels"):
            metric(Y, REAL)


@pytest.mark.parametrize(
    ("metric", "pred", "y"),
    [
        (metrics.rmse, REAL, Y),
        (metrics.coverage, REAL, Y),
        (metrics.accuracy, BINARY, LABELS),
        (metrics.brier, MULTI, THREE),
    ],
    ids=["rmse", "coverage", "accuracy", "brier"],
)
@pytest.mark.parametrize("change", [lambda y: y[:, None], lambda y: y[:1]], ids=["column", "one"])
def test_targets_of_another_shape_are_refused(metric, pred, y, change):
    with pytest.raises(ValueError, match="y"):
        metric(change(y), pred)


@pytest.mark.parametrize("bad", [-1, 0.5])
def test_labels_that_there_are_not_are_refused(bad):
    y = THREE.astype(float)
    y[3] = bad
    with pytest.raises(ValueError, match="y"):
        metrics.brier(y, MULTI)


# -- strangers and refusals ----------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m", "values"), [(40, 70, 5), (1, 9, 3), (50, 50, 10**6)])
def test_auroc_counts_pairs_and_halves_of_ties(n, m, values):
    rng = np.random.default_rng(n)
    known, other = rng.integers(0, values, n), rng.integers(0, values, m) + 1
    pairs = other[:, None] - known
    expected = ((pairs > 0).sum() + 0.5 * (pairs == 0).sum()) / (n * m)
    assert metrics.auroc(known, other) == pytest.approx(expected, rel=1e-14)
    assert metrics.auroc(other, known) == pytest.approx(1 - expected, rel=1e-12)


def test_auroc_of_its_extremes():
    assert metrics.auroc([0, 1], [2, np.inf]) == 1
    assert metrics.auroc([2, 3], [1]) == 0
    assert metrics.auroc(np.zeros(5), np.zeros(9)) == 0.5


@pytest.mark.parametrize(
    ("known", "other", "message"),
    [
        ([], [1.0], "scores_in"),
        ([1.0], [[1.0]], r"scores_out.*shape \(1, 1\)"),
        ([1.0], [0.0, np.nan], r"scores_out\[1\] is NaN"),
    ],
)
def test_auroc_refuses_what_has_no_order(known, other, message):
    with pytest.raises(ValueError, match=message):
        metrics.auroc(known, other)


def test_risk_coverage_answers_the_most_certain_first():
    found = metrics.risk_coverage(THREE, MULTI)
    order = np.argsort(-PK.max(1))
    wrong = PK.argmax(1) != THREE
    np.testing.assert_allclose(found.coverage, np.arange(1, 41) / 40)
    np.testing.assert_allclose(found.risk, [wrong[order[:k]].mean() for k in range(1, 41)])
    assert found.risk[-1] == pytest.approx(1 - metrics.accuracy(THREE, MULTI))


def test_rows_of_one_uncertainty_are_answered_together():
    wrong = BINARY.label != LABELS
    unsure = np.repeat([0.3, 0.1], 20)
    coverage, risk = metrics.risk_coverage(LABELS, BINARY, unsure)
    assert coverage.tolist() == [0.5, 1]
    np.testing.assert_allclose(risk, [wrong[20:].mean(), wrong.mean()])
    with pytest.raises(ValueError, match=r"uncertainty: expected shape \(40,\)"):
        metrics.risk_coverage(LABELS, BINARY, unsure[:3])


@pytest.mark.parametrize("name", ["nll", "rmse", "coverage", "score"])
def test_arguments_in_the_other_order_are_answered_with_the_right_one(name):
    with pytest.raises(TypeError, match=rf"po\.metrics\.{name}\(y, pred\)"):
        getattr(metrics, name)(REAL, Y)


def test_refusal_rate_is_the_share_of_masked_labels():
    labels = MULTI.abstain(below=0.6)
    assert metrics.refusal_rate(labels) == pytest.approx((PK.max(1) < 0.6).mean())
    assert metrics.refusal_rate(MULTI.label) == 0
