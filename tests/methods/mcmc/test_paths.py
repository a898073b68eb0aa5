"""Leapfrog steps, the no-U-turn tree against brute force, and the metrics."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from methods.mcmc.skewed import check_invariant, density
from oracles import z_limit
from posterity.methods.mcmc.mass_matrix import AbstractMetric, Dense, Diagonal, LowRank
from posterity.methods.mcmc.paths import (
    Path,
    Point,
    energy,
    fixed_length,
    leapfrog,
    no_u_turn,
)

SIZE = 3
COV = np.array([[1.0, 0.3, 0.0], [0.3, 0.9, -0.2], [0.0, -0.2, 0.7]])


def diagonal() -> AbstractMetric:
    return Diagonal(jnp.array([1.0, 0.8, 0.5]))


def dense() -> AbstractMetric:
    return Dense(jnp.asarray(COV), jnp.asarray(np.linalg.cholesky(COV)))


def thin() -> AbstractMetric:
    vectors = np.linalg.qr(np.array([[1.0, 0.5], [1.0, -1.0], [0.3, 0.2]]))[0]
    return LowRank(jnp.array([1.0, 0.8, 0.7]), jnp.asarray(vectors), jnp.array([2.0, 0.6]))


METRICS = pytest.mark.parametrize("metric", [diagonal, dense, thin], ids=lambda f: f.__name__)


def begin(metric: AbstractMetric, theta: jax.Array, noise: jax.Array) -> Point:
    value, gradient = density(theta)
    return Point(theta, metric.momentum(noise), gradient, value)


# -- metrics --------------------------------------------------------------------------------------


@METRICS
def test_momenta_have_the_inverse_of_what_velocity_multiplies_by(metric: Callable) -> None:
    """p = B ε has covariance M = B Bᵀ, and velocity is M⁻¹, so M⁻¹ B Bᵀ = I: exactly."""
    with jax.enable_x64(True):
        m = metric()
        eye = jnp.eye(SIZE)
        b, inverse = (np.asarray(jax.vmap(f)(eye)).T for f in (m.momentum, m.velocity))
        np.testing.assert_allclose(inverse @ b @ b.T, np.eye(SIZE), atol=1e-6)
        # Velocities then have the covariance M⁻¹.
        np.testing.assert_allclose(inverse @ b @ b.T @ inverse.T, inverse, atol=1e-6)


def test_velocity_multiplies_by_the_estimated_covariance() -> None:
    with jax.enable_x64(True):
        p = jnp.array([0.3, -1.0, 2.0])
        np.testing.assert_allclose(diagonal().velocity(p), [0.3, -0.8, 1.0], atol=1e-6)
        np.testing.assert_allclose(dense().velocity(p), COV @ np.asarray(p), atol=1e-6)
        m: Any = thin()
        sd, vectors, values = (np.asarray(a) for a in (m.sd, m.vectors, m.values))
        inner = np.eye(SIZE) + vectors @ np.diag(values - 1) @ vectors.T
        expected = np.diag(sd) @ inner @ np.diag(sd) @ np.asarray(p)
        np.testing.assert_allclose(m.velocity(p), expected, atol=1e-6)


@METRICS
def test_a_factor_is_of_the_covariance_and_pulls_momenta_back_to_noise(metric: Callable) -> None:
    """F Fᵀ = M⁻¹, and Fᵀ p is standard normal: p = B ε has Fᵀ B (Fᵀ B)ᵀ = I."""
    with jax.enable_x64(True):
        m = metric()
        eye = jnp.eye(SIZE)
        along, inverse = (np.asarray(jax.vmap(f)(eye)).T for f in (m.along, m.velocity))
        np.testing.assert_allclose(along @ along.T, inverse, atol=1e-6)
        np.testing.assert_allclose(np.asarray(jax.vmap(m.pull)(eye)).T, along.T, atol=1e-6)
        pulled = np.asarray(jax.vmap(lambda e: m.pull(m.momentum(e)))(eye)).T
        np.testing.assert_allclose(pulled @ pulled.T, np.eye(SIZE), atol=1e-6)


# -- leapfrog -------------------------------------------------------------------------------------


@METRICS
def test_leapfrog_is_reversible(metric: Callable) -> None:
    with jax.enable_x64(True):
        m = metric()
        start = begin(m, jnp.array([0.4, -0.3, 0.2]), jnp.array([1.0, 0.5, -1.2]))
        point = start
        for _ in range(20):
            point = leapfrog(density, m, point, jnp.asarray(0.1))
        assert float(jnp.abs(point.theta - start.theta).max()) > 0.5
        for _ in range(20):
            point = leapfrog(density, m, point, jnp.asarray(-0.1))
        for there, back in zip(start, point):
            np.testing.assert_allclose(back, there, atol=1e-12)


@METRICS
def test_leapfrog_keeps_the_energy_to_second_order(metric: Callable) -> None:
    """Over a way of one, half the step has a quarter of the error."""
    with jax.enable_x64(True):
        m = metric()
        start = begin(m, jnp.array([0.4, -0.3, 0.2]), jnp.array([1.0, 0.5, -1.2]))
        step = jax.jit(lambda point, size: leapfrog(density, m, point, size))
        errors = []
        for steps in (32, 64, 128):
            point = start
            for _ in range(steps):
                point = step(point, jnp.asarray(1 / steps))
            energies = [float(energy(p, m.velocity(p.momentum))) for p in (start, point)]
            errors.append(energies[1] - energies[0])
        np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 4, rtol=0.05)


# -- transitions ----------------------------------------------------------------------------------


def nuts_from(metric: AbstractMetric, step: float, depth: int) -> Callable:
    def transition(key: jax.Array, theta: jax.Array) -> jax.Array:
        noise_key, path_key = jax.random.split(key)
        start = begin(metric, theta, jax.random.normal(noise_key, theta.shape))
        return no_u_turn(density, metric, path_key, start, jnp.asarray(step), depth).theta

    return transition


def hmc_from(metric: AbstractMetric, step: float, most: int) -> Callable:
    def transition(key: jax.Array, theta: jax.Array) -> jax.Array:
        noise_key, length_key, path_key = jax.random.split(key, 3)
        start = begin(metric, theta, jax.random.normal(noise_key, theta.shape))
        length = jax.random.randint(length_key, (), 1, most)
        return fixed_length(density, metric, path_key, start, jnp.asarray(step), length).theta

    return transition


@pytest.mark.parametrize(("metric", "step"), [(diagonal, 0.25), (dense, 0.7), (thin, 0.7)])
def test_no_u_turn_leaves_the_target_as_it_is(metric: Callable, step: float) -> None:
    """With small errors, where paths turn back, and with large ones, which must be weighed."""
    check_invariant(nuts_from(metric(), step, 5), seed=1)


@METRICS
def test_fixed_length_leaves_the_target_as_it_is(metric: Callable) -> None:
    check_invariant(hmc_from(metric(), 0.6, 6), seed=2)


def test_of_hmc_the_length_of_a_path_says_nothing_of_its_acceptance() -> None:
    """Where every end is half as probable as the start, half of the paths of any length stay."""
    count, method = 4_000, po.HMC(leapfrogs=3)

    def flat(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.log(0.5), jnp.zeros_like(theta)

    zero = jnp.zeros(SIZE)
    start = Point(zero, jnp.ones(SIZE), zero, jnp.zeros(()))
    go = jax.vmap(lambda key: method._path(flat, diagonal(), key, start, jnp.asarray(0.1)))
    paths = go(jax.random.split(jax.random.key(3), count))
    length = np.asarray(paths.leapfrogs, float)
    assert set(length) == {1, 2, 3, 4, 5}
    moved = np.asarray(paths.theta).any(axis=1)
    assert abs(moved.mean() - 0.5) < z_limit(2) * 0.5 / np.sqrt(count)
    assert abs(np.corrcoef(length, moved)[0, 1]) < z_limit(2) / np.sqrt(count)


@pytest.mark.parametrize("fault", ["unweighted", "wrong metric", "short"])
def test_the_check_of_invariance_notices_faults(fault: str) -> None:
    """A path's end always taken, momenta from N(0, M⁻¹), and draws pulled in by 5 %."""
    metric = diagonal()

    def transition(key: jax.Array, theta: jax.Array) -> jax.Array:
        noise_key, path_key = jax.random.split(key)
        start = begin(metric, theta, jax.random.normal(noise_key, theta.shape))
        if fault == "unweighted":
            for _ in range(3):
                start = leapfrog(density, metric, start, jnp.asarray(0.7))
            return start.theta
        if fault == "wrong metric":
            start = start._replace(momentum=metric.velocity(start.momentum))
        path = no_u_turn(density, metric, path_key, start, jnp.asarray(0.5), 4)
        return path.theta * (0.95 if fault == "short" else 1.0)

    with pytest.raises(AssertionError):
        check_invariant(transition, seed=3)


