"""Stochastic gradient Langevin dynamics."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from posterity.inference.checks import check_counts, check_positive
from posterity.inference.sampler import AbstractSampler
from posterity.target import Batch, Target


@dataclasses.dataclass(frozen=True)
class SGLD(AbstractSampler):
    """Stochastic gradient Langevin dynamics with a constant step size.

        θ ← θ + ε ∇[ log p(θ) + (N/B) Σ_{i in batch} log p(yᵢ | xᵢ, θ) ] + √(2ε) η,   η ~ N(0, I)

    *Target density.* p(θ | data) up to a bias that falls with ε: on a normal posterior with
    precision Λ and all data in every step, the draws have covariance Λ⁻¹ (I − ε Λ / 2)⁻¹; the noise
    of minibatch gradients widens it further.

    Args:
        draws: kept draws per chain.
        step_size: ε > 0, in units of the posterior variance. It must stay below 2 / λ for the
            largest eigenvalue λ of Λ; for a chain to move a posterior sd it takes about
            1 / (2 ε λ) steps.
        batch_size: rows per step; None for all.
        warmup: steps before the first kept draw; None for as many as are kept.
        thin: steps per kept draw.
        chains: independent chains, run together.

    Returns from `fit` a posterior of `Draws`; `history` has ``log_joint`` of the batch and ``ok``.

    Raises:
        ValueError: a number out of range.

    A step that is not finite is not made; ε is halved for that chain, and it is counted.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> sgld = po.SGLD(draws=500, step_size=1e-3, batch_size=10, chains=2)
    >>> po.fit(model, (x, 2 * x[:, 0]), sgld, progress=False).sample(0, 1000).shape
    (2, 500, 2)

    Welling & Teh 2011, "Bayesian learning via stochastic gradient Langevin dynamics", whose ε is
    twice ours, and whose step size falls. The kernel is BlackJAX's.
    """

    draws: int = 1_000
    step_size: float = dataclasses.field(kw_only=True)
    batch_size: int | None = None
    warmup: int = None  # type: ignore[assignment]  # set to draws × thin below
    thin: int = 1
    chains: int = 1

    figure = "log_joint"

    def __post_init__(self) -> None:
        self._check_counts()
        check_positive("SGLD", step_size=self.step_size)
        if self.warmup is None:
            object.__setattr__(self, "warmup", self.draws * self.thin)
        elif self.warmup != 0:
            check_counts("SGLD", warmup=self.warmup)

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> SGLDState:
        """θ before the first step."""
        return SGLDState(theta, jnp.asarray(self.step_size, theta.dtype))

    def step(
        self, key: jax.Array, target: Target, state: SGLDState, batch: Batch
    ) -> tuple[SGLDState, SGLDInfo]:
        """One Langevin step on the batch."""
        import blackjax.sgmcmc.sgld as kernel

        value, gradient = jax.value_and_grad(target.log_joint)(state.position, batch)
        theta = kernel.build_kernel()(
            key, state.position, lambda theta, batch: gradient, batch, state.step_size
        )
        ok = jnp.isfinite(value + jnp.sum(theta))
        return SGLDState(theta, state.step_size), SGLDInfo(value, ok)

    def theta(self, state: SGLDState) -> jax.Array:
        """The current draw."""
        return state.position

    def retreat(self, state: SGLDState) -> SGLDState:
        """The same θ with half the step size."""
        return state._replace(step_size=state.step_size / 2)


class SGLDState(NamedTuple):
    """θ and the step size that failures have left."""

    position: jax.Array
    step_size: jax.Array


class SGLDInfo(NamedTuple):
    """What a step reports: the batch's log joint before it, and whether it was finite."""

    log_joint: jax.Array
    ok: jax.Array
