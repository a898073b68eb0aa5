"""The warm-up: its windows, the step size and the metric that it ends with, and that it ends."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from blackjax.adaptation.window_adaptation import build_schedule

import posterity as po
from methods.mcmc.skewed import density
from posterity.methods.mcmc.mass_matrix import Diagonal
from posterity.methods.mcmc.paths import Point, no_u_turn
from posterity.methods.mcmc.warmup import METRICS, Warming, Warmup
from posterity.methods.mcmc.windows import stan

SDS = np.array([0.1, 1.0, 3.0, 0.5])
TURN = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]


def normal_20(sd):
    numpyro.sample("theta", dist.Normal(0.0, sd).to_event(1))


# -- windows --------------------------------------------------------------------------------------


def schedule(warmup: int) -> tuple[np.ndarray, np.ndarray]:
    """Per step: whether the metric sees it, and whether it ends a window."""
    slow, ends = SCHEDULE(jnp.arange(warmup), warmup)
    return np.asarray(slow), np.asarray(ends)


SCHEDULE = jax.jit(jax.vmap(stan, in_axes=(0, None)))


LENGTHS = [1, 19, 20, 21, 33, 60, 99, 120, 133, 149, 150, 151, 199, 260, 1_777]


@pytest.mark.parametrize("warmup", LENGTHS)
def test_the_windows_are_those_of_blackjax(warmup: int) -> None:
    at = jnp.arange(1_777)  # one shape for all, so that one compilation serves them
    slow, ends = (np.asarray(part)[:warmup] for part in SCHEDULE(at, warmup))
    known = np.asarray(build_schedule(warmup, final_buffer_size=max(50, warmup // 4))).astype(int)
    np.testing.assert_array_equal(slow, known[:, 0] == 1)
    np.testing.assert_array_equal(ends, known[:, 1] == 1)


def test_the_windows_of_a_thousand_steps() -> None:
    """Stan's: 75 steps for the step size, windows from 25 that double, and a quarter at the end."""
    slow, ends = schedule(1_000)
    assert slow.shape == ends.shape == (1_000,)
    assert not slow[:75].any()
    assert slow[75:750].all()
    assert not slow[750:].any()
    lengths = np.diff([74, *np.flatnonzero(ends)])
    assert lengths.tolist()[:-1] == [25, 50, 100]
    assert lengths[-1] >= 200  # the last takes what would not have made another
    assert np.flatnonzero(ends)[-1] == 749


@pytest.mark.parametrize("warmup", [1, 5, 20, 50, 150, 333, 2_000])
def test_windows_of_any_length(warmup: int) -> None:
    """A window ends within what the metric sees, and the last step belongs to the step size."""
    slow, ends = schedule(warmup)
    assert slow.shape == (warmup,)
    assert slow[ends].all()
    if warmup >= 150:
        assert ends.sum() >= 1
        assert not slow[-max(50, warmup // 4) :].any()


# -- metric ---------------------------------------------------------------------------------------


def learned(warmup: Warmup, theta: np.ndarray, gradient: np.ndarray | None = None) -> Warming:
    """What the warm-up knows after these draws, each accepted as was aimed for."""

    def see(state: Warming, row: tuple[jax.Array, jax.Array]) -> tuple[Warming, None]:
        at, here = row
        return warmup.update(state, at, here, jnp.asarray(warmup.acceptance)), None

    gradient = -theta @ np.linalg.inv(COV) if gradient is None else gradient
    places = jnp.asarray(np.stack([theta, gradient], 1), jnp.float32)
    start = warmup.init(places[0, 0])
    run = jax.jit(lambda start, rows: jax.lax.scan(see, start, rows)[0])
    return run(start, (jnp.arange(len(theta)), places))


COV = TURN.T @ np.diag(SDS**2) @ TURN


def last_window(steps: int) -> slice:
    ends = np.flatnonzero(schedule(steps)[1])
    return slice(ends[-2] + 1, ends[-1] + 1)


def draws(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 4)) * SDS @ TURN


def test_metrics_are_of_the_last_window() -> None:
    """Of its draws and of their gradients: those of other windows are of another scale."""
    theta = draws(1, 1_000)
    seen = last_window(1_000)
    theta[: seen.start] *= 100
    theta[seen.stop :] *= 100
    diagonal = learned(Warmup(1_000, 0.8, "diagonal"), theta).metric
    assert isinstance(diagonal, Diagonal)
    np.testing.assert_allclose(diagonal.var, theta[seen].var(0, ddof=1), rtol=1e-3)
    for metric in ("dense", "low-rank"):
        found = learned(Warmup(1_000, 0.8, metric), theta).metric
        inverse = np.array([found.velocity(jnp.asarray(v)) for v in np.eye(4, dtype="f")])
        np.testing.assert_allclose(inverse, COV, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("metric", METRICS)
def test_a_window_in_which_nothing_moved_leaves_the_metric_as_it_is(metric: str) -> None:
    found = learned(Warmup(200, 0.8, metric), np.ones((200, 4)), np.zeros((200, 4))).metric
    np.testing.assert_allclose(found.velocity(jnp.arange(4.0)), np.arange(4.0))


# -- step size ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        po.NUTS(warmup=500, draws=500),
        po.NUTS(warmup=500, draws=500, target_acceptance=0.9),
        po.NUTS(warmup=500, draws=500, metric="dense"),
        po.HMC(leapfrogs=8, warmup=500, draws=500),
        po.MAMCLMC(warmup=500, draws=500),
    ],
    ids=lambda method: f"{type(method).__name__}-{method.target_acceptance}",
)
def test_the_step_size_ends_near_the_aimed_acceptance(method: Any) -> None:
    """Within 0.1, on a normal of 20 dimensions with sds from 0.1 to 10; and then stays."""
    model = po.Model.from_numpyro(normal_20)
    sd = np.logspace(-1, 1, 20)
    history = po.fit(model, (sd,), method, progress=False).history
    assert abs(history.acceptance_rate.mean() - method.target_acceptance) < 0.1
    assert (history.step_size == history.step_size[:, :1]).all()
    assert len(np.unique(history.step_size)) == method.chains


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_is_learned_once_warm(metric: str) -> None:
    warmup = Warmup(200, 0.8, metric)
    state = learned(warmup, draws(3, 200))
    at = jnp.asarray(200)
    after = warmup.update(state, at, jnp.full((2, 4), 1e3), jnp.asarray(0.0))
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(old, new)
    assert float(warmup.size(state, at)) == float(jnp.exp(state.step_size.log_step_size_avg))


def test_acceptances_move_the_step_size_the_right_way() -> None:
    """All accepted: longer steps; none: shorter ones; a path that is not finite counts as none."""
    warmup = Warmup(200, 0.8)
    sizes = {}
    for acceptance in (0.0, 1.0):
        state = warmup.init(jnp.zeros(2))
        for at in range(10):
            place = jnp.zeros((2, 2))
            state = warmup.update(state, jnp.asarray(at), place, jnp.asarray(acceptance))
        sizes[acceptance] = float(warmup.size(state, jnp.asarray(10)))
    assert sizes[0.0] < 0.1 < 1 < sizes[1.0]
    theta = jnp.zeros(3)
    start = Point(theta, jnp.ones(3), *density(theta)[::-1])
    wild = no_u_turn(density, Diagonal(jnp.ones(3)), jax.random.key(0), start, jnp.asarray(1e9), 5)
    assert float(wild.acceptance) == 0
