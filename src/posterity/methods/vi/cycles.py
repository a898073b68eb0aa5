"""A run in cycles: how long each is, where it starts, which is the best, when it has converged."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from posterity.methods.method import Stretch, by_chain
from posterity.model.net_target import Target

TAIL = 0.2  # the last part of a cycle, over which iterates are averaged
DOUBLINGS = 4  # cycles, each twice as long as the one before
EVIDENCE = 5_000  # steps that a cycle needs to be evidence of convergence
POLISH = 10.0  # how much smaller the last cycle's peak is
TOLERANCE = 1e-3  # nats per row: below it a longer run would not be noticed
CLEAR = 20  # times the tolerance: from there on it is said that a longer run pays


def tolerance(target: Target) -> float:
    """Nats of ELBO below which a longer run would not be noticed."""
    return max(0.1, TOLERANCE * target.rows)


def peak(size: int) -> float:
    """The step size that a cycle begins with, for `size` parameters."""
    return min(0.3, max(1e-3, 0.3 * (40 / size) ** 1.5))


class Score(NamedTuple):
    """Of each chain (chain,): the mean of the ELBO over the tail of a cycle, and its error.

    The standard error is that of 20 batch means.
    """

    mean: np.ndarray
    error: np.ndarray

    @classmethod
    def of_tail(cls, elbos: np.ndarray) -> Score:
        """From the ELBO of every step (chain, step)."""
        tails = elbos[:, int((1 - TAIL) * elbos.shape[1]) :].astype(np.float64)
        return cls(*np.array([_mean_and_error(tail[np.isfinite(tail)]) for tail in tails]).T)


def _mean_and_error(tail: np.ndarray) -> tuple[float, float]:
    if tail.size == 0:
        return -math.inf, 0.0
    means = [part.mean() for part in np.array_split(tail, min(20, tail.size))]
    return float(tail.mean()), float(np.std(means) / math.sqrt(max(len(means) - 1, 1)))


@dataclasses.dataclass
class Cycles:
    """The cycles to come, and what is remembered of those that are over.

    All chains have cycles of the same lengths. What is best, and whether it pays to go on, is known
    of each by itself: such attributes are arrays (chain,).

    Attributes:
        lengths: of the cycles to come.
        fresh: starts that have not run.
        peak: step size at the beginning of a cycle.
        scheduled: whether the step size is ours. Then the best cycle counts, and the last polishes
            it; with a user's optimiser the last state counts.
        best, score: the best finished cycle's state, of each chain, and its ELBO.
        idle: how many cycles in a row have gained little.
        settled: whether two have, and the chain's criterion is met.
        risen: by how much, at least, the last doubling raised the ELBO.
        missed: by how much, at least, a long cycle ended below the best.
        polishing: whether the last cycle is under way.
        independent: whether the cycle under way has a start of its own.
        converged: whether all chains have settled.
    """

    lengths: list[int]
    fresh: list[Any]
    peak: float
    scheduled: bool = True
    best: Any = None
    score: Score | None = None
    idle: Any = 0
    settled: Any = False
    risen: Any = 0.0
    missed: Any = 0.0
    polishing: bool = False
    independent: bool = True
    converged: bool = False

    @classmethod
    def plan(
        cls, steps: int, starts: list[Any], peak: float, *, scheduled: bool, stop: bool
    ) -> Cycles:
        """Cycles that double in length, then the polishing.

        Args:
            steps: of all cycles. starts: prepared states; the first cycle is about to begin from
            the first. peak: step size at the beginning of a cycle. scheduled: whether it is ours.
            stop: whether the run may end early, which takes several cycles to know.
        """
        count = len(starts) if len(starts) > 1 else (DOUBLINGS if stop else 1)
        polish = steps // 4 if scheduled else 0
        share = (steps - polish) / (2**count - 1)
        ends = [round(share * (2**i - 1)) for i in range(count + 1)]
        lengths = [b - a for a, b in itertools.pairwise(ends) if b > a]
        fresh = starts[1 : len(lengths)]
        return cls(lengths + [polish] * (polish > 0), fresh, peak, scheduled)

    def record(self, state: Any, done: list[Stretch], tolerance: float) -> None:
        """Keep the cycle just finished if it is the best so far.

        Args:
            state: that it ended in. done: the cycles so far; those whose result is not used are
            dropped from the history. tolerance: nats that count as no gain.
        """
        elbos = done[-1].info["elbo"]
        score, best = Score.of_tail(elbos), self.score
        gain, doubt = np.full(len(elbos), math.inf), np.zeros(len(elbos))
        if best is not None:
            with np.errstate(invalid="ignore"):  # of two cycles without a finite ELBO
                gain, doubt = score.mean - best.mean, 2 * np.hypot(score.error, best.error)
            if not self.polishing:
                self._weigh(gain, doubt, tolerance, evidence=elbos.shape[1] >= EVIDENCE)
        # The last state of a user's schedule is the one meant; a polished state is the better one
        # unless the ELBO speaks against it.
        better = gain > (-doubt if self.polishing else 0.0)
        better = better | (not self.scheduled)
        self.best = state if best is None else by_chain(better, state, self.best)
        self.score = score if best is None else by_chain(better, score, best)
        done[-1].kept = better
        if self.scheduled and self.independent:
            for earlier in done[:-1]:
                earlier.kept = earlier.kept & ~better

    def _weigh(
        self, gain: np.ndarray, doubt: np.ndarray, tolerance: float, *, evidence: bool
    ) -> None:
        """What the gain over the best, known to within `doubt`, says of convergence."""
        # A cycle that ends far below the best is no evidence that the best is the end of it.
        same = (np.abs(gain) + doubt < tolerance) & evidence
        self.idle = np.where(same, self.idle + 1, 0)
        self.risen = gain - doubt
        self.missed = np.maximum(self.missed, -gain - doubt) if evidence else 0.0

    def end_if_idle(self) -> None:
        """Where two cycles in a row have gained little, in all chains: only polish the best."""
        if not self.lengths:
            return
        self.settled = self.settled | (self.idle >= 2)
        if np.all(self.settled):
            self.converged = True
            self.lengths = self.lengths[-1:] if self.scheduled else []
            self.fresh = []

    def start(self) -> Any:
        """The state that the next cycle starts from; the last cycle of ours polishes."""
        if len(self.lengths) == 1 and self.scheduled:
            self.peak /= POLISH
            self.polishing = True
        self.independent = bool(self.fresh)
        if self.fresh:
            return self.fresh.pop(0)
        # A user's optimiser goes on from where it is; ours from the average of the best cycle.
        return self.best._replace(phi=self.best.average) if self.scheduled else self.best

    def advice(self, tolerance: float, steps: int) -> list[str]:
        """Warnings where doubling the run still paid, or starts disagree."""
        clear = CLEAR * tolerance
        if self.converged:
            return []
        risen, missed = (np.max(np.where(self.settled, 0, v)) for v in (self.risen, self.missed))
        if risen > clear:
            return [
                f"The ELBO rose by {risen:.1f} nats when the run was last doubled, so it "
                f"has not converged. Raise steps above {steps:,}."
            ]
        if missed > clear:
            return [
                f"A cycle as long as the best ended {missed:.1f} nats below it: the ELBO "
                "has several optima, and there may be a better one. Raise steps above "
                f"{steps:,}, or fit with other seeds or from modes (init=po.MAP()), and keep the "
                "highest ELBO."
            ]
        return []