# -- the tree -------------------------------------------------------------------------------------

FLAT = Diagonal(jnp.ones(2))


def rugged(theta: jax.Array) -> jax.Array:
    """Hills too low to turn a fast point round, yet high enough for errors of energy."""
    return 0.8 * jnp.cos(5 * theta[0]) + 0.5 * jnp.sin(3 * theta[1])


def bowl(theta: jax.Array) -> jax.Array:
    return -0.5 * (theta[0] ** 2 + (theta[1] / 0.5) ** 2)


def on(log_density: Callable, theta: list[float], momentum: list[float]) -> Point:
    at = jnp.array(theta)
    value, gradient = jax.value_and_grad(log_density)(at)
    return Point(at, jnp.array(momentum), gradient, value)


def orbit(log_density: Callable, start: Point, step: float, reach: int) -> dict[int, Point]:
    """The points up to `reach` steps before and after the start."""
    points = {0: start}
    go = jax.jit(lambda point, step: leapfrog(jax.value_and_grad(log_density), FLAT, point, step))
    for sign in (1, -1):
        for n in range(1, reach + 1):
            points[sign * n] = go(points[sign * (n - 1)], jnp.asarray(sign * step))
    return points


class Brute:
    """The law of the tree's draw, by enumeration, with subtrees made recursively."""

    def __init__(self, points: dict[int, Point]) -> None:
        p = {n: np.asarray(point.momentum, float) for n, point in points.items()}
        e = {n: float(energy(point, point.momentum)) for n, point in points.items()}
        self.momentum, self.weight = p, {n: np.exp(e[0] - e[n]) for n in e}

    def turns(self, low: int, high: int) -> bool:
        """The way between two points by the trapezoid rule, against the momenta there."""
        p = self.momentum
        way = sum(p[n] for n in range(low, high + 1)) - 0.5 * (p[low] + p[high])
        return min(p[low] @ way, p[high] @ way) <= 0

    def stands(self, low: int, high: int) -> bool:
        """Whether no balanced subtree turns back."""
        if low == high:
            return True
        middle = (low + high) // 2
        halves = self.stands(low, middle) and self.stands(middle + 1, high)
        return halves and not self.turns(low, high)

    def law(self, depth: int) -> dict[int, float]:
        """The probability of each offset."""
        total: dict[int, float] = dict.fromkeys(self.weight, 0.0)
        for sides in itertools.product((False, True), repeat=depth):
            for n, probability in self.along(sides).items():
                total[n] += probability / 2**depth
        return total

    def along(self, sides: tuple[bool, ...]) -> dict[int, float]:
        """The same if the path is doubled to these sides."""
        low, high, law = 0, 0, {0: 1.0}
        for depth, forth in enumerate(sides):
            new = (high + 1, high + 2**depth) if forth else (low - 2**depth, low - 1)
            if not self.stands(*new):
                break
            weights = {n: self.weight[n] for n in range(new[0], new[1] + 1)}
            ours, theirs = sum(self.weight[n] for n in range(low, high + 1)), sum(weights.values())
            swap = min(1.0, theirs / ours)
            law = {n: (1 - swap) * probability for n, probability in law.items()}
            law.update({n: swap * weight / theirs for n, weight in weights.items()})
            low, high = min(low, new[0]), max(high, new[1])
            if self.turns(low, high):
                break
        return law


