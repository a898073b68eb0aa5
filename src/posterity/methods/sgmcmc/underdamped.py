"""What SGHMC and SGNHT share: θ with a momentum, and a step that is symmetric in time."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.methods.sgmcmc.stochastic import AbstractStochastic, Going, StochasticInfo
from posterity.model.net_target import Batch, Target


class UnderdampedState(NamedTuple):
    """θ, its momentum (unit mass), the friction ξ where it moves too, and what every run carries.

    `friction` is () where it is fixed.
    """

    position: jax.Array
    momentum: jax.Array
    friction: Any
    going: Going


class Halfway(NamedTuple):
    """A step after its first drift, with the gradient there.

    Attributes:
        position: θ. value: the batch's log joint. kick: ε g / 2. step_size: ε. heat: the
        temperature of the injected noise. going: with this gradient taken in.
    """

    position: jax.Array
    value: jax.Array
    kick: jax.Array
    step_size: Any
    heat: jax.Array
    going: Going


class AbstractUnderdamped(AbstractStochastic):
    """A sampler with a momentum.

    Each step is drift, kick, friction with noise, kick, drift: the first and the last for half of
    ε. It takes one gradient, in the middle. With exact gradients its θ is right on a normal
    posterior, and the error elsewhere is of order ε² (Leimkuhler & Matthews 2013, "ABOBA";
    Leimkuhler & Shang 2016 for the thermostat), where Euler's scheme of the papers has one of
    order ε everywhere.
    """

    friction: float
    bias: float

    def theta(self, state: UnderdampedState) -> jax.Array:
        return state.position

    def _at_rest(self, state: UnderdampedState) -> dict[str, jax.Array]:
        return {"momentum": jnp.zeros_like(state.momentum)}

    def _drift(self, target: Target, state: UnderdampedState, batch: Batch) -> Halfway:
        """The first half of a step, up to the gradient in its middle."""
        going = state.going
        now = self._now(going)
        step_size = now.factor * self._step_size(going.learned)
        theta = state.position + 0.5 * step_size * state.momentum
        value, gradient, anchor = self._variates.gradient(target, going.anchor, theta, batch)
        learned = self._learning.update(
            going.learned, now.learns, target, theta, gradient, jnp.ones((), theta.dtype), batch
        )
        going = going._replace(at=going.at + 1, anchor=anchor, learned=learned)
        return Halfway(theta, value, 0.5 * step_size * gradient, step_size, now.heat, going)

    def _drift_again(
        self, half: Halfway, momentum: jax.Array, friction: Any = ()
    ) -> tuple[UnderdampedState, StochasticInfo]:
        """The rest of a step, by the momentum after its kicks."""
        theta = half.position + 0.5 * half.step_size * momentum
        ok = jnp.isfinite(half.value + jnp.sum(theta + momentum) + sum(jax.tree.leaves(friction)))
        info = StochasticInfo(half.value, half.step_size, ok)
        return UnderdampedState(theta, momentum, friction, half.going), info

    @property
    @abstractmethod
    def _noise_share(self) -> float:
        """How much of the gradients' noise, ε²V, is added to the temperature."""

    def _step_size(self, learned: Any) -> Any:
        if self.step_size is not None:
            return self.step_size
        # ε² (λ / 4 + share · max V) = bias. ε²λ/4 is 1 where the scheme becomes unstable.
        worst = learned.curvature / 4 + self._noise_share * jnp.max(learned.noise)
        # Nothing is known before the first gradients, and nothing is moved.
        return jnp.where(learned.steps > 1, jnp.sqrt(self.bias / worst), 0.0)
