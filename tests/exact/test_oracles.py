"""Variational inference against closed forms, and proof that the checks notice faults.

Every check is a function of a `Target` class and of a KL, so that `test_faults_are_caught` can run
the same checks on broken ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from oracles import conjugate, z_limit
from posterity.methods.vi import advi, objectives
from posterity.methods.vi.families.mean_field import MeanField
from posterity.model.net_target import Batch, Target

ORACLE = conjugate()
MEAN_FIELD = MeanField()
FIT = po.ADVI(steps=30_000, draws=4_096, stop=False)
ROUGH = po.ADVI(steps=3_000, draws=2_048, stop=False)


@functools.cache
def fitted(method: po.ADVI) -> po.Posterior:
    """One fit for several checks, as it takes 20 seconds; see `fresh_compilations`."""
    return po.fit(ORACLE.model, ORACLE.data, method, progress=False)


def check_optimum() -> None:
    """The mean-field optimum equals the closed form to 1e-3 relative."""
    q = fitted(FIT).distribution
    np.testing.assert_allclose(q.mean, ORACLE.mean, rtol=1e-3)
    np.testing.assert_allclose(q.sd, ORACLE.mean_field_sd, rtol=1e-3)


def check_rough_optimum() -> None:
    """That of a tenth of the steps to 1e-2: enough to notice faults of a few per cent."""
    q = fitted(ROUGH).distribution
    np.testing.assert_allclose(q.mean, ORACLE.mean, rtol=1e-2)
    np.testing.assert_allclose(q.sd, ORACLE.mean_field_sd, rtol=1e-2)


def check_partition_gradients() -> None:
    """The average of a partition's minibatch gradients equals the full gradient to 1e-5."""
    rows = len(ORACLE.y)
    target = Target.build(ORACLE.model, ORACLE.x.shape[1:], (), rows)
    x, y = (jnp.asarray(a, jnp.float32) for a in ORACLE.data)
    theta = jax.random.normal(jax.random.key(1), (target.size,))
    gradient = jax.jit(jax.grad(target.log_joint))
    full = gradient(theta, Batch(x, y))
    for size in (1, 4, 10):
        parts = [
            gradient(theta, Batch(x[i : i + size], y[i : i + size])) for i in range(0, rows, size)
        ]
        np.testing.assert_allclose(
            np.mean(parts, axis=0), full, rtol=1e-5, atol=1e-5 * np.abs(full).max()
        )
    # The full gradient itself, from the formula of the posterior.
    exact = -ORACLE.precision @ (np.asarray(theta) - ORACLE.mean)
    np.testing.assert_allclose(full, exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())


def check_elbo_below_evidence() -> None:
    """The ELBO never exceeds the log evidence, and its optimum has the closed-form value."""
    posterior = fitted(FIT)
    estimate = po.elbo(posterior, ORACLE.data, draws=40_000)
    assert estimate.value <= ORACLE.log_evidence + 4 * estimate.error
    assert abs(estimate.value - ORACLE.best_elbo) <= z_limit() * estimate.error + 1e-3
    tail = posterior.history.elbo[-2_000:]
    error = 4 * tail.std() / np.sqrt(tail.size / 10)  # ten steps to forget is generous at this rate
    assert abs(tail.mean() - ORACLE.best_elbo) < error + 1e-3


def check_closed_form_kl() -> None:
    """Closed-form KL equals Monte Carlo KL within 4 standard errors, normal priors and others."""
    priors: list[Any] = [
        po.priors.Normal(0.3, 0.7),
        {"layers.0.weight": dist.Normal(0.0, 2.0), "*": dist.Normal(-1.0, 0.5)},
        {"layers.0.weight": dist.Laplace(0.0, 1.0), "*": dist.Normal(0.0, 0.5)},
    ]
    for number, prior in enumerate(priors):
        model = po.Model(po.nets.MLP(2, [3], 1), prior, po.likelihoods.Normal(dist.LogNormal(0, 1)))
        target = Target.build(model, (2,), (), 10)
        keys = jax.random.split(jax.random.key(number), 3)
        mean = jax.random.normal(keys[0], (target.size,))
        sd = jnp.exp(0.5 * jax.random.normal(keys[1], (target.size,)) - 1)
        phi = jnp.stack([mean, jnp.log(jnp.expm1(sd))])
        noise = jax.random.normal(keys[2], (40_000, target.size))
        thetas, log_q = objectives.draw(MEAN_FIELD, phi, noise, "sampled")
        sampled = np.asarray(log_q - jax.vmap(target.log_prior)(thetas), np.float64)
        closed = float(objectives.kl(target, MEAN_FIELD, phi, thetas))
        # The parts without a closed form use the same draws: their difference is what is left.
        error = sampled.std() / np.sqrt(sampled.size)
        assert abs(closed - sampled.mean()) < 4 * error


