"""The one compiled loop that all methods share.

Hundreds of steps run per dispatch. Between dispatches, several times a second, the loop shows its
progress, listens for an interruption and looks for trouble.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.cache import quick_jit
from posterity.collector import paused_collection
from posterity.data.batches import Batches, Order
from posterity.inference.interrupt import Interrupt
from posterity.inference.method import AbstractMethod, Review, Stretch
from posterity.target import Target

DISPATCH_SECONDS = 0.2
MOST_STEPS = 8_192  # per dispatch: the length of the buffers that steps report into
MOST_BYTES = 64 * 2**20  # of kept draws per dispatch
FAILURE = 8  # good steps that it takes to make up for a failed one
GIVE_UP = 60 * FAILURE  # each failure halves the step, so that 60 on balance leave nothing to try


class Loop(NamedTuple):
    """All that a run needs to go on: nothing else has to be remembered.

    Attributes:
        keys: one key per chain. steps: steps made so far. order: position in the data, per chain.
        state: the method's state, per chain. good: the last state known to be finite, per chain.
        failed: failed steps on balance with
        good ones, per chain.
    """

    keys: jax.Array
    steps: jax.Array
    order: Order
    state: Any
    good: Any
    failed: jax.Array


class Finished(NamedTuple):
    """What a run leaves behind."""

    state: Any
    stretches: list[Stretch]
    memory: Any
    converged: bool
    interrupted: bool
    lost: bool
    steps: int


@quick_jit
def prepare(
    method: AbstractMethod,
    target: Target,
    batches: Batches,
    keys: jax.Array,
    thetas: jax.Array,
) -> tuple[Loop, list[Any]]:
    """The loop before its first step, and a state for every start.

    Args:
        keys: one per chain. thetas: starts (start, chain, D).
    """

    def order(key: jax.Array) -> Order:
        return batches.start(_data_key(key))

    def state(key: jax.Array, theta: jax.Array) -> Any:
        return method.init(_start_key(key), target, theta)

    states = [jax.vmap(state)(keys, thetas[start]) for start in range(thetas.shape[0])]
    zero = jnp.zeros((), jnp.int32)
    failed = jnp.zeros(keys.shape[0], jnp.int32)
    return Loop(keys, zero, jax.vmap(order)(keys), states[0], states[0], failed), states


@eqx.filter_jit(donate="all-except-first")
def dispatch(
    fixed: tuple[AbstractMethod, Target, Batches, int, bool], loop: Loop, steps: Any, confirm: Any
) -> tuple[Loop, Any, jax.Array | None]:
    """Make `steps` steps; the number is an argument, so one compilation serves every dispatch.

    Most methods learn in a step whether the state it *starts* from is finite. So the loop carries
    the last state that is known to be, goes back to it where a step fails, and keeps only such
    states as draws. With `confirm` = 1, one more step is evaluated and not made, so that the state
    reached is known to be finite too.

    Returns:
        The loop, the info of every step (chain, room + 1, …), and the kept θ (chain, room / thin,
        D).
    """
    method, target, batches, room, together = fixed
    over_chains = _over_chains(loop.keys.shape[0], together)

    def one_chain(key: jax.Array, order: Order, state: Any, good: Any, failed: jax.Array) -> Any:
        # Traced once, for its types here and for the loop below.
        make = jax.jit(lambda key, state, batch: method.step(key, target, state, batch))
        _, info = jax.eval_shape(make, key, state, batches.batch(order, steps))
        infos = jax.tree.map(lambda leaf: jnp.zeros((room + 1, *leaf.shape), leaf.dtype), info)
        theta = eqx.filter_eval_shape(method.theta, state)
        draws = (
            jnp.zeros((room // method.thin, *theta.shape), theta.dtype) if method.collects else None
        )
        # All keys at once: folding one in costs as much as a small net's product.
        numbers = loop.steps + jnp.arange(room + 1)
        step_keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)

        def step(index: jax.Array, at: jax.Array, carry: Any, order: Order) -> Any:
            state, good, failed, infos, draws = carry
            batch = batches.batch(order, index - at)
            stepped, info = make(_take(step_keys, index), state, batch)
            move = info.ok & (index < steps)
            # Where a step failed, from the last good state; where it only confirms, no move.
            stay = _choose(info.ok, state, method.retreat(good))
            good = _choose(info.ok, state, good)
            state = _choose(move, stepped, stay)
            # Once given up, steps too small to matter are no recovery.
            better = jnp.where(failed < GIVE_UP, jnp.maximum(failed - 1, 0), failed)
            failed = jnp.where(info.ok, better, failed + FAILURE)
            infos = jax.tree.map(lambda room, value: _put(room, value, index), infos, info)
            if draws is not None:
                drawn = method.theta(state if method.sure else good)
                draws = _put(draws, drawn, index // method.thin)
            return state, good, failed, infos, draws

        def one_pass(carry: Any) -> Any:
            # The row order is constant within a pass over the data, so it stays out of the inner
            # loop's carry, which would copy it in every step.
            done, order, inner = carry
            count = jnp.minimum(batches.left(order), steps + confirm - done)
            inner = jax.lax.fori_loop(
                done, done + count, lambda index, inner: step(index, done, inner, order), inner
            )
            used = jnp.minimum(count, steps - done)  # the batch that confirms is used again
            return done + count, batches.advance(_data_key(key), order, used), inner

        start = (jnp.zeros((), jnp.int32), order, (state, good, failed, infos, draws))
        _, order, inner = jax.lax.while_loop(
            lambda carry: carry[0] < steps + confirm, one_pass, start
        )
        return order, *inner

    order, state, good, failed, infos, draws = over_chains(one_chain)(
        loop.keys, loop.order, loop.state, loop.good, loop.failed
    )
    return Loop(loop.keys, loop.steps + steps, order, state, good, failed), infos, draws


def _fixed(
    method: AbstractMethod, target: Target, batches: Batches
) -> tuple[AbstractMethod, Target, Batches, int, bool]:
    """What all dispatches of a run have in common: what runs, buffer lengths, and how chains go."""
    room = min(MOST_STEPS, max(method.total_steps, 1))
    if method.collects:
        a_draw = 8 * target.size * method.chains
        room = min(room, max(1, MOST_BYTES // a_draw) * method.thin)
    # Chains of one matrix product each gain from going in step; chains whose steps differ in
    # length (NUTS) would wait for the slowest, so on a CPU they go one after the other.
    together = jax.default_backend() != "cpu" or not method.uneven
    return method, target, batches, -(-room // method.thin) * method.thin, together


def _take(room: jax.Array, index: jax.Array) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(room, index, 0, keepdims=False)


def _put(room: jax.Array, value: jax.Array, index: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(room, value, index, 0)


def _choose(condition: jax.Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _over_chains(chains: int, together: bool) -> Callable[[Callable], Callable]:
    """Map over the chain axis: all in step with `vmap`, or one after the other with `lax.map`."""
    if chains > 1 and together:
        return jax.vmap
    if chains > 1:
        return lambda f: lambda *args: jax.lax.map(lambda given: f(*given), args)

    def alone(f: Callable) -> Callable:
        # A chain axis of one would turn every product into a batched one.
        def mapped(*args: Any) -> Any:
            out = f(*jax.tree.map(lambda leaf: leaf[0], args))
            return jax.tree.map(lambda leaf: leaf[None], out)

        return mapped

    return alone


def _data_key(key: jax.Array) -> jax.Array:
    return jax.random.fold_in(key, 2**31)


def _start_key(key: jax.Array) -> jax.Array:
    return jax.random.fold_in(key, 2**31 + 1)


class Watcher:
    """What a run tells while it goes on; `progress.Bar` shows it."""

    def start(self, total: int) -> None:
        """Before the first step."""

    def update(self, steps: int, figure: float, failures: int) -> None:
        """After a dispatch: steps made so far, the method's figure, failed steps so far."""

    def stop(self) -> None:
        """After the last step, whatever happened."""


