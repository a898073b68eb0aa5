"""Parallel tempering in its parts: ladder, swaps, evidence, descent, and what it refuses."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from oracles import conjugate, z_limit
from posterity.data.batches import as_batches
from posterity.methods.mcmc.descent import Descent, descended
from posterity.methods.mcmc.ladder import LEAST, Heating, bridges, evened, swapped
from posterity.methods.mcmc.replicas import look, looked, moved
from posterity.methods.mcmc.windows import ends_window
from posterity.model.net_target import Target

ORACLE = conjugate()
COUNT = 20_000


def bound() -> tuple[Target, Any]:
    batches = as_batches(ORACLE.data, ORACLE.model.likelihood, None)
    return Target.build(ORACLE.model, ORACLE.x.shape[1:], (), batches.rows), batches.full


# -- swaps ----------------------------------------------------------------------------------------


def test_swaps_are_of_neighbours_and_in_turn() -> None:
    """Equal likelihoods are never refused: then every pair that is asked swaps."""
    betas, flat = jnp.linspace(0, 1, 6), jnp.zeros(6)
    for even, order in ((True, [1, 0, 3, 2, 5, 4]), (False, [0, 2, 1, 4, 3, 5])):
        found, refused = swapped(jax.random.key(0), betas, flat, jnp.asarray(even))
        assert found.tolist() == order
        assert refused.tolist() == [0.0] * 5


def test_swaps_leave_every_temperature_its_law() -> None:
    """θ ~ N(0, 1/(1 + β)) at three temperatures, whose log likelihood is −½ θ²."""
    betas = jnp.asarray([0.0, 1.0, 4.0])
    sd = (1 + betas) ** -0.5
    theta = sd * jax.random.normal(jax.random.key(1), (COUNT, 3))

    def once(key: jax.Array, theta: jax.Array, even: jax.Array) -> jax.Array:
        return theta[swapped(key, betas, -0.5 * theta**2, even)[0]]

    keys = jax.random.split(jax.random.key(2), COUNT)
    after = jax.vmap(once)(keys, theta, jnp.arange(COUNT) % 2 == 0)
    assert np.mean(np.asarray(after != theta)) > 0.2
    squares = np.asarray((after / sd) ** 2, float)
    z = (squares.mean(0) - 1) / (squares.std(0) / np.sqrt(COUNT))
    assert np.abs(z).max() < z_limit(3), z


def test_what_has_no_likelihood_goes_down() -> None:
    betas = jnp.asarray([0.0, 1e-6, 1.0])
    order, _ = swapped(jax.random.key(0), betas, jnp.asarray([-1e9, LEAST, 5.0]), jnp.asarray(True))
    assert order.tolist() == [1, 0, 2]
    order, _ = swapped(jax.random.key(0), betas, jnp.asarray([LEAST, -1e9, 5.0]), jnp.asarray(True))
    assert order.tolist() == [0, 1, 2]


# -- ladder ---------------------------------------------------------------------------------------


def test_equal_refusals_are_left_alone_and_unequal_ones_evened() -> None:
    betas = jnp.asarray([0.0, 1e-3, 1e-2, 1e-1, 1.0])
    np.testing.assert_allclose(evened(betas, jnp.full(4, 0.3))[2:], betas[2:], rtol=1e-4)
    found = np.asarray(evened(betas, jnp.asarray([0.1, 0.1, 0.1, 0.9])))
    assert found[0] == 0
    assert found[-1] == 1
    assert (np.diff(found) > 0).all()
    np.testing.assert_allclose(found[2], 10 ** (-1 + 0.3 / 0.9), rtol=1e-4)  # halfway along


@pytest.mark.parametrize("warmup", [1, 20, 66, 67, 200, 4_000])
def test_windows_double_and_leave_a_quarter_to_the_step_sizes(warmup: int) -> None:
    last = warmup - warmup // 4
    ends = np.asarray(jax.vmap(lambda at: ends_window(at, 0, 50, last))(jnp.arange(warmup)))
    lengths = np.diff([-1, *np.flatnonzero(ends)])
    assert ends.shape == (warmup,)
    assert not ends[warmup - warmup // 4 :].any()
    assert lengths[:-1].tolist() == [50 * 2**n for n in range(len(lengths) - 1)]
    assert bool(len(lengths)) == (warmup - warmup // 4 >= 50)


def test_a_metric_is_the_variances_of_a_normal() -> None:
    """Fed with independent draws and their gradients −θ / var, it is exact: Var[∇] = 1 / var."""
    var = jnp.asarray([[1e-4, 1.0, 100.0], [1.0, 4.0, 1e-2]])
    heating = Heating(steps=400, acceptance=0.8, rungs=2)
    heat = heating.init(jnp.zeros(3))
    theta = jnp.sqrt(var) * jax.random.normal(jax.random.key(3), (400, 2, 3))
    update = jax.jit(heating.update)
    for at in range(400):
        seen = jnp.stack([theta[at], -theta[at] / var], axis=1)
        heat = update(heat, jnp.asarray(at), seen, jnp.full(2, 0.8), jnp.full(2, 0.3))
    np.testing.assert_allclose(heat.var, var, rtol=1e-3)
    again = update(heat, jnp.asarray(400), seen * 7, jnp.zeros(2), jnp.ones(2))
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), heat, again)))


# -- evidence -------------------------------------------------------------------------------------


def test_bridges_give_the_evidence() -> None:
    """Independent draws at every β of N(0, 1) × e^(−½ β p θ²): log Z = −½ log(1 + p)."""
    precision, betas = 50.0, jnp.asarray([0.0, 0.01, 0.1, 0.4, 1.0])
    sd = (1 + betas * precision) ** -0.5
    estimates = []
    for seed in range(20):
        theta = sd * jax.random.normal(jax.random.key(seed), (2_000, 5))
        weights = jax.vmap(lambda t: bridges(betas, -0.5 * precision * t**2))(theta)
        forth, back = jax.scipy.special.logsumexp(weights, axis=0)
        estimates.append(float(jnp.sum(forth - back)))
    error = np.std(estimates, ddof=1) / np.sqrt(len(estimates))
    # Student's t with 19 degrees of freedom stays below 5.6 but for 2e-5.
    assert abs(np.mean(estimates) + 0.5 * np.log(1 + precision)) < 5.6 * error


# -- replicas -------------------------------------------------------------------------------------


def test_a_path_ends_with_prior_and_likelihood_apart() -> None:
    target, batch = bound()
    theta = 0.3 * jax.random.normal(jax.random.key(4), (3, target.size))
    place = jax.vmap(lambda theta: look(target, batch, theta))(theta)
    rungs = jnp.asarray([1e-4, 0.1, 1.0]), jnp.ones_like(theta), jnp.full(3, 0.02)
    new, paths = moved(jax.random.key(5), target, batch, place, rungs, jnp.asarray(3))
    again = jax.vmap(lambda theta: look(target, batch, theta))(paths.theta)
    for found, true in zip(new, again):
        np.testing.assert_allclose(found, true, rtol=1e-2, atol=0.2)  # rounding over β = 1e-4
        np.testing.assert_allclose(found[2], true[2], rtol=1e-4, atol=1e-4)


def test_short_steps_keep_the_energy_at_every_temperature() -> None:
    """A first half step by another gradient than the path's would lose it."""
    target, batch = bound()
    theta = 0.3 * jax.random.normal(jax.random.key(4), (3, target.size))
    place = jax.vmap(lambda theta: look(target, batch, theta))(theta)
    rungs = jnp.asarray([1e-3, 0.1, 1.0]), jnp.ones_like(theta), jnp.full(3, 1e-3)
    go = jax.jit(lambda key, place: moved(key, target, batch, place, rungs, jnp.asarray(1))[1])
    paths = go(jax.random.key(5), place)
    np.testing.assert_allclose(paths.acceptance, 1, atol=5e-3)