@pytest.mark.parametrize(
    ("log_density", "theta", "momentum", "step", "depth"),
    [
        (rugged, [0.2, 0.1], [3.0, 1.0], 0.35, 1),
        (rugged, [0.2, 0.1], [3.0, 1.0], 0.35, 3),
        (bowl, [0.8, 0.3], [1.0, -0.4], 0.8, 3),
        (bowl, [-0.5, 0.2], [0.3, 1.5], 0.5, 4),
        (bowl, [1.5, 0.0], [0.1, 0.2], 0.2, 4),
    ],
)
def test_the_tree_draws_as_brute_force_says(
    log_density: Callable, theta: list[float], momentum: list[float], step: float, depth: int
) -> None:
    start = on(log_density, theta, momentum)
    points = orbit(log_density, start, step, 2**depth - 1)
    law = Brute(points).law(depth)
    count = 20_000
    paths = many_paths(log_density, start, step, depth, count)
    numbers = np.array(list(points))
    places = np.stack([np.asarray(points[n].theta) for n in numbers])
    distance = np.abs(np.asarray(paths.theta)[:, None] - places).max(axis=2)
    assert distance.min(axis=1).max() < 1e-4  # every draw is a point of the orbit
    counts = np.bincount(distance.argmin(axis=1), minlength=len(numbers))
    expected = count * np.array([law[n] for n in numbers])
    assert (counts[expected == 0] == 0).all()
    z = (counts - expected) / np.sqrt(np.maximum(expected * (1 - expected / count), 1.0))
    assert np.abs(z).max() < z_limit(len(numbers)), dict(zip(numbers, z))


