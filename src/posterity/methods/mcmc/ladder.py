"""The ladder of parallel tempering: temperatures, swaps, and what the warm-up learns of them."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posterity.methods.mcmc.tuning import Moments
from posterity.methods.mcmc.windows import ends_window

HOTTEST = 1e-6  # β of the first rung above the prior, to begin with
WIDEN = 2.0  # how far below it, in log β, a window's end may put it
NEVER = 1e-3  # a pair counts as refusing at least so often, so that no two rungs fall together
FIRST_WINDOW = 50
LEAST = -1e30  # log likelihood of where there is none


class Heat(NamedTuple):
    """What the warm-up has learned of K rungs above the prior.

    Attributes:
        betas: (K + 1,), from 0 to 1. sizes: state of dual averaging of ε, K of each number. var:
            the diagonal metrics (K, D).
        moments: of θ and of the gradient, in the present window (K, 2, D). refused: sums of the
            probabilities that a swap of neighbours is refused, in the same (K,).
    """

    betas: jax.Array
    sizes: Any
    var: jax.Array
    moments: Moments
    refused: jax.Array


@dataclasses.dataclass(frozen=True)
class Heating:
    """The warm-up of a ladder, in windows that double in length.

    At the end of a window each rung has a new diagonal metric and the ladder new temperatures, such
    that all neighbours refuse a swap equally often. The last quarter tunes the step sizes alone.

    A metric is √(Var[θ] / Var[∇]), of the tempered density: Var[θ] itself where that is an
    independent normal. Where a rung visits several modes Var[θ] is the distance of the modes,
    and 1 / Var[∇] what is narrow within them.

    Args:
        steps: length of the warm-up. acceptance: what step sizes are tuned for. rungs: K.
    """

    steps: int
    acceptance: float
    rungs: int

    def init(self, theta: jax.Array) -> Heat:
        """Geometric temperatures, identity metrics and step sizes of one, for θ (D,)."""
        ones = jnp.ones((self.rungs, theta.shape[0]), theta.dtype)
        above = jnp.geomspace(HOTTEST, 1.0, self.rungs, dtype=theta.dtype).at[-1].set(1.0)
        return Heat(
            betas=jnp.concatenate([jnp.zeros(1, theta.dtype), above]),
            sizes=_started(jnp.ones(self.rungs, theta.dtype)),
            var=ones,
            moments=_nothing(jnp.stack([ones, ones], 1)),
            refused=jnp.zeros(self.rungs, theta.dtype),
        )

    def sizes(self, heat: Heat, at: jax.Array) -> jax.Array:
        """The step sizes (K,) of step number `at`: tuned so far, or the averages once warm."""
        dual = heat.sizes
        return jnp.exp(jnp.where(at < self.steps, dual.log_step_size, dual.log_step_size_avg))

    def update(
        self,
        heat: Heat,
        at: jax.Array,
        seen: jax.Array,
        acceptance: jax.Array,
        refused: jax.Array,
    ) -> Heat:
        """After step number `at`; nothing once warm.

        Args:
            seen: θ and gradient of each rung (K, 2, D). acceptance: of its path (K,). refused: the
                probability that its swap with the rung below is refused (K,).
        """

        def learn() -> Heat:
            now = heat._replace(
                sizes=jax.vmap(_dual(self.acceptance)[1])(heat.sizes, acceptance),
                moments=_added(heat.moments, seen),
                refused=heat.refused + refused,
            )
            ends = ends_window(at, 0, FIRST_WINDOW, self.steps - self.steps // 4)
            return jax.lax.cond(ends, _closed, lambda now: now, now)

        return jax.lax.cond(at < self.steps, learn, lambda: heat)


def swapped(
    key: jax.Array, betas: jax.Array, log_likelihood: jax.Array, even: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Whose state each rung gets, and the probabilities that neighbours refuse.

        accept with probability min(1, e^((β′ − β)(ℓ − ℓ′)))   for neighbours β < β′

    Args:
        betas, log_likelihood: (K + 1,). even: whether pairs (0, 1), (2, 3), … are asked, or the
            others. Asked in turn, states keep their direction along the ladder.
    """
    accept = jnp.exp(jnp.minimum(0.0, jnp.diff(betas) * -jnp.diff(log_likelihood)))
    pair = jnp.arange(accept.shape[0])
    taken = (pair % 2 == jnp.where(even, 0, 1)) & (jax.random.uniform(key, pair.shape) < accept)
    change = jnp.pad(taken, (0, 1)).astype(jnp.int32) - jnp.pad(taken, (1, 0)).astype(jnp.int32)
    return jnp.arange(betas.shape[0]) + change, 1 - accept


