"""Automatic differentiation variational inference."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

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
RACE = 0.4  # the part of all steps that several starts share
TAIL = 0.2  # the last part of a cycle, over which iterates are averaged
SMALL = 1_000  # up to this many parameters, modes differ and steps are cheap: several starts
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
    fifth. The first cycle is run from several starts, and the best goes on, because the ELBO of a
    network has optima of different height. Each later cycle doubles the
    winner's way, starts at half the peak of the cycle before, and the best cycle so far is the result. The run has
    *converged* when a cycle raises the ELBO by less than 0.001 nats per row (0.1 nats at least), by
    two standard errors.

    Args:
        steps: number of gradient steps at most, those of all starts counted in.
        batch_size: rows per step; None for all.
        optimizer: an Optax optimiser, used as it is: no cycles of the step size, one start unless
            `starts` says more. None: Adam with peak step size min(0.1, 0.6/√D).
        stop: stop when converged. False uses all steps.
        starts: how many starts compete; None for 4 up to 1,000 parameters and 1 above. They share
            two fifths of the steps.
        draws: draws of ε per step.
        init_sd: the standard deviation q starts with, in unconstrained units.

    Returns from `fit` a posterior with a `Gaussian` over θ; `history` has ``elbo`` (estimated with
    the step's draws on its batch, along the way of the winning start), ``step_size`` and ``ok``.

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

    figure: ClassVar[str] = "elbo"
    collects: ClassVar[bool] = False
    chains: ClassVar[int] = 1
    warmup: ClassVar[int] = 0
    thin: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_counts("ADVI", steps=self.steps, draws=self.draws, starts=self.starts)
        if not 0 < self.init_sd < math.inf:
            raise ValueError(f"ADVI: init_sd must be positive and finite, not {self.init_sd}.")

    @property
    def total_steps(self) -> int:
        """`steps`."""
        return self.steps

    def start_count(self, target: Target) -> int:
        """How many starts compete for this target."""
        if self.starts is not None:
            return self.starts
        return 4 if self.optimizer is None and target.size <= SMALL else 1

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> ADVIState:
        """q around θ, before the first cycle."""
        phi = FAMILY.init(theta, self.init_sd)
        one = jnp.ones((), phi.dtype)
        optimizer = self._transform()
        return ADVIState(
            phi=phi,
            average=phi,
            optimizer=optimizer.init(phi),
            at=jnp.zeros((), jnp.int32),
            length=jnp.array(self.steps, jnp.int32),
            peak=one,
            shrink=one,
        )

    def step(
        self, key: jax.Array, target: Target, state: ADVIState, batch: Batch
    ) -> tuple[ADVIState, ADVIInfo]:
        """One reparameterised gradient step, and the running average of the iterates."""

        def loss(phi: jax.Array) -> jax.Array:
            thetas = FAMILY.draw(key, phi, self.draws)
            return -elbo(target, *FAMILY.mean_and_sd(phi), thetas, batch)

        value, gradient = jax.value_and_grad(loss)(state.phi)
        update, optimizer = self._transform().update(gradient, state.optimizer, state.phi)
        fraction = state.at / state.length
        size = state.shrink
        if self.optimizer is None:
            size = size * state.peak * 0.5 * (1 + jnp.cos(jnp.pi * fraction))
            update = -update
        phi = state.phi + size * update
        # Uniform weights over the tail: 1, 1/2, 1/3, …; before the tail the average is the iterate.
        into_tail = state.at - (1 - TAIL) * state.length
        weight = 1 / jnp.maximum(into_tail + 1, 1)
        average = state.average + weight * (phi - state.average)
        ok = jnp.isfinite(value + jnp.sum(phi))
        state = ADVIState(
            phi, average, optimizer, state.at + 1, state.length, state.peak, state.shrink
        )
        return state, ADVIInfo(-value, size, ok)

    def theta(self, state: ADVIState) -> jax.Array:
        """The mean of q."""
        return state.phi[0]

    def retreat(self, state: ADVIState) -> ADVIState:
        """The same q with half the step size; the clock goes on, so that a cycle ends."""
        return state._replace(shrink=state.shrink / 2, at=state.at + 1)

    def _transform(self) -> optax.GradientTransformation:
        return optax.scale_by_adam() if self.optimizer is None else self.optimizer

    # -- cycles -----------------------------------------------------------------------------------

    def review(
        self, target: Target, states: list[Any], done: list[Stretch], memory: Any
    ) -> Review:
        """Choose between starts, then lengthen the run cycle by cycle until it pays no more."""
        if memory is None:
            count = self.start_count(target)
            length = max(1, int(RACE * self.steps / count) if count > 1 else self.steps // 5)
            memory = Cycles(others=states[1:], length=length, way=length, peak=self._peak(target))
            return self._next(memory, states[0], memory.length)
        score = Score.of_tail(done[-1].info["elbo"])
        memory.used += memory.length
        reached = jax.device_get(states[0])
        better = memory.score is None or score.mean > memory.score.mean
        gained_little = memory.best is not None and memory.score is not None and (
            score.mean - memory.score.mean + 2 * math.hypot(score.error, memory.score.error)
            < max(0.1, TOLERANCE * target.rows)
        )
        if memory.racing:
            if better:
                for earlier in done[:-1]:
                    earlier.kept = False
                memory.best, memory.score = reached, score
            else:
                done[-1].kept = False
            if memory.others:
                return self._next(memory, memory.others.pop(0), memory.length)
            memory.racing = False
            gained_little = False
        elif better or self.optimizer is not None:
            memory.best, memory.score = reached, score
        left = self.steps - memory.used
        if left <= 0 or (self.stop and gained_little):
            return Review(memory.best, 0, memory, converged=gained_little and self.stop)
        memory.peak *= 0.5
        length = memory.way if memory.way <= left // 2 else left
        memory.way += length
        return self._next(memory, self._polished(memory.best), length)

    def _peak(self, target: Target) -> float:
        return min(0.1, 0.6 / math.sqrt(target.size))

    def _next(self, memory: Cycles, state: Any, length: int) -> Review:
        memory.length = length
        clock = {"at": 0, "length": length, "peak": memory.peak}
        shape = np.shape(state.at)
        state = state._replace(
            **{
                name: np.full(shape, value, getattr(state, name).dtype)
                for name, value in clock.items()
            }
        )
        return Review(state, length, memory)

    def _polished(self, state: Any) -> Any:
        """The state moved to its averaged iterate; a user's optimiser goes on from where it is."""
        return state._replace(phi=state.average) if self.optimizer is None else state

    def finish(
        self, target: Target, state: Any, draws: np.ndarray | None, memory: Any
    ) -> Gaussian:
        """The averaged q; after an interruption in mid-cycle, that of the best finished cycle."""
        if self.optimizer is None and memory is not None and memory.best is not None:
            state = memory.best
        return FAMILY.to_distribution(jnp.asarray(state.average[0]))


class ADVIState(NamedTuple):
    """q, its average over the tail of the cycle, the optimiser, and where in the cycle we are."""

    phi: jax.Array
    average: jax.Array
    optimizer: Any
    at: jax.Array
    length: jax.Array
    peak: jax.Array
    shrink: jax.Array


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


@dataclasses.dataclass
class Cycles:
    """What is remembered between cycles.

    Attributes:
        others: starts that have not run. length: of the cycle under way. way: steps of the winner,
        the cycle under way included. peak: step size at the beginning of the cycle. used: steps of
        all finished cycles. racing: whether starts still compete. best, score: the best finished
        cycle's state and ELBO.
    """

    others: list[Any]
    length: int
    way: int
    peak: float
    used: int = 0
    racing: bool = True
    best: Any = None
    score: Score | None = None