class Peek(NamedTuple):
    """A look at a run under way: `call` gets what it would leave behind if it ended there.

    Attributes:
        every: how many steps lie between two looks. call: a true answer ends the run.
    """

    every: int
    call: Callable[[Finished], object]


def run(
    method: AbstractMethod,
    target: Target,
    batches: Batches,
    keys: jax.Array,
    thetas: jax.Array,
    watcher: Watcher,
    peek: Peek | None = None,
) -> Finished:
    """Run `method` from its starts to its end, its convergence, an interruption or failure."""
    with paused_collection():
        loop, states = prepare(method, target, batches, keys, thetas)
    stretches: list[Stretch] = []
    memory: Any = None
    runner = _Runner(method, target, batches, watcher, peek)
    watcher.start(method.total_steps)
    try:
        with Interrupt() as interrupt:
            review = method.review(target, states, stretches, None)
            while review.steps > 0 and not interrupt.asked:
                memory = review.memory
                # Two arguments must not be one buffer, as both are given away.
                loop = loop._replace(state=review.state, good=jax.device_get(review.state))
                loop, stretch = runner.stretch(loop, review, interrupt, stretches)
                stretches.append(stretch)
                if interrupt.asked or runner.lost or runner.told:
                    review = Review(loop.state, 0, memory)
                else:
                    review = method.review(target, [loop.state], stretches, memory)
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


