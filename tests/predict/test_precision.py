"""Predictions that single precision cannot hold: right in double, or named in a sentence."""

from __future__ import annotations

import warnings

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import posterity as po
from handmade import draws_of, linear, posterior_of
from posterity.likelihoods.poisson import upper_gamma
from posterity.predict import precision

W = np.float32([1.0, 1.001])
LOGS = np.array([1.0, 16.0, 23.0, 46.0, 90.0, 300.0])


@pytest.fixture(scope="module")
def counts() -> po.Posterior:
    return posterior_of(linear(po.likelihoods.Poisson()), draws_of(W[:, None]))


@pytest.fixture(scope="module")
def predicted(counts: po.Posterior) -> po.Predictive:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return counts.predict(LOGS[:, None])


def rates() -> np.ndarray:
    """The rate of each draw in each row, (draws, rows)."""
    return np.exp(np.outer(W.astype(float), np.float32(LOGS).astype(float)))


def test_moments_of_counts_are_right_up_to_the_largest_rates(predicted: po.Predictive) -> None:
    rate = rates()
    np.testing.assert_allclose(predicted.mean, rate.mean(0), rtol=1e-5)
    np.testing.assert_allclose(predicted.aleatoric, rate.mean(0), rtol=1e-5)
    np.testing.assert_allclose(predicted.epistemic, rate.var(0), rtol=1e-2)
    np.testing.assert_allclose(predicted.sd, np.sqrt(rate.mean(0) + rate.var(0)), rtol=1e-2)
    np.testing.assert_allclose(predicted.take([4]).mean, rate[:, 4].mean(), rtol=1e-5)


def test_draws_of_counts_are_no_largest_integer(predicted: po.Predictive) -> None:
    drawn, rate = predicted.raw(of="y"), rates()
    # Six sds, and what rounding makes of exp f.
    assert (np.abs(drawn - rate) < 6 * np.sqrt(rate) + 1e-12 * rate + 3).all()
    upto = predicted.take([0, 1, 2]).raw(of="y")
    assert upto.dtype == np.int64
    assert (np.abs(upto[:, 2] / rate[:, 2] - 1) < 1e-3).all()
    assert (drawn == np.floor(drawn)).all()


def test_quantiles_of_counts_are_right_up_to_the_largest_rates(predicted: po.Predictive) -> None:
    levels = [0.05, 0.3, 0.95]
    found = predicted.quantile(levels)
    for row, rate in enumerate(rates().T):
        for q, value in zip(levels, found[:, row]):
            if rate[0] < 1e11:
                upto, under = (stats.poisson.cdf(value - k, rate).mean() for k in (0, 1))
            else:  # where a count is nothing
                upto = under = stats.norm.cdf((value - rate) / np.sqrt(rate)).mean()
            # A millionth of the bracket, in which this mixture of two is steep.
            near = 1e-6 * predicted.sd[row] * 10 / np.sqrt(rate[0])
            assert under - near - 1e-5 <= q <= upto + near + 1e-5, (row, q)


def test_log_scores_of_large_counts_keep_their_digits() -> None:
    one = posterior_of(linear(po.likelihoods.Poisson()), draws_of([[1.0]]))
    x = np.float32(np.log([3.0, 1e5, 1e6, 9e6]))[:, None]
    y = np.array([2, 100_300, 1_000_500, 9_001_000])
    found = one.predict(x).log_prob(y)
    np.testing.assert_allclose(found, stats.poisson.logpmf(y, np.exp(x[:, 0].astype(float))), 1e-6)
    far = one.predict([[90.0]]).log_prob([5])
    np.testing.assert_allclose(far, -np.exp(90.0), rtol=1e-6)


def test_rows_that_double_precision_cannot_hold_are_named(counts: po.Posterior) -> None:
    x = np.array([[1.0], [400.0], [800.0]])
    with pytest.warns(RuntimeWarning, match=r"predict: mean or sd is not finite at rows 1, 2 \(2"):
        pred = counts.predict(x)
    assert np.isfinite(pred.mean[:2]).all()
    assert pred.sd[1] == np.inf  # whose square no number holds
    with pytest.warns(RuntimeWarning, match=r"quantile: it is not finite at row 2 \(1 of 3\)"):
        median = pred.quantile(0.5)
    np.testing.assert_allclose(median[1], np.exp(400.0), rtol=0.5)
    with pytest.raises(ValueError, match=r"raw: counts drawn at row 2 \(1 of 3\) are larger"):
        pred.raw(of="y")
    assert np.isfinite(pred.take([0, 1]).raw(of="y")).all()


@pytest.mark.parametrize(
    "likelihood", [po.likelihoods.Normal(0.5), po.likelihoods.StudentT(4.0, 0.5)]
)
def test_real_targets_of_any_size_are_predicted(likelihood: object) -> None:
    posterior = posterior_of(linear(likelihood), draws_of(1e15 * W[:, None]))
    pred = posterior.predict([[1e-14], [1e5], [1e14]])
    f = np.outer(np.float32(1e15 * W).astype(float), np.float32([1e-14, 1e5, 1e14]).astype(float))
    var = float(likelihood.distribution(jnp.zeros((1, 1)), {}).variance[0])
    np.testing.assert_allclose(pred.mean, f.mean(0), rtol=1e-6)
    np.testing.assert_allclose(pred.sd, np.sqrt(var + f.var(0)), rtol=1e-3)
    drawn, (lower, upper) = pred.raw(of="y"), pred.interval(0.9)
    assert np.isfinite(drawn).all()
    assert ((lower <= f.max(0) * 1.001) & (upper >= f.min(0) * 0.999) & (lower < upper)).all()
    assert np.isfinite(pred.log_prob(np.zeros(3))).all()
    assert np.isfinite(po.metrics.rmse(np.zeros(3), pred))
    assert np.isfinite(po.metrics.nll(np.zeros(3), pred))