def test_descents_end_at_the_mode_and_the_best_is_the_coldest() -> None:
    target, batch = bound()
    start = jax.random.normal(jax.random.key(6), (4, target.size)).at[2].set(jnp.nan)
    density = jax.value_and_grad(lambda theta: target.log_joint(theta, batch))
    descent = Descent.start(start)
    some = jax.jit(lambda descent, share: descended(density, descent, share, 5)[0])
    for step in range(500):
        descent = some(descent, jnp.asarray(step / 500))
    found = np.delete(np.asarray(descent.theta), 2, axis=0)
    np.testing.assert_allclose(found, np.tile(ORACLE.mean, (3, 1)), atol=1e-2)
    place = looked(target, batch, descent.theta)
    assert np.isnan(place.theta[0]).all()
    assert (np.diff(place.log_prior + place.log_likelihood)[1:] >= 0).all()


# -- as a method ----------------------------------------------------------------------------------


def test_replicas_start_apart_and_a_short_run_says_that_it_is_short() -> None:
    method = po.ParallelTempering(temperatures=6, chains=2, warmup=20, draws=20, thin=1)
    target, _ = bound()
    states = [method.init(jax.random.key(0), target, jnp.full(3, float(n))) for n in range(6)]
    many = [jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), state) for state in states]
    review = method.review(target, many, [], None)
    assert review.state.place.theta[:, 1:, 0].tolist() == [[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]] * 2
    posterior = po.fit(ORACLE.model, ORACLE.data, method, progress=False)
    assert any("came all the way from the prior" in said for said in posterior.result.warnings)


def test_improper_priors_are_refused_by_name() -> None:
    def program(y: Any) -> None:
        free = numpyro.sample("free", dist.ImproperUniform(dist.constraints.real, (), ()))
        numpyro.sample("y", dist.Normal(free, 1.0), obs=y)

    model = po.Model.from_numpyro(program)
    with pytest.raises(ValueError, match=r"'free' is improper"):
        po.fit(model, (np.zeros(3),), po.ParallelTempering(), progress=False)


@pytest.mark.parametrize("name", ["temperatures", "leapfrogs", "warmup", "draws", "chains", "thin"])
def test_counts_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        po.ParallelTempering(**{name: 0})
