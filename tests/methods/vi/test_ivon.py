"""IVON against the mean-field optimum, its prior per element, and what its Hessian tells."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from oracles import Conjugate, conjugate, z_limit
from posterity.methods.normal_prior import NormalPrior
from posterity.methods.vi.ivon import GAIN, IVON, IVONState
from posterity.model.net_target import Batch, Target

ORACLE = conjugate()
LONG = IVON(steps=20_000, draws=64, starts=1)


def fit(method: IVON, oracle: Conjugate = ORACLE, **settings: Any) -> po.Posterior:
    return po.fit(oracle.model, oracle.data, method, progress=False, **settings)


def sd_error(oracle: Conjugate, method: IVON) -> np.ndarray:
    """The relative standard error of σ at the end of a full-batch run, per element.

    At the optimum ĥᵢ = Σⱼ Λᵢⱼ σⱼ εⱼ εᵢ / σᵢ for a pair, whose variance in units of Λᵢᵢ² is
    2 + Σ_{j≠i} corrᵢⱼ². An average with the weight c / t at time t has the variance c² / (2c − 1)
    over t of one term's; the run's own averages over the last fifth, from t = 0.9 T, lower it.
    """
    scale = np.sqrt(np.diag(oracle.precision))
    correlations = oracle.precision / np.outer(scale, scale)
    variance = 1 + (correlations**2).sum(1)
    pairs = method.draws // 2
    return 0.5 * np.sqrt(variance / pairs * GAIN**2 / (2 * GAIN - 1) / (0.9 * method.steps))


@pytest.mark.parametrize("draws", [2, 64])
def test_the_fixed_point_is_the_mean_field_optimum(draws: int) -> None:
    """Means to 1e-3 of a posterior sd (pairs have no noise there), sds within Monte Carlo error."""
    method = dataclasses.replace(LONG, draws=draws)
    q = fit(method).distribution
    width = np.sqrt(np.diag(ORACLE.cov))
    np.testing.assert_array_less(np.abs(np.asarray(q.mean) - ORACLE.mean) / width, 1e-3)
    z = (np.asarray(q.sd) / ORACLE.mean_field_sd - 1) / sd_error(ORACLE, method)
    assert np.abs(z).max() < z_limit(z.size), z


def test_batches_have_the_same_fixed_point() -> None:
    """The noise of batches, whose pairs it leaves in m only, averages out."""
    method = IVON(steps=40_000, draws=32, batch_size=10, starts=1)
    q = fit(method).distribution
    # Curvature varies between batches as well: four times the variance of a full batch's is ample.
    z = (np.asarray(q.sd) / ORACLE.mean_field_sd - 1) / (2 * sd_error(ORACLE, method))
    assert np.abs(z).max() < z_limit(z.size), z
    width = np.sqrt(np.diag(ORACLE.cov))
    np.testing.assert_array_less(np.abs(np.asarray(q.mean) - ORACLE.mean) / width, 0.05)


def test_a_prior_per_element_is_met_in_mean_and_sd() -> None:
    """Without information in the data q is the prior: another mean and sd for every block."""
    x = np.zeros((30, 2), np.float32)
    prior = {"layers.0.weight": dist.Normal(-1.0, 0.2), "*": dist.Normal(0.5, 3.0)}
    model = po.Model(po.nets.MLP(2, [4], 1), prior, po.likelihoods.Normal(1e3))
    q = po.fit(model, (x, x[:, 0]), IVON(steps=4_000, starts=1), progress=False).distribution
    first = np.zeros(q.mean.size, bool)
    for parameter in Target.build(model, (2,), (), 30).parameters:
        if parameter.path == "layers.0.weight":
            first[parameter.start : parameter.stop] = True
    np.testing.assert_allclose(q.mean, np.where(first, -1.0, 0.5), atol=0.02)
    np.testing.assert_allclose(q.sd, np.where(first, 0.2, 3.0), rtol=0.02)


def test_a_prior_that_is_not_normal_joins_the_hessian() -> None:
    """A normal prior that is not known to be one, as it is a transformed one: the same optimum."""
    same = dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), dist.transforms.AffineTransform(0.0, ORACLE.prior)
    )
    model = po.Model(ORACLE.model.net, same, ORACLE.model.likelihood)
    target = Target.build(model, (3,), (), 40)
    assert NormalPrior.of(target, jnp.zeros(3)).other
    q = po.fit(model, ORACLE.data, LONG, progress=False).distribution
    width = np.sqrt(np.diag(ORACLE.cov))
    np.testing.assert_array_less(np.abs(np.asarray(q.mean) - ORACLE.mean) / width, 1e-3)
    z = (np.asarray(q.sd) / ORACLE.mean_field_sd - 1) / sd_error(ORACLE, LONG)
    assert np.abs(z).max() < z_limit(z.size), z


@pytest.mark.parametrize("kl_weight", [0.25, 4.0])
def test_a_tempered_target_has_the_tempered_optimum(kl_weight: float) -> None:
    """Weight w on the KL is the posterior of noise² w."""
    tempered = dataclasses.replace(ORACLE, noise=ORACLE.noise * math.sqrt(kl_weight))
    target = Target.build(ORACLE.model, (3,), (), 40, kl_weight)
    method = dataclasses.replace(LONG, steps=5_000)
    q = run_alone(method, target)
    width = np.sqrt(np.diag(tempered.cov))
    np.testing.assert_array_less(np.abs(np.asarray(q.mean) - tempered.mean) / width, 1e-3)
    z = (np.asarray(q.sd) / tempered.mean_field_sd - 1) / sd_error(tempered, method)
    assert np.abs(z).max() < z_limit(z.size), z


def run_alone(method: IVON, target: Target) -> Any:
    """The method's own steps on all data of the oracle, without the loop."""
    batch = Batch(*(jnp.asarray(a, jnp.float32) for a in ORACLE.data))
    key = jax.random.key(0)

    @jax.jit
    def run(state: IVONState) -> IVONState:
        return jax.lax.fori_loop(
            0,
            method.steps,
            lambda i, s: method.step(jax.random.fold_in(key, i), target, s, batch)[0],
            state,
        )

    state = run(method.init(key, target, jnp.zeros(target.size)))
    return method.finish(
        target, jax.tree.map(lambda leaf: leaf[None], state), None, None
    ).distribution