def test_noise_below_single_precision_is_not_zero() -> None:
    posterior = posterior_of(linear(po.likelihoods.Normal(1e-25)), draws_of([[0.0]]))
    pred = posterior.predict([[1.0]])
    np.testing.assert_allclose(pred.sd, 1e-25, rtol=1e-6)
    np.testing.assert_allclose(pred.interval(0.9)[1], 1.6448536e-25, rtol=1e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_of_any_logit_have_probabilities_and_entropies(classes: int) -> None:
    likelihood = po.likelihoods.Bernoulli() if classes == 2 else po.likelihoods.Categorical(3)
    w = np.outer(W, np.linspace(1, -1, 1 if classes == 2 else 3)) * 1e15
    posterior = posterior_of(linear(likelihood, outputs=w.shape[1]), draws_of(w))
    pred = posterior.predict([[9e14], [-9e14], [0.0]])
    figures = (
        pred.probs, pred.entropy, pred.expected_entropy, pred.mutual_information, pred.sd,
        pred.quantile(0.5), pred.log_prob([0, 0, 1]),
    )  # fmt: skip
    assert all(np.isfinite(figure).all() for figure in figures)
    np.testing.assert_allclose(pred.probs.sum(1), 1, rtol=1e-6)
    assert pred.abstain(below=0.6, by="median").mask.tolist() == [False, False, True]


def test_other_units_keep_numbers_that_single_precision_does_not_hold() -> None:
    posterior = posterior_of(linear(po.likelihoods.Normal(0.5)), draws_of([[1.0], [3.0]]))
    pred = posterior.predict([[1.0]])
    for scale in (1e-30, 1e30):
        other = pred.rescaled(0.0, scale)
        np.testing.assert_allclose(other.sd / scale, pred.sd, rtol=1e-5)
        np.testing.assert_allclose(other.quantile(0.9) / scale, pred.quantile(0.9), rtol=1e-5)
    assert pred.rescaled(1.0, 2.0).mean.dtype == np.float32


class Wide(po.likelihoods.AbstractLikelihood):
    kind = "regression"
    outputs_per_target = 1

    def distribution(self, outputs, unknowns):
        return dist.Cauchy(outputs[:, 0], 1.0)


def test_a_likelihood_without_moments_says_so_and_has_quantiles() -> None:
    posterior = posterior_of(linear(Wide()), draws_of([[1.0]]))
    with pytest.warns(RuntimeWarning, match="under Wide y has none. quantile, interval"):
        pred = posterior.predict([[0.5], [2.0]])
    np.testing.assert_allclose(pred.quantile(0.75), [1.5, 3.0], atol=1e-4)


def test_prior_draws_of_counts_are_no_largest_integer() -> None:
    def drawn(scale: float) -> np.ndarray:
        net = po.nets.MLP(1, [], 1, use_bias=False)
        model = po.Model(net, po.priors.Normal(0, scale), po.likelihoods.Poisson())
        return po.prior_predictive(model, [[1.0]], draws=100)

    y = drawn(15.0)
    assert y.max() > 2**31
    assert not (y == 2**31 - 1).any()
    assert np.isfinite(y).all()
    with pytest.warns(RuntimeWarning, match=r"prior_predictive: .* of 100 draws of y are no numb"):
        drawn(2000.0)


def test_a_program_says_that_its_counts_are_too_large() -> None:
    def program(y: object) -> None:
        rate = numpyro.sample("rate", dist.HalfNormal(1.0))
        numpyro.sample("y", dist.Poisson(1e12 + rate), obs=y)

    model = po.Model.from_numpyro(program)
    posterior = po.fit(model, {"y": np.ones(3)}, po.MAP(steps=2), progress=False)
    with pytest.warns(RuntimeWarning, match=r"replicate: 9 of 9 values of 'y' .*jax_enable_x64"):
        posterior.replicate(draws=3)


@pytest.mark.parametrize("a", [12.0, 63.0, 64.0, 255.0, 1e4, 1e6])
def test_the_incomplete_gamma_function_is_scipys(a: float) -> None:
    x = a + np.sqrt(a) * np.array([-3, -1, 0, 0.3, 2, 5])
    exact = np.float32(x).astype(float)
    found = upper_gamma(jnp.full(6, a), jnp.asarray(x))
    # Both in single precision: at 63 the series, which is JAX's.
    np.testing.assert_allclose(found, stats.gamma.sf(exact, a), atol=1e-5 if a < 64 else 5e-7)


def test_rows_are_listed_briefly() -> None:
    assert precision.rows_of(np.arange(9) > 1) == "rows 2, 3, 4, 5, 6, … (7 of 9)"
    assert precision.rows_of(np.arange(3) == 1) == "row 1 (1 of 3)"
