"""A net of two arrays is fitted, predicted, saved, loaded, updated and reported like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import posterity as po
from oracles import z_limit
from sketches.two_input_net import TwoInputNet

NET = TwoInputNet(2, 1, jax.random.key(0))
NOISE, PRIOR = 0.5, 1.5
MODEL = po.Model(NET, po.priors.Normal(0, PRIOR), po.likelihoods.Normal(NOISE))
RNG = np.random.default_rng(0)
X = (RNG.normal(size=(30, 2)), RNG.normal(size=(30, 1)))
Y = X[0] @ [1.0, -0.5] + 0.7 * X[1][:, 0] + 0.3 + NOISE * RNG.normal(size=30)
NEW = (X[0][:5] + 1, X[1][:5] - 1)


def exact(x: Any, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of the posterior's E[y] at `NEW`."""
    design, new = (np.column_stack([*part, np.ones(len(part[0]))]) for part in (x, NEW))
    precision = np.eye(4) / PRIOR**2 + design.T @ design / NOISE**2
    mean = np.linalg.solve(precision, design.T @ y / NOISE**2)
    return new @ mean, np.sqrt(np.diag(new @ np.linalg.solve(precision, new.T)))


def fit(method: Any) -> po.Posterior:
    return po.fit(MODEL, (X, Y), method, progress=False)


@pytest.fixture(scope="module")
def drawn() -> po.Posterior:
    return fit(po.NUTS(chains=2, warmup=300, draws=1_000))


def test_nuts_finds_the_exact_posterior(drawn: po.Posterior) -> None:
    mean, sd = exact(X, Y)
    found = drawn.predict(NEW)
    worst = drawn.diagnose(NEW).predictions
    assert worst is not None
    error = sd / np.sqrt(worst.ess_bulk)
    assert (np.abs(found.mean - mean) < z_limit(5) * error).all()
    np.testing.assert_allclose(np.sqrt(found.epistemic), sd, rtol=0.1)


@pytest.mark.parametrize(
    ("method", "apart"),
    [
        (po.ADVI(steps=1_500, starts=1), 0.05),
        (po.ADVI(steps=1_500, starts=1, batch_size=10, estimator="flipout"), 0.1),
        (po.SGLD(chains=2, warmup=500, draws=2_000, batch_size=10), 0.15),
        (po.MAP(steps=1_000), 0.01),
    ],
    ids=["advi", "flipout by batches", "sgld", "map"],
)
def test_other_methods_predict_alike(method: Any, apart: float) -> None:
    posterior = fit(method)
    assert np.abs(posterior.predict(NEW).mean - exact(X, Y)[0]).max() < apart
    if getattr(method, "estimator", "shared") == "flipout":
        found = posterior.facts["estimators"]
        assert found.pop("second.bias") == "shared"
        assert found == {"first.weight": "flipout", "second.weight": "flipout"}


def test_everything_is_predicted(drawn: po.Posterior) -> None:
    found = drawn.predict(NEW)
    assert found.mean.shape == found.sd.shape == found.aleatoric.shape == (5,)
    lower, upper = found.interval(0.9)
    assert (lower < found.mean).all()
    assert (found.mean < upper).all()
    assert found.raw(of="y").shape == found.raw().shape == (found.draws, 5)
    assert found.log_prob(np.zeros(5)).shape == (5,)
    np.testing.assert_array_equal(found.take([2, 4]).quantile(0.5), found.quantile(0.5)[[2, 4]])
    assert po.prior_predictive(MODEL, NEW, draws=7).shape == (7, 5)


def test_it_is_saved_loaded_updated_and_reported(drawn: po.Posterior, tmp_path: Path) -> None:
    loaded = po.load(drawn.save(tmp_path / "two"), model=MODEL)
    assert loaded.target.inputs == drawn.target.inputs
    np.testing.assert_array_equal(loaded.predict(NEW).mean, drawn.predict(NEW).mean)
    with pytest.raises(ValueError, match=r"x: the model was fitted to a tuple of 2 arrays"):
        loaded.predict(X[0])
    quick = po.ADVI(steps=500, starts=1)
    more = (NEW, exact(X, Y)[0])
    plain = loaded.update(more, quick, progress=False)
    both = tuple(np.concatenate(parts) for parts in zip(X, NEW))
    mean, _ = exact(both, np.concatenate([Y, more[1]]))
    assert np.abs(plain.predict(NEW).mean - mean).max() < 0.1
    updated = loaded.update(more, quick, remember=X, progress=False)
    assert np.abs(updated.predict(NEW).mean - mean).max() < 0.2
    model = po.Model(NET, updated.target.prior, MODEL.likelihood)
    again = po.load(updated.save(tmp_path / "updated"), model=model)
    np.testing.assert_array_equal(again.predict(NEW).mean, updated.predict(NEW).mean)
    assert "0: 2, 1: 1" in po.report(updated, tmp_path / "page", data=(X, Y)).read_text()
    with pytest.raises(ValueError, match="x: this needs the columns of one array, and a tuple of"):
        po.plots.data(X, Y)