def test_the_elbo_it_reports_is_that_of_its_q() -> None:
    tail = fit(LONG).history.elbo[-2_000:]
    error = tail.std() / math.sqrt(tail.size)  # each step has draws of its own
    assert abs(tail.mean() - ORACLE.best_elbo) < z_limit() * error + 1e-2


def test_the_precision_stays_positive_whatever_the_hessian_says() -> None:
    """A log likelihood that curves upwards everywhere: h falls to its floor, and not below it."""
    model = po.Model(
        (lambda key: {"w": jnp.ones(2)}, lambda p, x: jnp.sum(jnp.cos(9 * p["w"])) + 0 * x[:, :1]),
        po.priors.Normal(0, 1),
        po.likelihoods.Normal(0.5),
    )
    target = Target.build(model, (1,), (), 20)
    batch = Batch(jnp.zeros((20, 1)), jnp.full(20, -2.0))
    method = IVON(steps=400, starts=1, step_size=1e-6)
    state = method.init(jax.random.key(0), target, jnp.zeros(2))
    step = jax.jit(lambda key, state: method.step(key, target, state, batch))
    for number in range(400):
        state, info = step(jax.random.key(number), state)
        assert (np.asarray(state.precision) >= 0.25).all()
        assert bool(info.ok)


def test_a_hessian_at_its_floor_is_told() -> None:
    floored = {"initial": np.zeros((1, 3)), "floored": np.array([[0.0, 0.0, 0.3]])}
    (sentence,) = IVON().advice(None, floored, None)  # type: ignore[arg-type]
    assert "30 % of the parameters is at its floor" in sentence


def test_a_hessian_that_has_not_left_its_start_is_told() -> None:
    """β₂ = 0.99999, as for large networks, leaves 0.99 of the initial Hessian after 1,000 steps."""
    stuck = fit(IVON(steps=1_000, beta_2=0.99999, starts=1))
    share = float(stuck.history.initial[-1])
    assert share > 0.5
    (warning,) = stuck.result.warnings
    assert f"{100 * share:.0f} % of the Hessian estimate" in warning
    assert "lower beta_2" in warning
    assert fit(IVON(steps=1_000, starts=1)).result.ok


def test_the_start_of_the_hessian_does_not_matter() -> None:
    sds = [fit(IVON(hess_init=h, starts=1)).distribution.sd for h in (1e-3, 1.0, 1e3)]
    for sd in sds:
        z = (np.asarray(sd) / ORACLE.mean_field_sd - 1) / sd_error(ORACLE, IVON())
        assert np.abs(z).max() < z_limit(9), z


def test_several_starts_share_the_first_half_and_the_best_goes_on() -> None:
    method = IVON(steps=800, starts=4)
    posterior = fit(method)
    assert posterior.facts["steps_made"] == 800
    assert posterior.history.elbo.shape == (100 + 400,)
    assert IVON(steps=3).start_count(posterior.target) == 1


@pytest.mark.slow
def test_moons_ends_near_the_best_optimum(moons: tuple[np.ndarray, ...]) -> None:
    """Mean-field optima of this net lie at −114.2, −116.3 and −119.7 nats."""
    x, y, _, _ = moons
    net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
    model = po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli())
    for method in (IVON(), IVON(batch_size=50)):
        posterior = po.fit(model, (x, y), method, progress=False)
        found = po.elbo(posterior, (x, y))
        assert found.value > -117.5
        assert posterior.result.ok


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be a whole number from 1"),
        ({"step_size": -1.0}, "step_size must be positive"),
        ({"hess_init": 0.0}, "hess_init must be positive"),
        ({"beta_1": 1.0}, "beta_1 must be at least 0 and below 1"),
        ({"beta_2": 1.0}, "beta_2 must lie between 0 and 1"),
        ({"draws": 1.5}, "draws must be a whole number"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IVON(**settings)
