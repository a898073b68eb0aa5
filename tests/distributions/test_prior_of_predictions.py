"""A prior that remembers predictions, as a density of θ."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from posterity.distributions.prior_of_predictions import Remembered
from posterity.model.net_target import Target
from posterity.priors.prior import Prior

BASE = po.priors.Normal(0, 2)
# likelihood, outputs of the net, shape of the targets of a row, targets that are expected.
CASES: dict[str, tuple[Any, int, tuple[int, ...], Any]] = {
    "normal": (po.likelihoods.Normal(0.5), 1, (), [-1.0, 2.0]),
    "noise": (po.likelihoods.Normal(dist.HalfNormal(1.0)), 1, (), [-1.0, 2.0]),
    "two targets": (po.likelihoods.Normal(0.5), 2, (2,), [[-1.0, 0.0], [2.0, 1.0]]),
    "from the net": (po.likelihoods.Normal("net"), 2, (), [-1.0, 2.0]),
    "heavy": (po.likelihoods.StudentT(4.0, 0.5), 1, (), [-1.0, 2.0]),
    "two classes": (po.likelihoods.Bernoulli(), 1, (), [0, 1]),
    "classes": (po.likelihoods.Categorical(3), 3, (), [0, 1, 2]),
    "counts": (po.likelihoods.Poisson(), 1, (), [1.5, 4.0]),
}


def remembering(case: str, base: Prior = BASE) -> tuple[po.Model, Remembered]:
    """A model with a prior that remembers four inputs of two columns."""
    likelihood, outputs, _, y = CASES[case]
    rng = np.random.default_rng(0)
    each = len(y)
    shares = rng.dirichlet(np.ones(each), 4)
    targets = np.asarray(y) + np.zeros((4, *np.shape(y)))
    prior = Remembered(
        base=base,
        x=jnp.asarray(rng.normal(size=(4, 2)), jnp.float32),
        y=jnp.asarray(targets, likelihood.target_dtype),
        shares=jnp.asarray(shares, jnp.float32),
        counts=jnp.asarray([1.0, 3.0, 0.5, 7.0]),
        kind=likelihood.kind,
        rows=30,
    )
    return po.Model(po.nets.MLP(2, [3], outputs), prior, likelihood), prior


def target_of(model: po.Model, case: str) -> Target:
    return Target.build(model, (2,), CASES[case][2], 5)


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_base_and_a_weighted_sum_over_targets(case: str) -> None:
    model, prior = remembering(case)
    target = target_of(model, case)
    plain = target_of(po.Model(model.net, BASE, model.likelihood), case)
    theta = jnp.asarray(np.random.default_rng(1).normal(size=target.size), jnp.float32)
    expected = float(plain.log_prior(theta))
    for i in range(4):
        given = plain.distribution(theta, prior.x[i : i + 1])
        for j in range(prior.y.shape[1]):
            each = given.log_prob(prior.y[i : i + 1, j])
            expected += float(prior.counts[i] * prior.shares[i, j] * each.sum())
    value, gradient = jax.jit(jax.value_and_grad(target.log_prior))(theta)
    assert float(value) == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(gradient).all()


def test_it_is_of_no_size_and_its_part_of_the_prior_is_not_normal() -> None:
    model, _ = remembering("normal")
    target = target_of(model, "normal")
    normal, other = target.normal_blocks()
    assert [block.stop for block, _, _ in normal] == [target.size]
    assert other == target.recollections
    theta = jnp.ones(target.size)
    parts = target.log_prior_of(theta, other) + dist.Normal(0, 2).log_prob(theta).sum()
    assert float(parts) == pytest.approx(float(target.log_prior(theta)), rel=1e-5)
    params = target.constrain(theta)
    np.testing.assert_array_equal(target.unconstrain(params), theta)


def test_it_is_not_drawn_from() -> None:
    model, prior = remembering("normal")
    with pytest.raises(TypeError, match="cannot be drawn from"):
        po.prior_predictive(model, np.asarray(prior.x))
    theta = target_of(model, "normal").net_draw(jax.random.key(0))
    assert np.isfinite(theta).all()


def test_learned_numbers_of_the_base_are_filled() -> None:
    base = po.priors.Normal(0, po.learned(2.0))
    model, _ = remembering("normal", base)
    target = target_of(model, "normal")
    theta, at_start = jnp.ones(target.size), target.at_start()
    same, _ = remembering("normal")
    expected = target_of(same, "normal").log_prior(theta)
    assert float(at_start.log_prior(theta)) == pytest.approx(float(expected), rel=1e-5)
    assert len(target.slots) == 1
    assert at_start.slots == ()


@pytest.mark.parametrize(
    ("case", "likelihood", "outputs", "x_shape", "y_shape", "what"),
    [
        ("normal", po.likelihoods.Poisson(), 1, (2,), (), "is count .* but regression"),
        ("classes", po.likelihoods.Categorical(4), 4, (2,), (), "classes is 4 .* but 3"),
        ("normal", po.likelihoods.Normal(0.5), 2, (2,), (2,), r"target is \(2,\) .* but \(\)"),
    ],
)
def test_what_does_not_fit_is_refused(
    case: str,
    likelihood: Any,
    outputs: int,
    x_shape: tuple[int, ...],
    y_shape: tuple[int, ...],
    what: str,
) -> None:
    _, prior = remembering(case)
    model = po.Model(po.nets.MLP(x_shape[0], [3], outputs), prior, likelihood)
    with pytest.raises(ValueError, match=what):
        Target.build(model, x_shape, y_shape, 5)


def test_other_inputs_are_refused() -> None:
    model, prior = remembering("normal")
    wider = dataclasses.replace(prior, x=jnp.ones((4, 3)))
    with pytest.raises(ValueError, match=r"shape of an input is \(2,\) .* but \(3,\)"):
        target_of(po.Model(model.net, wider, model.likelihood), "normal")
