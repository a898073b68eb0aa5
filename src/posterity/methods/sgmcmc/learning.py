"""What a stochastic-gradient sampler learns while it warms up: noise, curvature, scales."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.model.net_target import Batch, Target

MEMORY = 100  # steps that an average looks back on, at least
POWERS = 12  # rounds of power iteration on the first batch; later one at a time
SELDOM = 4  # steps from one look at the curvature to the next, as it costs two gradients


class Learned(NamedTuple):
    """Averages over the last steps; None where a method has no use for one.

    Attributes:
        steps: how many there have been.
        last: the gradient before this one. noise: variance of a batch's gradient (D,).
        squares: mean squared gradient (D,).
        direction, curvature: the steepest direction, and the curvature along it.
    """

    steps: jax.Array
    last: jax.Array | None
    noise: jax.Array | None
    squares: jax.Array | None
    direction: jax.Array | None
    curvature: jax.Array | None


@dataclasses.dataclass(frozen=True)
class Learning:
    """Estimates from the gradients of a run, on the way.

    * The *noise* of batch gradients: ½ (g_t − g_{t−1})² averaged, since θ hardly moves in a step.
    * The *curvature*, the largest eigenvalue of −∇² log joint in the coordinates that the
      preconditioner makes round: power iteration, a product of Hessian and vector at a time.
    * The mean *squares* of the gradients per row, for RMSprop's preconditioner.

    Args:
        noise, curvature, squares: which of them are wanted.
        memory: steps that an average looks back on.
    """

    noise: bool
    curvature: bool
    squares: bool
    memory: Any = MEMORY

    def init(self, theta: jax.Array) -> Learned | tuple[()]:
        """Before the first gradient; () where nothing is to be learned."""
        if not (self.noise or self.curvature or self.squares):
            return ()
        zero, none = jnp.zeros_like(theta), jnp.zeros((), theta.dtype)
        start = jnp.full_like(theta, theta.shape[0] ** -0.5)
        return Learned(
            steps=jnp.zeros((), jnp.int32),
            last=zero if self.noise else None,
            noise=zero if self.noise else None,
            squares=zero if self.squares else None,
            direction=start if self.curvature else None,
            curvature=none if self.curvature else None,
        )

    def update(
        self,
        learned: Any,
        now: jax.Array,
        target: Target,
        theta: jax.Array,
        gradient: jax.Array,
        scale: jax.Array,
        batch: Batch,
    ) -> Any:
        """After a gradient; unchanged unless `now`.

        Args:
            learned: so far. now: whether the run learns at this step. theta, gradient: where, and
                what came out. scale: root of the preconditioner, (D,) or (). batch: its rows.
        """
        if learned == ():
            return learned
        return jax.lax.cond(
            now,
            lambda: self._update(learned, target, theta, gradient, scale, batch),
            lambda: learned,
        )

    def _update(
        self,
        learned: Learned,
        target: Target,
        theta: jax.Array,
        gradient: jax.Array,
        scale: jax.Array,
        batch: Batch,
    ) -> Learned:
        fine = jnp.isfinite(jnp.sum(gradient))
        rate = 1.0 / jnp.minimum(learned.steps + 1, self.memory).astype(theta.dtype)
        new = learned._replace(steps=learned.steps + 1)
        if learned.noise is not None and learned.last is not None:
            # Of two gradients; so the first step has none, and the average starts with the second.
            late = 1.0 / jnp.clip(learned.steps, 1, self.memory).astype(theta.dtype)
            change = 0.5 * (gradient - learned.last) ** 2
            noise = jnp.where(learned.steps > 0, change, 0.0)
            new = new._replace(noise=_mixed(learned.noise, noise, late), last=gradient)
        if learned.squares is not None:
            per_row = gradient / target.rows
            new = new._replace(squares=_mixed(learned.squares, per_row**2, rate))
        if learned.curvature is not None:
            direction, curvature = self._look(learned, target, theta, scale, batch)
            new = new._replace(direction=direction, curvature=curvature)
        return jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, learned)

    def _look(
        self, learned: Learned, target: Target, theta: jax.Array, scale: jax.Array, batch: Batch
    ) -> tuple[jax.Array, jax.Array]:
        """The steepest direction and the curvature there, one round better."""
        slope = jax.grad(target.log_joint)

        def once(_: Any, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            _, product = jax.jvp(lambda at: slope(at, batch), (theta,), (scale * carry[0],))
            product = scale * product
            length = jnp.sqrt(jnp.sum(product**2))
            return product / jnp.maximum(length, jnp.finfo(length.dtype).tiny), length

        rounds = jnp.where(learned.steps == 0, POWERS, learned.steps % SELDOM == 0)
        before = learned.direction, learned.curvature
        direction, seen = jax.lax.fori_loop(0, rounds.astype(jnp.int32), once, before)
        looks = 1 + learned.steps // SELDOM
        rate = 1.0 / jnp.minimum(looks, self.memory // SELDOM).astype(theta.dtype)
        return direction, jnp.where(rounds > 0, _mixed(learned.curvature, seen, rate), seen)


def _mixed(old: Any, new: jax.Array, rate: jax.Array) -> jax.Array:
    return old + rate * (new - old)
