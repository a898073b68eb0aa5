"""Control variates: the gradient of a batch, less what is known of its noise."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.checks import Settings
from posterity.model.net_target import Batch, Target

KINDS = ("start", "svrg")


class Anchor(NamedTuple):
    """A place at which the gradient of all rows is known, and the next such place.

    Attributes:
        theta, gradient: where, and the gradient of the log likelihood of all rows there.
        ready: whether `gradient` is complete.
        after, total, batches: the next place, the sum over the rows of this pass so far, and how
            many batches they were.
    """

    theta: jax.Array
    gradient: jax.Array
    ready: jax.Array
    after: jax.Array
    total: jax.Array
    batches: jax.Array


@dataclasses.dataclass(frozen=True)
class Variates:
    """The gradient of the log joint from a batch, with or without control variates.

        g(θ) = ∇log p(θ) + (N/B) Σ_{i in batch} [∇log pᵢ(θ) − ∇log pᵢ(θ̂)] + Σ_{all i} ∇log pᵢ(θ̂)

    Without bias for any θ̂, and with a variance that falls with the distance of θ from it. The sum
    over all rows is gathered from the run's own batches, in one pass over the data; until then the
    plain gradient is used. ``"start"`` keeps θ̂ at the start of the run (start at a MAP fit; two
    gradients per step); ``"svrg"`` moves it to the current θ after every pass (three).

    Where the batch size does not divide N, a later pass takes up to a batch of rows twice.

    Args:
        kind: None, ``"start"`` or ``"svrg"``.

    Johnson & Zhang 2013; Dubey et al. 2016, "Variance reduction in stochastic gradient Langevin
    dynamics"; Baker, Fearnhead, Fox & Nemeth 2019, "Control variates for stochastic gradient MCMC".
    """

    kind: str | None

    def init(self, theta: jax.Array) -> Anchor | tuple[()]:
        """Nothing known yet."""
        if self.kind is None:
            return ()
        nothing, no = jnp.zeros_like(theta), jnp.zeros((), bool)
        return Anchor(theta, nothing, no, theta, nothing, jnp.zeros((), jnp.int32))

    def gradient(
        self, target: Target, anchor: Any, theta: jax.Array, batch: Batch
    ) -> tuple[jax.Array, jax.Array, Any]:
        """The batch's log joint (), the gradient (D,), and the anchor after this batch."""
        value, gradient = jax.value_and_grad(target.log_joint)(theta, batch)
        if self.kind is None:
            return value, gradient, anchor
        return (
            value,
            gradient + self.correction(target, anchor, batch),
            self.seen(target, anchor, theta, batch),
        )

    def correction(self, target: Target, anchor: Anchor, batch: Batch) -> jax.Array:
        """What to add to the plain gradient: zero until the anchor is ready."""

        def known() -> jax.Array:
            return anchor.gradient - jax.grad(target.scaled_log_likelihood)(anchor.theta, batch)

        return jax.lax.cond(anchor.ready, known, lambda: jnp.zeros_like(anchor.gradient))

    def seen(self, target: Target, anchor: Anchor, theta: jax.Array, batch: Batch) -> Anchor:
        """The anchor after a batch, which may complete a pass."""
        size = batch.y.shape[0]
        passes = (target.rows + size - 1) // size  # batches in a pass
        first = anchor.batches * size
        counts = (first + jnp.arange(size) < target.rows).astype(theta.dtype)

        def gathered() -> jax.Array:
            return anchor.total + jax.grad(
                lambda at: jnp.sum(counts * target.log_likelihood(at, batch))
            )(anchor.after)

        gathers = ~anchor.ready if self.kind == "start" else jnp.ones((), bool)
        total = jax.lax.cond(gathers, gathered, lambda: anchor.total)
        done = gathers & (anchor.batches + 1 == passes)
        moved = theta if self.kind == "svrg" else anchor.theta
        return Anchor(
            theta=jnp.where(done, anchor.after, anchor.theta),
            gradient=jnp.where(done, total, anchor.gradient),
            ready=anchor.ready | done,
            after=jnp.where(done, moved, anchor.after),
            total=jnp.where(done, 0, total),
            batches=jnp.where(done, 0, anchor.batches + 1),
        )


def check_variates(wrong: Settings, kind: str | None, batch_size: int | None) -> None:
    """Say where a kind is unknown, or control variates have no noise to remove."""
    wrong.among(KINDS, none=True, control_variates=kind)
    if kind is not None and batch_size is None:
        wrong.say(
            f'control_variates="{kind}" remove the noise of batches; give a batch_size, or leave '
            "them out",
            "control_variates",
            "batch_size",
        )
