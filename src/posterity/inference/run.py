"""The one compiled loop that all methods share.

Hundreds of steps run per dispatch. Between dispatches, several times a second, the loop shows its
progress, listens for an interruption and looks for trouble.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.cache import quick_jit
from posterity.collector import paused_collection
from posterity.data.batches import Batches, Order
from posterity.dtypes import float_dtype
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
    fixed: tuple[AbstractMethod, Target, Batches, int], loop: Loop, steps: Any, confirm: Any
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
    method, target, batches, room = fixed
    over_chains = jax.vmap if loop.keys.shape[0] > 1 else _alone

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
) -> tuple[AbstractMethod, Target, Batches, int]:
    """What all dispatches of a run have in common: what runs, and the length of their buffers."""
    room = min(MOST_STEPS, max(method.total_steps, 1))
    if method.collects:
        a_draw = 8 * target.size * method.chains
        room = min(room, max(1, MOST_BYTES // a_draw) * method.thin)
    return method, target, batches, -(-room // method.thin) * method.thin


def _take(room: jax.Array, index: jax.Array) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(room, index, 0, keepdims=False)


def _put(room: jax.Array, value: jax.Array, index: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(room, value, index, 0)


def _choose(condition: jax.Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _alone(f: Callable) -> Callable:
    """`f` of one chain; a chain axis of one would turn every product into a batched one."""

    def mapped(*args: Any) -> Any:
        out = f(*jax.tree.map(lambda leaf: leaf[0], args))
        return jax.tree.map(lambda leaf: leaf[None], out)

    return mapped


def _data_key(key: jax.Array) -> jax.Array:
    return jax.random.fold_in(key, 2**31)


def _start_key(key: jax.Array) -> jax.Array:
    return jax.random.fold_in(key, 2**31 + 1)


class Watcher:
    """What a run tells while it goes on; `progress.Bar` shows it."""

    def start(self, total: int) -> None:
        """Before the first step."""

    def update(self, steps: int, figure: float, failures: int, also: dict[str, float]) -> None:
        """After a dispatch.

        Args:
            steps: made so far, per chain. figure: the method's. failures: failed steps so far.
            also: the method's other figures, by name.
        """

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


class _Lane:
    """Chains that run in step, and what they have reported since the stretch began."""

    def __init__(self, loop: Loop, made: int) -> None:
        self.loop = loop
        self.made = made
        self.left = 0  # steps of the present segment
        self.infos: list[dict[str, np.ndarray]] = []
        self.draws: list[np.ndarray] = []


def _lanes(loop: Loop, apart: bool) -> list[_Lane]:
    """One lane, or one for each chain."""
    made, chains = int(loop.steps), loop.keys.shape[0]
    if not apart or chains == 1:
        return [_Lane(loop, made)]
    # No buffer may be shared, as each lane's dispatch takes those it is given.
    steps, *host = jax.device_get(loop[1:])
    lanes = []
    for chain in range(chains):
        part = jax.tree.map(lambda leaf, c=chain: np.array(leaf[c : c + 1]), host)
        lanes.append(_Lane(Loop(loop.keys[chain : chain + 1], steps.copy(), *part), made))
    return lanes


def _loop(lanes: list[_Lane], keys: jax.Array) -> Loop:
    """The lanes as one loop again, as far as the last of them has come."""
    if len(lanes) == 1:
        return lanes[0].loop
    host = [jax.device_get(lane.loop[2:]) for lane in lanes]
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *host)
    steps: Any = np.asarray(min(lane.made for lane in lanes), np.int32)
    return Loop(keys, steps, *joined)


def _stretch(lanes: list[_Lane]) -> Stretch:
    """What all lanes have reported; of an interrupted run, as far as the last has come."""
    infos = [
        {name: np.concatenate([info[name] for info in lane.infos], axis=1) for name in first}
        for lane in lanes
        for first in lane.infos[:1]
    ]
    steps = min(next(iter(info.values())).shape[1] for info in infos)
    if len(infos) < len(lanes):  # before every lane had its turn
        infos, steps = infos[:1] * len(lanes), 0
    info = {name: np.concatenate([i[name][:, :steps] for i in infos]) for name in infos[0]}
    if any(not lane.draws for lane in lanes):
        return Stretch(info, None)
    drawn = [np.concatenate(lane.draws, axis=1) for lane in lanes]
    count = min(draws.shape[1] for draws in drawn)
    return Stretch(info, np.concatenate([draws[:, :count] for draws in drawn]))


class _Runner:
    """Makes stretches of steps, in dispatches that take about `DISPATCH_SECONDS` each.

    Chains whose steps differ in length (`method.apart`) would wait for the slowest if they ran in
    step. On a CPU each then is a lane of its own, and as many lanes run at a time as there are
    cores: JAX runs calls from several threads side by side, without devices to set up, and a chain
    gives the same draws whichever lane or thread it is in.
    """

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
        self.apart = method.apart and jax.default_backend() == "cpu"

    def stretch(
        self, loop: Loop, review: Review, interrupt: Interrupt, done: list[Stretch]
    ) -> tuple[Loop, Stretch]:
        """Make up to as many steps from `loop` as the review says."""
        keys = loop.keys
        lanes = _lanes(loop, self.apart)
        left = review.steps
        while left and not (interrupt.asked or self.lost or self.told):
            segment = min(left, self._to_next_look(lanes[0].made))
            for lane in lanes:
                lane.left = segment
            self._run(lanes, left - segment == 0, interrupt)
            left -= segment
            self._look(lanes, keys, done, review.memory)
        return _loop(lanes, keys), _stretch(lanes)

    def _run(self, lanes: list[_Lane], last: bool, interrupt: Interrupt) -> None:
        """Run every lane to the end of its segment."""
        first = lanes[0]
        if not self.compiled:
            self._finished(first, *self._advance(first, last), lanes)
        if len(lanes) == 1:
            while first.left and not (interrupt.asked or self.lost):
                self._finished(first, *self._advance(first, last), lanes)
            return
        running: dict[Future, _Lane] = {}
        workers = min(_cores(), len(lanes))
        with ThreadPoolExecutor(workers, initializer=_same_precision()) as pool:
            while True:
                behind = [lane for lane in lanes if lane.left and lane not in running.values()]
                behind.sort(key=lambda lane: lane.made)
                if interrupt.asked or self.lost:
                    behind = []
                for lane in behind[: workers - len(running)]:
                    running[pool.submit(self._advance, lane, last)] = lane
                if not running:
                    return
                # With a time limit, so that Ctrl-C is heard while the lanes run.
                for future in wait(running, 0.1, FIRST_COMPLETED).done:
                    lane = running.pop(future)
                    seconds, count = future.result()
                    self._finished(lane, seconds, count, lanes)

    def _advance(self, lane: _Lane, last: bool) -> tuple[float, int]:
        """One dispatch; returns the seconds it took and its steps."""
        # Until the warm-up ends no draw is kept; thinning starts with the first step after it.
        warm = max(0, self.method.warmup - lane.made) if self.method.collects else 0
        count = min(self.size, lane.left, warm or lane.left)
        confirm = int(last and count == lane.left and not self.method.collects)
        began = time.perf_counter()
        with contextlib.nullcontext() if self.compiled else paused_collection():
            lane.loop, info, kept = dispatch(
                self.fixed, lane.loop, np.asarray(count, np.int32), np.asarray(confirm, np.int32)
            )
        info = jax.tree.map(lambda leaf: np.asarray(leaf)[:, :count], info)
        seconds = time.perf_counter() - began
        lane.infos.append(info._asdict())
        if kept is not None and not warm:
            lane.draws.append(np.asarray(kept)[:, : count // self.method.thin])
        lane.left -= count
        lane.made += count
        return seconds, count

    def _finished(self, lane: _Lane, seconds: float, count: int, lanes: list[_Lane]) -> None:
        """After a dispatch, in the main thread."""
        self._grow(seconds, count)
        self._watch(lane, lanes)

    def _to_next_look(self, made: int) -> int:
        return self.peek.every - made % self.peek.every if self.peek else 2**31

    def _look(self, lanes: list[_Lane], keys: jax.Array, done: list[Stretch], memory: Any) -> None:
        made = min(lane.made for lane in lanes)
        if self.peek is None or made % self.peek.every:
            return
        # A copy, because the next dispatch takes the state's buffers.
        state = jax.tree.map(np.array, _loop(lanes, keys).state)
        stretches = [*done, _stretch(lanes)]
        so_far = Finished(state, stretches, memory, False, True, self.lost, made)
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

    def _watch(self, lane: _Lane, lanes: list[_Lane]) -> None:
        info = lane.infos[-1]
        self.failures += int((~info["ok"]).sum())
        self.lost = self.lost or bool((np.asarray(lane.loop.failed) >= GIVE_UP).any())

        def recent(name: str) -> float:
            return float(np.mean(info[name][:, -100:]))

        also = {name: recent(name) for name in self.method.also}
        steps = sum(lane.made for lane in lanes) // len(lanes)
        self.watcher.update(steps, recent(self.method.figure), self.failures, also)


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _same_precision() -> Callable[[], None]:
    """Gives another thread the float64 switch of this one, where it was made for a thread only."""
    wide = float_dtype() == np.float64

    def set_up() -> None:
        jax.enable_x64(wide).__enter__()

    return set_up
