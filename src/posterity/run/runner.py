"""A run from its starts to its end: the one loop that all methods share.

Hundreds of steps run per dispatch (`loop`). Between dispatches, several times a second, the runner
shows progress, listens for an interruption and looks for trouble. Chains whose steps differ in
length run side by side, each as a group of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import jax
import numpy as np

from posterity.data.batches import Batches
from posterity.dtypes import float_dtype
from posterity.methods.method import AbstractMethod, Review, Stretch
from posterity.model.net_target import Target
from posterity.model.target import AbstractTarget
from posterity.run.draw_store import DrawStore, open_store
from posterity.run.loop import GIVE_UP, Fixed, Loop, compiled_for, fixed_for, prepare
from posterity.run.progress import Finished, Interrupt, Peek, Watcher

DISPATCH_SECONDS = 0.2


def run(
    method: AbstractMethod,
    target: Target,
    batches: Batches,
    keys: jax.Array,
    thetas: jax.Array,
    watcher: Watcher,
    interrupt: Interrupt,
    peek: Peek | None = None,
    kept: DrawStore | None = None,
) -> Finished:
    """Run `method` from its starts to its end, its convergence, an interruption or failure.

    Args:
        method, target, batches: what runs. keys, thetas: of `start_points`. watcher: is told how
            it goes. interrupt: is open, and asked to end the run. peek: looks on. kept: room for
            the draws; None for memory.
    """
    fixed = fixed_for(method, target, batches)
    loop, states = prepare(fixed._replace(room=0), keys, thetas)
    stretches: list[Stretch] = []
    memory: Any = None
    if method.collects:
        kept = kept or open_store(method, target.size, False)
    runner = Runner(method, fixed, watcher, peek, kept)
    watcher.start(method.total_steps)
    try:
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


class Runner:
    """Makes stretches of steps, in dispatches that take about `DISPATCH_SECONDS` each.

    Chains whose steps differ in length (`method.apart`) would wait for the slowest if they ran in
    step. On a CPU each then is a group of its own, and as many groups run at a time as there are
    cores: JAX runs calls from several threads side by side, without devices to set up, and a chain
    gives the same draws whichever group or thread it is in.
    """

    def __init__(
        self,
        method: AbstractMethod,
        fixed: Fixed,
        watcher: Watcher,
        peek: Peek | None,
        store: DrawStore | None,
    ) -> None:
        self.watcher = watcher
        self.peek = peek
        self.store = store
        self.method = method
        self.fixed = fixed
        self.dispatch = compiled_for(method, fixed.target)
        self.size = method.thin  # the first dispatch only compiles; its time says nothing
        self.compiled = False
        self.failures = 0
        self.lost = False
        self.told = False  # by the peek to end
        self.apart = runs_apart(method, fixed.target)

    def stretch(
        self, loop: Loop, review: Review, interrupt: Interrupt, done: list[Stretch]
    ) -> tuple[Loop, Stretch]:
        """Make up to as many steps from `loop` as the review says."""
        keys = loop.keys
        groups = split(loop, self.apart)
        left = review.steps
        while left and not (interrupt.asked or self.lost or self.told):
            segment = min(left, self._to_next_look(groups[0].made))
            for group in groups:
                group.left = segment
            self._run(groups, left - segment == 0, interrupt)
            left -= segment
            self._look(groups, keys, done, review.memory)
        stretch = reported(groups, self.store)
        if self.store and stretch.draws is not None:
            self.store.start += stretch.draws.shape[1]
        return joined(groups, keys), stretch

    def _run(self, groups: list[ChainGroup], last: bool, interrupt: Interrupt) -> None:
        """Run every group to the end of its segment."""
        first = groups[0]
        if not self.compiled:
            self._watch(first, groups, *self._advance(first, last))
        if len(groups) > 1:
            return self._run_apart(groups, last, interrupt)
        while first.left and not (interrupt.asked or self.lost):
            self._watch(first, groups, *self._advance(first, last))

    def _run_apart(self, groups: list[ChainGroup], last: bool, interrupt: Interrupt) -> None:
        """The same in threads: whoever is furthest behind goes next."""
        running: dict[Future, ChainGroup] = {}
        workers = min(_cores(), len(groups))
        with ThreadPoolExecutor(workers, initializer=_same_precision()) as pool:
            while True:
                behind = [group for group in groups if group.left and group not in running.values()]
                behind.sort(key=lambda group: group.made)
                if interrupt.asked or self.lost:
                    behind = []
                for group in behind[: workers - len(running)]:
                    running[pool.submit(self._advance, group, last)] = group
                if not running:
                    return
                # With a time limit, so that Ctrl-C is heard while the groups run.
                for future in wait(running, 0.1, FIRST_COMPLETED).done:
                    self._watch(running.pop(future), groups, *future.result())

    def _advance(self, group: ChainGroup, last: bool) -> tuple[float, int]:
        """One dispatch; returns the seconds it took and its steps."""
        # Until the warm-up ends no draw is kept; thinning starts with the first step after it.
        warm = max(0, self.method.warmup - group.made) if self.method.collects else 0
        count = min(self.size, group.left, warm or group.left)
        confirm = int(last and count == group.left and not self.method.collects)
        began = time.perf_counter()
        group.loop, info, kept = self.dispatch(
            self.fixed, group.loop, np.asarray(count, np.int32), np.asarray(confirm, np.int32)
        )
        info = jax.tree.map(lambda leaf: np.asarray(leaf)[:, :count], info)
        seconds = time.perf_counter() - began
        group.infos.append(info._asdict())
        if kept is not None and not warm:
            thin = self.method.thin
            number = group.made - self.method.warmup + thin * np.arange(1, count // thin + 1) - 1
            draws = np.asarray(kept)[:, : count // thin][:, self.method.keeps(number)]
            if self.store:
                self.store.put(group.chain, group.kept, draws)
            group.kept += draws.shape[1]
        group.left -= count
        group.made += count
        return seconds, count

    def _to_next_look(self, made: int) -> int:
        return self.peek.every - made % self.peek.every if self.peek else 2**31

    def _look(
        self, groups: list[ChainGroup], keys: jax.Array, done: list[Stretch], memory: Any
    ) -> None:
        made = min(group.made for group in groups)
        if self.peek is None or made % self.peek.every:
            return
        # A copy, because the next dispatch takes the state's buffers.
        state = jax.tree.map(np.array, joined(groups, keys).state)
        stretches = [*done, reported(groups, self.store)]
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
        self.size = min(self.fixed.room, max(1, int(self.size * factor) // thin) * thin)

    def _watch(
        self, group: ChainGroup, groups: list[ChainGroup], seconds: float, count: int
    ) -> None:
        """After a dispatch of a group, in the main thread."""
        self._grow(seconds, count)
        info = group.infos[-1]
        self.failures += int((~info["ok"]).sum())
        self.lost = self.lost or bool((np.asarray(group.loop.failed) >= GIVE_UP).any())

        def recent(name: str) -> float:
            return float(np.mean(info[name][:, -100:]))

        also = {name: recent(name) for name in self.method.also}
        steps = sum(group.made for group in groups) // len(groups)
        self.watcher.update(steps, recent(self.method.figure), self.failures, also)


def runs_apart(method: AbstractMethod, target: AbstractTarget) -> bool:
    """Whether each chain of a method is a group of its own here.

    Convolutions fill the cores by themselves, and have a fast form for one chain only.
    """
    apart = method.apart or getattr(target, "convolves", False)
    return apart and jax.default_backend() == "cpu"


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


# -- chains that run in step or apart -----------------------------------------------------------


class ChainGroup:
    """Chains that run in step, and what they have reported since the stretch began."""

    def __init__(self, loop: Loop, made: int, chain: int = 0) -> None:
        self.loop = loop
        self.made = made
        self.chain = chain  # the number of the first
        self.left = 0  # steps of the present segment
        self.infos: list[dict[str, np.ndarray]] = []
        self.kept = 0  # draws of each chain, in this stretch


def split(loop: Loop, apart: bool) -> list[ChainGroup]:
    """One group, or one for each chain."""
    made, chains = int(loop.steps), loop.keys.shape[0]
    if not apart or chains == 1:
        return [ChainGroup(loop, made)]
    # No buffer may be shared, as each group's dispatch takes those it is given.
    steps, *host = jax.device_get(loop[1:])
    groups = []
    for chain in range(chains):
        part = jax.tree.map(lambda leaf, c=chain: np.array(leaf[c : c + 1]), host)
        groups.append(
            ChainGroup(Loop(loop.keys[chain : chain + 1], steps.copy(), *part), made, chain)
        )
    return groups


def joined(groups: list[ChainGroup], keys: jax.Array) -> Loop:
    """The groups as one loop again, as far as the last of them has come."""
    if len(groups) == 1:
        return groups[0].loop
    host = [jax.device_get(group.loop[2:]) for group in groups]
    together = jax.tree.map(lambda *leaves: np.concatenate(leaves), *host)
    steps: Any = np.asarray(min(group.made for group in groups), np.int32)
    return Loop(keys, steps, *together)


def reported(groups: list[ChainGroup], store: DrawStore | None) -> Stretch:
    """What all groups have reported; of an interrupted run, as far as the last has come."""
    infos = [
        {name: np.concatenate([info[name] for info in group.infos], axis=1) for name in first}
        for group in groups
        for first in group.infos[:1]
    ]
    steps = min(next(iter(info.values())).shape[1] for info in infos)
    if len(infos) < len(groups):  # before every group had its turn
        infos, steps = infos[:1] * len(groups), 0
    info = {name: np.concatenate([i[name][:, :steps] for i in infos]) for name in infos[0]}
    count = min(group.kept for group in groups)
    return Stretch(info, store.first(count) if store and count else None)
