"""Warm-up of Hamiltonian samplers: step size and metric, in Stan's windows."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.methods.mcmc.mass_matrix import AbstractMetric, Dense, Diagonal, LowRank
from posterity.methods.mcmc.windows import stan

METRICS = ("diagonal", "dense", "low-rank")
RANK = 16  # directions of a low-rank metric, at most
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
    """The last draws of a window (RECENT, D), in a ring, and how many the window has had."""

    theta: jax.Array
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

    *Diagonal* and *dense* are the window's variances or covariance, shrunk to 1e-3 by 5 draws'
    worth (Stan). *Low-rank* scales by the sds and keeps the correlation's leading eigenvalues as
    far as they stick out of what independent draws would show, (1 + √(D / n))² (Marchenko &
    Pastur 1967): for nets with thousands of weights, of which a dense metric has no hope.

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
        self, state: Warming, at: jax.Array, theta: jax.Array, acceptance: jax.Array
    ) -> Warming:
        """After step number `at`; nothing once warm."""
        return jax.lax.cond(
            at < self.steps,
            lambda: _like(state, self._learn(state, at, theta, acceptance)),
            lambda: state,
        )

    def _learn(
        self, state: Warming, at: jax.Array, theta: jax.Array, acceptance: jax.Array
    ) -> Warming:
        slow, ends = stan(at, self.steps)
        dual = self._dual()
        tuned = dual[1](state.step_size, acceptance)
        seen = jax.lax.cond(
            slow, lambda: _like(state.seen, self._see(state.seen, theta)), lambda: state.seen
        )

        def close() -> Warming:
            again = dual[0](dual[2](tuned))
            return _like(state, Warming(again, self._none(theta), self._estimate(seen)))

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
            return Recent(jnp.zeros((RECENT, *theta.shape), theta.dtype), jnp.zeros((), jnp.int32))
        return _arrays(self._moments()[0](theta.shape[0]))

    def _see(self, seen: Any, theta: jax.Array) -> Any:
        if self.metric == "low-rank":
            return Recent(seen.theta.at[seen.seen % RECENT].set(theta), seen.seen + 1)
        return self._moments()[1](seen, theta)

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
            return low_rank(seen.theta, jnp.minimum(seen.seen, RECENT))
        moments, count, _ = self._moments()[2](seen)
        weight = count / (count + 5.0)
        floor = 1e-3 * (5.0 / (count + 5.0))
        if self.metric == "diagonal":
            return Diagonal(weight * moments + floor)
        cov = weight * moments + floor * jnp.eye(moments.shape[0], dtype=moments.dtype)
        return Dense(cov, jnp.linalg.cholesky(cov))


def low_rank(theta: jax.Array, count: jax.Array) -> LowRank:
    """A metric from the first `count` of the draws `theta` (draw, D)."""
    size = theta.shape[1]
    valid = (jnp.arange(theta.shape[0]) < count)[:, None]
    mean = jnp.sum(theta, axis=0, where=valid) / count
    off = jnp.where(valid, theta - mean, 0.0)
    var = jnp.sum(off**2, axis=0) / jnp.maximum(count - 1, 1)
    weight = count / (count + 5.0)
    sd = jnp.sqrt(weight * var + 1e-3 * (1 - weight))
    _, singular, rows = jnp.linalg.svd(off / sd, full_matrices=False)
    rank = min(RANK, size)
    values = singular[:rank] ** 2 / jnp.maximum(count - 1, 1)
    edge = (1 + jnp.sqrt(size / count)) ** 2
    return LowRank(sd, rows[:rank].T, jnp.where(values > edge, weight * values, 1.0))


def _arrays(tree: Any) -> Any:
    """BlackJAX's states begin with Python numbers, which are of another type one step later."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), tree)


def _like(old: Any, new: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.asarray(b, a.dtype), old, new)
