"""Microcanonical motion: its order, its inverse, its directions, and what its paths leave alone."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from methods.mcmc.skewed import check_invariant, density, draws
from oracles import z_limit
from posterity.methods.mcmc import mamclmc
from posterity.methods.mcmc.mass_matrix import Diagonal
from posterity.methods.mcmc.microcanonical import Moving, moved, refreshed, unit
from posterity.methods.mcmc.paths import Point

SD = (1.0, 0.9, 0.8)


def starts(count: int, seed: int = 0) -> Moving:
    """Draws of the target with directions that are uniform on the sphere."""
    theta = draws(seed, count)
    value, gradient = jax.vmap(density)(theta)
    noise = jax.random.normal(jax.random.key(seed), theta.shape, theta.dtype)
    return Moving(theta, jax.vmap(unit)(noise), gradient, value)


def go(points: Moving, step: float, steps: int = 1) -> tuple[Moving, np.ndarray]:
    """Every point moved; and the change of energy over all the way."""
    metric = Diagonal(jnp.array(SD) ** 2)
    change = np.zeros(points.theta.shape[0])
    one = jax.jit(jax.vmap(lambda point: moved(density, point, metric, jnp.asarray(step))))
    for _ in range(steps):
        points, more = one(points)
        change = change + np.asarray(more)
    return points, change


def test_the_error_of_a_step_is_of_third_order() -> None:
    """So its variance falls as ε⁶, which the tuning of ε relies on."""
    with jax.enable_x64(True):
        points = starts(2_000)
        variances = [np.mean(go(points, step)[1] ** 2) for step in (0.02, 0.01, 0.005)]
        np.testing.assert_allclose(np.divide(variances[:-1], variances[1:]), 2**6, rtol=0.1)


def test_the_error_over_a_way_is_of_second_order() -> None:
    with jax.enable_x64(True):
        points = starts(2_000)
        errors = [np.sqrt(np.mean(go(points, 1 / n, n)[1] ** 2)) for n in (32, 64)]
        np.testing.assert_allclose(errors[0] / errors[1], 4, rtol=0.1)


def test_motion_backwards_undoes_motion() -> None:
    with jax.enable_x64(True):
        points = starts(50)
        there, gain = go(points, 0.2, 10)
        back, loss = go(there._replace(direction=-there.direction), 0.2, 10)
        assert float(jnp.abs(there.theta - points.theta).max()) > 0.5
        np.testing.assert_allclose(back.theta, points.theta, atol=1e-7)
        np.testing.assert_allclose(back.direction, -points.direction, atol=1e-7)
        np.testing.assert_allclose(loss, -gain, atol=1e-7)


def test_directions_stay_of_unit_length() -> None:
    points, _ = go(starts(50), 0.3, 200)
    norms = np.linalg.norm(np.asarray(points.direction), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-6)
    far = Moving(jnp.full(3, 30.0), unit(jnp.ones(3)), *density(jnp.full(3, 30.0))[::-1])
    steep, _ = moved(density, far, Diagonal(jnp.array(SD) ** 2), jnp.asarray(1.0))
    np.testing.assert_allclose(np.linalg.norm(steep.direction), 1, atol=1e-6)


@pytest.mark.parametrize("way", [0.05, 1.0])
def test_refreshing_leaves_the_sphere_uniform(way: float) -> None:
    """First and second moments of uniform directions, after three refreshments of them."""
    count, size = 40_000, 3
    keys = jax.random.split(jax.random.key(1), 4)
    noise = [jax.random.normal(key, (count, size)) for key in keys]
    direction = jax.vmap(unit)(noise[0])
    for extra in noise[1:]:
        direction = jax.vmap(lambda u, e: refreshed(u, e, jnp.asarray(way)))(direction, extra)
    u = np.asarray(direction, float)
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1, atol=1e-6)
    products = np.einsum("ni,nj->nij", u, u)[:, *np.triu_indices(size)]
    terms = np.concatenate([u, products], 1)
    expected = np.r_[np.zeros(size), np.eye(size)[np.triu_indices(size)] / size]
    z = (terms.mean(0) - expected) / (terms.std(0) / np.sqrt(count))
    assert np.abs(z).max() < z_limit(z.size)


@pytest.mark.parametrize("way", [0.01, 0.5, 2.0])
def test_refreshing_forgets_exponentially(way: float) -> None:
    """In many dimensions u · u′ = e^−way, with a spread of at most 1/√D and a bias of order 1/D."""
    size, count = 4_000, 200
    key, other = jax.random.split(jax.random.key(2))
    old = jax.vmap(unit)(jax.random.normal(key, (count, size)))
    noise = jax.random.normal(other, (count, size))
    new = jax.vmap(lambda u, e: refreshed(u, e, jnp.asarray(way)))(old, noise)
    kept = float(jnp.mean(jnp.sum(old * new, 1)))
    assert abs(kept - np.exp(-way)) < z_limit() / np.sqrt(size * count) + 2 / size


def transition_of(method: po.MAMCLMC, step: float) -> Callable:
    metric = Diagonal(jnp.array(SD) ** 2)

    def transition(key: jax.Array, theta: jax.Array) -> jax.Array:
        noise_key, path_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, theta.shape, theta.dtype)
        value, gradient = density(theta)
        start = Point(theta, metric.momentum(noise), gradient, value)
        return method._path(density, metric, path_key, start, jnp.asarray(step)).theta

    return transition


@pytest.mark.parametrize("step", [0.5, 2.0])
def test_adjusted_paths_leave_the_target_as_it_is(step: float) -> None:
    check_invariant(transition_of(po.MAMCLMC(), step), seed=4)


def test_the_check_notices_paths_that_are_not_adjusted(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = mamclmc.moved

    def blind(*args: object) -> tuple[Moving, jax.Array]:
        point, change = honest(*args)
        return point, 0.0 * change

    monkeypatch.setattr(mamclmc, "moved", blind)
    with pytest.raises(AssertionError):
        check_invariant(transition_of(po.MAMCLMC(), 2.0), seed=4)
