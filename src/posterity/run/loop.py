"""The compiled part of a run: hundreds of steps per dispatch, the same for every method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.alike import alike
from posterity.cpu.compile import BRIEF, LOOPS, kept_jit, quick_jit
from posterity.data.batches import SPARED, Batches, Order
from posterity.dtypes import float_dtype
from posterity.methods.method import AbstractMethod
from posterity.model.net_target import Target
from posterity.model.target import AbstractTarget

MOST_STEPS = 8_192  # per dispatch: the length of the buffers that steps report into
LEAST_STEPS = 1_024  # so that short runs, too, may grow
LEAST_BYTES = 2**20
MOST_BYTES = 64 * 2**20  # of kept draws per dispatch
STEP = 10_000  # multiplications that take as long as a step of nothing
LITTLE = 10**8  # multiplications below which a run is brief: some tenths of a second
FAILURE = 8  # good steps that it takes to make up for a failed one
GIVE_UP = 60 * FAILURE  # each failure halves the step, so that 60 on balance leave nothing to try


class Loop(NamedTuple):
    """All that a run needs to go on: nothing else has to be remembered.

    Attributes:
        keys: one key per chain. steps: steps made so far. order: position in the data, per chain.
        state: the method's state, per chain. good: the last state known to be finite, per chain.
        failed: failed steps on balance with good ones, per chain.
    """

    keys: jax.Array
    steps: jax.Array
    order: Order
    state: Any
    good: Any
    failed: jax.Array


class Fixed(NamedTuple):
    """What all dispatches of a run have in common.

    Attributes:
        method: its settings, those that are `traced` left blank. traced: these, as arrays.
        target, batches: as they are. room: the length of the buffers.
    """

    method: AbstractMethod
    traced: dict[str, np.ndarray]
    target: Target
    batches: Batches
    room: int

    @property
    def whole(self) -> AbstractMethod:
        """The method, with arrays among its settings."""
        return _with_settings(self.method, self.traced)


@quick_jit
def prepare(fixed: Fixed, keys: jax.Array, thetas: jax.Array) -> tuple[Loop, list[Any]]:
    """The loop before its first step, and a state for every start.

    Args:
        keys: one per chain. thetas: starts (start, chain, D).
    """
    method, target, batches = fixed.whole, fixed.target, fixed.batches

    def order(key: jax.Array) -> Order:
        return batches.start(_data_key(key))

    def state(key: jax.Array, theta: jax.Array) -> Any:
        return method.init(_start_key(key), target, theta)

    states = [jax.vmap(state)(keys, thetas[start]) for start in range(thetas.shape[0])]
    zero = jnp.zeros((), jnp.int32)
    failed = jnp.zeros(keys.shape[0], jnp.int32)
    return Loop(keys, zero, jax.vmap(order)(keys), states[0], states[0], failed), states


def dispatch(
    fixed: Fixed, loop: Loop, steps: Any, confirm: Any
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
    method, target, batches, room = fixed.whole, fixed.target, fixed.batches, fixed.room
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


thorough = kept_jit(dispatch, most=LOOPS, donate="all-except-first")
brief = quick_jit(dispatch, BRIEF, donate="all-except-first")


def compiled_for(method: AbstractMethod, target: AbstractTarget) -> Any:
    """`dispatch`, compiled fast where all steps of a run take less time than compiling it well.

    They are counted as steps × (rows × weights × evaluations + what any step costs). What programs
    and convolutions cost is not known so. This saves 19 % of the wave's cold first fit
    (`python benchmarks/cold.py`).
    """
    rows = _power(method.batch_size or int(target.rows))  # the same for all N of a room
    each = target.multiplications(rows) * method.evaluations + STEP
    return brief if method.total_steps * each < LITTLE else thorough


def spare_rows(method: AbstractMethod, target: AbstractTarget) -> float:
    """How many rows more than need be a step may take, so that another N compiles nothing.

    A whole run spends `SPARED` multiplications on them at most.
    """
    return SPARED / (method.total_steps * method.evaluations * target.multiplications(1))


def fixed_for(method: AbstractMethod, target: Target, batches: Batches) -> Fixed:
    """What all dispatches of a run have in common: what runs, and the length of their buffers.

    Buffers are a power of two long, and of 1,024 steps where that is no more than a mebibyte, so
    that longer runs find the loop compiled.
    """
    steps = min(MOST_STEPS, _power(method.total_steps))
    if method.collects:
        a_draw = 8 * target.size * method.chains
        draws = max(
            -(-steps // method.thin), min(LEAST_STEPS // method.thin, LEAST_BYTES // a_draw)
        )
        draws = min(_power(draws), _power(max(1, MOST_BYTES // a_draw) + 1) // 2)
        room = draws * method.thin
    else:
        room = max(steps, LEAST_STEPS)
    traced = {
        field.name: np.asarray(value, float_dtype() if "float" in str(field.type) else np.int32)
        for field in dataclasses.fields(method)  # type: ignore[arg-type]
        if field.name in method.traced and (value := getattr(method, field.name)) is not None
    }
    blank = _with_settings(alike(method), dict.fromkeys(traced))
    return Fixed(blank, traced, target, batches, room)


def _power(count: int) -> int:
    """The least power of two that is no less."""
    return 1 << (max(int(count), 1) - 1).bit_length()


def _with_settings(method: AbstractMethod, given: Mapping[str, Any]) -> Any:
    """The method with other settings, which are not checked."""
    other = object.__new__(type(method))
    other.__dict__.update({**vars(method), **given})
    return other


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
