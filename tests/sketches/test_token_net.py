"""A net of tokens is fitted, predicted, saved, loaded, updated and reported like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import posterity as po
from oracles import z_limit
from sketches.token_net import TokenNet

MODEL = po.Model(TokenNet(2, 1, 1), po.priors.Normal(0, 1.5), po.likelihoods.Bernoulli())
X = np.random.default_rng(0).integers(0, 2, (24, 2))
Y = (X.sum(1) + np.random.default_rng(1).normal(0, 0.7, 24) > 1).astype(int)
NEW = np.array([[0, 0], [0, 1], [1, 1]])


def fit(method: Any, **kwargs: Any) -> po.Posterior:
    return po.fit(MODEL, (X, Y), method, progress=False, **kwargs)


@pytest.fixture(scope="module")
def drawn() -> po.Posterior:
    return fit(po.NUTS(chains=2, warmup=400, draws=1_000))


def by_quadrature(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of P(y = 1) at `NEW`, on a grid over both embeddings and the weight."""
    axis = np.linspace(-8, 8, 81)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    logits = grid[:, 2:] * grid[:, NEW].mean(-1)  # of no, one and two ones
    log_p = -0.5 * (grid**2).sum(1) / 1.5**2
    for ones in range(3):
        at = x.sum(1) == ones
        for label, sign in ((1, 1), (0, -1)):
            log_p -= (y[at] == label).sum() * np.logaddexp(0, -sign * logits[:, ones])
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    probs = 1 / (1 + np.exp(-logits))
    mean = p @ probs
    return mean, np.sqrt(p @ (probs - mean) ** 2)


def test_nuts_finds_what_quadrature_finds(drawn: po.Posterior) -> None:
    mean, sd = by_quadrature(X, Y)
    found = drawn.predict(NEW, draws=2_000)
    worst = drawn.diagnose(NEW).predictions
    assert worst is not None
    assert worst.rhat < 1.05
    error = sd / np.sqrt(worst.ess_bulk)
    assert (np.abs(found.mean - mean) < z_limit(3) * error).all()
    np.testing.assert_allclose(np.sqrt(found.epistemic), sd, rtol=0.15)


def test_tokens_stay_integers_and_floats_of_them_become_integers(drawn: po.Posterior) -> None:
    assert drawn.target.inputs.dtypes == ("int32",)
    assert fit(po.MAP(steps=1), init="prior").target.inputs == drawn.target.inputs
    as_floats = po.fit(MODEL, (X.astype(float), Y), po.MAP(steps=1), progress=False)
    assert as_floats.target.inputs == drawn.target.inputs
    np.testing.assert_array_equal(drawn.predict(NEW * 1.0).mean, drawn.predict(NEW).mean)
    with pytest.raises(ValueError, match=r"x\[1, 0\] = 0\.5 is no whole number"):
        drawn.predict([[0, 1], [0.5, 1]])


@pytest.mark.parametrize(
    ("method", "apart"),
    [
        (po.ADVI(steps=1_500, starts=1), 0.1),
        (po.ADVI(steps=1_500, starts=1, batch_size=8, estimator="flipout"), 0.12),
        (po.SGLD(chains=2, warmup=500, draws=1_000, batch_size=8), 0.12),
        (po.MAP(steps=500), 0.25),
    ],
    ids=["advi", "advi by batches", "sgld", "map"],
)
def test_other_methods_predict_alike(method: Any, apart: float) -> None:
    posterior = fit(method)
    assert np.abs(posterior.predict(NEW).mean - by_quadrature(X, Y)[0]).max() < apart
    if getattr(method, "estimator", "shared") == "flipout":
        found = posterior.facts["estimators"]
        assert found == {"embedding": "shared", "weight": "flipout"}


def test_everything_is_predicted(drawn: po.Posterior) -> None:
    found = drawn.predict(NEW)
    names = ("mean", "sd", "total", "label", "entropy", "mutual_information")
    assert all(getattr(found, name).shape == (3,) for name in names)
    assert found.abstain(below=0.6).shape == found.abstain(below=0.6, by="median").shape == (3,)
    lower, upper = found.interval(0.8)
    assert (lower <= found.mean).all()
    assert (found.mean <= upper).all()
    assert found.raw(of="y").shape == found.raw().shape == (found.draws, 3)
    np.testing.assert_allclose(found.log_prob([1, 1, 1]), np.log(found.mean), rtol=1e-4)
    np.testing.assert_array_equal(found.take([2]).quantile(0.5), found.quantile(0.5)[2:])
    assert po.prior_predictive(MODEL, NEW, draws=5).shape == (5, 3)


def test_it_is_saved_loaded_updated_and_reported(drawn: po.Posterior, tmp_path: Path) -> None:
    loaded = po.load(drawn.save(tmp_path / "tokens"), model=MODEL)
    assert loaded.target.inputs == drawn.target.inputs
    np.testing.assert_array_equal(loaded.predict(NEW).mean, drawn.predict(NEW).mean)
    quick = po.ADVI(steps=200, starts=1)
    for more in ({}, {"remember": NEW}):
        updated = loaded.update((X[:9], Y[:9]), quick, progress=False, **more)
        assert updated.target.inputs == drawn.target.inputs
    model = po.Model(MODEL.net, updated.target.prior, MODEL.likelihood)
    again = po.load(updated.save(tmp_path / "updated"), model=model)
    np.testing.assert_array_equal(again.predict(NEW).mean, updated.predict(NEW).mean)
    page = po.report(updated, tmp_path / "page", data=(X, Y)).read_text()
    assert "2 (integers)" in page
