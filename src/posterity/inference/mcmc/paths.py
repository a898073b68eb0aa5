"""Paths of Hamiltonian dynamics: one leapfrog step, and the no-U-turn tree of them.

Written for compiled loops on a CPU, where each small operation costs as much as the arithmetic in
it: two nested loops, few and packed values carried through them, one table of random numbers per
path. `python benchmarks/leapfrogs.py` compares it with BlackJAX's tree and with bare gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from posterity.inference.mcmc.metrics import AbstractMetric

Density = Callable[[jax.Array], tuple[jax.Array, jax.Array]]
DIVERGENT = 1_000.0  # nats of energy lost or won beyond which a path is given up, as in Stan


class Point(NamedTuple):
    """A place on a path: θ, momentum, and the log joint with its gradient there."""

    theta: jax.Array
    momentum: jax.Array
    gradient: jax.Array
    log_joint: jax.Array


class Path(NamedTuple):
    """What a path ends with.

    Attributes:
        theta, gradient, log_joint: the state drawn from it. energy: there.
        depth: how often the path was doubled. leapfrogs: its steps. acceptance: mean probability
            of acceptance over them. divergent: whether an energy ran away.
    """

    theta: jax.Array
    gradient: jax.Array
    log_joint: jax.Array
    energy: jax.Array
    depth: jax.Array
    leapfrogs: jax.Array
    acceptance: jax.Array
    divergent: jax.Array


def energy(point: Point, velocity: jax.Array) -> jax.Array:
    """½ pᵀM⁻¹p − log joint."""
    return 0.5 * jnp.sum(point.momentum * velocity) - point.log_joint


def leapfrog(density: Density, metric: AbstractMetric, point: Point, step: jax.Array) -> Point:
    """Half a step of momentum, a step of θ, half a step of momentum."""
    half = point.momentum + 0.5 * step * point.gradient
    theta = point.theta + step * metric.velocity(half)
    log_joint, gradient = density(theta)
    return Point(theta, half + 0.5 * step * gradient, gradient, log_joint)


def lost(start: jax.Array, now: jax.Array) -> jax.Array:
    """Energy at the start less that now: the log weight of a point; −∞ where it is not finite."""
    change = start - now
    return jnp.where(jnp.isnan(change), -jnp.inf, change)


def no_u_turn(
    density: Density,
    metric: AbstractMetric,
    key: jax.Array,
    start: Point,
    step: jax.Array,
    max_depth: int,
) -> Path:
    """Double a path until it turns back, and draw a point of it.

    Args:
        density: θ → log joint and gradient. metric: M⁻¹. key: of this path. start: with its
            momentum drawn. step: ε. max_depth: doublings at most.

    The multinomial version with a bias to the newer half (Betancourt 2017, appendix A.3.2), made
    without recursion: within a doubling, the leaf number n closes the balanced subtrees whose
    first leaves are kept in slots by the number of ones in their binary numbers (Phan, Pradhan &
    Jankowiak 2019). All slots are compared at once, which costs less than a loop over some.
    """
    size, dtype = start.theta.shape[0], start.theta.dtype
    speed = metric.velocity(start.momentum)
    origin = energy(start, speed)
    leaf_key, tree_key = jax.random.split(key)
    thresholds = jax.random.uniform(leaf_key, (2**max_depth,), dtype)
    sides, swaps = jax.random.uniform(tree_key, (2, max_depth), dtype)
    slots = jnp.arange(max_depth)

    def packed(point: Point, at: jax.Array) -> jax.Array:
        numbers = jnp.stack([point.log_joint, at])
        return jnp.concatenate([point.theta, point.gradient, numbers])

    def leaf(carry: tuple) -> tuple:
        point, drawn, sums, way, saved, n, first, step, _, _ = carry
        new = leapfrog(density, metric, point, step)
        velocity = metric.velocity(new.momentum)
        at = energy(new, velocity)
        change = lost(origin, at)
        divergent = -change > DIVERGENT
        weight = jnp.logaddexp(sums[0], change)
        take = jnp.log(thresholds[first + n]) < change - weight
        drawn = jnp.where(take, packed(new, at), drawn)
        sums = jnp.stack([weight, sums[1] + jnp.minimum(1.0, jnp.exp(change))])
        way = way + velocity
        # Leaf n opens a subtree if it is even; an odd one closes as many as it ends in ones.
        last = jax.lax.population_count(n >> 1)
        closing = jax.lax.population_count((n ^ (n + 1)) >> 1)
        opened, its_velocity, before = saved[:-1, 0], saved[:-1, 1], saved[:-1, 2]
        since = way - before + 0.5 * (its_velocity - velocity)
        closed = (slots > last - closing) & (slots <= last) & ((n & 1) == 1)
        slot = jnp.where((n & 1) == 0, last, max_depth)
        saved = jax.lax.dynamic_update_index_in_dim(
            saved, jnp.stack([new.momentum, velocity, way]), slot, 0
        )
        stop = divergent | jnp.any(_back(opened, new.momentum, since) & closed)
        return new, drawn, sums, way, saved, n + 1, first, step, stop, divergent

    def double(carry: tuple) -> tuple:
        ends, drawn, weight, way, saved, depth, leaves, accepted, _, _ = carry
        forth = sides[depth] < 0.5
        begin = jax.tree.map(lambda end: jnp.where(forth, end[1], end[0]), ends)
        nothing = jnp.array([-jnp.inf, 0.0], dtype)
        zero = jnp.zeros((), jnp.int32)
        no = jnp.zeros((), bool)
        within = (begin, drawn, nothing, jnp.zeros(size, dtype), saved, zero, leaves)
        end, other, sums, added, saved, n, _, _, stop, divergent = jax.lax.while_loop(
            lambda carry: (carry[5] < (1 << depth)) & ~carry[8],
            leaf,
            (*within, jnp.where(forth, step, -step), no, no),
        )
        swap = ~stop & (jnp.log(swaps[depth]) < sums[0] - weight)
        drawn = jnp.where(swap, other, drawn)
        way = way + added
        side = jnp.arange(2) == forth
        ends = jax.tree.map(
            lambda old, new: jnp.where(side.reshape((2,) + (1,) * new.ndim), new, old), ends, end
        )
        left, right = ends.momentum
        whole = way - 0.5 * metric.velocity(left + right)
        stop = stop | _back(left, right, whole)
        weight = jnp.logaddexp(weight, sums[0])
        accepted = accepted + sums[1]
        return ends, drawn, weight, way, saved, depth + 1, leaves + n, accepted, stop, divergent

    zero, none, no = jnp.zeros((), dtype), jnp.zeros((), jnp.int32), jnp.zeros((), bool)
    saved = jnp.zeros((max_depth + 1, 3, size), dtype)  # the last slot is for what is not kept
    ends = jax.tree.map(lambda value: jnp.stack([value, value]), start)
    begin = (ends, packed(start, origin), zero, speed, saved, none, none, zero, no, no)
    _, drawn, _, _, _, depth, leaves, accepted, _, divergent = jax.lax.while_loop(
        lambda carry: (carry[5] < max_depth) & ~carry[8], double, begin
    )
    return Path(
        theta=drawn[:size],
        gradient=drawn[size : 2 * size],
        log_joint=drawn[2 * size],
        energy=drawn[2 * size + 1],
        depth=depth,
        leapfrogs=leaves,
        acceptance=accepted / leaves,
        divergent=divergent,
    )


def fixed_length(
    density: Density,
    metric: AbstractMetric,
    key: jax.Array,
    start: Point,
    step: jax.Array,
    leapfrogs: jax.Array,
) -> Path:
    """Follow a path for so many steps, and accept its end or stay (Duane et al. 1987)."""
    origin = energy(start, metric.velocity(start.momentum))
    end = jax.lax.fori_loop(
        0, leapfrogs, lambda _, point: leapfrog(density, metric, point, step), start
    )
    at = energy(end, metric.velocity(end.momentum))
    change = lost(origin, at)
    accept = jnp.log(jax.random.uniform(key, (), start.theta.dtype)) < change
    new = jax.tree.map(lambda a, b: jnp.where(accept, a, b), end, start)
    return Path(
        theta=new.theta,
        gradient=new.gradient,
        log_joint=new.log_joint,
        energy=jnp.where(accept, at, origin),
        depth=jnp.zeros((), jnp.int32),
        leapfrogs=leapfrogs,
        acceptance=jnp.minimum(1.0, jnp.exp(change)),
        divergent=-change > DIVERGENT,
    )


def _back(first: jax.Array, last: jax.Array, way: jax.Array) -> jax.Array:
    """Whether a path turns back: its ends' momenta against the way between them (..., D)."""
    return jnp.minimum(jnp.sum(first * way, axis=-1), jnp.sum(last * way, axis=-1)) <= 0
