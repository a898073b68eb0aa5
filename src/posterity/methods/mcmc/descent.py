"""Descent of many replicas to modes, before they are tempered."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import optax

from posterity.methods.mcmc.paths import Density


class Descent(NamedTuple):
    """Where the replicas are (replica, D), and Adam's moments of each."""

    theta: jax.Array
    moments: Any

    @classmethod
    def start(cls, theta: jax.Array) -> Self:
        """Before the first step, from θ (replica, D)."""
        return cls(theta, optax.scale_by_adam().init(theta))


def descended(
    density: Density, descent: Descent, share: jax.Array, steps: Any
) -> tuple[Descent, jax.Array]:
    """After some of Adam's steps, whose size is that of `MAP`; and the log joints before the last.

    Args:
        density: θ (D,) → log joint and gradient. share: of the whole descent that is done, from 0
            to 1; sizes fall to zero along a cosine. steps: how many are made here.

    A replica whose gradient is not finite stays where it is.
    """
    many = jax.vmap(density)
    peak = min(0.1, 0.6 / math.sqrt(descent.theta.shape[1]))
    size = peak * 0.5 * (1 + jnp.cos(jnp.pi * share))

    def step(_: Any, carry: tuple[Descent, jax.Array]) -> tuple[Descent, jax.Array]:
        (theta, moments), _ = carry
        log_joint, gradient = many(theta)
        fine = jnp.isfinite(log_joint + jnp.sum(gradient, axis=1))
        gradient = jnp.where(fine[:, None], gradient, 0.0)
        update, moments = optax.scale_by_adam().update(gradient, moments)
        moved = theta + jnp.where(fine[:, None], size * update, 0.0)
        return Descent(moved, moments), log_joint

    none = jnp.zeros(descent.theta.shape[0], descent.theta.dtype)
    return jax.lax.fori_loop(0, steps, step, (descent, none))
