"""A likelihood of one file: ordered classes with unknown cutpoints, against exact answers."""

from __future__ import annotations

import numpy as np
import pytest
from ordered import Ordered
from scipy import special, stats

import posterity as po
from handmade import draws_of, linear, posterior_of

RNG = np.random.default_rng(7)
X = RNG.uniform(-2, 2, (80, 1))
Y = np.digitize(1.5 * X[:, 0] + RNG.logistic(size=80), [-1.0, 0.5, 2.0])
THREE = np.minimum(Y, 2)
MODEL = linear(Ordered(4))
W = RNG.normal(1.5, 0.3, 25)
CUTS = np.sort(RNG.normal(0, 1, (25, 3)), axis=1)
FREE = np.concatenate([CUTS[:, :1], np.log(np.diff(CUTS))], axis=1)
AT = np.array([[-1.0], [0.2], [1.5]])


def fit(method, model=MODEL, y=Y):
    return po.fit(model, (X, y), method, seed=1, progress=False)


@pytest.fixture(scope="module")
def sampled():
    return fit(po.NUTS(chains=4, warmup=200, draws=500), linear(Ordered(3)), THREE)


@pytest.fixture(scope="module")
def approximated():
    return fit(po.ADVI(steps=1_500, stop=False))


def test_what_is_derived_agrees_with_draws():
    cutpoints = {"cutpoints": [-1.0, 0.0, 1.5]}
    po.testing.check_likelihood(Ordered(4), [[0.0], [-2.0], [1.0]], cutpoints, draws=4_000)
    po.testing.check_likelihood(Ordered(2), [[0.0], [1.0]], {"cutpoints": [0.3]}, draws=4_000)


def test_what_it_says_of_itself():
    assert Ordered(4).classes == 4
    assert Ordered(4).bounds == (0.0, 3.0)
    with pytest.raises(ValueError, match=r"y\[1\] = 4 is outside the labels 0 … 3"):
        Ordered(4).check(np.array([0.0, 4.0]))


def test_nuts_agrees_with_quadrature(sampled):
    """Three classes and one weight; θ holds the cutpoints as c_0 and log(c_1 − c_0)."""
    axes = np.linspace(0, 3.5, 40), np.linspace(-3, 1, 40), np.linspace(-1, 2.5, 40)
    w, first, free = (part[..., None] for part in np.meshgrid(*axes, indexing="ij"))
    below, upto = (special.expit(c - w * X[:, 0]) for c in (first, first + np.exp(free)))
    log_p = np.log(np.select([THREE == 0, THREE == 1], [below, upto - below], 1 - upto)).sum(-1)
    w, first, free = (part[..., 0] for part in (w, first, free))
    log_p += stats.norm.logpdf(w) + stats.norm.logpdf(first, 0, 2) + stats.norm.logpdf(free, 0, 2)
    share = np.exp(log_p - special.logsumexp(log_p))
    theta = np.asarray(sampled.sample()).reshape(-1, 3).astype(float)
    for grid, draws in zip((w, first, free), theta.T):
        exact = np.sum(share * grid)
        sd = np.sqrt(np.sum(share * (grid - exact) ** 2))
        # 400 effective draws or more: five standard errors.
        assert abs(draws.mean() - exact) < 5 * sd / np.sqrt(400)
        assert abs(np.log(draws.std() / sd)) < 5 / np.sqrt(2 * 400)


def test_every_prediction_is_that_of_the_enumerated_mixture():
    posterior = posterior_of(MODEL, draws_of(np.concatenate([W[:, None], FREE], axis=1)))
    pred = posterior.predict(AT)
    f = W[:, None] * AT[:, 0]
    upto = special.expit(CUTS[:, None, :] - f[..., None])
    p = np.diff(upto, axis=-1, prepend=0, append=1)
    mean = p.mean(0)
    assert pred.kind == "ordinal"
    np.testing.assert_allclose(pred.probs, mean, rtol=1e-4)
    np.testing.assert_allclose(pred.expected_rank, mean @ np.arange(4), rtol=1e-5)
    np.testing.assert_array_equal(pred.label, mean.argmax(1))
    np.testing.assert_allclose(pred.aleatoric, (p * (1 - p)).mean(0).sum(-1), rtol=1e-4)
    np.testing.assert_allclose(pred.epistemic, p.var(0).sum(-1), rtol=1e-3)
    np.testing.assert_allclose(pred.entropy, stats.entropy(mean, axis=1), rtol=1e-4)
    expected = stats.entropy(p, axis=-1).mean(0)
    np.testing.assert_allclose(pred.expected_entropy, expected, rtol=1e-4)
    y = np.array([0, 3, 2])
    np.testing.assert_allclose(pred.log_prob(y), np.log(mean[np.arange(3), y]), rtol=1e-4)
    for q in (0.05, 0.5, 0.95):
        np.testing.assert_array_equal(pred.quantile(q), (np.cumsum(mean, 1) < q).sum(1))
    of_mean = pred.quantile(0.5, of="mean")
    np.testing.assert_allclose(of_mean, np.median(p, axis=0), atol=1e-4)
    lower, upper = pred.interval(0.9)
    assert (lower >= 0).all()
    assert (upper <= 3).all()
    assert po.metrics.coverage(np.clip(y, lower, upper), pred) == 1
    raw = posterior.predict(AT, draws=25).raw(of="y")
    assert set(np.unique(raw)) <= {0, 1, 2, 3}
    assert pred.abstain(below=0.5).shape == (3,)


@pytest.mark.parametrize(
    "method",
    [
        po.ADVI(steps=30, batch_size=20, stop=False),
        po.SGLD(draws=30, step_size=1e-3, batch_size=20),
        po.MAP(steps=300),
    ],
    ids=["advi-batches", "sgld", "map"],
)
def test_other_methods_take_it(method):
    assert np.isfinite(po.metrics.nll(Y, fit(method).predict(X)))


def test_advi_fits_the_shares_of_the_classes_and_says_its_estimator(approximated):
    shares = approximated.predict(X).probs.mean(0)
    np.testing.assert_allclose(shares, np.bincount(Y) / len(Y), atol=0.05)
    assert approximated.settings["estimator"] == "shared"


def test_it_is_saved_loaded_updated_and_reported(approximated, tmp_path):
    path = approximated.save(tmp_path / "ordered")
    loaded = po.load(path, model=MODEL)
    np.testing.assert_array_equal(loaded.predict(X).probs, approximated.predict(X).probs)
    short = po.ADVI(steps=30, stop=False)
    for remember in (None, X[:10]):
        given = {} if remember is None else {"remember": remember}
        updated = loaded.update((X, Y), method=short, progress=False, **given)
        assert np.isfinite(updated.predict(X).probs).all()
    assert po.report(approximated, tmp_path / "report.html", data=(X[:9], Y[:9])).exists()