def many_paths(log_density: Callable, start: Point, step: float, depth: int, count: int) -> Path:
    def path(key: jax.Array) -> Path:
        return no_u_turn(
            jax.value_and_grad(log_density), FLAT, key, start, jnp.asarray(step), depth
        )

    return jax.jit(jax.vmap(path))(jax.random.split(jax.random.key(0), count))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_path_that_never_turns_has_all_its_leapfrogs(depth: int) -> None:
    paths = many_paths(rugged, on(rugged, [0.2, 0.1], [3.0, 1.0]), 0.1, depth, 8)
    assert set(np.asarray(paths.leapfrogs)) == {2**depth - 1}
    assert set(np.asarray(paths.depth)) == {depth}
    assert not np.asarray(paths.divergent).any()


def test_a_draw_comes_with_its_own_gradient_and_log_joint() -> None:
    paths = many_paths(bowl, on(bowl, [0.8, 0.3], [1.0, -0.4]), 0.5, 4, 200)
    value, gradient = jax.vmap(jax.value_and_grad(bowl))(paths.theta)
    np.testing.assert_allclose(paths.log_joint, value, atol=1e-6)
    np.testing.assert_allclose(paths.gradient, gradient, atol=1e-6)
    assert ((np.asarray(paths.acceptance) > 0) & (np.asarray(paths.acceptance) <= 1)).all()


@pytest.mark.parametrize("bottom", [-jnp.inf, -1e6, jnp.nan])
def test_a_cliff_is_a_divergence_and_nobody_falls(bottom: float) -> None:
    def cliff(theta: jax.Array) -> jax.Array:
        return jnp.where(theta[0] > 1, bottom, 0.0 * jnp.sum(theta))

    paths = many_paths(cliff, on(cliff, [0.0, 0.0], [1.0, 0.0]), 0.3, 6, 500)
    # All but those that were doubled to the other side until they were at their longest.
    assert np.asarray(paths.divergent).mean() > 0.9
    assert (np.asarray(paths.theta)[:, 0] <= 1).all()
    end = fixed_length(
        jax.value_and_grad(cliff),
        FLAT,
        jax.random.key(0),
        on(cliff, [0.0, 0.0], [1.0, 0.0]),
        jnp.asarray(0.3),
        jnp.asarray(5),
    )
    assert bool(end.divergent)
    assert float(end.theta[0]) == 0