def evened(betas: jax.Array, refused: jax.Array) -> jax.Array:
    """Temperatures between which swaps would be refused equally often.

    Args:
        betas: (K + 1,). refused: how often each pair refuses, in any unit (K,).

    Their sum from the prior up to β is interpolated in log β, and cut into equal parts.
    """
    barrier = jnp.concatenate([jnp.zeros(1, betas.dtype), jnp.cumsum(refused)])
    places = jnp.log(betas.at[0].set(betas[1] * np.exp(-WIDEN)))
    even = jnp.linspace(0.0, 1.0, betas.shape[0], dtype=betas.dtype) * barrier[-1]
    return jnp.exp(jnp.interp(even, barrier, places)).at[0].set(0.0).at[-1].set(1.0)


def bridges(betas: jax.Array, log_likelihood: jax.Array) -> jax.Array:
    """Log weights of the states of neighbours for the density halfway between them: (2, K).

    log Z = Σ over pairs of log E_β[e^(½ (β′ − β) ℓ)] − log E_β′[e^(−½ (β′ − β) ℓ)]
    """
    half = 0.5 * jnp.diff(betas)
    return jnp.stack([half * log_likelihood[:-1], -half * log_likelihood[1:]])


def _closed(heat: Heat) -> Heat:
    """At the end of a window."""
    seen = heat.moments.seen
    var = heat.moments.squares / seen
    floor = 1e-10  # far below any posterior's, and its inverse is finite
    ratio = jnp.sqrt(jnp.maximum(var[:, 0], floor) / jnp.maximum(var[:, 1], floor))
    # Where a path was never accepted nothing was seen.
    metric = jnp.where(var[:, :1].max(-1) > 0, ratio, heat.var)
    found = _dual(0.5)[2](heat.sizes)
    # The same steps in the new metric, on average over directions.
    sizes = found * jnp.exp(0.5 * jnp.mean(jnp.log(heat.var) - jnp.log(metric), axis=1))
    return Heat(
        betas=evened(heat.betas, jnp.maximum(heat.refused / seen, NEVER)),
        sizes=_started(sizes),
        var=metric,
        moments=_nothing(heat.moments.mean),
        refused=jnp.zeros_like(heat.refused),
    )


def _dual(acceptance: float) -> Any:
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    return dual_averaging_adaptation(acceptance)


def _started(sizes: jax.Array) -> Any:
    """Dual averaging of each ε, from `sizes` (K,)."""
    state = jax.vmap(_dual(0.5)[0])(sizes)
    # BlackJAX's states begin with Python numbers, which are of another type one step later.
    whole = jnp.full(sizes.shape, state.step, jnp.int32)
    rest = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, sizes.shape).astype(sizes.dtype), state)
    return rest._replace(step=whole)


def _nothing(like: jax.Array) -> Moments:
    zero = jnp.zeros_like(like)
    return Moments(jnp.zeros((), like.dtype), zero, zero)


def _added(moments: Moments, value: jax.Array) -> Moments:
    seen = moments.seen + 1
    off = value - moments.mean
    mean = moments.mean + off / seen
    return Moments(seen, mean, moments.squares + off * (value - mean))
