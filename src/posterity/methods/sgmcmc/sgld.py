"""Stochastic gradient Langevin dynamics, plain and preconditioned."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.cpu.random import normal
from posterity.methods.sgmcmc.learning import Learning
from posterity.methods.sgmcmc.preconditioners import as_variances, rmsprop
from posterity.methods.sgmcmc.schedules import CONSTANT, AbstractSchedule
from posterity.methods.sgmcmc.stochastic import AbstractStochastic, Going, StochasticInfo
from posterity.model.net_target import Batch, Target


@dataclasses.dataclass(frozen=True)
class SGLD(AbstractStochastic):
    """Stochastic gradient Langevin dynamics.

        θ ← θ + ε P ∇ [ log p(θ) + (N/B) Σ_{i in batch} log p(yᵢ | xᵢ, θ) ] + √(2 ε T P) η

    with η ~ N(0, I).

    *Target density.* p(θ | data)^(1/T), up to a bias that falls with ε. On a normal posterior with
    precision Λ, P = I and all data in every step, the draws have covariance Λ⁻¹ (I − ε Λ / 2)⁻¹.
    The noise of independent batches, of covariance V, widens it by ε V / 2 relative, to first
    order; batches without replacement, as they are here, make that smaller.

    Args:
        draws: kept draws per chain.
        step_size: ε > 0, in units of the posterior variance over P. It must stay below 2 / λ for
            the largest eigenvalue λ of PΛ. None chooses ε = 2 bias / (λ + max P V) from the
            curvature λ and the gradient noise V that the warm-up sees.
        batch_size: rows per step; None for all.
        warmup: steps before the first kept draw; None for as many as are kept.
        thin: steps per kept draw.
        chains: independent chains, side by side on the cores of a CPU.
        preconditioner: P: None for I; an array (D,) of variances, such as those of an ADVI fit; or
            ``"rmsprop"``, 1 / (10⁻⁵ + √v) with v the mean squared gradient per row, learned in the
            warm-up and then fixed.
        schedule: how ε falls, one of `po.schedules`.
        control_variates: None, ``"start"`` or ``"svrg"``: gradients with less noise.
        bias: of the variances, relative, in the steepest direction, that ``step_size=None`` allows.
        temperature: T ≥ 0; 1 is the Bayesian posterior.

    Returns from `fit` a posterior of `Draws`; `history` has ``log_joint`` of the batch and
    ``step_size``.

    Raises:
        TypeError, ValueError: a setting out of range.

    A step that is not finite is not made; ε is halved for that chain, and it is counted.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> sgld = po.SGLD(draws=500, step_size=1e-3, batch_size=10, chains=2)
    >>> po.fit(model, (x, 2 * x[:, 0]), sgld, progress=False).sample().shape
    (2, 500, 2)

    Welling & Teh 2011, "Bayesian learning via stochastic gradient Langevin dynamics", whose ε is
    twice ours. Li, Chen, Carlson & Carin 2016, "Preconditioned SGLD": they let P change for ever
    and leave out the term that this needs; ours is fixed after the warm-up and needs none.
    """

    draws: int = 1_000
    step_size: float | None = None
    batch_size: int | None = None
    warmup: int = None  # type: ignore[assignment]  # set to draws × thin by the check
    thin: int = 1
    chains: int = 1
    preconditioner: Any = None
    schedule: AbstractSchedule = CONSTANT
    control_variates: str | None = None
    bias: float = 0.1
    temperature: float = 1.0

    traced = ("draws", "step_size", "warmup", "bias", "temperature")

    def __post_init__(self) -> None:
        wrong = self._settings()
        given = self.preconditioner
        found = wrong.attempt("preconditioner", lambda: as_variances("SGLD", given))
        object.__setattr__(self, "preconditioner", found)
        wrong.positive(bias=self.bias)
        self._check(wrong)

    @property
    def _learning(self) -> Learning:
        automatic = self.step_size is None
        return Learning(automatic, automatic, self.preconditioner == "rmsprop", self._memory)

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> SGLDState:
        """θ before the first step."""
        return SGLDState(theta, self._begin(theta))

    def step(
        self, key: jax.Array, target: Target, state: SGLDState, batch: Batch
    ) -> tuple[SGLDState, StochasticInfo]:
        """One Langevin step on the batch."""
        theta, going = state
        now = self._now(going)
        value, gradient, anchor = self._variates.gradient(target, going.anchor, theta, batch)
        root = self._root(going.learned, target, theta)
        learned = self._learning.update(
            going.learned, now.learns, target, theta, gradient, root, batch
        )
        step_size = now.factor * self._step_size(learned, root)
        noise = normal(key, theta.shape, theta.dtype)
        moved = theta + step_size * root**2 * gradient
        moved = moved + jnp.sqrt(2 * step_size * now.heat) * root * noise
        ok = jnp.isfinite(value + jnp.sum(moved))
        going = Going(going.at + 1, going.shrink, anchor, learned)
        return SGLDState(moved, going), StochasticInfo(value, step_size, ok)

    def theta(self, state: SGLDState) -> jax.Array:
        return state.position

    def _root(self, learned: Any, target: Target, theta: jax.Array) -> Any:
        """The root of P, (D,) or 1."""
        if self.preconditioner is None:
            return jnp.ones((), theta.dtype)
        if isinstance(self.preconditioner, str):
            return jnp.sqrt(rmsprop(learned.squares, learned.steps))
        return jnp.sqrt(self.preconditioner.of(target, theta))

    def _step_size(self, learned: Any, root: jax.Array) -> Any:
        if self.step_size is not None:
            return self.step_size
        worst = learned.curvature + jnp.max(root**2 * learned.noise)
        # Nothing is known before the first gradients, and nothing is moved.
        return jnp.where(learned.steps > 1, 2 * self.bias / worst, 0.0)


class SGLDState(NamedTuple):
    """θ, and what every stochastic-gradient run carries along."""

    position: jax.Array
    going: Going
