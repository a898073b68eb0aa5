"""The posterior mode."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from posterity.checks import MOST_SIDE_BY_SIDE, Settings
from posterity.distributions.draws import Draws
from posterity.methods.method import AbstractMethod, Fitted
from posterity.model.net_target import Batch, Target


@dataclasses.dataclass(frozen=True)
class MAP(AbstractMethod):
    """The mode of the posterior density of the constrained parameters.

        maximise  log p(w, s) + (N/B) Σ_{i in batch} log p(yᵢ | xᵢ, w, s)

    over unconstrained θ, without the Jacobian of the map to constrained (w, s), so that the mode
    does not depend on how a positive scale is mapped to the real line.

    Args:
        steps: number of gradient steps.
        batch_size: rows per step; None for all.
        optimizer: an Optax optimiser, used as it is. None: Adam whose step size falls from
            min(0.1, 0.6/√D) to zero along a cosine.
        chains: how many modes are looked for, each from a start of its own; all in one loop.

    Returns from `fit` a posterior of one draw per chain. One point predicts with aleatoric
    uncertainty only; several are an ensemble, each of the same weight. `history` has ``log_joint``,
    ``step_size`` and ``ok``.

    Raises:
        ValueError: a number out of range, or a prior whose mode is misleading, such as one with a
            scale of its own: the mode would depend on how that scale is parametrised, or be at 0.

    A step whose gradient is not finite is not made: the step size is halved, and it is counted.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    >>> posterior = po.fit(model, (x, 2 * x[:, 0]), po.MAP(steps=2_000), progress=False)
    >>> posterior.sample().shape
    (1, 1, 2)
    """

    steps: int = 10_000
    batch_size: int | None = None
    optimizer: optax.GradientTransformation | None = None
    chains: int = 1

    traced = ("steps",)
    figure = "log_joint"
    in_step = True

    def __post_init__(self) -> None:
        wrong = Settings("MAP")
        wrong.counts(steps=self.steps)
        wrong.counts(most=MOST_SIDE_BY_SIDE, chains=self.chains)
        wrong.counts(none=True, batch_size=self.batch_size)
        says = "an Optax optimiser, such as optax.adam(1e-3)"
        wrong.instances(optax.GradientTransformation, says, none=True, optimizer=self.optimizer)
        wrong.refuse()

    @property
    def total_steps(self) -> int:
        return self.steps

    @property
    def evaluations(self) -> float:
        return 1

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> MAPState:
        """θ before the first step.

        Raises:
            ValueError: the prior says why it has no mode worth finding.
        """
        if target.no_mode:
            raise ValueError(f"MAP: {target.no_mode} Fit with po.ADVI or po.NUTS.")
        optimizer = self._transform().init(theta)
        return MAPState(theta, optimizer, jnp.zeros((), jnp.int32), jnp.ones((), theta.dtype))

    def step(
        self, key: jax.Array, target: Target, state: MAPState, batch: Batch
    ) -> tuple[MAPState, MAPInfo]:
        """One gradient step."""

        def loss(theta: jax.Array) -> jax.Array:
            return -target.log_joint(theta, batch, jacobian=False)

        value, gradient = jax.value_and_grad(loss)(state.position)
        update, optimizer = self._transform().update(gradient, state.optimizer, state.position)
        size = state.shrink
        if self.optimizer is None:
            peak = min(0.1, 0.6 / math.sqrt(target.size))
            size = size * peak * 0.5 * (1 + jnp.cos(jnp.pi * state.at / self.steps))
            update = -update
        theta = state.position + size * update
        ok = jnp.isfinite(value + jnp.sum(theta))
        return MAPState(theta, optimizer, state.at + 1, state.shrink), MAPInfo(-value, size, ok)

    def theta(self, state: MAPState) -> jax.Array:
        return state.position

    def retreat(self, state: MAPState) -> MAPState:
        """The same point with half the step size."""
        return state._replace(shrink=state.shrink / 2, at=state.at + 1)

    def _transform(self) -> optax.GradientTransformation:
        return optax.scale_by_adam() if self.optimizer is None else self.optimizer

    def finish(self, target: Target, state: Any, draws: Draws | None, memory: Any) -> Fitted:
        """The points, as one draw of each chain."""
        return Fitted(Draws(state.position[:, None]), target)


class MAPState(NamedTuple):
    """θ, the optimiser, the clock and the factor that failures have left of the step size."""

    position: jax.Array
    optimizer: Any
    at: jax.Array
    shrink: jax.Array


class MAPInfo(NamedTuple):
    """What a step reports: log joint before it, its size, and whether it was finite."""

    log_joint: jax.Array
    step_size: jax.Array
    ok: jax.Array
