"""Quantiles against roots and sorted draws of the same mixtures."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import optimize, stats

import posterity as po
from handmade import draws_of, linear, posterior_of
from known import CASES, U, X

LEVELS = [0.001, 0.05, 0.5, 0.9, 0.999]


def root(cdf, q, low, high):
    return optimize.brentq(lambda t: cdf(t) - q, low, high, xtol=1e-12)


@pytest.mark.parametrize(
    ("likelihood", "oracle"),
    [
        (po.likelihoods.Normal(0.5), lambda f, x: stats.norm(f, 0.5)),
        (po.likelihoods.StudentT(3.0, 0.5), lambda f, x: stats.t(3.0, f, 0.5)),
    ],
)
def test_quantiles_of_a_mixture_of_two_draws_are_scipys_roots(likelihood, oracle):
    w = np.array([-1.0, 2.0])
    posterior = posterior_of(linear(likelihood), draws_of(w[:, None]))
    x = np.array([[0.1], [0.3], [1.0], [5.0]])
    pred = posterior.predict(x)
    found = pred.quantile(LEVELS)
    assert found.shape == (5, 4)
    for row, value in enumerate(x[:, 0]):
        parts = [oracle(f, value) for f in w * value]
        mixture = lambda t, parts=parts: np.mean([part.cdf(t) for part in parts])
        for number, q in enumerate(LEVELS):
            expected = root(mixture, q, -200, 200)
            bracket = pred.sd[row] * (np.sqrt(q / (1 - q)) + np.sqrt((1 - q) / q))
            # A millionth of the bracket, and what float32 can tell apart of P(Y ≤ t).
            slope = np.mean([part.pdf(expected) for part in parts])
            limit = 1e-6 * bracket + 2e-6 * (1 + abs(expected)) + 5e-7 / slope
            assert abs(found[number, row] - expected) < limit
    lower, upper = pred.interval(0.9)
    np.testing.assert_array_equal(np.stack([lower, upper]), pred.quantile([0.05, 0.95]))
    np.testing.assert_array_equal(pred.quantile(0.5), found[2])


def test_quantiles_of_the_mean_are_those_of_the_draws():
    posterior, mean, _ = CASES["normal"]
    pred = posterior.predict(X)
    for q in (0.1, 0.5, 0.77):
        # The smallest draw that at least a share q of the draws do not exceed.
        expected = np.sort(mean, axis=0)[int(np.ceil(q * 37)) - 1]
        np.testing.assert_allclose(pred.quantile(q, of="mean"), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
def test_quantiles_of_classes_are_those_of_their_probabilities(name):
    posterior, mean, _ = CASES[name]
    found = posterior.predict(X).quantile([0.2, 0.6])
    assert found.shape == (2, *mean.shape[1:])
    for q, values in zip((0.2, 0.6), found):
        expected = np.sort(mean, axis=0)[int(np.ceil(q * 37)) - 1]
        np.testing.assert_allclose(values, expected, atol=2e-5)


def test_quantiles_of_several_targets_are_each_their_own():
    both = CASES["two-targets"][0].predict(X).quantile([0.1, 0.9])
    assert both.shape == (2, 9, 2)
    for target in range(2):
        one = posterior_of(linear(po.likelihoods.Normal(0.5)), draws_of(U[:, target : target + 1]))
        np.testing.assert_allclose(
            both[..., target], one.predict(X).quantile([0.1, 0.9]), atol=1e-4
        )


@pytest.mark.parametrize("size", [0.3, 2.0, 4.0])
def test_quantiles_of_counts_are_the_smallest_count_that_suffices(size):
    w = np.float32([size, size + 0.2])
    posterior = posterior_of(linear(po.likelihoods.Poisson()), draws_of(w[:, None]))
    x = np.linspace(0.5, 1, 150, dtype=np.float32)[:, None]
    rates = np.exp(w[:, None].astype(float) * x[:, 0])
    cdf = stats.poisson.cdf(np.arange(300)[:, None, None], rates).mean(1)  # (counts, rows)
    pred = posterior.predict(x)
    for q in (0.05, 0.5, 0.9):
        expected = (cdf < q).sum(0)
        clear = np.abs(cdf - q).min(0) > 1e-5  # where float32 can tell the counts apart
        np.testing.assert_array_equal(pred.quantile(q)[clear], expected[clear])


@pytest.mark.parametrize("q", [0, 1, -0.1, 1.5, float("nan"), [0.5, 1.0], [[0.5]]])
def test_probabilities_out_of_range_are_refused(q):
    pred = CASES["normal"][0].predict(X)
    with pytest.raises(ValueError, match="q: probabilities must lie between 0 and 1"):
        pred.quantile(q)
    if np.ndim(q) == 0:
        with pytest.raises(ValueError, match="p: must lie between 0 and 1"):
            pred.interval(q)


def test_labels_have_no_quantiles():
    with pytest.raises(ValueError, match='use of="mean"'):
        CASES["bernoulli"][0].predict(X).quantile(0.5, of="y")


class OfDistribution(po.likelihoods.AbstractLikelihood):
    """A user's likelihood: a NumPyro distribution of the net's one output."""

    build: object = eqx.field(static=True)
    kind = "regression"
    outputs_per_target = 1

    def distribution(self, outputs, unknowns):
        return self.build(outputs[:, 0])


@pytest.mark.parametrize(
    ("build", "oracle"),
    [
        (
            lambda f: dist.Gamma(0.5, jnp.exp(-f)),
            lambda f: stats.gamma(0.5, scale=np.exp(f)),
        ),
        (
            lambda f: dist.LogNormal(f, 1.5),
            lambda f: stats.lognorm(1.5, scale=np.exp(f)),
        ),
        (
            lambda f: dist.Beta(0.5 + 0 * f, jnp.exp(f)),
            lambda f: stats.beta(0.5, np.exp(f)),
        ),
        (
            lambda f: dist.HalfCauchy(jnp.exp(f)),
            lambda f: stats.halfcauchy(scale=np.exp(f)),
        ),
    ],
    ids=["gamma", "log-normal", "beta", "half-cauchy"],
)
@pytest.mark.filterwarnings("ignore:predict. mean or sd")  # of the half-Cauchy
def test_quantiles_lie_inside_the_support_and_are_exact(build, oracle):
    w = np.array([-0.4, 0.7])
    posterior = posterior_of(linear(OfDistribution(build)), draws_of(w[:, None]))
    pred = posterior.predict(np.array([[0.5], [1.0]]))
    for row, value in enumerate((0.5, 1.0)):
        parts = [oracle(f) for f in w * value]
        for q, found in zip(LEVELS, pred.quantile(LEVELS)[:, row]):
            got = np.mean([part.cdf(float(found)) for part in parts])
            assert abs(got - q) < 1e-5
    lower, upper = pred.interval(0.9)
    assert (lower > 0).all()
    assert (upper > lower).all()
