"""ADVI's step: its size, its average, its pairs of draws; and which cycle counts."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import posterity as po
from oracles import conjugate
from posterity.methods.method import Stretch
from posterity.methods.vi.advi import NEAR, ADVIState
from posterity.methods.vi.cycles import Cycles, peak
from posterity.model.net_target import Batch, Target

X = np.linspace(-1, 1, 20)[:, None]
MODEL = po.Model(po.nets.MLP(1, [3], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))


def fitted(**settings: object) -> po.Posterior:
    return po.fit(MODEL, (X, X[:, 0]), po.ADVI(steps=400, starts=1, **settings), progress=False)


def test_the_step_size_is_the_peak_of_the_schedule() -> None:
    for given, expected in ((None, peak(fitted().target.size)), (0.01, 0.01)):
        sizes = fitted(step_size=given, stop=False).history.step_size.ravel()
        assert sizes[0] == pytest.approx(expected, rel=1e-3)
        assert sizes.max() <= expected * (1 + 1e-6)


@pytest.mark.parametrize("step_size", [0.0, -1.0, math.inf, math.nan])
def test_a_step_size_out_of_range_is_refused(step_size: float) -> None:
    with pytest.raises(ValueError, match="ADVI: step_size must be positive and finite"):
        po.ADVI(step_size=step_size)


def test_an_optimizer_has_its_own() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        po.ADVI(step_size=0.1, optimizer=optax.adam(0.1))


def test_near_modes_the_step_is_smaller_unless_the_user_has_chosen_it() -> None:
    target = fitted().target
    method = po.ADVI()
    assert method.near_modes(target).step_size == pytest.approx(NEAR * peak(target.size))
    for chosen in (po.ADVI(step_size=0.2), po.ADVI(optimizer=optax.adam(0.1)), po.NUTS()):
        assert chosen.near_modes(target) is chosen


# -- a step ---------------------------------------------------------------------------------------

ORACLE = conjugate()


def steps(method: po.ADVI, keys: list[jax.Array]) -> list[ADVIState]:
    """The states after each of some steps of a cycle, of which the keys give the length."""
    target = Target.build(ORACLE.model, ORACLE.x.shape[1:], (), len(ORACLE.y))
    batch = Batch(*(jnp.asarray(part, jnp.float32) for part in ORACLE.data))
    state = method.init(keys[0], target, jnp.asarray([0.3, -0.2, 0.1]))
    step = jax.jit(lambda key, state: method.step(key, target, state, batch)[0])
    states = []
    for key in keys:
        state = step(key, state)
        states.append(state)
    return states


def test_the_average_is_of_the_last_fifth() -> None:
    states = steps(po.ADVI(steps=20, step_size=0.1), list(jax.random.split(jax.random.key(0), 20)))
    last = np.mean([state.phi.q for state in states[-4:]], axis=0)
    np.testing.assert_allclose(states[-1].average.q, last, rtol=1e-5)
    np.testing.assert_array_equal(states[14].average.q, states[14].phi.q)
    assert np.abs(last - states[-1].phi.q).max() > 1e-4


@pytest.mark.parametrize("antithetic", [True, False])
def test_of_a_pair_of_draws_the_gradient_of_the_mean_is_exact(antithetic: bool) -> None:
    """The log likelihood is quadratic: what ε adds to the gradient of the mean, −ε takes away."""
    method = po.ADVI(
        steps=1, draws=2, antithetic=antithetic, init_scale=0.3, optimizer=optax.sgd(1e-3)
    )
    means = [steps(method, [jax.random.key(seed)])[0].phi.q[0] for seed in (0, 1)]
    assert np.allclose(*means, atol=1e-6) == antithetic


def test_the_cycle_with_the_highest_elbo_counts() -> None:
    cycles = Cycles([], [], 0.1)
    elbos = {"first": -30.0, "best": -10.0, "last": -20.0}
    done = []
    for name, elbo in elbos.items():
        done.append(Stretch({"elbo": np.full((1, 100), elbo, np.float32)}, None))
        cycles.record(name, done, tolerance=0.1)
    assert cycles.best == "best"
    assert [stretch.kept for stretch in done] == [False, True, False]
