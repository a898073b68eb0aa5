"""Yesterday's posterior is today's prior: against the exact answer, and with its faults put in."""

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
from oracles import Conjugate, conjugate, z_limit
from posterity.diagnostics.convergence import mcse_mean
from posterity.diagnostics.result import Code
from posterity.distributions.draws import Draws
from posterity.distributions.mixture import Mixture
from posterity.distributions.normal import FullRank, Gaussian, LowRank
from posterity.distributions.prior_of_weights import JointBlock
from posterity.methods.vi.families import as_family
from posterity.methods.vi.objectives import closed_kl, normal_kl
from posterity.model.net_target import Target

ORACLE = conjugate(rows=100, columns=4)
BATCHES = list(zip(np.split(ORACLE.x, 10), np.split(ORACLE.y, 10)))
FULL = po.ADVI(family="full-rank", kl="sticking", draws=8, steps=3_000, stop=False, starts=1)


def errors(q: Any, oracle: Conjugate) -> tuple[float, float]:
    """Of the mean, in posterior sds, and of the covariance, relative, in the Frobenius norm."""
    cov = np.diag(np.asarray(q.sd) ** 2) if isinstance(q, Gaussian) else np.asarray(q.cov)
    mean = np.abs((np.asarray(q.mean) - oracle.mean) / np.sqrt(np.diag(oracle.cov))).max()
    return float(mean), float(np.linalg.norm(cov - oracle.cov) / np.linalg.norm(oracle.cov))


def in_batches(count: int = 10, **kept: Any) -> po.Posterior:
    posterior = po.fit(ORACLE.model, BATCHES[0], FULL, progress=False)
    for batch in BATCHES[1:count]:
        posterior = posterior.update(batch, progress=False, **kept)
    return posterior


def check_batches_are_one(count: int, **kept: Any) -> None:
    # At a normal optimum the gradient that sticks the landing has no variance: no Monte Carlo error
    # is left, only that of float32 and of the optimiser.
    rows = slice(10 * count)
    oracle = Conjugate(ORACLE.x[rows], ORACLE.y[rows], ORACLE.noise, ORACLE.prior)
    mean, cov = errors(in_batches(count, **kept).distribution, oracle)
    assert mean < 1e-3
    assert cov < 1e-3


def test_batches_are_one() -> None:
    check_batches_are_one(10)
    check_batches_are_one(3, correlations="full")


def _prior_twice(self: Target, theta: Any, blocks: Any, jacobian: bool = True) -> Any:
    first = dist.Normal(0, ORACLE.prior).log_prob(theta).sum()
    joint = isinstance(self.blocks[0], JointBlock)
    found = sum(block.log_prior(theta, jacobian) for block in blocks)
    return found + (first if joint else 0.0)


def _all_rows(self: Target, each: Any, batch: Any) -> Any:
    return len(ORACLE.y) / each.shape[0] * jnp.sum(each)


