"""Automatic differentiation variational inference."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from posterity.inference.checks import check_counts
from posterity.inference.method import AbstractMethod, Review, Stretch
from posterity.inference.vi.families import MeanField
from posterity.inference.vi.objectives import elbo
from posterity.posterior.distributions import Gaussian
from posterity.target import Batch, Target

FAMILY = MeanField()
TAIL = 0.2  # the last part of a cycle, over which iterates are averaged
SMALL = 1_000  # up to this many parameters, modes differ and steps are cheap: several starts
DOUBLINGS = 4  # cycles, each twice as long as the one before
EVIDENCE = 5_000  # steps that a cycle needs to be evidence of convergence
TICK = np.array([1.0, 0.0, 0.0, 0.0], np.float32)  # one step of the clock
HALVED = np.array([1.0, 1.0, 1.0, 0.5], np.float32)  # after a failure
POLISH = 10.0  # how much smaller the last cycle's peak is
TOLERANCE = 1e-3  # nats per row: below it a longer run would not be noticed


@dataclasses.dataclass(frozen=True)
class ADVI(AbstractMethod):
    """Mean-field variational inference with reparameterised gradients.

        maximise  ELBO(φ) = (N/B) Σ_{i in batch} E_q log p(yᵢ | xᵢ, θ) − KL(q ‖ p)
        over      q(θ) = N(mean, diag(sd²)),   θ = mean + sd ε,   ε ~ N(0, I)

    One draw of ε is shared by all rows of a batch. The KL is in closed form where the prior is
    normal, and estimated with the same draw elsewhere.

    The run is a sequence of *cycles*. In each, the step size falls from its peak to zero along a
    cosine, and the iterates of the last fifth are averaged; a cycle's ELBO is that of its last
    fifth. Each cycle is twice as long as the one before, and the best one counts; the last quarter
    of the steps polishes it at a tenth of the peak. The ELBO of a network has optima of different
    height, so that a small one (up to 1,000 parameters) begins every cycle from new initial
    weights; a large one goes on from its best. The run has *converged* when two cycles in a row,
    of 5,000 steps at least, have ended within 0.001 nats per row (0.1 nats at least) of the best
    ELBO, two standard errors included.

    Args:
        steps: number of gradient steps at most, those of all starts counted in.
        batch_size: rows per step; None for all.
        optimizer: an Optax optimiser, used as it is, with one start unless `starts` says more. Its
            step size is then its own affair; the averaging and the criterion stay. None: Adam with
            peak step size 0.3 (40/D)^1.5, between 0.001 and 0.3.
        stop: stop when converged. False uses all steps.
        starts: how many cycles begin from new initial weights; None for 4 up to 1,000 parameters
            and 1 above.
        draws: draws of ε per step.
        init_sd: the standard deviation q starts with, in unconstrained units.

    Returns from `fit` a posterior with a `Gaussian` over θ; `history` has ``elbo`` (estimated with
    the step's draws on its batch, along the way to the result), ``step_size`` and ``ok``.

    Raises:
        ValueError: a number out of range.

    A step whose gradient is not finite is not made: the step size is halved, and it is counted.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    >>> posterior = po.fit(model, (x, 2 * x[:, 0]), po.ADVI(steps=4_000), progress=False)
    >>> abs(float(posterior.weights("layers.0.weight").mean()) - 2) < 0.1
    True

    Kucukelbir et al. 2017, "Automatic differentiation variational inference", JMLR 18; Kingma &
    Welling 2014 for the gradient. We depart from the former in the optimiser, the cycles, the
    averaging and the closed-form KL.
    """

    steps: int = 30_000
    batch_size: int | None = None
    optimizer: optax.GradientTransformation | None = None
    stop: bool = True
    starts: int | None = None
    draws: int = 1
    init_sd: float = 0.03

    figure = "elbo"
    collects = False
    chains = 1
    warmup = 0
    thin = 1

    def __post_init__(self) -> None:
        check_counts("ADVI", steps=self.steps, draws=self.draws, starts=self.starts)
        if not 0 < self.init_sd < math.inf:
            raise ValueError(f"ADVI: init_sd must be positive and finite, not {self.init_sd}.")

    @property
    def total_steps(self) -> int:
        """`steps`."""
        return self.steps

    def start_count(self, target: Target) -> int:
        """How many cycles have a start of their own."""
        if self.starts is not None:
            return self.starts
        return 4 if self.optimizer is None and target.size <= SMALL else 1

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> ADVIState:
        """q around θ, before the first cycle."""
        phi = FAMILY.init(theta, self.init_sd)
        clock = jnp.array([0.0, self.steps, 1.0, 1.0], phi.dtype)
        return ADVIState(phi, phi, self._transform().init(phi), clock)

    def step(
        self, key: jax.Array, target: Target, state: ADVIState, batch: Batch
    ) -> tuple[ADVIState, ADVIInfo]:
        """One reparameterised gradient step, and the running average of the iterates."""

        def loss(phi: jax.Array) -> jax.Array:
            thetas = FAMILY.draw(key, phi, self.draws)
            return -elbo(target, *FAMILY.mean_and_sd(phi), thetas, batch)

        value, gradient = jax.value_and_grad(loss)(state.phi)
        update, optimizer = self._transform().update(gradient, state.optimizer, state.phi)
        at, length, peak, size = state.clock
        if self.optimizer is None:
            size = size * peak * 0.5 * (1 + jnp.cos(jnp.pi * at / length))
            update = -update
        phi = state.phi + size * update
        # Uniform weights over the tail: 1, 1/2, 1/3, …; before the tail the average is the iterate.
        into_tail = at - (1 - TAIL) * length
        weight = 1 / jnp.maximum(into_tail + 1, 1)
        average = state.average + weight * (phi - state.average)
        ok = jnp.isfinite(value + jnp.sum(phi))
        state = ADVIState(phi, average, optimizer, state.clock + TICK)
        return state, ADVIInfo(-value, size, ok)

    def theta(self, state: ADVIState) -> jax.Array:
        """The mean of q."""
        return state.phi[0]

    def retreat(self, state: ADVIState) -> ADVIState:
        """The same q with half the step size; the clock goes on, so that a cycle ends."""
        return state._replace(clock=(state.clock + TICK) * HALVED)

    def _transform(self) -> optax.GradientTransformation:
        return optax.scale_by_adam() if self.optimizer is None else self.optimizer

    def advice(self, target: Target, info: dict[str, np.ndarray], memory: Any) -> list[str]:
        """A warning where doubling the run still paid clearly, or where starts disagree."""
        if memory is None or memory.converged:
            return []
        clear = 5 * _tolerance(target)
        if memory.risen > clear:
            return [
                f"The ELBO rose by {memory.risen:.1f} nats when the run was last doubled, so it "
                f"has not converged. Raise steps above {self.steps:,}."
            ]
        if memory.missed > clear:
            return [
                f"A cycle as long as the best ended {memory.missed:.1f} nats below it: the ELBO "
                "has several optima, and there may be a better one. Raise steps above "
                f"{self.steps:,}, or fit with other seeds and keep the highest ELBO."
            ]
        return []

    # -- cycles -----------------------------------------------------------------------------------

    def review(self, target: Target, states: list[Any], done: list[Stretch], memory: Any) -> Review:
        """Lengthen the run cycle by cycle until it pays no more, then polish the best."""
        if memory is None:
            return self._next(self._plan(target, states), states[0])
        self._record(memory, states[0], done, target)
        if memory.lengths and self.stop and memory.idle >= 2:
            memory.converged = True
            memory.lengths = memory.lengths[-1:] if self.optimizer is None else []
            memory.fresh = []
        if not memory.lengths:
            return Review(memory.best, 0, memory, converged=memory.converged)
        if len(memory.lengths) == 1 and self.optimizer is None:
            memory.peak /= POLISH
            memory.polishing = True
        memory.independent = bool(memory.fresh)
        if memory.fresh:
            return self._next(memory, memory.fresh.pop(0))
        # A user's optimiser goes on from where it is; ours from the average of the best cycle.
        best = memory.best
        return self._next(memory, best if self.optimizer else best._replace(phi=best.average))

    def _plan(self, target: Target, states: list[Any]) -> Cycles:
        """Cycles that double in length, then the polishing."""
        count = len(states) if len(states) > 1 else (DOUBLINGS if self.stop else 1)
        polish = self.steps // 4 if self.optimizer is None else 0
        share = (self.steps - polish) / (2**count - 1)
        ends = [round(share * (2**i - 1)) for i in range(count + 1)]
        lengths = [b - a for a, b in itertools.pairwise(ends) if b > a]
        peak = min(0.3, max(1e-3, 0.3 * (40 / target.size) ** 1.5))
        fresh = states[1 : len(lengths)]
        return Cycles(lengths=lengths + [polish] * (polish > 0), fresh=fresh, peak=peak)

    def _record(self, memory: Cycles, state: Any, done: list[Stretch], target: Target) -> None:
        """Keep the cycle just finished if it is the best so far."""
        elbos = done[-1].info["elbo"]
        score, best = Score.of_tail(elbos), memory.score
        doubt = 2 * math.hypot(score.error, best.error) if best else 0.0
        gain = score.mean - best.mean if best else math.inf
        if best is not None and not memory.polishing:
            # A cycle that ends far below the best is no evidence that the best is the end of it.
            tolerance = _tolerance(target)
            same = abs(gain) + doubt < tolerance and elbos.size >= EVIDENCE
            memory.idle = memory.idle + 1 if same else 0
            memory.risen = gain - doubt
            memory.missed = max(memory.missed, -gain - doubt) if elbos.size >= EVIDENCE else 0.0
        # The last state of a user's schedule is the one meant; a polished state is the better one
        # unless the ELBO speaks against it.
        if self.optimizer is not None or gain > (-doubt if memory.polishing else 0.0):
            memory.best, memory.score = jax.device_get(state), score
            if self.optimizer is None and memory.independent:
                for earlier in done[:-1]:
                    earlier.kept = False
        else:
            done[-1].kept = False

    def _next(self, memory: Cycles, state: Any) -> Review:
        length = memory.lengths.pop(0)
        clock = np.array(state.clock)  # (chain, 4): what failures have left of the step size stays
        clock[:, :3] = 0, length, memory.peak
        return Review(state._replace(clock=clock), length, memory)

    def finish(self, target: Target, state: Any, draws: np.ndarray | None, memory: Any) -> Gaussian:
        """The averaged q; after an interruption in mid-cycle, that of the best finished cycle."""
        if self.optimizer is None and memory is not None and memory.best is not None:
            state = memory.best
        return FAMILY.to_distribution(np.asarray(state.average)[0])


class ADVIState(NamedTuple):
    """q, its average over the tail of the cycle, the optimiser, and where in the cycle we are.

    `clock` is [steps made, length, peak step size, what failures have left of it]: one array, since
    each number of its own would cost a small net's loop a hundredth of its time.
    """

    phi: jax.Array
    average: jax.Array
    optimizer: Any
    clock: jax.Array


class ADVIInfo(NamedTuple):
    """What a step reports: the ELBO's estimate before it, its size, and whether it was finite."""

    elbo: jax.Array
    step_size: jax.Array
    ok: jax.Array


class Score(NamedTuple):
    """Mean of the ELBO over the tail of a cycle, and its standard error from 20 batch means."""

    mean: float
    error: float

    @classmethod
    def of_tail(cls, elbos: np.ndarray) -> Score:
        """From the ELBO of every step (chain, step)."""
        flat = elbos[0].astype(np.float64)
        tail = flat[int((1 - TAIL) * flat.size) :]
        tail = tail[np.isfinite(tail)]
        if tail.size == 0:
            return cls(-math.inf, 0.0)
        means = [part.mean() for part in np.array_split(tail, min(20, tail.size))]
        return cls(float(tail.mean()), float(np.std(means) / math.sqrt(max(len(means) - 1, 1))))


def _tolerance(target: Target) -> float:
    """Nats of ELBO below which a longer run would not be noticed."""
    return max(0.1, TOLERANCE * target.rows)


@dataclasses.dataclass
class Cycles:
    """What is remembered between cycles.

    Attributes:
        lengths: of the cycles to come.
        fresh: starts that have not run.
        peak: step size at the beginning of a cycle.
        best, score: the best finished cycle's state and its ELBO.
        idle: how many cycles in a row have gained little.
        risen: by how much, at least, the last doubling raised the ELBO.
        missed: by how much, at least, a long cycle ended below the best.
        polishing: whether the last cycle is under way.
        independent: whether the cycle under way has a start of its own.
    """

    lengths: list[int]
    fresh: list[Any]
    peak: float
    best: Any = None
    score: Score | None = None
    idle: int = 0
    risen: float = 0.0
    missed: float = 0.0
    polishing: bool = False
    independent: bool = True
    converged: bool = False