def _joined(infos: list[Any], draws: list[Any]) -> Stretch:
    joined = {name: np.concatenate([info[name] for info in infos], axis=1) for name in infos[0]}
    return Stretch(joined, np.concatenate(draws, axis=1) if draws else None)


class _Runner:
    """Makes stretches of steps, in dispatches that take about `DISPATCH_SECONDS` each."""

    def __init__(
        self,
        method: AbstractMethod,
        target: Target,
        batches: Batches,
        watcher: Watcher,
        peek: Peek | None,
    ) -> None:
        self.watcher = watcher
        self.peek = peek
        self.method = method
        self.fixed = _fixed(method, target, batches)
        self.room = self.fixed[3]
        self.size = method.thin  # the first dispatch only compiles; its time says nothing
        self.compiled = False
        self.failures = 0
        self.lost = False
        self.told = False  # by the peek to end

    def stretch(
        self, loop: Loop, review: Review, interrupt: Interrupt, done: list[Stretch]
    ) -> tuple[Loop, Stretch]:
        """Make up to as many steps from `loop` as the review says."""
        infos: list[Any] = []
        draws: list[np.ndarray] = []
        left = review.steps
        while True:
            # Until the warm-up ends no draw is kept; thinning starts with the first step after it.
            made = int(loop.steps)
            warm = max(0, self.method.warmup - made) if self.method.collects else 0
            count = min(self.size, left, warm or left, self._to_next_look(made))
            confirm = int(count == left and not self.method.collects)
            began = time.perf_counter()
            with contextlib.nullcontext() if self.compiled else paused_collection():
                loop, info, kept = dispatch(
                    self.fixed, loop, np.asarray(count, np.int32), np.asarray(confirm, np.int32)
                )
            info = jax.tree.map(lambda leaf, n=count: np.asarray(leaf)[:, :n], info)
            self._grow(time.perf_counter() - began, count)
            infos.append(info._asdict())
            if kept is not None and not warm:
                draws.append(np.asarray(kept)[:, : count // self.method.thin])
            left -= count
            self._watch(loop, infos[-1])
            self._look(loop, infos, draws, done, review.memory)
            if left == 0 or interrupt.asked or self.lost or self.told:
                break
        return loop, _joined(infos, draws)

    def _to_next_look(self, made: int) -> int:
        return self.peek.every - made % self.peek.every if self.peek else MOST_STEPS

    def _look(
        self, loop: Loop, infos: list[Any], draws: list[Any], done: list[Stretch], memory: Any
    ) -> None:
        if self.peek is None or int(loop.steps) % self.peek.every:
            return
        # A copy, because the next dispatch takes the state's buffers.
        state = jax.tree.map(np.array, loop.state)
        stretches = [*done, _joined(infos, draws)]
        so_far = Finished(state, stretches, memory, False, True, self.lost, int(loop.steps))
        self.told = bool(self.peek.call(so_far))

    def _grow(self, seconds: float, count: int) -> None:
        """Longer dispatches, or shorter ones, until one takes `DISPATCH_SECONDS`."""
        if self.compiled and count < self.size:
            return  # cut short by the end of a stretch: it says too little
        factor = min(32.0, max(0.25, DISPATCH_SECONDS / max(seconds, 1e-9)))
        if not self.compiled:
            self.compiled, factor = True, 2.0
        thin = self.method.thin
        self.size = min(self.room, max(1, int(self.size * factor) // thin) * thin)

    def _watch(self, loop: Loop, info: dict[str, np.ndarray]) -> None:
        self.failures += int((~info["ok"]).sum())
        self.lost = bool((np.asarray(loop.failed) >= GIVE_UP).any())
        figure = float(np.mean(info[self.method.figure][:, -100:]))
        self.watcher.update(int(loop.steps), figure, self.failures)
