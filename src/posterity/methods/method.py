"""The contract that every inference method keeps."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from typing import Any

import jax
import numpy as np

from posterity.distributions.distribution import AbstractDistribution
from posterity.distributions.spooled import SpooledDraws
from posterity.model.net_target import Batch, Target

State = Any
Info = Any


@dataclasses.dataclass
class Review:
    """What a method decides between two stretches of its run.

    Attributes:
        state: where the next stretch starts.
        steps: its length; 0 ends the run.
        memory: whatever the method wants back at the next review; arrays, numbers and containers.
        converged: whether the run ends because the method's own criterion is met.
    """

    state: State
    steps: int
    memory: Any = None
    converged: bool = False


@dataclasses.dataclass
class Stretch:
    """One finished stretch of a run: what each of its steps reported.

    Attributes:
        info: field → array with axes (chain, step).
        draws: kept θ with axes (chain, draw, D), in memory or in a file; or None.
        kept: False once the method has dropped this stretch from its history.
    """

    info: dict[str, np.ndarray]
    draws: np.ndarray | SpooledDraws | None
    kept: bool = True


class AbstractMethod:
    """An inference method: frozen settings, and four pure functions of them.

    One file holds one method, in this order: the settings (a frozen dataclass, what users
    construct), the state, `init`, `step`; then `review` and `finish` where they are needed.
    `init` and `step` are pure and jittable. State and info keep their structure, shapes and dtypes.
    Info is a flat NamedTuple of scalars with at least `ok`, which is False where the step could not
    be made; the loop then goes on from `retreat(the last good state)`.

    Attributes:
        figure: the info field that the progress bar shows. also: others that it shows.
        collects: whether the draws of θ are the result.
        sure: whether a step's `ok` speaks for the state it returns, and not for its start only.
        learns: whether it optimises numbers marked `po.learned`.
        temperature: weight of the KL; 1 unless the method has a setting of that name.
        note: a sentence on how the run was made that its result should carry.
        apart: whether chains run in threads of their own on a CPU: where steps differ in length,
            chains in step would wait for each other; small nets gain from the cores anyway.
        chains, warmup, thin: how many chains; steps before the first kept draw; steps per draw.
        batch_size: rows per step, or None for all.
        replacement: whether the rows of every batch are drawn anew from all of them, where a
            method makes use of the noise of independent batches; passes over the data otherwise.
    """

    figure: str
    also: tuple[str, ...] = ()
    collects: bool = False
    sure: bool = False
    apart: bool = False
    learns: bool = False
    temperature: float = 1.0
    batch_size: int | None = None
    replacement: bool = False
    chains: int = 1
    warmup: int = 0
    thin: int = 1

    @property
    @abstractmethod
    def total_steps(self) -> int:
        """How many steps the run has at most."""

    @abstractmethod
    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> State:
        """The state before the first step, from a start θ (D,)."""

    @abstractmethod
    def step(
        self, key: jax.Array, target: Target, state: State, batch: Batch
    ) -> tuple[State, Info]:
        """One step: the next state and what an observer wants to know of it."""

    @abstractmethod
    def theta(self, state: State) -> jax.Array:
        """The current θ (D,) of a state."""

    def retreat(self, state: State) -> State:
        """The state to try again from after a step that was not finite."""
        return state

    @property
    def evaluations(self) -> float:
        """How often a step evaluates the likelihood of its batch; infinite where not known."""
        return math.inf

    def start_count(self, target: Target) -> int:
        """How many start points `fit` should prepare for every chain."""
        return 1

    def near_modes(self, target: Target) -> AbstractMethod:
        """The method for a run whose starts are modes: itself, unless it has reason to change."""
        return self

    def keeps(self, numbers: np.ndarray) -> np.ndarray:
        """Which of the steps after the warm-up, by number, belong to the result: all by default."""
        return np.ones(numbers.shape, bool)

    def review(
        self, target: Target, states: list[State], done: list[Stretch], memory: Any
    ) -> Review:
        """Called before the first stretch and after each; by default there is one stretch.

        Args:
            target: the target.
            states: the prepared start states (first call), or the state reached (later calls).
            done: the stretches so far; a review may set `kept` on them.
            memory: what the last review wanted back.

        The buffers of a state are given to the next stretch: keep a copy (`jax.device_get`) of a
        state that is wanted later.
        """
        return Review(states[0], 0 if done else self.total_steps)

    @abstractmethod
    def finish(
        self, target: Target, state: State, draws: np.ndarray | None, memory: Any
    ) -> AbstractDistribution:
        """The posterior over θ that the run has found; also of an interrupted run.

        Draws in a file are the posterior as they are, and do not come here.
        """

    def numbers(self, state: State, memory: Any) -> np.ndarray | None:
        """The learned numbers (`Target.at`), unconstrained; None where there are none."""
        return None

    def report(self, target: Target) -> dict[str, Any]:
        """What else to keep with the settings: how the method took the target; plain data."""
        return {}

    @property
    def note(self) -> str:
        """A sentence for the result; empty by default."""
        return ""

    def advice(self, target: Target, info: dict[str, np.ndarray], memory: Any) -> list[str]:
        """Warnings about a finished run, as sentences of advice.

        Args:
            target: the target. info: what every kept step reported, as in the history. memory:
            what the last review wanted back.
        """
        return []
