"""Microcanonical Langevin Monte Carlo."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.methods.mcmc.microcanonical import Moving, check_turns, moved, refreshed, unit
from posterity.methods.mcmc.tuning import DENSE, DENSE_OF_NET, Tuned, Tuning
from posterity.methods.sampler import AbstractSampler
from posterity.model.net_target import Batch, Target


@dataclasses.dataclass(frozen=True)
class MCLMC(AbstractSampler):
    """Microcanonical Langevin Monte Carlo, on all data: fast, with a bias that is under control.

        dθ = S u dt,   du = (1 − u uᵀ) S ∇log p / (D − 1) dt + noise,   |u| = 1

    *Target density.* p(θ | data), up to a bias that vanishes with the step size ε: no step is ever
    rejected. θ moves at unit speed and the gradient turns the direction u, a little of which is
    forgotten at every step, all over a way of length L. The error of a step is the change of its
    energy, and ε is tuned for a variance of `energy_var` per dimension: smaller means less bias. On
    nets those errors have heavy tails, which the tuning caps, and the variance of a whole run is
    larger than what it was tuned for; `history` has the errors.

    In the warm-up ε is tuned and S set to a factor of the metric of `NUTS`, in windows that double
    in length; ε is tuned once more, and L set to 0.4 of the way over which coordinates forget where
    they were. The metric is dense up to 128 parameters, of nets with hidden units up to 32, and
    diagonal beyond.

    Args:
        chains: independent chains, side by side on the cores of a CPU.
        warmup: steps of warm-up per chain, not kept.
        draws: kept draws per chain. thin: steps per kept draw, of two gradients each.
        energy_var: variance of the energy error, in nats² per dimension. Smaller is slower and
            nearer to the posterior.

    Returns from `fit` a posterior of `Draws`; `history` has ``log_joint``, ``energy_change``,
    ``step_size`` and ``length`` of every kept step.

    Raises:
        ValueError: a number out of range, or a model with a single parameter.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> method = po.MCLMC(chains=2, warmup=1_000, draws=100)
    >>> po.fit(model, (x, 2 * x[:, 0]), method, progress=False).sample().shape
    (2, 100, 2)

    Robnik, De Luca, Silverstein & Seljak 2023, "Microcanonical Hamiltonian Monte Carlo"; Robnik &
    Seljak 2024. We tune as BlackJAX does, but within the steps of the warm-up, and take the time to
    forget from batch means.
    """

    chains: int = 4
    warmup: int = 5_000
    draws: int = 1_000
    thin: int = 10
    energy_var: float = 5e-4

    traced = ("warmup", "draws", "energy_var")

    figure = "log_joint"
    also = ("step_size", "length")
    apart = True
    sure = True

    def __post_init__(self) -> None:
        wrong = self._run_settings()
        wrong.positive(energy_var=self.energy_var)
        wrong.refuse()

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> MCLMCState:
        """θ before the first step, in a random direction."""
        check_turns("MCLMC", theta)
        # A layer without hidden units has a weight and a bias.
        most = DENSE if target.net_leaves <= 2 else DENSE_OF_NET
        # Filled by the first step: `init` does not see the data.
        nothing = jnp.full_like(theta, jnp.nan)
        direction = unit(jax.random.normal(key, theta.shape, theta.dtype))
        return MCLMCState(
            moving=Moving(theta, direction, nothing, nothing[0]),
            at=jnp.zeros((), jnp.int32),
            tuned=self._tuning.init(theta, target.size <= most),
        )

    def step(
        self, key: jax.Array, target: Target, state: MCLMCState, batch: Batch
    ) -> tuple[MCLMCState, MCLMCInfo]:
        """One step; in the warm-up, also one of the tuning."""
        density = jax.value_and_grad(lambda theta: target.log_joint(theta, batch))
        old, tuned = state.moving, state.tuned
        value, gradient = jax.lax.cond(
            state.at == 0, lambda: density(old.theta), lambda: (old.log_joint, old.gradient)
        )
        noise = jax.random.normal(key, (2, *old.theta.shape), old.theta.dtype)
        half = 0.5 * tuned.step_size / tuned.length
        start = Moving(old.theta, refreshed(old.direction, noise[0], half), gradient, value)
        new, change = moved(density, start, tuned.metric, tuned.step_size)
        fine = jnp.isfinite(change) & jnp.isfinite(jnp.sum(new.theta + new.gradient))
        new = new._replace(direction=refreshed(new.direction, noise[1], half))
        astray = start._replace(direction=unit(noise[1]))  # another way from here
        new = jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, astray)
        change = jnp.where(fine, change, 0.0)
        # Where the step began: what it has just computed would be copied in every step.
        place = old.theta, gradient
        learned = self._tuning.update(tuned, state.at, place, change, value, fine)
        # A step too long teaches something in the warm-up; later it is an error.
        ok = jnp.isfinite(value) & (fine | (state.at < self.warmup))
        info = MCLMCInfo(new.log_joint, change, tuned.step_size, tuned.length, ok)
        return MCLMCState(new, state.at + 1, learned), info

    def theta(self, state: MCLMCState) -> jax.Array:
        return state.moving.theta

    def facts(self, state: MCLMCState) -> dict[str, Any]:
        """The step size and the length L of each chain, as the warm-up has left them."""
        return {"step_size": state.tuned.step_size, "length": state.tuned.length}

    def retreat(self, state: MCLMCState) -> MCLMCState:
        """The same place with half the step size."""
        tuned = state.tuned._replace(step_size=state.tuned.step_size / 2)
        return state._replace(tuned=tuned)

    @property
    def _tuning(self) -> Tuning:
        return Tuning(self.warmup, self.energy_var)


class MCLMCState(NamedTuple):
    """Where θ is and whither, the number of steps made, and what the warm-up has learned."""

    moving: Moving
    at: jax.Array
    tuned: Tuned


class MCLMCInfo(NamedTuple):
    """What a step reports."""

    log_joint: jax.Array
    energy_change: jax.Array
    step_size: jax.Array
    length: jax.Array
    ok: jax.Array
