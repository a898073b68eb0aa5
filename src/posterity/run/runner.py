"""Makes stretches of a run: one dispatch after another, or several chains side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import jax
import numpy as np

from posterity.dtypes import float_dtype
from posterity.methods.method import AbstractMethod, Review, Stretch
from posterity.model.target import AbstractTarget
from posterity.run.draw_store import Keeping
from posterity.run.interrupt import Interrupt
from posterity.run.loop import GIVE_UP, Fixed, Loop, compiled_for
from posterity.run.threads import Lane, joined, reported, split
from posterity.run.watching import Finished, Peek, Watcher

DISPATCH_SECONDS = 0.2


class Runner:
    """Makes stretches of steps, in dispatches that take about `DISPATCH_SECONDS` each.

    Chains whose steps differ in length (`method.apart`) would wait for the slowest if they ran in
    step. On a CPU each then is a lane of its own, and as many lanes run at a time as there are
    cores: JAX runs calls from several threads side by side, without devices to set up, and a chain
    gives the same draws whichever lane or thread it is in.
    """

    def __init__(
        self,
        method: AbstractMethod,
        fixed: Fixed,
        watcher: Watcher,
        peek: Peek | None,
        keeping: Keeping | None,
    ) -> None:
        self.watcher = watcher
        self.peek = peek
        self.keeping = keeping
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
        lanes = split(loop, self.apart)
        left = review.steps
        while left and not (interrupt.asked or self.lost or self.told):
            segment = min(left, self._to_next_look(lanes[0].made))
            for lane in lanes:
                lane.left = segment
            self._run(lanes, left - segment == 0, interrupt)
            left -= segment
            self._look(lanes, keys, done, review.memory)
        stretch = reported(lanes, self.keeping)
        if self.keeping and stretch.draws is not None:
            self.keeping.start += stretch.draws.shape[1]
        return joined(lanes, keys), stretch

    def _run(self, lanes: list[Lane], last: bool, interrupt: Interrupt) -> None:
        """Run every lane to the end of its segment."""
        first = lanes[0]
        if not self.compiled:
            self._watch(first, lanes, *self._advance(first, last))
        if len(lanes) > 1:
            return self._run_apart(lanes, last, interrupt)
        while first.left and not (interrupt.asked or self.lost):
            self._watch(first, lanes, *self._advance(first, last))

    def _run_apart(self, lanes: list[Lane], last: bool, interrupt: Interrupt) -> None:
        """The same in threads: whoever is furthest behind goes next."""
        running: dict[Future, Lane] = {}
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
                    self._watch(running.pop(future), lanes, *future.result())

    def _advance(self, lane: Lane, last: bool) -> tuple[float, int]:
        """One dispatch; returns the seconds it took and its steps."""
        # Until the warm-up ends no draw is kept; thinning starts with the first step after it.
        warm = max(0, self.method.warmup - lane.made) if self.method.collects else 0
        count = min(self.size, lane.left, warm or lane.left)
        confirm = int(last and count == lane.left and not self.method.collects)
        began = time.perf_counter()
        lane.loop, info, kept = self.dispatch(
            self.fixed, lane.loop, np.asarray(count, np.int32), np.asarray(confirm, np.int32)
        )
        info = jax.tree.map(lambda leaf: np.asarray(leaf)[:, :count], info)
        seconds = time.perf_counter() - began
        lane.infos.append(info._asdict())
        if kept is not None and not warm:
            thin = self.method.thin
            number = lane.made - self.method.warmup + thin * np.arange(1, count // thin + 1) - 1
            draws = np.asarray(kept)[:, : count // thin][:, self.method.keeps(number)]
            if self.keeping:
                self.keeping.put(lane.chain, lane.kept, draws)
            lane.kept += draws.shape[1]
        lane.left -= count
        lane.made += count
        return seconds, count

    def _to_next_look(self, made: int) -> int:
        return self.peek.every - made % self.peek.every if self.peek else 2**31

    def _look(self, lanes: list[Lane], keys: jax.Array, done: list[Stretch], memory: Any) -> None:
        made = min(lane.made for lane in lanes)
        if self.peek is None or made % self.peek.every:
            return
        # A copy, because the next dispatch takes the state's buffers.
        state = jax.tree.map(np.array, joined(lanes, keys).state)
        stretches = [*done, reported(lanes, self.keeping)]
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

    def _watch(self, lane: Lane, lanes: list[Lane], seconds: float, count: int) -> None:
        """After a dispatch of a lane, in the main thread."""
        self._grow(seconds, count)
        info = lane.infos[-1]
        self.failures += int((~info["ok"]).sum())
        self.lost = self.lost or bool((np.asarray(lane.loop.failed) >= GIVE_UP).any())

        def recent(name: str) -> float:
            return float(np.mean(info[name][:, -100:]))

        also = {name: recent(name) for name in self.method.also}
        steps = sum(lane.made for lane in lanes) // len(lanes)
        self.watcher.update(steps, recent(self.method.figure), self.failures, also)


def runs_apart(method: AbstractMethod, target: AbstractTarget) -> bool:
    """Whether each chain of a method is a lane of its own here.

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
