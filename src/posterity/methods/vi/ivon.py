"""The improved variational online Newton method."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posterity.checks import MOST_SIDE_BY_SIDE, Settings
from posterity.cpu.once import normals, once_marker
from posterity.distributions.draws import Draws
from posterity.distributions.normal import Gaussian
from posterity.methods.method import AbstractMethod, Fitted, Review, Stretch, by_chain
from posterity.methods.normal_prior import NormalPrior
from posterity.methods.vi.families.family import equal_mixture
from posterity.methods.vi.objectives import closed_kl
from posterity.model.net_target import Batch, Target

TAIL = 0.2  # the last part of a run, over which q is averaged
SMALL = 1_000  # up to this many parameters, optima differ and steps are cheap: several starts
GAIN = 10.0  # of the Hessian's average: it looks back over about a tenth of the steps made
LEAST_PRECISION = 0.25  # of q, in units of the prior's: at most twice the prior's sd
LEAST_FREE = 0.01  # of q where the prior is not normal, in unconstrained units
OFF_START = 0.1  # more than this share of the estimate being its initial value is worth a warning
AT_FLOOR = 0.02  # likewise, the share of elements at their floor
TICK = np.array([1.0, 0.0, 0.0, 0.0], np.float32)  # one step of the clock
HALVED = np.array([1.0, 1.0, 0.5, 1.0], np.float32)  # after a failure


@dataclasses.dataclass(frozen=True)
class IVON(AbstractMethod):
    """Mean-field variational inference by natural gradients with a learned diagonal Hessian.

        q(θ) = N(m, diag(σ²)),   σ² = 1 / (λ (h + δ)),   λ = N / kl_weight,   θ = m + σ ε

        ĝ = −∇ log likelihood(θ) / N,   ĥ = ĝ (θ − m) / σ²
        g ← β₁ g + (1 − β₁) ĝ
        h ← β₂ h + (1 − β₂) ĥ + ½ (1 − β₂)² (h − ĥ)² / (h + δ)
        m ← m − α clip[ (g / (1 − β₁ᵗ) + δ (m − loc)) / (h + δ) ]

    It costs what Adam costs, in time and memory, and knows a standard deviation at every step. The
    fixed point is that of `ADVI`: the best independent normal.

    λ is the effective sample size, which the library knows from the data. The weight decay δ is the
    prior's: an element with prior N(loc, sd²) has δ = 1 / (λ sd²). Where the prior is not normal,
    δ = 0, and the gradient of the log prior at the draw joins that of the log likelihood, so that h
    is the curvature of both. h + δ stays positive by the form of its update.

    Args:
        steps: number of steps, those of all starts counted in.
        batch_size: rows per step; None for all.
        step_size: α, which falls to zero along a cosine; 1 is a Newton step. None: √(40/D), and 1
            at most.
        draws: draws of ε per step. An even number goes in pairs (ε, −ε), whose difference frees ĥ
            from the noise of the batch; the paper has 1.
        hess_init: the initial h > 0. None: what gives every element the standard deviation 0.03,
            or its prior's where that is smaller.
        beta_1: β₁, the momentum, in [0, 1).
        beta_2: β₂ in (0, 1). None: 1 − 10 / (t + T/10) at step t of T, whose average looks back
            over a tenth of the steps, and forgets hess_init in the first tenth.
        starts: how many runs from new initial weights share the first half of the steps; the one
            with the highest ELBO goes on. None for 4 up to 1,000 parameters and 1 above.
        kl_weight: weight of the KL; anything but 1 gives another posterior than the Bayesian one,
            and the result says so.
        chains: how many times the run is made, each from starts of its own and all in one loop.

    Returns from `fit` a posterior with a `Gaussian` over θ, averaged over the last fifth of the
    steps (of several chains their `Mixture`, of equal weights); `history` has ``elbo`` (estimated
    with the step's draws on its batch), ``step_size``, ``initial`` (the share of the Hessian
    estimate that is still its initial value), ``floored`` (the share of elements at the floor) and
    ``ok``.

    Raises:
        ValueError: a number out of range.

    A step that is not finite is not made: the step size is halved, and it is counted. A Hessian
    estimate that is still near its initial value when the run ends, which happens with β₂ too near
    to 1, is a warning of the result; so is one at its floor (a standard deviation of twice the
    prior's; of 10 where the prior is not normal).

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    >>> posterior = po.fit(model, (x, 2 * x[:, 0]), po.IVON(steps=2_000), progress=False)
    >>> abs(float(posterior.weights("layers.0.weight").mean()) - 2) < 0.1
    True

    Shen et al. 2024, "Variational learning is effective for large deep networks", ICML. We depart
    in the pairs of draws, in β₂ that grows with the run, in a step that is clipped to one σ per
    element before α (there: to a number to be tuned), in a change of h + δ per step of 2.5 at most,
    in its floor, in a prior per element, in the starts, and in the average at the end, which is of
    m and σ².
    """

    steps: int = 20_000
    batch_size: int | None = None
    step_size: float | None = None
    draws: int = 2
    hess_init: float | None = None
    beta_1: float = 0.9
    beta_2: float | None = None
    starts: int | None = None
    kl_weight: float = 1.0
    chains: int = 1

    traced = ("steps", "step_size", "hess_init", "beta_1", "beta_2", "kl_weight")
    figure = "elbo"

    def __post_init__(self) -> None:
        wrong = Settings("IVON")
        wrong.counts(steps=self.steps)
        wrong.counts(none=True, batch_size=self.batch_size)
        wrong.counts(most=MOST_SIDE_BY_SIDE, draws=self.draws, chains=self.chains)
        wrong.counts(most=MOST_SIDE_BY_SIDE, none=True, starts=self.starts)
        wrong.positive(none=True, step_size=self.step_size, hess_init=self.hess_init)
        wrong.positive(kl_weight=self.kl_weight)
        wrong.within(lambda b: 0 <= b < 1, "at least 0 and below 1", beta_1=self.beta_1)
        wrong.fractions(none=True, beta_2=self.beta_2)
        wrong.refuse()

    @property
    def total_steps(self) -> int:
        return self.steps

    @property
    def evaluations(self) -> float:
        """One for each of the draws."""
        return self.draws

    def start_count(self, target: Target) -> int:
        """How many runs have a start of their own."""
        count = (4 if target.size <= SMALL else 1) if self.starts is None else self.starts
        return count if self.steps >= 2 * count else 1

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> IVONState:
        """q around θ before the first step."""
        prior = NormalPrior.of(target, theta)
        if self.hess_init is None:
            precision = jnp.maximum(1 / 0.03**2, prior.precision)
        else:
            precision = self.hess_init * _effective(target) + prior.precision
        clock = jnp.array([0.0, self.steps, 1.0, 1.0], theta.dtype)
        zero = jnp.zeros_like(theta)
        return IVONState(theta, zero, precision, theta, 1 / precision, precision, clock)

    def step(
        self, key: jax.Array, target: Target, state: IVONState, batch: Batch
    ) -> tuple[IVONState, IVONInfo]:
        """One step of h, then of m; and the running average of q."""
        prior = NormalPrior.of(target, state.mean)
        at, length, shrink, left = state.clock
        sd = 1 / jnp.sqrt(state.precision)
        noise = self._noise(key, sd, once_marker(at, target.size))
        thetas = state.mean + sd * noise
        (log_likelihood, gradient, curvature) = _expectations(target, prior, thetas, noise, batch)
        elbo = target.elbo(log_likelihood, closed_kl(target, state.mean, sd, thetas))

        # In units of the precision λ (h + δ), where λ δ is the prior's and λ ĥ is curvature / sd.
        weight = GAIN / (at + length / 10) if self.beta_2 is None else 1 - self.beta_2
        change = weight * ((curvature / sd + prior.precision) / state.precision - 1)
        change = jnp.clip(change, -1, 1)
        floor = _floor(prior)
        precision = jnp.maximum(state.precision * (1 + change + 0.5 * change**2), floor)

        momentum = self.beta_1 * state.momentum + (1 - self.beta_1) * gradient
        unbiased = momentum / (1 - self.beta_1 ** (at + 1))
        sd = 1 / jnp.sqrt(precision)
        newton = (unbiased + prior.precision * (state.mean - prior.loc)) / precision
        size = shrink * self._peak(target) * 0.5 * (1 + jnp.cos(jnp.pi * at / length))
        mean = state.mean - size * jnp.clip(newton, -sd, sd)

        # Uniform weights over the tail: 1, 1/2, 1/3, …; before the tail the average is the last.
        into_tail = 1 / jnp.maximum(at - (1 - TAIL) * length + 1, 1)
        left = left * (1 - weight)
        new = IVONState(
            mean,
            momentum,
            precision,
            state.average + into_tail * (mean - state.average),
            state.variance + into_tail * (1 / precision - state.variance),
            state.initial,
            jnp.stack([at + 1, length, shrink, left]),
        )
        initial = jnp.mean(jnp.minimum(left * state.initial / precision, 1.0))
        floored = jnp.mean((precision <= floor).astype(mean.dtype))
        ok = jnp.isfinite(elbo + jnp.sum(mean) + jnp.sum(precision))
        return new, IVONInfo(elbo, size, initial, floored, ok)

    def theta(self, state: IVONState) -> jax.Array:
        return state.mean

    def retreat(self, state: IVONState) -> IVONState:
        """The same q with half the step size; the clock goes on."""
        return state._replace(clock=(state.clock + TICK) * HALVED)

    def _peak(self, target: Target) -> float:
        if self.step_size is not None:
            return self.step_size
        return min(1.0, math.sqrt(40 / target.size))

    def _noise(self, key: jax.Array, like: jax.Array, once: Any) -> jax.Array:
        """ε of all draws (draws, D), in pairs (ε, −ε) where their number is even."""
        pairs, odd = divmod(self.draws, 2)
        shape = (self.draws if odd else pairs, like.size)
        noise = normals(key, shape, like.dtype, once)
        return noise if odd else jnp.concatenate([noise, -noise])

    # -- several starts ---------------------------------------------------------------------------

    def review(self, target: Target, states: list[Any], done: list[Stretch], memory: Any) -> Review:
        """A run from each start for half of the steps in all, then the best one to the end."""
        if memory is None:
            memory = Race(states)
        elif memory.last:
            return Review(states[0], 0, memory)
        else:
            memory.record(states[0], done)
        share = self.steps // (2 * memory.count) if memory.count > 1 else 0
        if memory.count > 1 and memory.waiting:
            return self._begin(memory, memory.waiting.pop(0), share)
        memory.last = True
        if memory.count == 1:
            return self._begin(memory, states[0], self.steps)
        return self._begin(memory, memory.best, self.steps - share * memory.count)

    def _begin(self, memory: Race, state: Any, length: int) -> Review:
        clock = np.array(state.clock)  # (chain, 4): what failures have left of the step size stays
        clock[:, :2] = 0, length
        return Review(state._replace(clock=clock), length, memory)

    def finish(self, target: Target, state: Any, draws: Draws | None, memory: Any) -> Fitted:
        """The averaged q; of a run that was interrupted before the best was known, the current."""
        each = [Gaussian(*found) for found in zip(state.average, np.sqrt(state.variance))]
        return Fitted(equal_mixture(each), target)

    def advice(self, target: Target, info: dict[str, np.ndarray], memory: Any) -> list[str]:
        """Warnings where the Hessian estimate has not left its start, or has reached its floor."""
        advice: list[str] = []
        if not info["initial"].size:
            return advice
        if (initial := float(info["initial"][:, -1].max())) > OFF_START:
            lower = "" if self.beta_2 is None else f", or lower beta_2 below {self.beta_2}"
            advice.append(
                f"{100 * initial:.0f} % of the Hessian estimate is still its initial value, which "
                "is no property of the data; so are the standard deviations. Raise steps above "
                f"{self.steps:,}{lower}."
            )
        if (floored := float(info["floored"][:, -1].max())) > AT_FLOOR:
            advice.append(
                f"The Hessian estimate of {100 * floored:.0f} % of the parameters is at its floor, "
                "where the log likelihood curves upwards: q is not at an optimum. Raise steps "
                f"above {self.steps:,}, lower step_size, or tighten the priors."
            )
        return advice


class IVONState(NamedTuple):
    """q, the momentum, the average of q over the tail, and where in the run we are.

    In place of h the state has λ (h + δ), the precision of q, which is what has to stay positive.
    `clock` is [steps made, length, what failures have left of the step size, what of the initial
    Hessian is left in the average]: one array, as each of its own would cost a small net's loop.
    """

    mean: jax.Array
    momentum: jax.Array
    precision: jax.Array
    average: jax.Array
    variance: jax.Array
    initial: jax.Array
    clock: jax.Array


class IVONInfo(NamedTuple):
    """What a step reports: the ELBO's estimate before it, its size, and how the Hessian stands."""

    elbo: jax.Array
    step_size: jax.Array
    initial: jax.Array
    floored: jax.Array
    ok: jax.Array


class Race:
    """What is remembered between the runs from several starts, of each chain by itself.

    Attributes:
        waiting: starts that have not run. count: of all starts.
        best, best_elbo: of each chain the state that ended with the highest ELBO so far, and that.
        last: whether the run to the end is under way.
    """

    def __init__(self, waiting: list[Any]) -> None:
        self.waiting = list(waiting)
        self.count = len(self.waiting)
        self.best: Any = None
        self.best_elbo: Any = -math.inf
        self.last = False

    def record(self, state: Any, done: list[Stretch]) -> None:
        """Keep the run just finished where it is the best so far; the others leave the history."""
        elbos = done[-1].info["elbo"].astype(np.float64)
        tails = elbos[:, -max(1, int(TAIL * elbos.shape[1])) :]
        goods = [tail[np.isfinite(tail)] for tail in tails]
        elbo = np.array([good.mean() if good.size else -math.inf for good in goods])
        better = np.ones(len(elbo), bool) if self.best is None else elbo > self.best_elbo
        self.best = state if self.best is None else by_chain(better, state, self.best)
        self.best_elbo = np.where(better, elbo, self.best_elbo)
        done[-1].kept = better
        for earlier in done[:-1]:
            earlier.kept = earlier.kept & ~better


def _effective(target: Target) -> float:
    """λ, the effective sample size: a KL of less weight is as much data more."""
    return target.rows / target.kl_weight


def _floor(prior: NormalPrior) -> jax.Array:
    """The least precision of q."""
    return jnp.where(prior.precision > 0, LEAST_PRECISION * prior.precision, LEAST_FREE)


def _expectations(
    target: Target, prior: NormalPrior, thetas: jax.Array, noise: jax.Array, batch: Batch
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """E log likelihood, λ ĝ = E g and λ ĥ sd = E g ε, of the gradients g (draws, D) at the draws.

    g is that of −(log likelihood / kl_weight + what of the log prior is not normal), all rows
    counted.
    """

    def log_density(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        log_likelihood = target.scaled_log_likelihood(theta, batch)
        joint = log_likelihood / target.kl_weight + prior.rest(target, theta)
        return joint, log_likelihood

    each = jax.grad(log_density, has_aux=True)
    if thetas.shape[0] == 1:
        # One draw needs no batched products, which are slower than plain ones on a CPU.
        gradient, log_likelihood = each(thetas[0])
        return log_likelihood, -gradient, -gradient * noise[0]
    gradients, log_likelihoods = jax.vmap(each)(thetas)
    curvature = -jnp.mean(gradients * noise, axis=0)
    return jnp.mean(log_likelihoods), -jnp.mean(gradients, axis=0), curvature
