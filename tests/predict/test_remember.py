"""Predictions remembered: what of a posterior is kept, against the exact answer."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from handmade import draws_of, gaussian_of, linear, posterior_of
from oracles import Conjugate, conjugate
from posterity.distributions.prior_of_predictions import Remembered
from posterity.model.net_target import Target
from posterity.predict import remember
from posterity.predict.remember import rows_known
from posterity.storage.file import PosteriorFileError

# A prior so wide that counting it twice moves the mean by less than a hundredth of an sd.
ORACLE = conjugate(rows=100, columns=4, prior=30.0)
HALVES = list(zip(np.split(ORACLE.x, 2), np.split(ORACLE.y, 2)))
FULL = po.ADVI(family="full-rank", kl="sticking", draws=8, steps=3_000, stop=False, starts=1)


def remembered_of(posterior: po.Posterior, x: Any) -> Remembered:
    prior = posterior.as_prior(remember=x)
    assert isinstance(prior, Remembered)
    return prior


@functools.cache
def first_half() -> po.Posterior:
    return po.fit(ORACLE.model, HALVES[0], FULL, progress=False)


def check_two_halves_are_one() -> None:
    """Of a linear net at its own inputs nothing is lost but what 1,000 draws say of the mean."""
    second = first_half().update(HALVES[1], remember=HALVES[0][0], progress=False)
    q = second.distribution
    cov = np.asarray(q.cov)
    assert np.linalg.norm(cov - ORACLE.cov) / np.linalg.norm(ORACLE.cov) < 1e-3
    # The remembered mean is that of 1,000 draws: √(D / 1,000) of the first half's sds, of which the
    # update keeps a share below one; 5 of these is beyond any chance.
    half = Conjugate(*HALVES[0], ORACLE.noise, ORACLE.prior)
    off = np.asarray(q.mean) - ORACLE.mean
    moved = np.sqrt(off @ half.precision @ off)
    assert moved < 5 * np.sqrt(4 / 1_000)


def test_two_halves_are_one() -> None:
    check_two_halves_are_one()


@pytest.mark.parametrize("fault", [2.0, 0.5])
def test_wrong_weights_are_caught(fault: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remember, "rows_known", lambda a, e, most: np.full(len(a), fault * most))
    with pytest.raises(AssertionError):
        check_two_halves_are_one()


def test_rows_known() -> None:
    """The mean of w targets of variance a is known to a / w; of two targets the least counts."""
    assert rows_known(np.array([1.0, 1.0, 0.0]), np.array([0.5, 0.0, 0.1]), 9.0).tolist() == [
        2.0,
        9.0,
        0.0,
    ]
    two = rows_known(np.array([[1.0, 1.0]]), np.array([[0.5, 0.25]]), 9.0)
    assert two.tolist() == [2.0]


def test_nothing_is_remembered_where_nothing_is_known() -> None:
    """f = w x, with w ~ N(2, 0.5²) and noise 0.1: at x the mean is known to 0.25 x²."""
    posterior = posterior_of(linear(po.likelihoods.Normal(0.1)), gaussian_of([2.0], [0.5]))
    x = np.array([[0.0], [0.1], [1.0], [10.0]])
    prior = remembered_of(posterior, x)
    expected = np.minimum(10 / 4, 0.01 / (0.25 * x[1:, 0] ** 2))
    np.testing.assert_allclose(prior.counts[1:], expected, rtol=0.2)  # 1,000 draws: 5 %
    assert prior.counts[0] == 10 / 4
    np.testing.assert_allclose(prior.y[2], [1.9, 2.1], atol=0.1)


def test_classes_and_counts() -> None:
    theta = np.random.default_rng(0).normal(size=(400, 1)) * 0.2 + 1.0
    posterior = posterior_of(linear(po.likelihoods.Bernoulli()), draws_of(theta))
    prior = remembered_of(posterior, [[1.0], [-2.0]])
    p = (1 / (1 + np.exp(-theta * [1.0, -2.0]))).mean(0)
    np.testing.assert_allclose(prior.shares, np.stack([1 - p, p], 1), rtol=1e-4)
    np.testing.assert_array_equal(prior.y, [[0, 1], [0, 1]])
    counts = posterior_of(linear(po.likelihoods.Poisson()), draws_of(theta))
    rates = np.exp(theta * [1.0, -2.0]).mean(0)
    np.testing.assert_allclose(remembered_of(counts, [[1.0], [-2.0]]).y[:, 0], rates, rtol=1e-4)


X = np.linspace(-1, 1, 20)[:, None]
NOISY = linear(po.likelihoods.Normal(scale=dist.HalfNormal(1.0)), bias=True)
DATA = (X, X[:, 0] + 0.1 * np.cos(7 * X[:, 0]))
FIRST = po.ADVI(family="full-rank", steps=300)


@functools.cache
def first_fit() -> po.Posterior:
    """What most tests here begin with."""
    return po.fit(NOISY, DATA, FIRST, progress=False)


def test_rows_add_up_and_the_first_prior_stays() -> None:
    first = first_fit()
    second = first.update(DATA, remember=X[::2], progress=False)
    third = second.update(DATA, remember=X[::5], progress=False)
    assert [p.target.prior.rows for p in (second, third)] == [20, 40]
    assert third.target.prior.base.rules[0][1].scale == 1.0
    assert not isinstance(third.target.prior.base, Remembered)
    joint = third.as_prior()  # and the weights of any of them can be the next prior
    assert np.isfinite(joint.density.log_prob(jnp.zeros(3)))
    again = first.update(DATA, progress=False).update(DATA, remember=X, progress=False)
    assert again.target.prior.base.density.size == 3


def test_rows_of_a_tempered_posterior_count_more() -> None:
    half = po.ADVI(family="full-rank", steps=300, kl_weight=0.5)
    for method, most in ((FIRST, 4), (half, 8)):  # 20 rows, 5 inputs
        posterior = po.fit(NOISY, DATA, method, progress=False)
        assert remembered_of(posterior, X[::4]).counts.max() == most


def intercept(**weights: float) -> po.Posterior:
    """The exact posterior of a mean known to be near 0 from 12 zeros, by θ ~ N(0, 2²).

    With κ and T it is [p₀ L^(1/κ)]^(1/T), of precision (1/4 + 12 / (0.5² κ)) / T.
    """
    net = po.nets.MLP(1, [], 1, use_bias=False)
    model = po.Model(net, po.priors.Normal(0, 2), po.likelihoods.Normal(0.5))
    target = Target.build(model, (1,), (), 12, **weights)
    precision = (1 / 4 + 12 / 0.25 / target.kl_weight) / target.temperature
    made = posterior_of(model, gaussian_of([0.0], [precision**-0.5]))
    return po.Posterior(target, made.distribution)


def precision_of(prior: Remembered) -> float:
    model = po.Model(po.nets.MLP(1, [], 1, use_bias=False), prior, po.likelihoods.Normal(0.5))
    target = Target.build(model, (1,), (), 1)
    return float(-jax.hessian(target.log_prior)(jnp.zeros(1))[0, 0])


@pytest.mark.parametrize(
    ("kl_weight", "temperature"), [(1, 1), (0.5, 1), (1, 0.25), (1, 3), (2, 3)]
)
def test_what_is_remembered_has_the_precision_of_the_tempered_posterior(
    kl_weight: float, temperature: float
) -> None:
    posterior = intercept(kl_weight=kl_weight, temperature=temperature)
    expected = (1 / 4 + 12 / 0.25 / kl_weight) / temperature
    prior = remembered_of(posterior, np.ones((3, 1)))
    assert precision_of(prior) == pytest.approx(expected, rel=1e-5)
    # Remembered again, after 12 more rows at the same weights.
    twice = (expected + 12 / 0.25 / kl_weight) / temperature
    model = po.Model(posterior.target.net, prior, posterior.target.likelihood)
    target = Target.build(model, (1,), (), 12, kl_weight, temperature)
    q = gaussian_of([0.0], [twice**-0.5])
    after = po.Posterior(target, q)
    assert precision_of(remembered_of(after, np.ones((3, 1)))) == pytest.approx(twice, rel=1e-5)


def test_a_posterior_at_temperature_zero_is_nothing_to_remember() -> None:
    with pytest.raises(ValueError, match="drawn at temperature 0"):
        remembered_of(intercept(temperature=0.0), np.ones((3, 1)))


def test_it_is_saved_to_the_last_bit(tmp_path) -> None:
    first = first_fit()
    after = (first, first.update(DATA, progress=False))
    for number, posterior in enumerate(after):
        updated = posterior.update(DATA, remember=X[::2], progress=False)
        loaded = po.load(updated.save(tmp_path / f"updated-{number}"))
        theta = updated.sample(1)[0, 0]
        assert loaded.target.log_prior(theta) == updated.target.log_prior(theta)
        again = [p.update(DATA, remember=X, progress=False, seed=3) for p in (updated, loaded)]
        np.testing.assert_array_equal(again[0].distribution.mean, again[1].distribution.mean)


def test_a_file_of_negative_rows_is_refused(tmp_path) -> None:
    first = first_fit()
    target = first.target
    prior = remembered_of(first, X)
    wrong = dataclasses.replace(prior, counts=-prior.counts)
    model = po.Model(target.net, wrong, target.likelihood)
    updated = po.fit(model, DATA, po.MAP(steps=2), progress=False)
    with pytest.raises(PosteriorFileError, match="what its prior remembers makes no sense"):
        po.load(updated.save(tmp_path / "negative"))


@pytest.mark.parametrize(
    "method",
    [
        po.ADVI(estimator="local", steps=50),
        po.IVON(steps=50),
        po.DADVI(draws=4),
        po.NUTS(chains=2, warmup=50, draws=50),
        po.SGFS(chains=2, draws=50, batch_size=5),
    ],
    ids=lambda method: type(method).__name__,
)
def test_every_kind_of_method_takes_it(method: Any) -> None:
    first = first_fit()
    updated = first.update(DATA, method, remember=X[::2], progress=False)
    assert np.isfinite(updated.predict(X).mean).all()


def test_what_is_refused() -> None:
    first = first_fit()
    with pytest.raises(ValueError, match="correlations, remember: give one"):
        first.update(DATA, correlations="full", remember=X)
    with pytest.raises(ValueError, match=r"remember: its rows have shape \(2,\)"):
        first.update(DATA, remember=np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"remember\[:, None\]"):
        first.update(DATA, remember=X[:, 0])
    with pytest.raises(ValueError, match=r"remember\[1, 0\]"):
        first.update(DATA, remember=[[0.0], [np.nan]])
    point = po.fit(NOISY, DATA, po.MAP(steps=5), progress=False)
    with pytest.raises(ValueError, match="found a point"):
        point.update(DATA, remember=X)
    with pytest.raises(TypeError, match="cannot be drawn from"):
        first.update(DATA, po.ParallelTempering(draws=10), remember=X, progress=False)


# -- a net ----------------------------------------------------------------------------------------


def wave(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = 0.05 * rng.normal(size=x.size)
    return x + 0.3 * np.sin(2 * np.pi * x) + 0.3 * np.sin(4 * np.pi * x) + noise


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "method",
    [
        po.ADVI(family="full-rank", draws=8, steps=30_000),
        po.ADVI(draws=8, steps=30_000),
        po.NUTS(chains=4, warmup=500, draws=500),
    ],
    ids=["full-rank", "mean-field", "NUTS"],
)
def test_a_net_learns_a_gap_and_does_not_forget_its_sides(method: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.concatenate([np.linspace(-0.2, 0.2, 300), np.linspace(0.6, 1.0, 300)])
    sides, gap = ((at[:, None], wave(at, rng)) for at in (x, np.linspace(0.2, 0.6, 60)))
    model = po.Model(
        po.nets.MLP(1, [5], 1, activation=jnp.tanh),
        po.priors.Normal(0, 10),
        po.likelihoods.Normal(scale=dist.HalfNormal(1.0)),
    )
    first = po.fit(model, sides, method, seed=seed, progress=False)
    second = first.update(gap, remember=sides[0][::12], seed=seed, progress=False)

    def rmse(posterior: po.Posterior, rows: Any) -> float:
        return float(po.metrics.rmse(rows[1], posterior.predict(rows[0])))

    assert rmse(second, sides) < 1.1 * rmse(first, sides)
    assert rmse(second, gap) < 0.5 * rmse(first, gap)
