"""Paths of Hamiltonian dynamics: one leapfrog step, and the no-U-turn tree of them.

Written for compiled loops on a CPU, where each small operation costs as much as the arithmetic in
it: two nested loops, few and packed values carried through them, one table of random numbers per
path. `python benchmarks/leapfrogs.py` compares it with BlackJAX's tree and with bare gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.methods.mcmc.mass_matrix import AbstractMetric

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

    The multinomial version with a bias to the newer half (Betancourt 2017, appendix A.3.2), made
    without recursion: within a doubling, the leaf number n closes the balanced subtrees whose
    first leaves are kept in slots by the number of ones in their binary numbers (Phan, Pradhan &
    Jankowiak 2019). All slots are compared at once, which costs less than a loop over some.

    Args:
        density: θ (D,) → log joint () and gradient (D,). metric: M⁻¹. key: of this path. start:
            with its momentum drawn. step: ε > 0. max_depth: doublings at most.

    Returns:
        The path; its `theta` is the point drawn.
    """
    size, dtype = start.theta.shape[0], start.theta.dtype
    speed = metric.velocity(start.momentum)
    origin = energy(start, speed)
    leaf_key, tree_key = jax.random.split(key)
    tree = _Tree(
        density,
        metric,
        origin,
        step,
        max_depth,
        thresholds=jax.random.uniform(leaf_key, (2**max_depth,), dtype),
        draws=jax.random.uniform(tree_key, (2, max_depth), dtype),
    )
    zero, none, no = jnp.zeros((), dtype), jnp.zeros((), jnp.int32), jnp.zeros((), bool)
    begin = _Whole(
        ends=jax.tree.map(lambda value: jnp.stack([value, value]), start),
        drawn=_packed(start, origin),
        weight=zero,
        way=speed,
        saved=jnp.zeros((max_depth + 1, 3, size), dtype),
        depth=none,
        leaves=none,
        accepted=zero,
        stop=no,
        divergent=no,
    )
    whole = jax.lax.while_loop(
        lambda whole: (whole.depth < max_depth) & ~whole.stop, tree.double, begin
    )
    return Path(
        theta=whole.drawn[:size],
        gradient=whole.drawn[size : 2 * size],
        log_joint=whole.drawn[2 * size],
        energy=whole.drawn[2 * size + 1],
        depth=whole.depth,
        leapfrogs=whole.leaves,
        acceptance=whole.accepted / whole.leaves,
        divergent=whole.divergent,
    )


class _Half(NamedTuple):
    """The half of a path that is being added, leaf by leaf.

    Attributes:
        point: the last leaf. drawn: a point of the half, packed. sums: the log of the sum of
        weights, and the sum of acceptances. way: sum of the velocities, which stands for the way.
        saved: momentum, velocity and way of the first leaves of open subtrees; the last slot is
        for what is not kept. n: leaves so far. first: how many the path had before. step: ± ε.
        stop: whether the path ends here. divergent: whether because the energy ran away.
    """

    point: Point
    drawn: jax.Array
    sums: jax.Array
    way: jax.Array
    saved: jax.Array
    n: jax.Array
    first: jax.Array
    step: jax.Array
    stop: jax.Array
    divergent: jax.Array


class _Whole(NamedTuple):
    """A path as far as it has been doubled; `ends` has the backward end first, then the forward."""

    ends: Point
    drawn: jax.Array
    weight: jax.Array
    way: jax.Array
    saved: jax.Array
    depth: jax.Array
    leaves: jax.Array
    accepted: jax.Array
    stop: jax.Array
    divergent: jax.Array


