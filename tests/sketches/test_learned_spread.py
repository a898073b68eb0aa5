"""A learned spread of two weights against quadrature; its KL is closed given the spread."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import posterity as po
from oracles import z_limit
from posterity.methods.vi.objectives import closed_kl
from posterity.model.net_target import Target
from sketches.learned_spread import LearnedSpread

NOISE = 0.5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 2))
Y = X @ np.array([0.7, -0.4]) + NOISE * RNG.normal(size=10)
MODEL = po.Model(
    po.nets.MLP(2, [], 1, use_bias=False), LearnedSpread(1.0), po.likelihoods.Normal(NOISE)
)
WEIGHT, SPREAD = "layers.0.weight", "prior.spread.layers.0"


def exact() -> tuple[np.ndarray, float, float]:
    """Mean of w and of s, and the log evidence: w given s is conjugate, and s is summed."""
    s = np.linspace(1e-3, 6, 3_000)
    evidence, means = [], []
    for each in s:
        cov = NOISE**2 * np.eye(10) + each**2 * X @ X.T
        evidence.append(stats.multivariate_normal.pdf(Y, np.zeros(10), cov))
        means.append(each**2 * X.T @ np.linalg.solve(cov, Y))
    joint = np.array(evidence) * 2 * stats.norm.pdf(s) * (s[1] - s[0])
    total = joint.sum()
    return joint @ np.array(means) / total, joint @ s / total, np.log(total)


@pytest.fixture(scope="module")
def varied() -> po.Posterior:
    method = po.ADVI(steps=3_000, estimator="local", starts=1, batch_size=5)
    return po.fit(MODEL, (X, Y), method, progress=False)


def test_nuts_meets_quadrature() -> None:
    posterior = po.fit(MODEL, (X, Y), po.NUTS(chains=2, warmup=400, draws=1_500), progress=False)
    mean, spread, _ = exact()
    w, s = posterior.weights(WEIGHT).reshape(-1, 2), posterior.weights(SPREAD).ravel()
    found = posterior.diagnostics
    effective = min(found.predictions.ess_bulk, *(number.ess_bulk for number in found.named))
    assert effective > 200
    limit = z_limit(3) / np.sqrt(effective)
    assert (np.abs(w.mean(0) - mean) < limit * w.std(0)).all()
    assert abs(s.mean() - spread) < limit * s.std()


def test_advi_bounds_the_evidence(varied: po.Posterior) -> None:
    mean, _, log_evidence = exact()
    elbo = po.elbo(varied, (X, Y), draws=4_000)
    assert log_evidence - 0.5 < elbo.value < log_evidence + z_limit() * elbo.error
    np.testing.assert_allclose(varied.weights(WEIGHT).mean((0, 1)).ravel(), mean, atol=0.1)
    assert varied.facts["estimators"] == {WEIGHT: "local"}


def test_the_kl_given_the_spread_is_closed() -> None:
    """Against E log q − E log p by very many draws; and of one spread, no draw of w matters."""
    target = Target.build(MODEL, (2,), (), 10)
    mean, sd = jnp.array([0.5, -0.3, 0.2]), jnp.array([0.3, 0.2, 0.4])
    thetas = mean + sd * jax.random.normal(jax.random.key(0), (20_000, 3))
    log_q = dist.Normal(mean, sd).log_prob(thetas).sum(1)
    each = log_q - jax.vmap(target.log_prior)(thetas)
    found = closed_kl(target, mean, sd, thetas)
    assert abs(found - each.mean()) < z_limit() * float(each.std()) / np.sqrt(20_000)
    moved = thetas[:1].at[0, :2].add(1.0)
    once = closed_kl(target, mean, sd, thetas[:1])
    np.testing.assert_allclose(once, closed_kl(target, mean, sd, moved), rtol=1e-6)


def test_a_draw_from_the_prior_draws_the_spread_first() -> None:
    target = Target.build(MODEL, (2,), (), 10)
    thetas = jax.vmap(target.prior_draw)(jax.random.split(jax.random.key(0), 20_000))
    values = jax.vmap(target.constrain)(thetas)
    ratio = values[WEIGHT][:, 0] / values[SPREAD][:, None]
    assert stats.kstest(np.asarray(ratio).ravel(), "norm").pvalue > 1e-4
    assert stats.kstest(np.asarray(values[SPREAD]), "halfnorm").pvalue > 1e-4


def test_the_rest_of_the_house(varied: po.Posterior, tmp_path: Any) -> None:
    """SGLD, refusal of a mode, a file, a report, updates."""
    mean, *_ = exact()
    sgld = po.SGLD(draws=8_000, warmup=2_000, batch_size=5, step_size=1e-2)
    drawn = po.fit(MODEL, (X, Y), sgld, progress=False).weights(WEIGHT).reshape(-1, 2)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.15)
    with pytest.raises(ValueError, match="density is unbounded"):
        po.fit(MODEL, (X, Y), po.MAP(steps=1), progress=False)
    again = po.load(varied.save(tmp_path / "spread"), model=MODEL)
    np.testing.assert_array_equal(again.predict(X).mean, varied.predict(X).mean)
    assert SPREAD in po.report(varied, tmp_path / "page").read_text()
    for remember in (None, X):
        method = po.ADVI(steps=1_000, starts=1)
        second = varied.update((X, Y), method, remember=remember, progress=False)
        assert second.target.paths == (WEIGHT, SPREAD)
        assert second.weights(WEIGHT).std((0, 1)).max() < varied.weights(WEIGHT).std((0, 1)).max()