def check_draws_are_independent() -> None:
    """Steps, and draws within a step, use noise of their own."""
    for once in (None, jnp.ones((), jnp.int32)):  # of small nets, and of large ones
        draws = np.asarray(advi.normals(jax.random.key(0), (10_000, 3), np.dtype("f4"), once))
        z = draws.mean(0) * np.sqrt(len(draws))
        assert np.abs(z).max() < z_limit(6)
        assert len(np.unique(draws[:, 0])) > 9_900
    # Over steps: the mini-ELBO of a fixed q must move from step to step, and the draws of
    # consecutive steps must be uncorrelated.
    elbo = po.fit(
        ORACLE.model, ORACLE.data, po.ADVI(steps=4_000, stop=False), progress=False
    ).history.elbo[-1_000:]
    centred = elbo - elbo.mean()
    lag_one = float(np.mean(centred[1:] * centred[:-1]) / np.mean(centred**2))
    assert abs(lag_one) < z_limit() / np.sqrt(elbo.size)


CHECKS = [
    check_optimum,
    check_rough_optimum,
    check_partition_gradients,
    check_elbo_below_evidence,
    check_closed_form_kl,
    check_draws_are_independent,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_exact(check: Callable[[], None]) -> None:
    check()


# -- the same checks on broken code ---------------------------------------------------------------


def no_scale(patch: pytest.MonkeyPatch) -> None:
    """N/B missing: a batch counts as all the data."""
    patch.setattr(
        Target,
        "scaled_log_likelihood",
        lambda self, theta, batch: jnp.sum(self.log_likelihood(theta, batch)),
    )


def heavy_kl(patch: pytest.MonkeyPatch) -> None:
    """KL weight off by 10 %."""
    patch.setattr(Target, "elbo", lambda self, expected, kl, warm=1.0: expected - 1.1 * kl)


def wrong_sign(patch: pytest.MonkeyPatch) -> None:
    """The entropy's gradient has the wrong sign, though its value is right."""

    def kl(mean: Any, sd: Any, loc: Any, scale: Any) -> Any:
        flipped = 2 * jax.lax.stop_gradient(jnp.log(sd)) - jnp.log(sd)
        ratio = sd / scale
        return jnp.sum(
            0.5 * (ratio**2 + ((mean - loc) / scale) ** 2 - 1) - flipped + jnp.log(scale)
        )

    patch.setattr(objectives, "normal_kl", kl)


def reused_key(patch: pytest.MonkeyPatch) -> None:
    """Every step draws the same noise."""
    fixed = jax.random.key(0)
    patch.setattr(advi, "normals", lambda key, shape, dtype, once: jax.random.normal(fixed, shape))


@pytest.fixture
def fresh_compilations() -> Iterator[None]:
    """Compiled code and fits know nothing of a patch, and must not outlive it."""
    jax.clear_caches()
    fitted.cache_clear()
    yield
    jax.clear_caches()
    fitted.cache_clear()


@pytest.mark.usefixtures("fresh_compilations")
@pytest.mark.parametrize(
    ("fault", "catcher"),
    [
        (no_scale, check_partition_gradients),
        (heavy_kl, check_rough_optimum),
        pytest.param(heavy_kl, check_elbo_below_evidence, marks=pytest.mark.slow),
        (wrong_sign, check_rough_optimum),
        (reused_key, check_draws_are_independent),
    ],
    ids=lambda function: function.__name__,
)
def test_faults_are_caught(
    fault: Callable[[pytest.MonkeyPatch], None],
    catcher: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        catcher()
