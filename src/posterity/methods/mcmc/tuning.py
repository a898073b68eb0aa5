"""Tuning of microcanonical Langevin: step size, metric and length, within the warm-up's steps."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

# The parts of a warm-up end at these shares of it: the step size finds its way; moments are taken;
# the step size again, in the new metric; the length, from how long θ remembers where it was.
FIND, MOMENTS, AGAIN = 0.4, 0.6, 0.8
RATE = 0.03  # how fast log ε follows the errors
WORST = 20.0  # an error counts as at most so many times the aim: one shortens ε to about a half
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
        step_size: ε. length: L. sd: the metric (D,).
        average: sums of log ε and of ones, over the part whose ε stays.
        moments: of θ in the present part. batches: means of θ over pieces of the last part.
    """

    step_size: jax.Array
    length: jax.Array
    sd: jax.Array
    average: jax.Array
    moments: Moments
    batches: jax.Array


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The tuning of Robnik et al. 2023, appendix, and of BlackJAX, one step at a time.

    ε follows log ε ← log ε + 0.03 (1 − min(error / aim, 20)), whose rest is where errors have the
    mean that is aimed for; the last ε is an average. BlackJAX's rule weighs errors by how near to
    the aim they are, which on nets, where errors have heavy tails, makes ε longer.

    Args:
        steps: length of the warm-up. energy_var: aim for the variance of the energy error, per
            dimension.
    """

    steps: int
    energy_var: float

    def init(self, theta: jax.Array) -> Tuned:
        """The identity metric, and steps of a quarter of its size."""
        size = jnp.asarray(theta.shape[0], theta.dtype)
        return Tuned(
            step_size=jnp.sqrt(size) / 4,
            length=jnp.sqrt(size),
            sd=jnp.ones_like(theta),
            average=jnp.zeros(2, theta.dtype),
            moments=_none(theta),
            batches=jnp.zeros((BATCHES, *theta.shape), theta.dtype),
        )

    def update(
        self, tuned: Tuned, at: jax.Array, theta: jax.Array, change: jax.Array, fine: jax.Array
    ) -> Tuned:
        """After step number `at`; nothing once warm.

        Args:
            theta: where the step led. change: of the energy. fine: whether all was finite.
        """
        return jax.lax.cond(
            at < self.steps, lambda: self._learn(tuned, at, theta, change, fine), lambda: tuned
        )

    def _learn(
        self, tuned: Tuned, at: jax.Array, theta: jax.Array, change: jax.Array, fine: jax.Array
    ) -> Tuned:
        find, moments, again = (
            jnp.round(share * jnp.asarray(self.steps, theta.dtype)).astype(jnp.int32)
            for share in (FIND, MOMENTS, AGAIN)
        )
        fixed = at >= again
        stepped = self._step_size(tuned.step_size, theta.shape[0], change, fine)
        tuned = tuned._replace(step_size=jnp.where(fixed, tuned.step_size, stepped))
        # Large errors are rare, so that any one ε is a guess; the second half of its way decides.
        late = (at >= (moments + again) // 2) & ~fixed
        logs = jnp.stack([jnp.log(tuned.step_size), jnp.ones_like(tuned.step_size)])
        average = tuned.average + jnp.where(late, logs, 0.0)
        settled = jnp.where(at == again - 1, jnp.exp(average[0] / average[1]), tuned.step_size)
        tuned = tuned._replace(step_size=settled, average=average)
        seen = ((at >= find) & (at < moments)) | fixed
        tuned = tuned._replace(moments=_seen(tuned.moments, theta, seen & fine))
        tuned = jax.lax.cond(at == moments - 1, lambda: _scaled(tuned), lambda: tuned)
        per = jnp.maximum(1, (self.steps - again) // BATCHES)
        number = jnp.clip((at - again) // per, 0, BATCHES - 1)
        part = jnp.where(fixed & ((at - again) < per * BATCHES), theta / per, 0.0)
        tuned = tuned._replace(batches=tuned.batches.at[number].add(part))
        return jax.lax.cond(at == self.steps - 1, lambda: _lengthened(tuned, per), lambda: tuned)

    def _step_size(
        self, step_size: jax.Array, size: int, change: jax.Array, fine: jax.Array
    ) -> jax.Array:
        """ε a little longer, or shorter by how much too large the error was."""
        error = jnp.where(fine, change**2 / (size * self.energy_var), WORST)
        return step_size * jnp.exp(RATE * (1 - jnp.minimum(error, WORST)))


def _none(theta: jax.Array) -> Moments:
    return Moments(jnp.zeros((), theta.dtype), jnp.zeros_like(theta), jnp.zeros_like(theta))


def _seen(moments: Moments, theta: jax.Array, take: jax.Array) -> Moments:
    count = moments.seen + 1
    off = theta - moments.mean
    mean = moments.mean + off / count
    new = Moments(count, mean, moments.squares + off * (theta - mean))
    return jax.tree.map(lambda a, b: jnp.where(take, a, b), new, moments)


def _scaled(tuned: Tuned) -> Tuned:
    """The metric from the moments."""
    count, _, squares = tuned.moments
    sd = jnp.sqrt(squares / jnp.maximum(count, 1))
    fine = (count > 1) & jnp.all(jnp.isfinite(sd) & (sd > 0))
    scaled = tuned._replace(
        # The same steps in θ as before, on average; the next part finds the best.
        step_size=tuned.step_size / jnp.sqrt(jnp.mean(sd**2)),
        sd=sd,
        moments=_none(tuned.sd),
    )
    kept = tuned._replace(moments=_none(tuned.sd))
    return jax.tree.map(lambda a, b: jnp.where(fine, a, b), scaled, kept)


def _lengthened(tuned: Tuned, per: jax.Array) -> Tuned:
    """L from the time to forget: the variance of batch means over that of single draws."""
    var = tuned.moments.squares / jnp.maximum(tuned.moments.seen, 1)
    between = jnp.var(tuned.batches, axis=0, ddof=1)
    forget = jnp.mean(jnp.where(var > 0, per * between / var, 1.0))
    length = LENGTH * tuned.step_size * jnp.maximum(forget, 1.0)
    return tuned._replace(length=jnp.where(jnp.isfinite(length), length, tuned.length))
