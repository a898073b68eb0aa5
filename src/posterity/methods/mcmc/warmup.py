"""Warm-up of Hamiltonian samplers: step size and metric, in Stan's windows."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.methods.mcmc import estimates
from posterity.methods.mcmc.estimates import RANK
from posterity.methods.mcmc.mass_matrix import AbstractMetric, Dense, Diagonal, LowRank
from posterity.methods.mcmc.windows import stan

METRICS = ("diagonal", "dense", "low-rank")
RECENT = 256  # draws of a window that a low-rank metric is made from, at most


class Warming(NamedTuple):
    """What the warm-up knows.

    Attributes:
        step_size: state of dual averaging. seen: what the window has seen. metric: the last one.
    """

    step_size: Any
    seen: Any
    metric: AbstractMetric


class Recent(NamedTuple):
    """The last draws of a window, in a ring, and how many the window has had.

    Attributes:
        places: θ and its gradient (RECENT, 2, D). seen: how many.
    """

    places: jax.Array
    seen: jax.Array


@dataclasses.dataclass(frozen=True)
class Warmup:
    """Dual averaging of the step size; a metric from windows of draws that double in length.

    Args:
        steps: length of the warm-up. acceptance: what the step size is tuned for. metric: one of
            `METRICS`.

    Stan's schedule: at either end the step size alone is tuned; between them, at the end of each
    window, the metric is estimated from the window's draws and the step size starts again. The last
    part is a quarter of the warm-up and not Stan's 50 steps, after which the average still
    remembers the search and the steps are shorter than was asked for.

    *Diagonal* is the window's variances. *Dense* and *low-rank* are made of its draws and of the
    gradients there; see `estimates`. *Low-rank* is for nets with thousands of weights, of which a
    dense metric has no hope.

    Dual averaging and the moments are BlackJAX's.
    """

    steps: int
    acceptance: float
    metric: str = "diagonal"

    def init(self, theta: jax.Array) -> Warming:
        """The identity metric and a step size of one to begin with."""
        one = jnp.ones((), theta.dtype)
        return Warming(_arrays(self._dual()[0](one)), self._none(theta), self._identity(theta))

    def size(self, state: Warming, at: jax.Array) -> jax.Array:
        """The step size of step number `at`: tuned so far, or the average once warm."""
        dual = state.step_size
        return jnp.exp(jnp.where(at < self.steps, dual.log_step_size, dual.log_step_size_avg))

    def update(
        self, state: Warming, at: jax.Array, place: jax.Array, acceptance: jax.Array
    ) -> Warming:
        """After step number `at`, at a `place`: θ and its gradient (2, D); nothing once warm."""
        return jax.lax.cond(
            at < self.steps,
            lambda: _like(state, self._learn(state, at, place, acceptance)),
            lambda: state,
        )

    def _learn(
        self, state: Warming, at: jax.Array, place: jax.Array, acceptance: jax.Array
    ) -> Warming:
        slow, ends = stan(at, self.steps)
        dual = self._dual()
        tuned = dual[1](state.step_size, acceptance)
        seen = jax.lax.cond(
            slow, lambda: _like(state.seen, self._see(state.seen, place)), lambda: state.seen
        )

        def close() -> Warming:
            again = dual[0](dual[2](tuned))
            metric = known(self._estimate(seen), state.metric)
            return _like(state, Warming(again, self._none(place[0]), metric))

        go_on = Warming(tuned, seen, state.metric)
        return jax.lax.cond(ends, close, lambda: _like(state, go_on))

    def _dual(self) -> Any:
        from blackjax.adaptation.step_size import dual_averaging_adaptation

        return dual_averaging_adaptation(self.acceptance)

    def _moments(self) -> Any:
        from blackjax.adaptation.mass_matrix import welford_algorithm

        return welford_algorithm(self.metric == "diagonal")

    def _none(self, theta: jax.Array) -> Any:
        if self.metric == "low-rank":
            places = jnp.zeros((RECENT, 2, *theta.shape), theta.dtype)
            return Recent(places, jnp.zeros((), jnp.int32))
        one = _arrays(self._moments()[0](theta.shape[0]))
        if self.metric == "diagonal":
            return one
        return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), one)

    def _see(self, seen: Any, place: jax.Array) -> Any:
        if self.metric == "low-rank":
            return Recent(seen.places.at[seen.seen % RECENT].set(place), seen.seen + 1)
        see = self._moments()[1]
        return see(seen, place[0]) if self.metric == "diagonal" else jax.vmap(see)(seen, place)

    def _identity(self, theta: jax.Array) -> AbstractMetric:
        size, one = theta.shape[0], jnp.ones_like(theta)
        if self.metric == "dense":
            return Dense(jnp.eye(size, dtype=theta.dtype), jnp.eye(size, dtype=theta.dtype))
        if self.metric == "low-rank":
            rank = min(RANK, size)
            return LowRank(one, jnp.zeros((size, rank), theta.dtype), jnp.ones(rank, theta.dtype))
        return Diagonal(one)

    def _estimate(self, seen: Any) -> AbstractMetric:
        if self.metric == "low-rank":
            count = jnp.minimum(seen.seen, RECENT)
            return estimates.low_rank(seen.places[:, 0], seen.places[:, 1], count)
        if self.metric == "diagonal":
            return Diagonal(self._moments()[2](seen)[0])
        moments, count, _ = jax.vmap(self._moments()[2])(seen)
        return estimates.dense(moments, count[0])


def known(new: AbstractMetric, old: AbstractMetric) -> AbstractMetric:
    """The new metric, or the old one where a window saw no change, or what is not finite."""
    parts = jax.tree.leaves(new)
    fine = jnp.all(jnp.stack([jnp.all(jnp.isfinite(part)) for part in parts]))
    fine &= jnp.all(new.spread > 0)
    return jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, old)


def _arrays(tree: Any) -> Any:
    """BlackJAX's states begin with Python numbers, which are of another type one step later."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), tree)


def _like(old: Any, new: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.asarray(b, a.dtype), old, new)
