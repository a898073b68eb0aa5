"""Draws from the prior predictive distribution, against its closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import posterity as po
from oracles import z_limit

LINE = po.nets.MLP(2, [], 1, use_bias=False)
X = np.array([[1.0, 0.0], [1.0, 2.0], [-3.0, 1.0]])


def test_a_linear_model_has_its_gaussian_prior_predictive():
    model = po.Model(LINE, po.priors.Normal(0.5, 1.5), po.likelihoods.Normal(0.7))
    y = po.prior_predictive(model, X, draws=3_000).astype(float)
    assert y.shape == (3_000, 3)
    mean, cov = 0.5 * X.sum(1), 1.5**2 * X @ X.T + 0.49 * np.eye(3)
    limit = z_limit(9) / np.sqrt(3_000)
    sd = np.sqrt(np.diag(cov))
    assert (np.abs(y.mean(0) - mean) < limit * sd).all()
    products = (y - mean).T @ (y - mean) / 3_000
    errors = np.sqrt(np.outer(sd**2, sd**2) + cov**2)  # Isserlis
    assert (np.abs(products - cov) < limit * errors).all()
    z = np.linalg.solve(np.linalg.cholesky(cov), (y - mean).T)
    assert stats.kstest(z.ravel(), "norm").pvalue > 2e-5


@pytest.mark.parametrize(
    ("outputs", "likelihood", "shape", "values"),
    [
        (1, po.likelihoods.Bernoulli(), (5, 3), {0, 1}),
        (3, po.likelihoods.Categorical(3), (5, 3), {0, 1, 2}),
        (1, po.likelihoods.Poisson(), (5, 3), None),
        (2, po.likelihoods.Normal(1.0), (5, 3, 2), None),
        (2, po.likelihoods.Normal("net"), (5, 3), None),
        (4, po.likelihoods.StudentT(4.0, "net"), (5, 3, 2), None),
    ],
)
def test_shapes_and_supports(outputs, likelihood, shape, values):
    net = po.nets.MLP(2, [], outputs)
    y = po.prior_predictive(po.Model(net, po.priors.Normal(), likelihood), X, draws=5)
    assert y.shape == shape
    assert np.isfinite(y).all()
    assert values is None or set(y.ravel().tolist()) <= values


def test_the_seed_decides():
    model = po.Model(LINE, po.priors.Normal(), po.likelihoods.Normal(0.7))
    one, again, other = (po.prior_predictive(model, X, draws=4, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.isin(one, other).any()


@pytest.mark.parametrize("x", [np.ones(3), np.full((2, 2), np.nan), np.zeros((0, 2))])
def test_bad_inputs_are_refused(x):
    model = po.Model(LINE, po.priors.Normal(), po.likelihoods.Normal(0.7))
    with pytest.raises(ValueError, match="x"):
        po.prior_predictive(model, x)
