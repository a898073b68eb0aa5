"""Stochastic gradient Nosé-Hoover thermostats."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from posterity.cpu.random import normal
from posterity.methods.sgmcmc.schedules import CONSTANT, AbstractSchedule
from posterity.methods.sgmcmc.stochastic import StochasticInfo
from posterity.methods.sgmcmc.underdamped import AbstractUnderdamped, UnderdampedState
from posterity.model.net_target import Batch, Target


@dataclasses.dataclass(frozen=True)
class SGNHT(AbstractUnderdamped):
    """SGHMC whose friction adapts for ever, so that the chain keeps its temperature.

        dθ = v dt,   dv = ∇log p dt − ξ v dt + √(2 a T) dW,   dξ = (vᵀv / D − T) μ dt

    *Target density.* p(θ | data)^(1/T), up to a bias: of order ε² with exact gradients. Noise of
    the gradients, of whatever size, raises ξ until the mean of vᵀv / D is right; what remains is
    how much more noise some elements have than others. μ = 1 is Ding et al.'s. Batches are drawn
    with replacement: noise that cancels over a pass heats v more than θ, and the thermostat, which
    sees v, would leave θ too cold.

    Args:
        draws: kept draws per chain.
        step_size: ε > 0, in units of the posterior sd; None as in `SGHMC`.
        friction: α in (0, 1), the share of the momentum that is forgotten in a step if gradients
            are exact: a = −log(1 − α) / ε. ξ starts there.
        batch_size, warmup, thin, chains, schedule, control_variates, temperature, bias: as in
            `SGHMC`.

    Returns from `fit` what `SGLD` returns.

    Raises:
        TypeError, ValueError: a setting out of range.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> sgnht = po.SGNHT(draws=500, step_size=0.02, batch_size=10, chains=2)
    >>> po.fit(model, (x, 2 * x[:, 0]), sgnht, progress=False).sample().shape
    (2, 500, 2)

    Ding, Fang, Babbush, Chen, Skeel & Neven 2014, "Bayesian sampling using stochastic gradient
    thermostats". We split the step symmetrically: Leimkuhler & Shang 2016, "Adaptive thermostats
    for noisy gradient systems".
    """

    draws: int = 1_000
    step_size: float | None = None
    friction: float = 0.1
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
        self._check(wrong)
        object.__setattr__(self, "replacement", self.control_variates is None)

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> UnderdampedState:
        """θ before the first step, at rest; ξ ε where exact gradients would leave it."""
        friction = -jnp.log1p(-jnp.asarray(self.friction, theta.dtype))
        return UnderdampedState(theta, jnp.zeros_like(theta), friction, self._begin(theta))

    def step(
        self, key: jax.Array, target: Target, state: UnderdampedState, batch: Batch
    ) -> tuple[UnderdampedState, StochasticInfo]:
        """Drift, kick, half of the friction, thermostat, the other half, kick, drift."""
        half = self._drift(target, state, batch)
        noise = normal(key, (2, *half.kick.shape), half.kick.dtype)
        momentum = self._rubbed(state.momentum + half.kick, state.friction, half.heat, noise[0])
        # ξ is kept times ε: a step of it is then ε² (vᵀv / D − T).
        warmth = jnp.mean(momentum**2) - half.heat
        moves = half.heat > 0  # a cycle that explores would raise ξ until nothing moves
        friction = state.friction + jnp.where(moves, half.step_size**2 * warmth, 0.0)
        momentum = self._rubbed(momentum, friction, half.heat, noise[1]) + half.kick
        return self._drift_again(half, momentum, friction)

    def _rubbed(
        self, momentum: jax.Array, friction: jax.Array, heat: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """The momentum after half a step of friction ξ and noise a: exact for fixed ξ.

        v ← e^(−ξε/2) v + √(a T (1 − e^(−ξε)) / ξ) η
        """
        injected = -jnp.log1p(-jnp.asarray(self.friction, momentum.dtype))
        small = jnp.abs(friction) < 1e-6
        safe = jnp.where(small, 1.0, friction)
        share = jnp.where(small, 1.0, -jnp.expm1(-safe) / safe)
        return jnp.exp(-0.5 * friction) * momentum + jnp.sqrt(injected * heat * share) * noise

    @property
    def _noise_share(self) -> float:
        return 0.5 / self.friction