@pytest.mark.parametrize("fault", [("_log_prior", _prior_twice), ("scaled", _all_rows)])
def test_faults_are_caught(fault: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first prior counted with every batch; the rows of all batches counted as N."""
    jax.clear_caches()
    monkeypatch.setattr(Target, *fault)
    with pytest.raises(AssertionError):
        check_batches_are_one(3, correlations="full")
    monkeypatch.undo()
    jax.clear_caches()


def test_without_correlations_it_is_measurably_worse() -> None:
    lost = errors(in_batches(correlations="none").distribution, ORACLE)
    assert lost[0] > 0.1  # a tenth of a posterior sd, a hundred times the tolerance above
    assert lost[1] > 0.1


def test_low_rank_of_few_parameters_is_all_of_it() -> None:
    """Ten directions of four parameters: nothing is left out but the floor of the diagonal."""
    mean, cov = errors(in_batches(correlations="low-rank").distribution, ORACLE)
    assert mean < 0.05
    assert cov < 0.01


def test_draws_are_updated_within_monte_carlo_error() -> None:
    nuts = po.NUTS(chains=4, warmup=500, draws=2_000)
    half = [np.split(part, 2) for part in ORACLE.data]
    first = po.fit(ORACLE.model, (half[0][0], half[1][0]), nuts, progress=False)
    second = first.update((half[0][1], half[1][1]), progress=False)
    assert isinstance(second.distribution, Draws)
    draws = np.asarray(second.distribution.theta, np.float64)
    sd = np.sqrt(np.diag(ORACLE.cov))
    # Two errors: that of the second run's mean, and that of the first's normal. The first's mean m₀
    # and covariance move the exact answer by A δm₀ + A δΛ..., with A = Σ Λ₀ the share of the prior.
    before = Conjugate(half[0][0], half[1][0], ORACLE.noise, ORACLE.prior)
    share = ORACLE.cov @ before.precision
    ess = (
        np.sqrt(np.diag(before.cov)) / mcse_mean(np.asarray(first.distribution.theta))
    ).min() ** 2
    # δm = share δm₀ + Σ δΛ₀ (m₀ − m); δΛ₀ is Wishart-like: entries √((Λᵢᵢ Λⱼⱼ + Λᵢⱼ²) / S).
    shift = before.mean - ORACLE.mean
    precision = before.precision
    # The variance of δΛ v, for a Wishart of S degrees: (Λ vᵀΛv + Λv vᵀΛ) / S.
    moved = precision @ shift
    wishart = (precision * (shift @ moved) + np.outer(moved, moved)) / ess
    variance = (
        np.diag(share @ before.cov @ share.T) / ess
        + np.diag(ORACLE.cov @ wishart @ ORACLE.cov)
        + mcse_mean(draws) ** 2
    )
    z = (draws.mean((0, 1)) - ORACLE.mean) / np.sqrt(variance)
    assert np.abs(z).max() < z_limit(len(z))
    assert (np.sqrt(variance) < 0.2 * sd).all()  # it could tell
    assert np.abs((first.distribution.mean_and_sd()[0] - ORACLE.mean) / np.sqrt(variance)).max() > 5


# -- the target -----------------------------------------------------------------------------------


def noisy() -> po.Posterior:
    """A correlated posterior over a weight, a bias and a noise level."""
    rng = np.random.default_rng(0)
    model = linear(po.likelihoods.Normal(scale=dist.HalfNormal(1.0)), bias=True)
    chol = np.tril(rng.normal(size=(3, 3)), -1) * 0.2 + 0.3 * np.eye(3)
    return posterior_of(model, FullRank(jnp.asarray([0.1, 1.0, -1.0]), jnp.asarray(chol)))


def target_of(model: po.Model, rows: int = 7) -> Target:
    return Target.build(model, (1,), (), rows)


def test_the_log_prior_is_q_over_unconstrained_theta() -> None:
    posterior = noisy()
    model = po.Model(posterior.target.net, posterior.as_prior(), posterior.target.likelihood)
    target = target_of(model)
    assert target.rows == 7
    assert target.parameters == posterior.target.parameters
    for theta in np.asarray(posterior.sample(5)[0]):
        expected = posterior.distribution.log_prob(theta)
        np.testing.assert_allclose(target.log_prior(theta), expected, rtol=1e-5)
        # Of the noise itself, not of its logarithm: less log |d noise / dθ| = θ.
        np.testing.assert_allclose(
            target.log_prior(theta, jacobian=False), expected - theta[2], rtol=1e-4
        )
        np.testing.assert_allclose(target.unconstrain(target.constrain(theta)), theta, rtol=1e-5)


def test_prior_draws_are_qs() -> None:
    posterior = noisy()
    model = po.Model(posterior.target.net, posterior.as_prior(), posterior.target.likelihood)
    target, count = target_of(model), 4_000
    keys = jax.random.split(jax.random.key(0), count)
    draws = np.asarray(jax.jit(jax.vmap(target.prior_draw))(keys))
    mean, sd = map(np.asarray, posterior.distribution.mean_and_sd())
    assert (np.abs(draws.mean(0) - mean) < z_limit(3) * sd / np.sqrt(count)).all()
    corr = np.asarray(posterior.distribution.cov) / np.outer(sd, sd)
    assert np.abs(np.corrcoef(draws.T) - corr).max() < z_limit(3) / np.sqrt(count)
    assert po.prior_predictive(model, np.zeros((2, 1)), draws=5).shape == (5, 2)


def test_unknowns_that_are_gone_are_integrated_out_and_new_ones_keep_their_prior() -> None:
    posterior = noisy()
    known = target_of(
        po.Model(posterior.target.net, posterior.as_prior(), po.likelihoods.Normal(1.0))
    )
    assert known.size == 2
    part = dist.MultivariateNormal(
        posterior.distribution.mean[:2], posterior.distribution.cov[:2, :2]
    )
    theta = jnp.array([0.3, 0.7])
    np.testing.assert_allclose(known.log_prior(theta), part.log_prob(theta), rtol=1e-4)

    first = posterior_of(linear(po.likelihoods.Normal(1.0), bias=True), gaussian_of([0, 1], [1, 2]))
    unknown = po.likelihoods.Normal(scale=dist.HalfNormal(2.0))
    target = target_of(po.Model(first.target.net, first.as_prior(), unknown))
    theta = jnp.array([0.3, 0.7, -0.5])
    expected = first.distribution.log_prob(theta[:2]) + (
        dist.HalfNormal(2.0).log_prob(jnp.exp(theta[2])) + theta[2]
    )
    np.testing.assert_allclose(target.log_prior(theta), expected, rtol=1e-5)
    assert np.isfinite(target.net_draw(jax.random.key(0))).all()


def test_other_nets_and_supports_are_refused_by_path() -> None:
    posterior = noisy()
    prior, likelihood = posterior.as_prior(), posterior.target.likelihood
    with pytest.raises(ValueError, match=r"'layers.0.weight' is of shape \(1, 2\) in the net and"):
        po.Model(po.nets.MLP(2, [], 1), prior, likelihood)
    with pytest.raises(
        ValueError, match=r"'layers.1.bias' is of shape .* missing in the posterior"
    ):
        po.Model(po.nets.MLP(1, [1], 1), prior, likelihood)
    model = po.Model(posterior.target.net, prior, po.likelihoods.Normal(dist.Uniform(0.1, 2.0)))
    with pytest.raises(ValueError, match=r"'likelihood.scale' is of shape .* on "):
        target_of(model)


# -- the KL ---------------------------------------------------------------------------------------


def densities() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    mean, sd = jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.uniform(0.5, 1.0, 3))
    return {
        "Gaussian": Gaussian(mean, sd),
        "FullRank": FullRank(
            mean, jnp.asarray(np.tril(rng.normal(size=(3, 3)), -1)) + jnp.diag(sd)
        ),
        "LowRank": LowRank(mean, sd, jnp.asarray(rng.normal(size=(3, 2)))),
    }


@pytest.mark.parametrize("name", ["mean-field", "low-rank", "full-rank"])
@pytest.mark.parametrize("prior", ["Gaussian", "FullRank", "LowRank"])
def test_closed_kl_is_that_of_two_normals(name: str, prior: str) -> None:
    model = linear(po.likelihoods.Normal(scale=dist.HalfNormal(1.0)), bias=True)
    density = densities()[prior]
    target = target_of(
        po.Model(model.net, posterior_of(model, density).as_prior(), model.likelihood)
    )
    family = as_family(name)
    phi = family.init(jax.random.key(0), jnp.array([0.1, -0.4, 0.6]), 0.3)
    phi = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.arange(leaf.size).reshape(leaf.shape), phi)
    q = family.density(phi)
    nothing = jnp.full((1, 3), jnp.nan)  # no draw of θ is looked at
    found = closed_kl(
        target, *family.mean_and_sd(phi), nothing, family.dependence(phi), family.root(phi)
    )
    covs = [
        np.diag(np.array(d.sd) ** 2) if isinstance(d, Gaussian) else d.cov for d in (q, density)
    ]
    one, other = (
        dist.MultivariateNormal(d.mean, np.asarray(cov)) for d, cov in zip((q, density), covs)
    )
    np.testing.assert_allclose(found, dist.kl_divergence(one, other), rtol=1e-3)


def test_under_a_mixture_the_kl_is_by_draws() -> None:
    model = linear(po.likelihoods.Normal(scale=dist.HalfNormal(1.0)), bias=True)
    part = densities()["FullRank"]
    mixture = Mixture.of([0.5, 0.5], [part, part])
    prior = posterior_of(model, mixture).as_prior()
    target = target_of(po.Model(model.net, prior, model.likelihood))
    mean, sd = jnp.zeros(3), jnp.ones(3)
    thetas = jax.random.normal(jax.random.key(0), (20_000, 3))
    one = dist.MultivariateNormal(mean, jnp.eye(3))
    exact = dist.kl_divergence(one, dist.MultivariateNormal(part.mean, part.cov))
    np.testing.assert_allclose(closed_kl(target, mean, sd, thetas), exact, rtol=0.05)
    assert normal_kl(mean, sd, mean, sd) == 0


# -- the rest of the way --------------------------------------------------------------------------

X = np.linspace(-1, 1, 20)[:, None]
DATA = (X, X[:, 0])
NOISY = linear(po.likelihoods.Normal(scale=dist.HalfNormal(1.0)), bias=True)


@functools.cache
def fitted(steps: int = 300) -> po.Posterior:
    return po.fit(NOISY, DATA, po.ADVI(family="full-rank", steps=steps), progress=False)


@pytest.mark.parametrize("how", ["full-rank", "low-rank", "mixture"])
def test_an_updated_posterior_is_saved_and_updated_again(how: str, tmp_path) -> None:
    if how == "mixture":
        rng = np.random.default_rng(0)
        theta = rng.normal(size=(2, 30, 3)) * 0.1 + np.array([-1.0, 1.0])[:, None, None]
        first = posterior_of(NOISY, draws_of(theta))
        updated = first.update(DATA, po.ADVI(steps=100), progress=False)
    else:
        kept = {"full-rank": None, "low-rank": "low-rank"}[how]
        updated = fitted().update(DATA, correlations=kept, progress=False)
    loaded = po.load(updated.save(tmp_path / "updated"))
    theta = updated.sample(1)[0, 0]
    assert loaded.target.log_prior(theta) == updated.target.log_prior(theta)
    assert type(loaded.target.prior.density) is type(updated.target.prior.density)
    again = [p.update(DATA, progress=False, seed=3) for p in (updated, loaded)]
    np.testing.assert_array_equal(again[0].distribution.mean, again[1].distribution.mean)


def test_the_method_of_a_file_that_lost_a_setting_is_asked_for(tmp_path) -> None:
    import optax

    method = po.ADVI(steps=20, optimizer=optax.adam(0.1))
    posterior = po.fit(linear(po.likelihoods.Normal(0.1)), DATA, method, progress=False)
    assert posterior.update(DATA, progress=False).target.rows == 20
    loaded = po.load(posterior.save(tmp_path / "p"))
    with pytest.raises(ValueError, match="own optimizer; give the method"):
        loaded.update(DATA)
    with pytest.raises(ValueError, match="'handmade' is no method"):
        noisy().update(DATA)


def test_learned_numbers_are_frozen() -> None:
    net = po.nets.MLP(1, [], 1)
    model = po.Model(
        net, po.priors.Normal(0, po.learned(1.0)), po.likelihoods.Normal(po.learned(0.5))
    )
    first = po.fit(model, DATA, po.ADVI(steps=200), progress=False)
    second = first.update(DATA, progress=False)
    assert second.target.slots == ()
    assert second.target.likelihood.scale == first.target.likelihood.scale


def test_an_unfinished_posterior_is_updated_with_a_warning() -> None:
    posterior = fitted()
    broken = dataclasses.replace(posterior.result, code=Code.INTERRUPTED)
    half = po.Posterior(
        posterior.target, posterior.distribution, settings=posterior.settings, result=broken
    )
    updated = half.update(DATA, po.ADVI(steps=50), progress=False)
    assert any("had been interrupted" in warning for warning in updated.result.warnings)


def test_what_cannot_be_updated() -> None:
    model = linear(po.likelihoods.Normal(0.1))
    point = po.fit(model, DATA, po.MAP(steps=5), progress=False)
    with pytest.raises(ValueError, match="found a point"):
        point.update(DATA)
    with pytest.raises(ValueError, match="correlations: there are"):
        fitted().as_prior("some")
    with pytest.raises(ValueError, match="y"):
        fitted().update((X, np.full(20, np.nan)))


def test_a_program_is_refused() -> None:
    import numpyro

    def program(y: Any) -> None:
        numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal()), 1.0), obs=y)

    posterior = po.fit(
        po.Model.from_numpyro(program), (np.ones(3),), po.ADVI(steps=20), progress=False
    )
    with pytest.raises(AttributeError, match="NumPyro program"):
        posterior.update((np.ones(3),))
