"""A horseshoe on one weight against quadrature, and what a net does with one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import posterity as po
from oracles import z_limit
from sketches.horseshoe import Horseshoe

NOISE = 0.5
RNG = np.random.default_rng(0)
X = np.linspace(-1, 1, 12)[:, None]
Y = 0.6 * X[:, 0] + NOISE * RNG.normal(size=12)
MODEL = po.Model(
    po.nets.MLP(1, [], 1, use_bias=False), Horseshoe(0.5), po.likelihoods.Normal(NOISE)
)
WEIGHT = "layers.0.weight"


def exact() -> tuple[float, float, float]:
    """Mean and sd of w, and the log evidence: w given τ λ = s is conjugate, and log s is summed.

    log τ and log λ have density sech(u) / π about their scales.
    """
    u = np.linspace(-12, 12, 1_201)
    density = 1 / (np.pi * np.cosh(u))
    s = 0.5 * np.exp(u[:, None] + u[None])
    weight = density[:, None] * density[None] * (u[1] - u[0]) ** 2
    xx, xy, yy = (X**2).sum(), (X[:, 0] * Y).sum(), (Y**2).sum()
    precision = 1 / s**2 + xx / NOISE**2
    mean = xy / NOISE**2 / precision
    log_evidence = (
        -6 * np.log(2 * np.pi * NOISE**2)
        - 0.5 * yy / NOISE**2
        - 0.5 * np.log(precision * s**2)
        + 0.5 * mean**2 * precision
    )
    joint = weight * np.exp(log_evidence)
    total = joint.sum()
    first = (joint * mean).sum() / total
    second = (joint * (mean**2 + 1 / precision)).sum() / total
    return first, np.sqrt(second - first**2), np.log(total)


@pytest.fixture(scope="module")
def sampled() -> po.Posterior:
    return po.fit(MODEL, (X, Y), po.NUTS(chains=2, warmup=400, draws=1_500), progress=False)


@pytest.fixture(scope="module")
def varied() -> po.Posterior:
    method = po.ADVI(steps=3_000, estimator="flipout", starts=1, batch_size=6)
    return po.fit(MODEL, (X, Y), method, progress=False)


def test_nuts_meets_quadrature(sampled: po.Posterior) -> None:
    mean, sd, _ = exact()
    drawn = sampled.weights(WEIGHT).reshape(2, -1)
    effective = sampled.diagnose(X).predictions.ess_bulk
    assert effective > 200
    assert abs(drawn.mean() - mean) < z_limit() * sd / np.sqrt(effective)
    spread = drawn.std() / sd - 1  # heavy tails: of kurtosis up to 6
    assert abs(spread) < z_limit() * np.sqrt(5 / 4 / effective)


def test_advi_bounds_the_evidence(varied: po.Posterior) -> None:
    mean, sd, log_evidence = exact()
    elbo = po.elbo(varied, (X, Y), draws=4_000)
    assert log_evidence - 1.5 < elbo.value < log_evidence + z_limit() * elbo.error
    assert abs(varied.weights(WEIGHT, draws=4_000).mean() - mean) < sd


def test_flipout_stays_flipout(varied: po.Posterior) -> None:
    assert varied.facts["estimators"] == {WEIGHT: "flipout"}


def test_sgld_comes_near() -> None:
    mean, sd, _ = exact()
    method = po.SGLD(draws=8_000, warmup=2_000, batch_size=6, step_size=1e-2)
    found = po.fit(MODEL, (X, Y), method, progress=False).weights(WEIGHT)
    assert abs(found.mean() - mean) < 0.5 * sd


def test_a_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"horseshoe depends .* Fit with po\.ADVI or po\.NUTS"):
        po.fit(MODEL, (X, Y), po.MAP(steps=1), progress=False)


def test_what_is_found_is_named(varied: po.Posterior) -> None:
    assert varied.target.derived == (WEIGHT, "prior.active")
    assert varied.target.named == ("prior.tau", "prior.active")
    names = (WEIGHT, "prior.tau", f"prior.local.{WEIGHT}", f"prior.z.{WEIGHT}")
    weight, tau, local, z = map(varied.named(names, draws=9).get, names)
    np.testing.assert_allclose(weight, tau[..., None, None] * local * z, rtol=1e-5)
    pred = varied.predict(X, draws=200)
    np.testing.assert_allclose(pred.total, pred.aleatoric + pred.epistemic, rtol=1e-4)
    assert np.isfinite(pred.interval(0.9)).all()


def test_saved_and_loaded_with_its_model(varied: po.Posterior, tmp_path: Any) -> None:
    path = varied.save(tmp_path / "horseshoe")
    with pytest.raises(ValueError, match="model=model"):
        po.load(path)
    again = po.load(path, model=MODEL)
    np.testing.assert_array_equal(again.predict(X).mean, varied.predict(X).mean)


def test_reported(varied: po.Posterior, tmp_path: Any) -> None:
    page = po.report(varied, tmp_path / "page").read_text()
    assert "prior.tau" in page
    assert "flipout" in page


@pytest.mark.parametrize("remember", [None, X[::2]])
def test_updated(varied: po.Posterior, remember: Any) -> None:
    """New rows of the same slope: the weight is better known, and is made of the same latents."""
    x = np.linspace(-1, 1, 40)[:, None]
    y = 0.6 * x[:, 0] + NOISE * np.random.default_rng(1).normal(size=40)
    method = po.NUTS(chains=1, warmup=300, draws=500)  # ADVI may stay where every weight is 0
    second = varied.update((x, y), method, remember=remember, progress=False)
    assert second.target.derived == varied.target.derived
    assert second.weights(WEIGHT).std() < varied.weights(WEIGHT).std()
    assert abs(second.weights(WEIGHT).mean() - 0.6) < 4 * second.weights(WEIGHT).std()