class _Tree(NamedTuple):
    """What all doublings of a path have in common; `thresholds` and `draws` are uniform."""

    density: Density
    metric: AbstractMetric
    origin: jax.Array
    step: jax.Array
    max_depth: int
    thresholds: jax.Array
    draws: jax.Array

    def double(self, whole: _Whole) -> _Whole:
        """Add as many leaves as there are, on a random side."""
        sides, swaps = self.draws
        forth = sides[whole.depth] < 0.5
        size, dtype = whole.way.shape[0], whole.way.dtype
        no = jnp.zeros((), bool)
        begin = _Half(
            point=jax.tree.map(lambda end: jnp.where(forth, end[1], end[0]), whole.ends),
            drawn=whole.drawn,
            sums=jnp.array([-jnp.inf, 0.0], dtype),
            way=jnp.zeros(size, dtype),
            saved=whole.saved,
            n=jnp.zeros((), jnp.int32),
            first=whole.leaves,
            step=jnp.where(forth, self.step, -self.step),
            stop=no,
            divergent=no,
        )
        half = jax.lax.while_loop(
            lambda half: (half.n < (1 << whole.depth)) & ~half.stop, self.leaf, begin
        )
        swap = ~half.stop & (jnp.log(swaps[whole.depth]) < half.sums[0] - whole.weight)
        way = whole.way + half.way
        side = jnp.arange(2) == forth
        ends = jax.tree.map(
            lambda old, new: jnp.where(side.reshape((2,) + (1,) * new.ndim), new, old),
            whole.ends,
            half.point,
        )
        left, right = ends.momentum
        turned = _back(left, right, way - 0.5 * self.metric.velocity(left + right))
        return _Whole(
            ends=ends,
            drawn=jnp.where(swap, half.drawn, whole.drawn),
            weight=jnp.logaddexp(whole.weight, half.sums[0]),
            way=way,
            saved=half.saved,
            depth=whole.depth + 1,
            leaves=whole.leaves + half.n,
            accepted=whole.accepted + half.sums[1],
            stop=half.stop | turned,
            divergent=half.divergent,
        )

    def leaf(self, half: _Half) -> _Half:
        """One leapfrog step more; ends the path where a subtree that it closes turns back."""
        new = leapfrog(self.density, self.metric, half.point, half.step)
        velocity = self.metric.velocity(new.momentum)
        at = energy(new, velocity)
        change = lost(self.origin, at)
        divergent = -change > DIVERGENT
        weight = jnp.logaddexp(half.sums[0], change)
        take = jnp.log(self.thresholds[half.first + half.n]) < change - weight
        way = half.way + velocity
        closed, slot = self._subtrees(half.n)
        opened, its_velocity, before = half.saved[:-1, 0], half.saved[:-1, 1], half.saved[:-1, 2]
        since = way - before + 0.5 * (its_velocity - velocity)
        back = jnp.any(_back(opened, new.momentum, since) & closed)
        return _Half(
            point=new,
            drawn=jnp.where(take, _packed(new, at), half.drawn),
            sums=jnp.stack([weight, half.sums[1] + jnp.minimum(1.0, jnp.exp(change))]),
            way=way,
            saved=jax.lax.dynamic_update_index_in_dim(
                half.saved, jnp.stack([new.momentum, velocity, way]), slot, 0
            ),
            n=half.n + 1,
            first=half.first,
            step=half.step,
            stop=divergent | back,
            divergent=divergent,
        )

    def _subtrees(self, n: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Which slots hold subtrees that leaf n closes, and the slot for one that it opens.

        An even leaf opens a subtree; an odd one closes as many as its number ends in ones.
        """
        even = (n & 1) == 0
        last = jax.lax.population_count(n >> 1)
        closing = jax.lax.population_count((n ^ (n + 1)) >> 1)
        slots = jnp.arange(self.max_depth)
        closed = (slots > last - closing) & (slots <= last) & ~even
        return closed, jnp.where(even, last, self.max_depth)


def fixed_length(
    density: Density,
    metric: AbstractMetric,
    key: jax.Array,
    start: Point,
    step: jax.Array,
    leapfrogs: jax.Array,
) -> Path:
    """Follow a path for so many steps, and accept its end or stay (Duane et al. 1987).

    Args and returns as `no_u_turn`; leapfrogs: how many steps, at least 1.
    """
    origin = energy(start, metric.velocity(start.momentum))
    end = jax.lax.fori_loop(
        0, leapfrogs, lambda _, point: leapfrog(density, metric, point, step), start
    )
    at = energy(end, metric.velocity(end.momentum))
    uniform = jax.random.uniform(key, (), start.theta.dtype)
    return ended(start, end, lost(origin, at), uniform, leapfrogs, (origin, at))


def ended(
    start: Any,
    end: Any,
    change: jax.Array,
    uniform: jax.Array,
    leapfrogs: jax.Array,
    energies: tuple[jax.Array, jax.Array],
) -> Path:
    """A path of which the end is accepted with probability min(1, e^change), or the start kept.

    Args:
        start, end: with fields `theta`, `gradient` and `log_joint`. change: log weight of the end
            over the start. uniform: on (0, 1). leapfrogs: gradients taken. energies: at the start
            and at the end, to report.
    """
    accept = jnp.log(uniform) < change

    def chosen(at_end: jax.Array, at_start: jax.Array) -> jax.Array:
        return jnp.where(accept, at_end, at_start)

    return Path(
        theta=chosen(end.theta, start.theta),
        gradient=chosen(end.gradient, start.gradient),
        log_joint=chosen(end.log_joint, start.log_joint),
        energy=chosen(energies[1], energies[0]),
        depth=jnp.zeros((), jnp.int32),
        leapfrogs=leapfrogs,
        acceptance=jnp.minimum(1.0, jnp.exp(change)),
        divergent=-change > DIVERGENT,
    )


def _packed(point: Point, at: jax.Array) -> jax.Array:
    """What is kept of a drawn point: θ, gradient, log joint, energy; one array is one select."""
    numbers = jnp.stack([point.log_joint, at])
    return jnp.concatenate([point.theta, point.gradient, numbers])


def _back(first: jax.Array, last: jax.Array, way: jax.Array) -> jax.Array:
    """Whether a path turns back: its ends' momenta against the way between them (..., D)."""
    return jnp.minimum(jnp.sum(first * way, axis=-1), jnp.sum(last * way, axis=-1)) <= 0
