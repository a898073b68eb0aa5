"""A likelihood of one file: counts with an unknown dispersion, against exact answers."""

from __future__ import annotations

import numpy as np
import numpyro.distributions as dist
import pytest
from negative_binomial import NegativeBinomial
from scipy import special, stats

import posterity as po
from handmade import draws_of, linear, posterior_of

RNG = np.random.default_rng(5)
X = RNG.uniform(-1, 1, (60, 1))
Y = RNG.negative_binomial(1.5, 1.5 / (1.5 + np.exp(1.5 * X[:, 0]))).astype(float)
PRIOR = dist.LogNormal(0.0, 1.0)
MODEL = linear(NegativeBinomial(PRIOR))
THETA = np.stack([RNG.normal(1, 0.5, 25), RNG.normal(0.4, 0.3, 25)], 1)
AT = np.array([[-1.0], [0.2], [1.5]])


def fit(method, model=MODEL, **settings):
    return po.fit(model, (X, Y), method, seed=1, progress=False, **settings)


@pytest.fixture(scope="module")
def sampled():
    return fit(po.NUTS(chains=4, warmup=200, draws=500))


@pytest.fixture(scope="module")
def approximated():
    return fit(po.ADVI(steps=1_500, stop=False))


def test_what_is_derived_agrees_with_draws():
    po.testing.check_likelihood(
        NegativeBinomial(PRIOR), [[0.0], [1.0], [3.0]], {"dispersion": 1.5}, draws=4_000
    )


def test_nuts_agrees_with_quadrature(sampled):
    w, free = np.meshgrid(np.linspace(-1, 4, 120), np.linspace(-3, 5, 120), indexing="ij")
    mean, size = np.exp(w[..., None] * X[:, 0]), np.exp(free)[..., None]
    log_p = stats.nbinom.logpmf(Y, size, size / (size + mean)).sum(-1)
    log_p += stats.norm.logpdf(w) + stats.norm.logpdf(free)
    share = np.exp(log_p - special.logsumexp(log_p))
    theta = np.asarray(sampled.sample()).reshape(-1, 2).astype(float)
    for grid, draws in zip((w, free), theta.T):
        exact = np.sum(share * grid)
        sd = np.sqrt(np.sum(share * (grid - exact) ** 2))
        # 400 effective draws or more: five standard errors.
        assert abs(draws.mean() - exact) < 5 * sd / np.sqrt(400)
        assert abs(np.log(draws.std() / sd)) < 5 / np.sqrt(2 * 400)


def test_every_prediction_is_that_of_the_enumerated_mixture():
    pred = posterior_of(MODEL, draws_of(THETA)).predict(AT)
    mean = np.exp(THETA[:, :1] * AT[:, 0])
    size = np.exp(THETA[:, 1:])
    oracle = stats.nbinom(size, size / (size + mean))
    k = np.arange(2_000)[:, None, None]
    pmf = oracle.pmf(k).mean(1)
    np.testing.assert_allclose(pred.mean, mean.mean(0), rtol=1e-5)
    np.testing.assert_allclose(pred.aleatoric, oracle.var().mean(0), rtol=1e-4)
    np.testing.assert_allclose(pred.epistemic, mean.var(0), rtol=1e-4)
    y = np.array([0.0, 3.0, 20.0])
    expected = special.logsumexp(oracle.logpmf(y), axis=0) - np.log(25)
    np.testing.assert_allclose(pred.log_prob(y), expected, rtol=1e-4)
    cdf = np.cumsum(pmf, 0)
    for q in (0.01, 0.05, 0.5, 0.95):
        assert np.abs(cdf - q).min() > 1e-6
        np.testing.assert_array_equal(pred.quantile(q), (cdf < q).sum(0))
    assert (pred.interval(0.99)[0] >= 0).all()
    raw = posterior_of(MODEL, draws_of(np.repeat(THETA, 160, axis=0))).predict(AT, draws=4_000)
    raw = raw.raw(of="y")
    assert (raw == np.floor(raw)).all()
    assert (np.abs(raw.mean(0) - pred.mean) < 5 * pred.sd / np.sqrt(4_000)).all()


@pytest.mark.parametrize(
    "method",
    [
        po.ADVI(steps=30, batch_size=20, stop=False, estimator="flipout"),
        po.SGLD(draws=30, step_size=1e-3, batch_size=20),
        po.MAP(steps=300),
    ],
    ids=["advi-batches", "sgld", "map"],
)
def test_other_methods_take_it(method):
    pred = fit(method).predict(X)
    assert np.isfinite(po.metrics.nll(Y, pred))


def test_advi_is_near_nuts_and_says_its_estimator(sampled, approximated):
    ours, theirs = approximated.predict(X), sampled.predict(X)
    assert np.abs(np.log(ours.mean / theirs.mean)).max() < 0.2
    assert approximated.settings["estimator"] == "shared"


def test_it_is_saved_loaded_updated_and_reported(approximated, tmp_path):
    path = approximated.save(tmp_path / "counts")
    loaded = po.load(path, model=MODEL)
    np.testing.assert_array_equal(loaded.predict(X).mean, approximated.predict(X).mean)
    short = po.ADVI(steps=30, stop=False)
    for remember in (None, X[:10]):
        given = {} if remember is None else {"remember": remember}
        updated = loaded.update((X, Y), method=short, progress=False, **given)
        assert np.isfinite(updated.predict(X).mean).all()
    # Of few draws: a report asks for many quantiles, and each is a search in a slow cdf.
    few = posterior_of(MODEL, draws_of(THETA))
    assert po.report(few, tmp_path / "report.html", data=(X[:9], Y[:9])).exists()


def test_a_learned_dispersion_is_learned():
    model = linear(NegativeBinomial(po.learned(5.0)))
    posterior = fit(po.ADVI(steps=1_500, stop=False), model)
    (name, value), = posterior.learned.items()  # fmt: skip
    assert name == "likelihood.dispersion"
    assert 0.5 < value < 4
