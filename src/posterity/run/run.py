"""A run from its starts to its end: the one loop that all methods share.

Hundreds of steps run per dispatch (`loop`). Between dispatches, several times a second, the
`runner` shows its progress, listens for an interruption and looks for trouble.
"""

from __future__ import annotations

from typing import Any

import jax

from posterity.data.batches import Batches
from posterity.methods.method import AbstractMethod, Review, Stretch
from posterity.model.net_target import Target
from posterity.run.draw_store import Keeping, keeping
from posterity.run.interrupt import Interrupt
from posterity.run.loop import fixed_for, prepare
from posterity.run.runner import Runner
from posterity.run.watching import Finished, Peek, Watcher


def run(
    method: AbstractMethod,
    target: Target,
    batches: Batches,
    keys: jax.Array,
    thetas: jax.Array,
    watcher: Watcher,
    peek: Peek | None = None,
    kept: Keeping | None = None,
) -> Finished:
    """Run `method` from its starts to its end, its convergence, an interruption or failure.

    Args:
        method, target, batches: what runs. keys, thetas: of `start_points`. watcher: is told how
            it goes. peek: looks on. kept: room for the draws; None for memory.
    """
    fixed = fixed_for(method, target, batches)
    loop, states = prepare(fixed._replace(room=0), keys, thetas)
    stretches: list[Stretch] = []
    memory: Any = None
    kept = kept or keeping(method, target.size, False)
    runner = Runner(method, fixed, watcher, peek, kept)
    watcher.start(method.total_steps)
    try:
        with Interrupt() as interrupt:
            # Methods get arrays on the host.
            review = method.review(target, jax.device_get(states), stretches, None)
            while review.steps > 0 and not interrupt.asked:
                memory = review.memory
                loop = loop._replace(state=review.state, good=review.state)
                loop, stretch = runner.stretch(loop, review, interrupt, stretches)
                stretches.append(stretch)
                state = jax.device_get(loop.state)
                if interrupt.asked or runner.lost or runner.told:
                    review = Review(state, 0, memory)
                else:
                    review = method.review(target, [state], stretches, memory)
    finally:
        watcher.stop()
    memory = review.memory if review.memory is not None else memory
    return Finished(
        review.state,
        stretches,
        memory,
        review.converged,
        interrupt.asked or runner.told,
        runner.lost,
        int(loop.steps),
    )
