"""Schedules: the factors they state, what of a run they keep, and that a run obeys them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from oracles import conjugate
from posterity.methods.sgmcmc.schedules import AbstractSchedule

ORACLE = conjugate()
TIMES = jnp.arange(0, 1_000, 7)


def test_factors_are_those_of_the_equations() -> None:
    t = np.asarray(TIMES, np.float64)
    expected = {
        po.schedules.Constant(): np.ones_like(t),
        po.schedules.Halving(100): 2 ** (-t / 100),
        po.schedules.Polynomial(50, power=0.55): (1 + t / 50) ** -0.55,
        po.schedules.Cyclical(150, 50): (np.cos(np.pi * (t % 200) / 200) + 1) / 2,
    }
    for schedule, factors in expected.items():
        np.testing.assert_allclose(
            np.broadcast_to(schedule.factor(TIMES), t.shape), factors, rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("schedule", [po.schedules.Halving(20), po.schedules.Polynomial(10)])
def test_a_run_counts_from_the_end_of_its_warm_up(schedule: AbstractSchedule) -> None:
    method = po.SGLD(draws=60, warmup=30, step_size=1e-3, schedule=schedule)
    posterior = po.fit(ORACLE.model, ORACLE.data, method, progress=False)
    expected = 1e-3 * np.asarray(schedule.factor(jnp.arange(60)))
    np.testing.assert_allclose(posterior.history.step_size[0], expected, rtol=1e-5)


def test_cycles_keep_what_they_sample_and_nothing_else() -> None:
    schedule = po.schedules.Cyclical(explore=30, sample=20)
    method = po.SGHMC(draws=20, thin=4, step_size=0.01, schedule=schedule, chains=2)
    posterior = po.fit(ORACLE.model, ORACLE.data, method, progress=False)
    assert posterior.facts["steps_made"] == 80 + 4 * 30
    assert posterior.sample().shape == (2, 20, 3)
    kept = np.concatenate([50 * cycle + 30 + np.arange(20) for cycle in range(4)])
    sizes = 0.01 * np.asarray(schedule.factor(jnp.asarray(kept)))
    np.testing.assert_allclose(posterior.history.step_size[0], sizes, rtol=1e-4)


def test_a_thinned_draw_is_the_last_of_its_steps() -> None:
    """Of one chain, whose every sampled step is known from a run that is not thinned."""
    schedule = po.schedules.Cyclical(explore=30, sample=20)
    settings = {"step_size": 0.01, "schedule": schedule}
    every, some = (
        po.fit(ORACLE.model, ORACLE.data, po.SGHMC(draws=n, thin=t, **settings), progress=False)
        for n, t in ((40, 1), (10, 4))
    )
    sampled = np.concatenate([np.arange(30, 50), np.arange(80, 100)])
    last = [at for at in range(3, 100, 4) if at in sampled]
    expected = every.distribution.theta[:, np.searchsorted(sampled, last)]
    np.testing.assert_array_equal(some.distribution.theta, expected)


def test_no_noise_is_added_while_a_cycle_explores() -> None:
    """From one start, chains of different keys stay together until the first sampling part."""
    schedule = po.schedules.Cyclical(explore=40, sample=2)
    method = po.SGLD(draws=2, step_size=1e-3, schedule=schedule, chains=2)
    seen = []

    def look(posterior: po.Posterior) -> None:
        seen.append(np.asarray(posterior.sample())[:, -1])

    start = np.zeros(3)
    po.fit(ORACLE.model, ORACLE.data, method, init=start, every=40, call=look, progress=False)
    np.testing.assert_array_equal(seen[0][0], seen[0][1])
    final = po.fit(ORACLE.model, ORACLE.data, method, init=start, progress=False).sample()
    assert np.abs(final[0, -1] - final[1, -1]).max() > 1e-4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: po.schedules.Halving(0), "decay must be positive"),
        (lambda: po.schedules.Polynomial(10, power=2), "power must be above 0 and at most 1"),
        (lambda: po.schedules.Cyclical(0, 5), "explore must be a whole number"),
        (lambda: po.SGLD(step_size=1e-3, schedule=0.5), "schedule must be one of po.schedules"),
        (
            lambda: po.SGLD(
                draws=5, thin=3, step_size=1e-3, schedule=po.schedules.Cyclical(10, 10)
            ),
            "no multiple of thin=3",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make()


def test_a_chain_that_came_to_rest_is_told() -> None:
    method = po.SGLD(draws=400, warmup=50, step_size=1e-3, schedule=po.schedules.Halving(10))
    posterior = po.fit(ORACLE.model, ORACLE.data, method, progress=False)
    assert any("came to rest" in warning for warning in posterior.result.warnings)
