"""Modes of draws as several normals: where one is enough, and where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from handmade import draws_of
from posterity.distributions.draws_as_normals import as_mixture
from posterity.distributions.em import LARGEST, Normals, divided, fitted
from posterity.distributions.mixture import Mixture
from posterity.distributions.normal import FullRank, LowRank

RNG = np.random.default_rng(0)


def banana(count: int, rng: np.random.Generator = RNG) -> np.ndarray:
    """θ₂ | θ₁ ~ N(θ₁², 0.1²) in a turned and stretched frame, and a third one that is normal."""
    theta = rng.normal(size=(count, 3))
    theta[:, 1] = theta[:, 0] ** 2 + 0.1 * theta[:, 1]
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    return theta @ turn * [1.0, 50.0, 0.01] + [3.0, -200.0, 0.0]


def test_log_densities_are_scipys() -> None:
    cov = np.array([[1.0, 0.4], [0.4, 2.0]])
    normals = Normals(np.array([0.3, 0.7]), np.array([[0.0, 1.0], [2.0, 0.0]]), np.stack([cov] * 2))
    draws = RNG.normal(size=(9, 2))
    for k in range(2):
        expected = stats.multivariate_normal(normals.means[k], cov).logpdf(draws)
        expected += np.log(normals.shares[k])
        np.testing.assert_allclose(normals.log_densities(draws)[:, k], expected)


def test_fitted_normals_are_those_that_made_the_draws() -> None:
    rng = np.random.default_rng(3)
    which = rng.random(20_000) < 0.3
    draws = rng.normal(size=(20_000, 2)) @ np.array([[1.0, 0.5], [0.0, 0.4]])
    draws[which] = rng.normal(size=(which.sum(), 2)) * [0.5, 2.0] + [4.0, 0.0]
    found = fitted(draws, 2, 10)
    order = np.argsort(found.shares)
    np.testing.assert_allclose(found.shares[order], [0.3, 0.7], atol=0.02)
    np.testing.assert_allclose(found.means[order], [[4.0, 0.0], [0.0, 0.0]], atol=0.1)
    cov = [[[0.25, 0.0], [0.0, 4.0]], [[1.0, 0.5], [0.5, 0.41]]]
    np.testing.assert_allclose(found.covs[order], cov, atol=0.15)


@pytest.mark.parametrize("seed", range(20))
def test_normal_draws_stay_one_normal(seed: int) -> None:
    """Also draws that depend on each other, as those of a chain do."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(3_000, 4)) @ rng.normal(size=(4, 4))
    for kept in (0.0, 0.9):
        draws = noise.copy()
        for step in range(1, len(draws)):
            draws[step] = kept * draws[step - 1] + np.sqrt(1 - kept**2) * noise[step]
        assert divided(draws, 8) is None


def test_bent_draws_are_several_that_describe_new_ones_better() -> None:
    found = divided(banana(8_000), 6)
    assert found is not None
    assert len(found.shares) >= 8
    new = banana(8_000)
    one = fitted(new, 1, 6)
    several = np.logaddexp.reduce(found.log_densities(new), axis=1)
    assert several.mean() - one.log_densities(new).mean() > 1.0  # nats per draw
    # Moments stay those of the draws, which no division should change.
    mean = found.shares @ found.means
    sd = np.sqrt(found.shares @ (found.covs.diagonal(axis1=1, axis2=2) + (found.means - mean) ** 2))
    np.testing.assert_allclose(mean, new.mean(0), atol=5 * new.std(0).max() / np.sqrt(8_000))
    np.testing.assert_allclose(sd, new.std(0), rtol=0.1)


def test_a_chain_that_moves_between_modes_is_one_normal_in_each() -> None:
    rng = np.random.default_rng(0)
    place = np.cumsum(rng.random(6_000) < 0.02) % 2  # sixty stays in each
    draws = rng.normal(size=(6_000, 2)) + 12 * place[:, None]
    found = as_mixture(draws.reshape(2, 3_000, 2), None)
    assert isinstance(found, Mixture)
    assert found.count == 2
    np.testing.assert_allclose(np.sort(found.components.mean[:, 0]), [0, 12], atol=0.2)
    assert np.asarray(found.components.mean_and_sd()[1]).max() < 13
    for k in range(2):
        np.testing.assert_allclose(found.at(k).mean_and_sd()[1], 1.0, atol=0.1)


def test_the_kind_of_every_normal_is_what_is_asked_for() -> None:
    draws = banana(4_000).reshape(4, 1_000, 3)
    for correlations, kind in ((None, FullRank), ("full", FullRank), ("low-rank", LowRank)):
        found = as_mixture(draws, correlations)
        assert isinstance(found, Mixture)
        assert isinstance(found.components, kind)
        np.testing.assert_allclose(found.weights.sum(), 1, rtol=1e-5)
    # A second mode adds its own, and each keeps its share.
    far = np.concatenate([draws, draws[:2] + 1_000 * draws.std((0, 1))])
    both = as_mixture(far, None)
    away = np.asarray(both.components.mean[:, 0]) > 100 * draws[..., 0].std()
    np.testing.assert_allclose(np.asarray(both.weights)[away].sum(), 1 / 3, atol=1e-3)


def test_too_few_draws_or_too_many_parameters_stay_one() -> None:
    assert divided(banana(79), 6) is None
    assert divided(banana(1_000), 400) is None
    assert divided(RNG.normal(size=(1_000, LARGEST + 1)), 2) is None


def test_the_same_draws_give_the_same_normals() -> None:
    draws = draws_of(banana(2_000)).theta
    one, other = as_mixture(np.asarray(draws), None), as_mixture(np.asarray(draws), None)
    np.testing.assert_array_equal(one.components.mean, other.components.mean)
