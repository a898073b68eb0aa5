"""Pareto k-hat: the fit against ArviZ's, and posteriors whose verdict is known."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from oracles import Conjugate, conjugate
from posterity.diagnostics.khat import KHat, khat
from posterity.diagnostics.result import Code, Result
from posterity.distributions.distribution import AbstractDistribution
from posterity.distributions.draws import Draws
from posterity.distributions.normal import FullRank, Gaussian
from posterity.model.net_target import Target
from posterity.posterior import pareto_khat

ORACLE = conjugate()


def strongly_correlated() -> Conjugate:
    """Two columns that are almost one: the weights can be told apart only by their sum."""
    rng = np.random.default_rng(3)
    common = rng.normal(size=(60, 1))
    x = (common + 0.05 * rng.normal(size=(60, 2))).astype(np.float32)
    y = (x.sum(1) + 0.5 * rng.normal(size=60)).astype(np.float32).astype(float)
    return Conjugate(x, y, noise=0.5, prior=1.5)


def posterior_of(
    oracle: Conjugate, distribution: AbstractDistribution, kl_weight: float = 1.0
) -> po.Posterior:
    target = Target.build(oracle.model, oracle.x.shape[1:], (), len(oracle.y), kl_weight)
    result = Result(Code.COMPLETED, "Made by hand.")
    return po.Posterior(target, distribution, settings={"method": "none"}, result=result)


def mean_field(oracle: Conjugate, times: float = 1.0) -> Gaussian:
    sd = times * oracle.mean_field_sd
    return Gaussian(jnp.asarray(oracle.mean, jnp.float32), jnp.asarray(sd, jnp.float32))


def exact(oracle: Conjugate, times: float = 1.0) -> FullRank:
    chol = times * np.linalg.cholesky(oracle.cov)
    return FullRank(jnp.asarray(oracle.mean, jnp.float32), jnp.asarray(chol, jnp.float32))


def log_weights(name: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    return {
        "log-normal": lambda: rng.normal(size=count),
        "wide": lambda: 5 * rng.normal(size=count),
        "pareto": lambda: 1.3 * rng.exponential(size=count),
        "cauchy": lambda: np.log(np.abs(rng.standard_cauchy(count))),
        "bounded": lambda: np.log(rng.uniform(size=count)),
        "far from 0": lambda: rng.normal(size=count) - 1e4,
        "ties": lambda: np.round(3 * rng.normal(size=count), 1),
        "some of weight 0": lambda: np.where(
            rng.uniform(size=count) < 0.3, -np.inf, rng.normal(size=count)
        ),
    }[name]()


@pytest.mark.parametrize("count", [100, 501, 2_000, 10_000])
@pytest.mark.parametrize(
    "name",
    [
        "log-normal",
        "wide",
        "pareto",
        "cauchy",
        "bounded",
        "far from 0",
        "ties",
        "some of weight 0",
    ],
)
def test_the_fit_equals_that_of_arviz(name: str, count: int) -> None:
    arviz = pytest.importorskip("arviz")
    if not hasattr(arviz, "psislw"):
        pytest.skip("ArviZ 1.x has it elsewhere")
    given = log_weights(name, count)
    assert khat(given) == pytest.approx(float(arviz.psislw(given.copy())[1]), abs=1e-6)


def test_a_pareto_tail_has_its_shape() -> None:
    """log w exponential with mean k is a Pareto tail of shape k; its error is (1 + k) / √tail."""
    for shape in (0.3, 0.7, 1.2):
        given = shape * np.random.default_rng(1).exponential(size=200_000)
        tail = 3 * math.sqrt(given.size)
        # 10 numbers at 0.5 of the prior, and 4.3 standard errors.
        drawn = 10 * abs(0.5 - shape) / tail
        assert abs(khat(given) - shape) < 4.3 * (1 + shape) / math.sqrt(tail) + drawn


def test_the_weights_need_no_order_and_no_constant() -> None:
    given = log_weights("wide", 1_000)
    assert khat(given[::-1] + 3.0) == pytest.approx(khat(given), abs=1e-9)


def test_too_few_that_stand_out_have_no_shape() -> None:
    given = np.full(1_000, -800.0)
    given[:4] = 0.0
    assert khat(given) == math.inf


def test_the_exact_posterior_is_good() -> None:
    found = pareto_khat(posterior_of(ORACLE, exact(ORACLE)), ORACLE.data)
    assert found.value < 0.5
    assert found.good
    assert "exact" in str(found)


def test_a_wider_q_has_bounded_weights() -> None:
    found = pareto_khat(posterior_of(ORACLE, exact(ORACLE, times=1.2)), ORACLE.data)
    assert found.value < 0.2
    assert "good" in found.message


def test_a_narrow_q_is_poor_and_is_told_so() -> None:
    found = pareto_khat(posterior_of(ORACLE, exact(ORACLE, times=0.4)), ORACLE.data)
    assert found.value > 0.7
    assert not found.good
    assert "poor" in found.message


def test_mean_field_on_correlated_weights_is_poor_and_full_rank_is_not() -> None:
    """On normals k is 1 − the least eigenvalue of the precision's correlations: here 0.999."""
    oracle = strongly_correlated()
    scale = 1 / np.sqrt(np.diag(oracle.precision))
    least = np.linalg.eigvalsh(scale[:, None] * oracle.precision * scale)[0]
    assert 1 - least > 0.95
    found = pareto_khat(posterior_of(oracle, mean_field(oracle)), oracle.data, draws=4_000)
    assert found.value > 0.7
    assert "poor" in found.message
    assert pareto_khat(posterior_of(oracle, exact(oracle)), oracle.data).good


def test_a_tempered_posterior_is_compared_with_the_tempered_density() -> None:
    """log weight = log likelihood / kl_weight + log prior − log q."""
    tempered = Conjugate(ORACLE.x, ORACLE.y, ORACLE.noise * math.sqrt(0.5), ORACLE.prior)
    posterior = posterior_of(ORACLE, exact(tempered), kl_weight=0.5)
    assert pareto_khat(posterior, ORACLE.data).value < 0.5
    untempered = posterior_of(ORACLE, exact(ORACLE, times=0.4), kl_weight=0.5)
    assert pareto_khat(untempered, ORACLE.data).value > 0.5


def test_the_verdict_names_the_threshold_of_its_draws() -> None:
    posterior = posterior_of(ORACLE, mean_field(ORACLE))
    for draws, threshold in ((100, 0.5), (1_000, 2 / 3), (5_000, 0.7)):
        found = pareto_khat(posterior, ORACLE.data, draws=draws)
        assert isinstance(found, KHat)
        assert found.threshold == pytest.approx(threshold)
        assert f"{found.threshold:.2f}" in found.message
    first, again = (pareto_khat(posterior, ORACLE.data, seed=4).value for _ in range(2))
    assert first == again


def test_draws_have_no_khat() -> None:
    points = posterior_of(ORACLE, Draws(jnp.zeros((1, 10, 3))))
    with pytest.raises(TypeError, match="no density"):
        pareto_khat(points, ORACLE.data)


def test_too_few_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="draws: must be a whole number from 100, not 50"):
        pareto_khat(posterior_of(ORACLE, exact(ORACLE)), ORACLE.data, draws=50)


def test_a_density_that_is_nan_is_refused_with_its_draw() -> None:
    broken = Gaussian(jnp.asarray([jnp.nan, 0.0, 0.0]), jnp.ones(3))
    with pytest.raises(ValueError, match="draw 0 is NaN"):
        pareto_khat(posterior_of(ORACLE, broken), ORACLE.data)
