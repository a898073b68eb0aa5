"""The contract that every inference method keeps."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from posterity.distributions.distribution import AbstractDistribution
from posterity.distributions.draws import Draws
from posterity.model.net_target import Batch, Target
from posterity.model.target import AbstractTarget

State = Any
Info = Any


class Fitted(NamedTuple):
    """What a method has found.

    Attributes:
        distribution: the posterior over θ.
        target: the target that θ belongs to: the one fitted, or one with what was learned put in.
        facts: what else was found (learned numbers, step sizes, the log evidence), by name: plain
            data, arrays included.
    """

    distribution: AbstractDistribution
    target: AbstractTarget
    facts: Mapping[str, Any] = MappingProxyType({})


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
        kept: False once the method has dropped this stretch from its history; for chains that
            differ in this an array (chain,), and the stretch stays as long as any of them is True.
    """

    info: dict[str, np.ndarray]
    draws: np.ndarray | None
    kept: bool | np.ndarray = True


class AbstractMethod(ABC):
    """An inference method: frozen settings, and four pure functions of them.

    One file holds one method, in this order: the settings (a frozen dataclass, what users
    construct), the state, `init`, `step`; then `review` and `finish` where they are needed.
    `init` and `step` are of one chain, pure and jittable; the loop adds a leading chain axis to
    states and infos. State and info keep their structure, shapes and dtypes. `review`, `finish` and
    `advice` run on the host: they get and give NumPy arrays with the chain axis, for one chain too.
    Which arrays are on which device is the business of `run/` alone. Info is a flat NamedTuple of
    scalars with at least `ok`, which is False where the step could not be made; the loop then goes
    on from `retreat(the last good state)`.

    Attributes:
        figure: the info field that the progress bar shows. also: others that it shows.
        collects: whether the draws of θ are the result.
        sure: whether a step's `ok` speaks for the state it returns, and not for its start only.
        learns: whether it optimises numbers marked `po.learned`.
        temperature: T of the posterior to the power 1/T that is drawn from, prior and likelihood
            alike; 1 unless the method has a setting of that name.
        kl_weight: weight of the KL in an ELBO; 1 unless the method has a setting of that name.
        traced: names of numeric settings that the compiled step takes as arrays, or does not look
            at, so that other values compile nothing. `init` and `step` must not branch on them.
        note: a sentence on how the run was made that its result should carry.
        apart: whether chains run in threads of their own on a CPU: where steps differ in length,
            chains in step would wait for each other; small nets gain from the cores anyway.
        fewest_steps: how many steps an optimiser must make before its result can be judged.
        knows_convergence: whether `advice` says itself that the objective still rose.
        in_step: whether chains of one loop end as runs of their own would, at `theta` of their
            states: where it is a start for another method, its fits are then one loop.
        chains, warmup, thin: how many chains; steps before the first kept draw; steps per draw.
            The chains of an optimiser are several modes: its result is their mixture.
        batch_size: rows per step, or None for all.
        replacement: whether the rows of every batch are drawn anew from all of them, where a
            method makes use of the noise of independent batches; passes over the data otherwise.
    """

    traced: ClassVar[tuple[str, ...]] = ()

    figure: str
    also: tuple[str, ...] = ()
    collects: bool = False
    sure: bool = False
    apart: bool = False
    learns: bool = False
    fewest_steps: int = 100
    knows_convergence: bool = False
    in_step: bool = False
    temperature: float = 1.0
    kl_weight: float = 1.0
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

    def check(self, target: Target) -> None:  # noqa: B027
        """Refuse a target that the method cannot fit, before anything is compiled.

        Raises:
            ValueError: the target is none for this method; the message says what is.
        """

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
        """
        return Review(states[0], 0 if done else self.total_steps)

    @abstractmethod
    def finish(self, target: Target, state: State, draws: Draws | None, memory: Any) -> Fitted:
        """What the run has found; also of an interrupted run.

        Args:
            target: that was fitted. state: of all chains, at the end. draws: those kept, of a
            method that collects them. memory: what the last review wanted back.
        """

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


def of_chain(tree: Any, number: int) -> Any:
    """One chain of a state, or of anything else whose arrays begin with the chain axis."""
    return jax.tree.map(lambda leaf: leaf[number], tree)


def by_chain(where: np.ndarray, yes: Any, no: Any) -> Any:
    """Of two states of all chains, for each chain the one that `where` (chain,) says."""

    if where.all() or not where.any():  # as with one chain: nothing is copied
        return yes if where.all() else no

    def choose(a: Any, b: Any) -> np.ndarray:
        return np.where(where.reshape(-1, *[1] * (np.ndim(a) - 1)), a, b)

    return jax.tree.map(choose, yes, no)
