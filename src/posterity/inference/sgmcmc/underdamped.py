"""What SGHMC and SGNHT share: θ with a momentum, and a step that is symmetric in time."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.inference.sgmcmc.stochastic import AbstractStochastic, Going


class UnderdampedState(NamedTuple):
    """θ, its momentum (unit mass), the friction ξ where it moves too, and what every run carries.

    `friction` is () where it is fixed.
    """

    position: jax.Array
    momentum: jax.Array
    friction: Any
    going: Going


class AbstractUnderdamped(AbstractStochastic):
    """A sampler with a momentum.

    Each step is drift, kick, friction with noise, kick, drift: the first and the last for half of
    ε. It takes one gradient, in the middle. With exact gradients its θ is right on a normal
    posterior, and the error elsewhere is of order ε² (Leimkuhler & Matthews 2013, "ABOBA";
    Leimkuhler & Shang 2016 for the thermostat), where Euler's scheme of the papers has one of
    order ε everywhere.
    """

    bias: float

    def theta(self, state: UnderdampedState) -> jax.Array:
        """The current draw."""
        return state.position

    def _at_rest(self, state: UnderdampedState) -> dict[str, jax.Array]:
        return {"momentum": jnp.zeros_like(state.momentum)}

    def _stable(self, learned: Any, noise_share: float) -> jax.Array:
        """ε for which ε² (λ / 4 + noise_share · max V) = bias; 0 before it is known.

        ε²λ/4 is 1 where the scheme becomes unstable, and noise_share · ε²V is what the gradients'
        noise adds to the temperature.
        """
        worst = learned.curvature / 4 + noise_share * jnp.max(learned.noise)
        return jnp.where(learned.steps > 1, jnp.sqrt(self.bias / worst), 0.0)
