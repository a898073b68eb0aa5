"""Stochastic gradient Hamiltonian Monte Carlo."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from posterity.cpu.random import normal
from posterity.methods.sgmcmc.learning import Learning
from posterity.methods.sgmcmc.schedules import CONSTANT, AbstractSchedule
from posterity.methods.sgmcmc.stochastic import StochasticInfo
from posterity.methods.sgmcmc.underdamped import AbstractUnderdamped, UnderdampedState
from posterity.model.net_target import Batch, Target


@dataclasses.dataclass(frozen=True)
class SGHMC(AbstractUnderdamped):
    """Stochastic gradient Hamiltonian Monte Carlo: Langevin dynamics with a momentum.

        θ ← θ + ε v / 2
        v ← (1 − α) (v + ε g / 2) + √([1 − (1 − α)²] T − (1 − α/2)² ε² V̂) η + ε g / 2
        θ ← θ + ε v / 2

    with g the gradient of the log joint of a batch in the middle, η ~ N(0, I), and V̂ the estimated
    variance of g, or 0.

    *Target density.* p(θ | data)^(1/T), up to a bias. With exact gradients it is of order ε², and
    none on a normal posterior. The noise of gradients heats the chain to T + ε² V / (2 α), to first
    order, unless V̂ takes that off the noise that is injected.

    Args:
        draws: kept draws per chain.
        step_size: ε > 0, in units of the posterior sd; below 2 / √λ for the largest eigenvalue λ of
            the posterior precision. None chooses ε = √(bias / (λ / 4 + V / (2 α))) from the
            curvature and the gradient noise that the warm-up sees.
        friction: α in (0, 1), the share of the momentum that is forgotten in a step.
        noise_estimate: whether V̂ is learned, element by element, in the warm-up. Batches are then
            drawn with replacement, as V̂ is the variance of independent ones.
        batch_size, warmup, thin, chains, schedule, control_variates, temperature: as in `SGLD`.
        bias: of the variances, relative, in the steepest direction, that ``step_size=None`` allows.

    Returns from `fit` what `SGLD` returns.

    Raises:
        TypeError, ValueError: a setting out of range.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> sghmc = po.SGHMC(draws=500, step_size=0.02, batch_size=10, chains=2)
    >>> po.fit(model, (x, 2 * x[:, 0]), sghmc, progress=False).sample().shape
    (2, 500, 2)

    Chen, Fox & Guestrin 2014, equation 15, whose learning rate is our ε² and whose α is ours. We
    make the step symmetric in time, for an error of order ε² instead of ε.
    """

    draws: int = 1_000
    step_size: float | None = None
    friction: float = 0.1
    noise_estimate: bool = False
    batch_size: int | None = None
    warmup: int = None  # type: ignore[assignment]  # set to draws × thin by the check
    thin: int = 1
    chains: int = 1
    schedule: AbstractSchedule = CONSTANT
    control_variates: str | None = None
    bias: float = 0.1
    temperature: float = 1.0

    traced = ("draws", "step_size", "friction", "warmup", "bias", "temperature")

    def __post_init__(self) -> None:
        wrong = self._settings()
        wrong.fractions(friction=self.friction)
        wrong.positive(bias=self.bias)
        wrong.flags(noise_estimate=self.noise_estimate)
        self._check(wrong)
        independent = self.noise_estimate and self.control_variates is None
        object.__setattr__(self, "replacement", independent)

    @property
    def _learning(self) -> Learning:
        automatic = self.step_size is None
        noise = automatic or self.noise_estimate
        return Learning(noise, automatic, squares=False, memory=self._memory)

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> UnderdampedState:
        """θ before the first step, at rest."""
        return UnderdampedState(theta, jnp.zeros_like(theta), (), self._begin(theta))

    def step(
        self, key: jax.Array, target: Target, state: UnderdampedState, batch: Batch
    ) -> tuple[UnderdampedState, StochasticInfo]:
        """Drift, kick, friction, kick, drift."""
        half = self._drift(target, state, batch)
        keep = 1 - self.friction
        var = (1 - keep**2) * half.heat
        if self.noise_estimate:
            # Where the gradient brings more noise than there should be, none is added.
            brought = (0.5 * (1 + keep) * half.step_size) ** 2 * half.going.learned.noise
            var = jnp.maximum(var - brought, 0.0)
        noise = normal(key, half.kick.shape, half.kick.dtype)
        momentum = keep * (state.momentum + half.kick) + jnp.sqrt(var) * noise + half.kick
        return self._drift_again(half, momentum)

    @property
    def _noise_share(self) -> float:
        # What V̂ takes off is no bias, as long as there is enough to take it from.
        return (self.bias if self.noise_estimate else 0.5) / self.friction
