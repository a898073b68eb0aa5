"""Tuning of microcanonical Langevin: step size, metric and length, within the warm-up's steps."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.methods.mcmc import estimates
from posterity.methods.mcmc.mass_matrix import AbstractMetric, Dense, Diagonal
from posterity.methods.mcmc.warmup import known
from posterity.methods.mcmc.windows import ends_window

# The parts of a warm-up end at these shares of it: the step size and the metric, in windows that
# double in length; the step size again, in the last metric; the length, from how long θ remembers
# where it was.
WINDOWS, AGAIN = 0.6, 0.8
FIRST = 0.02  # where the first window begins, and its length, as shares
LEAST = 10  # steps of the first window
DENSE = 128  # parameters up to which the metric has all correlations
DENSE_OF_NET = 32  # of a net with hidden units, whose posterior has modes that differ in them
RATE = 0.03  # how fast log ε follows the errors
WORST = 20.0  # an error counts as at most so many times the aim: one shortens ε to about a half
ROUNDING = 4.0  # relative errors of a log joint, in units of its precision
LENGTH = 0.4  # L over the way that θ takes to forget
BATCHES = 8  # batch means of which the time to forget is estimated


class Moments(NamedTuple):
    """Running count, mean and sum of squared deviations (Welford 1962)."""

    seen: jax.Array
    mean: jax.Array
    squares: jax.Array


class Tuned(NamedTuple):
    """What the warm-up has learned.

    Attributes:
        step_size: ε. length: L. metric: whose factor makes θ round.
        average: sums of log ε and of ones, over the part whose ε stays.
        moments: of θ (1, D), in the present window or in the last part; where the metric is dense,
            of θ and of its gradient (2, D), with products of their elements.
        batches: means of θ over pieces of the last part.
    """

    step_size: jax.Array
    length: jax.Array
    metric: AbstractMetric
    average: jax.Array
    moments: Moments
    batches: jax.Array


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The tuning of Robnik et al. 2023, appendix, and of BlackJAX, one step at a time.

    ε follows log ε ← log ε + 0.03 (1 − min(error / aim, 20)), whose rest is where errors have the
    mean that is aimed for; the last ε is an average. BlackJAX's rule weighs errors by how near to
    the aim they are, which on nets, where errors have heavy tails, makes ε longer.

    The metric is theirs once, of the sds; here it is renewed at the end of every window, so that θ
    in units far from 1 is found at all. With few parameters it is the dense one of `estimates`.

    Args:
        steps: length of the warm-up. energy_var: aim for the variance of the energy error, per
            dimension.
    """

    steps: int
    energy_var: float

    def init(self, theta: jax.Array, dense: bool) -> Tuned:
        """The identity metric, with or without correlations, and steps of a quarter of its size."""
        size = jnp.asarray(theta.shape[0], theta.dtype)
        eye = jnp.eye(theta.shape[0], dtype=theta.dtype)
        return Tuned(
            step_size=jnp.sqrt(size) / 4,
            length=jnp.sqrt(size),
            metric=Dense(eye, eye) if dense else Diagonal(jnp.ones_like(theta)),
            average=jnp.zeros(2, theta.dtype),
            moments=_none(jnp.stack([theta, theta] if dense else [theta]), dense),
            batches=jnp.zeros((BATCHES, *theta.shape), theta.dtype),
        )

    def update(
        self,
        tuned: Tuned,
        at: jax.Array,
        place: Any,
        change: jax.Array,
        log_joint: jax.Array,
        fine: jax.Array,
    ) -> Tuned:
        """After step number `at`; nothing once warm.

        Args:
            place: where the step began: θ and its gradient. change: of the energy. log_joint: where
                the step began. fine: whether all was finite.
        """

        def learn() -> Tuned:
            error = self._error(change, log_joint, place[0].shape[0])
            parts = place if isinstance(tuned.metric, Dense) else place[:1]
            return self._learn(tuned, at, jnp.stack([*parts]), error, fine)

        return jax.lax.cond(at < self.steps, learn, lambda: tuned)

    def _error(self, change: jax.Array, log_joint: jax.Array, size: int) -> jax.Array:
        """The square of an energy's change over its aim.

        What the precision of a log joint hides is no error of the step: far from the posterior,
        where its sum of large terms is coarse, ε would else shrink to nothing.
        """
        coarse = ROUNDING * jnp.finfo(change.dtype).eps * log_joint
        return change**2 / (size * self.energy_var + coarse**2)

    def _learn(
        self, tuned: Tuned, at: jax.Array, place: jax.Array, error: jax.Array, fine: jax.Array
    ) -> Tuned:
        theta = place[0]
        begin, last, again = (
            jnp.round(share * jnp.asarray(self.steps, theta.dtype)).astype(jnp.int32)
            for share in (FIRST, WINDOWS, AGAIN)
        )
        fixed = at >= again
        worst = jnp.where(fine, jnp.minimum(error, WORST), WORST)
        stepped = tuned.step_size * jnp.exp(RATE * (1 - worst))
        tuned = tuned._replace(step_size=jnp.where(fixed, tuned.step_size, stepped))
        # Large errors are rare, so that any one ε is a guess; the second half of its way decides.
        late = (at >= (last + again) // 2) & ~fixed
        logs = jnp.stack([jnp.log(tuned.step_size), jnp.ones_like(tuned.step_size)])
        average = tuned.average + jnp.where(late, logs, 0.0)
        settled = jnp.where(at == again - 1, jnp.exp(average[0] / average[1]), tuned.step_size)
        tuned = tuned._replace(step_size=settled, average=average)
        seen = ((at >= begin) & (at < last)) | fixed
        tuned = tuned._replace(moments=_seen(tuned.moments, place, seen & fine))
        ends = ends_window(at, begin, jnp.maximum(begin, LEAST), last) | (at == last - 1)
        tuned = jax.lax.cond(ends, lambda: _scaled(tuned), lambda: tuned)
        per = jnp.maximum(1, (self.steps - again) // BATCHES)
        number = jnp.clip((at - again) // per, 0, BATCHES - 1)
        part = jnp.where(fixed & ((at - again) < per * BATCHES), theta / per, 0.0)
        tuned = tuned._replace(batches=tuned.batches.at[number].add(part))
        return jax.lax.cond(at == self.steps - 1, lambda: _lengthened(tuned, per), lambda: tuned)


def _none(place: jax.Array, dense: bool) -> Moments:
    """Nothing seen of places (1, D), or (2, D) with the gradient."""
    zero = jnp.zeros_like(place)
    squares = jnp.zeros((*place.shape, place.shape[1]), place.dtype) if dense else zero
    return Moments(jnp.zeros((), place.dtype), zero, squares)


def _seen(moments: Moments, place: jax.Array, take: jax.Array) -> Moments:
    count = moments.seen + 1
    off = place - moments.mean
    mean = moments.mean + off / count
    now = place - mean
    more = off[:, :, None] * now[:, None, :] if moments.squares.ndim > 2 else off * now
    new = Moments(count, mean, moments.squares + more)
    return jax.tree.map(lambda a, b: jnp.where(take, a, b), new, moments)


def _scaled(tuned: Tuned) -> Tuned:
    """The metric from the moments."""
    count, _, squares = tuned.moments
    made = squares / jnp.maximum(count - 1, 1)
    new = estimates.dense(made, count) if made.ndim > 2 else Diagonal(made[0])
    metric = known(new, tuned.metric)
    # The same steps in θ as before, on average over directions; the next part finds the best.
    wider = jnp.mean(jnp.log(metric.spread) - jnp.log(tuned.metric.spread))
    return tuned._replace(
        step_size=tuned.step_size * jnp.exp(-wider),
        metric=metric,
        moments=jax.tree.map(jnp.zeros_like, tuned.moments),
    )


def _lengthened(tuned: Tuned, per: jax.Array) -> Tuned:
    """L from the time to forget: the variance of batch means over that of single draws."""
    squares = tuned.moments.squares[0]
    squares = jnp.diagonal(squares) if squares.ndim > 1 else squares
    var = squares / jnp.maximum(tuned.moments.seen, 1)
    between = jnp.var(tuned.batches, axis=0, ddof=1)
    forget = jnp.mean(jnp.where(var > 0, per * between / var, 1.0))
    length = LENGTH * tuned.step_size * jnp.maximum(forget, 1.0)
    return tuned._replace(length=jnp.where(jnp.isfinite(length), length, tuned.length))
