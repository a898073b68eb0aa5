"""Windows of a warm-up that double in length, by arithmetic: another length compiles nothing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

DOUBLINGS = 22  # more than any run has: the last window would be of 10⁸ steps


def ends_window(at: jax.Array, begin: Any, first: Any, last: Any) -> jax.Array:
    """Whether step number `at` ends a window.

    Args:
        at: counted from 0. begin: the first step of the first window. first: its length; each is
            twice as long as the one before. last: where the windows end. What would not make
            another window belongs to the one before.

    >>> [at for at in range(700) if ends_window(jnp.array(at), 75, 25, 700)]
    [99, 149, 249, 699]
    """
    lengths = first * 2 ** jnp.arange(DOUBLINGS)
    starts = begin + lengths - first
    another = starts + 3 * lengths <= last
    closes = jnp.any(another & (at == starts + lengths - 1))
    return closes | ((at == last - 1) & (begin + first <= last))


def stan(at: jax.Array, warmup: Any) -> tuple[jax.Array, jax.Array]:
    """Of a step of Stan's warm-up: whether the metric sees it, and whether it ends a window.

    Args:
        at: number of the step. warmup: how many there are.

    As BlackJAX's `build_schedule`, with a last part of a quarter of the warm-up, of 50 steps at
    least. A short warm-up is cut in proportion; one below 20 steps has no metric.
    """
    final = jnp.maximum(50, warmup // 4)
    short = 75 + 25 + final > warmup
    final = jnp.where(short, warmup // 10, final)
    initial = jnp.where(short, 15 * warmup // 100, 75)
    last = warmup - final
    first = jnp.where(short, last - initial, 25)
    long_enough = jnp.asarray(warmup) >= 20
    seen = (at >= initial) & (at < last)
    return seen & long_enough, ends_window(at, initial, first, last) & long_enough
