"""Mixtures of normals, and how draws become them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from handmade import linear, posterior_of
from oracles import z_limit
from posterity.distributions.draws import Draws
from posterity.distributions.draws_as_normals import as_mixture, modes, normal_of
from posterity.distributions.em import shrinkage
from posterity.distributions.mixture import Mixture
from posterity.distributions.normal import FullRank, Gaussian, LowRank

SIZE = 3
WEIGHTS = np.array([0.2, 0.5, 0.3])
MEANS = np.array([[-4.0, 1.0, 0.0], [0.0, 0.0, 2.0], [5.0, -1.0, 1.0]])


def component(kind: type, number: int) -> Gaussian | FullRank | LowRank:
    rng = np.random.default_rng(number)
    mean, sd = jnp.asarray(MEANS[number]), jnp.asarray(rng.uniform(0.5, 1.5, SIZE))
    if kind is Gaussian:
        return Gaussian(mean, sd)
    if kind is LowRank:
        return LowRank(mean, sd, jnp.asarray(rng.normal(size=(SIZE, 2))))
    return FullRank(mean, jnp.asarray(np.tril(rng.normal(size=(SIZE, SIZE)), -1) + np.diag(sd)))


def mixture(kind: type) -> Mixture:
    return Mixture.of(WEIGHTS, [component(kind, number) for number in range(3)])


def line(columns: int) -> po.Model:
    return linear(po.likelihoods.Normal(0.1), columns=columns)


def cov_of(part: Gaussian | FullRank | LowRank) -> np.ndarray:
    return np.diag(np.asarray(part.sd) ** 2) if isinstance(part, Gaussian) else np.array(part.cov)


@pytest.fixture(params=[Gaussian, FullRank, LowRank], ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type:
    return request.param


def test_log_prob_is_numpyros(kind: type) -> None:
    ours = mixture(kind)
    covs = np.stack([cov_of(ours.at(k)) for k in range(3)])
    theirs = dist.MixtureSameFamily(
        dist.Categorical(jnp.asarray(WEIGHTS)), dist.MultivariateNormal(MEANS, covs)
    )
    thetas = 4 * jax.random.normal(jax.random.key(0), (50, SIZE))
    np.testing.assert_allclose(
        jax.vmap(ours.log_prob)(thetas), theirs.log_prob(thetas), rtol=2e-4, atol=2e-4
    )


def test_log_prob_far_from_every_mode_is_finite() -> None:
    far = mixture(Gaussian)
    value, gradient = jax.value_and_grad(far.log_prob)(jnp.full(SIZE, 1e4))
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()


def test_draws_have_the_moments(kind: type) -> None:
    ours, count = mixture(kind), 20_000
    draws = np.asarray(ours.sample(jax.random.key(1), count)[0], np.float64)
    assert draws.shape == (count, SIZE)
    mean, sd = map(np.asarray, ours.mean_and_sd())
    limit = z_limit(2 * SIZE)
    np.testing.assert_array_less(np.abs(draws.mean(0) - mean), limit * sd / np.sqrt(count))
    squares = (draws - mean) ** 2
    error = squares.std(0) / np.sqrt(count)
    np.testing.assert_array_less(np.abs(squares.mean(0) - sd**2), limit * error)
    # Which component a draw is of: the share of each is binomial.
    near = np.argmin(((draws[:, None, :1] - MEANS[None, :, :1]) ** 2).sum(-1), axis=1)
    if kind is Gaussian:
        assert abs(np.mean(near == 0) - 0.2) < 0.03


def test_marginals_are_numpyros(kind: type) -> None:
    ours, at = mixture(kind), np.array([0, 2])
    part = ours.marginal(at)
    for k in range(3):
        np.testing.assert_allclose(part.at(k).mean, MEANS[k][at], rtol=1e-6)
        expected = cov_of(ours.at(k))[np.ix_(at, at)]
        np.testing.assert_allclose(cov_of(part.at(k)), expected, rtol=1e-4, atol=1e-5)


def test_precision_diagonals(kind: type) -> None:
    part = component(kind, 1)
    if kind is Gaussian:
        return
    exact = np.diag(np.linalg.inv(cov_of(part)))
    np.testing.assert_allclose(part.precision_diag, exact, rtol=1e-3)


def test_a_mixture_posterior_is_saved_and_predicts(kind: type, tmp_path) -> None:
    posterior = posterior_of(line(SIZE), mixture(kind), columns=SIZE)
    loaded = po.load(posterior.save(tmp_path / "mixture"))
    assert type(loaded.distribution) is Mixture
    for a, b in zip(
        jax.tree.leaves(posterior.distribution), jax.tree.leaves(loaded.distribution), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    x = np.eye(SIZE)
    np.testing.assert_array_equal(posterior.predict(x).mean, loaded.predict(x).mean)


# -- draws as mixtures --------------------------------------------------------------------------


def test_two_modes_stay_two_with_their_shares() -> None:
    rng = np.random.default_rng(3)
    draws = rng.normal(size=(4, 500, SIZE)) @ np.array([[1, 0.8, 0], [0, 0.6, 0], [0, 0, 1.0]])
    draws[3] += [6.0, 0.0, 0.0]
    assert modes(draws) == [[0, 1, 2], [3]]
    found = as_mixture(draws, None)
    assert isinstance(found, Mixture)
    np.testing.assert_allclose(found.weights, [0.75, 0.25])
    assert isinstance(found.components, FullRank)
    limit = z_limit(6)
    for part, n in ((found.at(0), 1_500), (found.at(1), 500)):
        group = draws[:3].reshape(-1, SIZE) if n == 1_500 else draws[3]
        np.testing.assert_allclose(part.mean, group.mean(0), atol=1e-5)
        sd = np.sqrt(np.diag(part.cov))
        np.testing.assert_allclose(sd, group.std(0, ddof=1), rtol=1e-4)
        # sd of a correlation r from n draws: (1 − r²) / √n.
        corr = np.asarray(part.cov) / np.outer(sd, sd)
        assert abs(corr[0, 1] - 0.8) < limit * (1 - 0.64) / np.sqrt(n) + 2 / n
    np.testing.assert_array_equal(found.centre(), found.at(0).mean)


def test_chains_are_joined_by_chains_between_them() -> None:
    draws = np.random.default_rng(0).normal(size=(3, 200, 1))
    draws += np.array([0.0, 3.0, 1.5])[:, None, None]
    assert modes(draws) == [[0, 1, 2]]
    assert modes(draws[:2]) == [[0], [1]]


def test_shrinkage_is_scikit_learns() -> None:
    """The figure of `sklearn.covariance.oas` for data of unit variance, from its formula."""
    rng = np.random.default_rng(5)
    for count, size in ((20, 5), (8, 30)):
        draws = rng.normal(size=(count, size))
        unit = (draws - draws.mean(0)) / (draws.std(0, ddof=1) * np.sqrt(count - 1))
        emp = unit.T @ unit
        alpha = np.mean(emp**2)
        mu2 = (np.trace(emp) / size) ** 2
        expected = min(1.0, (alpha + mu2) / ((count + 1) * (alpha - mu2 / size)))
        # scikit-learn leaves out the small terms in 2/D.
        assert abs(shrinkage(unit) - expected) < 0.1 * expected + 2 / size * expected


def test_low_rank_of_few_draws_keeps_sds_and_the_main_direction() -> None:
    rng = np.random.default_rng(1)
    size = 200
    direction = rng.normal(size=size)
    draws = rng.normal(size=(100, 1)) * 3 * direction + rng.normal(size=(100, size))
    found = as_mixture(draws[None], None)
    assert isinstance(found, LowRank)
    np.testing.assert_allclose(found.mean_and_sd()[1], draws.std(0, ddof=1), rtol=1e-4)
    corr = np.asarray(found.cov) / np.outer(*2 * [np.asarray(found.mean_and_sd()[1])])
    true = np.outer(direction, direction) * 9 + np.eye(size)
    true /= np.outer(*2 * [np.sqrt(np.diag(true))])
    assert np.linalg.norm(corr - true) < 0.3 * np.linalg.norm(np.eye(size) - true)
    assert (np.asarray(found.sd) > 0).all()


def test_full_covariance_of_few_draws_is_positive() -> None:
    draws = np.random.default_rng(2).normal(size=(10, 30))
    found = normal_of(draws, "full")
    assert np.linalg.eigvalsh(np.asarray(found.cov, np.float64)).min() > 0.01


def test_too_few_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="a mode has 2 draws"):
        as_mixture(np.array([[[0.0], [1.0]]]), None)
    with pytest.raises(ValueError, match="found a point"):
        posterior_of(line(2), Draws(jnp.zeros((1, 1, 2))), columns=2).as_prior()
    with pytest.raises(ValueError, match="did not move"):
        as_mixture(np.zeros((1, 9, 2)), None)
