"""What NUTS and HMC share: state, info, and a step with its warm-up around a path."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posterity.methods.mcmc.paths import Density, Path, Point
from posterity.methods.mcmc.warmup import Warming, Warmup
from posterity.methods.sampler import AbstractSampler
from posterity.model.net_target import Batch, Target


class HamiltonianState(NamedTuple):
    """θ with its log joint and gradient, the number of steps made, and what the warm-up knows."""

    position: jax.Array
    log_joint: jax.Array
    gradient: jax.Array
    at: jax.Array
    warming: Warming


class HamiltonianInfo(NamedTuple):
    """What a step reports."""

    log_joint: jax.Array
    acceptance_rate: jax.Array
    divergent: jax.Array
    depth: jax.Array
    leapfrogs: jax.Array
    energy: jax.Array
    step_size: jax.Array
    ok: jax.Array


class AbstractHamiltonian(AbstractSampler):
    """A sampler that draws a momentum, follows a path, and takes a point of it.

    Subclasses hold the settings; they say how to warm up, and which path to follow.
    """

    figure = "acceptance_rate"
    also = ("step_size", "leapfrogs", "divergent")
    apart = True
    sure = True

    @abstractmethod
    def _warmup(self) -> Warmup:
        """How step size and metric are adapted."""

    @abstractmethod
    def _path(
        self, density: Density, metric: Any, key: jax.Array, start: Point, step: jax.Array
    ) -> Path:
        """A path of steps `step` from `start`, and the point of it that is drawn.

        Args:
            density: θ → log joint and gradient. metric: M⁻¹. key: of this path. start: with its
                momentum drawn. step: ε.
        """

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> HamiltonianState:
        """θ before the first step, with the identity metric."""
        return HamiltonianState(
            position=theta,
            # Filled by the first step: `init` does not see the data.
            log_joint=jnp.full((), jnp.nan, theta.dtype),
            gradient=jnp.full_like(theta, jnp.nan),
            at=jnp.zeros((), jnp.int32),
            warming=self._warmup().init(theta),
        )

    def step(
        self, key: jax.Array, target: Target, state: HamiltonianState, batch: Batch
    ) -> tuple[HamiltonianState, HamiltonianInfo]:
        """One transition; in the warm-up, also one step of the adaptation."""
        density = jax.value_and_grad(lambda theta: target.log_joint(theta, batch))
        value, gradient = jax.lax.cond(
            state.at == 0,
            lambda: density(state.position),
            lambda: (state.log_joint, state.gradient),
        )
        warmup, metric = self._warmup(), state.warming.metric
        size = warmup.size(state.warming, state.at)
        noise_key, path_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, state.position.shape, state.position.dtype)
        start = Point(state.position, metric.momentum(noise), gradient, value)
        path = self._path(density, metric, path_key, start, size)
        place = jnp.stack([path.theta, path.gradient])
        warming = warmup.update(state.warming, state.at, place, path.acceptance)
        new = HamiltonianState(path.theta, path.log_joint, path.gradient, state.at + 1, warming)
        return new, HamiltonianInfo(
            log_joint=path.log_joint,
            acceptance_rate=path.acceptance,
            divergent=path.divergent,
            depth=path.depth,
            leapfrogs=path.leapfrogs,
            energy=path.energy,
            step_size=size,
            ok=jnp.isfinite(value + path.log_joint + jnp.sum(path.theta)),
        )

    def theta(self, state: HamiltonianState) -> jax.Array:
        return state.position

    def facts(self, state: HamiltonianState) -> dict[str, Any]:
        """The step size of each chain, as the warm-up has left it."""
        return {"step_size": np.exp(state.warming.step_size.log_step_size_avg)}
