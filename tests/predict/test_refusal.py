"""Refusals against the rules written out over raw draws."""

from __future__ import annotations

import numpy as np
import pytest

import posterity as po
from handmade import draws_of, linear, posterior_of

RNG = np.random.default_rng(8)
X = RNG.normal(size=(60, 1)).astype(np.float32)


def predictive(likelihood, outputs, draws, spread=2.0):
    theta = np.random.default_rng(9).normal(0, spread, (draws, outputs))
    return posterior_of(linear(likelihood, outputs), draws_of(theta)).predict(X)


MULTI = predictive(po.likelihoods.Categorical(4), 4, 31)
EVEN = predictive(po.likelihoods.Categorical(4), 4, 32)
BINARY = predictive(po.likelihoods.Bernoulli(), 1, 31)
PREDICTIONS = pytest.mark.parametrize("pred", [MULTI, EVEN, BINARY], ids=["odd", "even", "binary"])


def by_class(p):
    return p if p.ndim > BINARY.mean.ndim and p.shape[-1] == 4 else np.stack([1 - p, p], -1)


@PREDICTIONS
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_probability_refuses_rows_without_a_probable_class(pred, share):
    below = float(np.quantile(pred.probs.max(1), share))
    found = pred.abstain(below=below)
    np.testing.assert_array_equal(found.mask, pred.probs.max(1) < below)
    np.testing.assert_array_equal(found.data, pred.label)
    assert found.dtype.kind == "i"
    assert found.mask.mean() == pytest.approx(share, abs=1 / 60)
    np.testing.assert_array_equal(found.filled(), np.where(found.mask, -1, pred.label))


@PREDICTIONS
@pytest.mark.parametrize("below", [0.2, 0.3, 0.5, 0.6, 0.8, 1.0])
def test_median_refuses_rows_where_no_class_has_half_of_the_draws(pred, below):
    enough = (by_class(pred.raw()) >= np.float32(below)).mean(0) >= 0.5
    found = pred.abstain(below=below, by="median")
    np.testing.assert_array_equal(found.mask, ~enough.any(1))


def test_median_is_numpys_of_an_odd_number_of_draws():
    for below in (0.2, 0.4, 0.6):
        refused = MULTI.abstain(below=below, by="median").mask
        np.testing.assert_array_equal(refused, (np.median(MULTI.raw(), 0) < below).all(1))


def test_confident_draws_that_disagree_are_refused_by_the_median_only():
    """Four draws in five classes: the mean still has a favourite, but no class has half."""
    logits = 50 * np.eye(5)[[0, 0, 1, 2, 3]]
    model = linear(po.likelihoods.Categorical(5), 5)
    pred = posterior_of(model, draws_of(logits)).predict(np.ones((1, 1)))
    np.testing.assert_allclose(pred.probs[0], [0.4, 0.2, 0.2, 0.2, 0], atol=1e-6)
    assert not pred.abstain(below=0.3).mask.any()
    assert pred.abstain(below=0.3, by="median").mask.all()


@PREDICTIONS
@pytest.mark.parametrize("rule", ["entropy", "mutual_information"])
def test_entropies_refuse_what_is_above(pred, rule):
    values = getattr(pred, rule)
    cut = float(np.median(values))
    found = pred.abstain(above=cut, by=rule)
    np.testing.assert_array_equal(found.mask, values > cut)
    assert not pred.abstain(above=10.0, by=rule).mask.any()


def test_a_point_is_its_own_median():
    pred = posterior_of(linear(po.likelihoods.Categorical(3), 3), draws_of([[1.0, 0.2, -1.0]]))
    pred = pred.predict(X)
    for below in (0.4, 0.5, 0.7):
        one, other = (pred.abstain(below=below, by=by).mask for by in ("probability", "median"))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give below="),
        ({"above": 0.2}, "give below=, not above=0.2"),
        ({"below": 0.2, "above": 1.0}, "give below=, not above=1.0"),
        ({"below": 0.2, "by": "entropy"}, "give above=, not below=0.2"),
        ({"below": 0.0}, "probability above 0"),
        ({"below": 1.1, "by": "median"}, "probability above 0"),
        ({"below": float("nan")}, "probability above 0"),
        ({"above": -0.1, "by": "entropy"}, "from 0, in nats"),
        ({"below": 0.2, "by": "sd"}, "expected one of probability, median"),
    ],
)
def test_cutoffs_that_make_no_rule_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MULTI.abstain(**arguments)


def test_numbers_have_no_labels_to_refuse():
    pred = posterior_of(linear(po.likelihoods.Normal(0.1)), draws_of([[1.0]])).predict(X)
    with pytest.raises(AttributeError, match="abstain is for class labels"):
        pred.abstain(below=0.2)
