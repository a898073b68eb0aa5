"""Metropolis-adjusted microcanonical Langevin Monte Carlo."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from posterity.methods.mcmc.hamiltonian import AbstractHamiltonian
from posterity.methods.mcmc.microcanonical import Moving, check_turns, moved, unit
from posterity.methods.mcmc.paths import Density, Path, Point, ended
from posterity.methods.mcmc.warmup import METRICS, Warmup


@dataclasses.dataclass(frozen=True)
class MAMCLMC(AbstractHamiltonian):
    """Microcanonical paths whose ends are accepted or refused, on all data: without bias.

    *Target density.* p(θ | data) exactly, in the limit of many draws. Each step draws a direction,
    follows the microcanonical flow of `MCLMC` for a way that is uniform on (0, 2 L), and accepts
    the end with probability min(1, e^−Δ), where Δ is the error of the energy along the path.

    In the warm-up the step size ε is tuned by dual averaging, and the metric set to the spread of
    θ, in the windows of `NUTS`.

    Args:
        length: L over √D, in units of the posterior's sds. One is right for round posteriors;
            those with slow directions gain from more.
        chains, warmup, draws, thin, metric: as in `NUTS`.
        target_acceptance: what ε is tuned for, in (0, 1).
        max_steps: most steps of a path, of two gradients each.

    Returns from `fit` what `NUTS` returns; ``leapfrogs`` counts gradients.

    Raises:
        ValueError: a number out of range.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> method = po.MAMCLMC(chains=2, warmup=200, draws=100)
    >>> po.fit(model, (x, 2 * x[:, 0]), method, progress=False).sample().shape
    (2, 100, 2)

    Robnik, Cohn-Gordon & Seljak 2025, "Metropolis adjusted microcanonical Hamiltonian Monte Carlo".
    We leave L at a multiple of √D instead of tuning it to the time to forget.
    """

    length: float = 1.0
    chains: int = 4
    warmup: int = 1_000
    draws: int = 1_000
    thin: int = 1
    target_acceptance: float = 0.9
    max_steps: int = 512
    metric: str = "diagonal"

    traced = ("length", "warmup", "draws", "target_acceptance", "max_steps")

    def __post_init__(self) -> None:
        wrong = self._run_settings()
        wrong.counts(max_steps=self.max_steps)
        wrong.positive(length=self.length)
        wrong.fractions(target_acceptance=self.target_acceptance)
        wrong.among(METRICS, metric=self.metric)
        wrong.refuse()

    def _warmup(self) -> Warmup:
        return Warmup(self.warmup, self.target_acceptance, self.metric)

    def _path(
        self, density: Density, metric: Any, key: jax.Array, start: Point, step: jax.Array
    ) -> Path:
        check_turns("MAMCLMC", start.theta)
        size, dtype = start.theta.shape[0], start.theta.dtype
        way, accept = jax.random.uniform(key, (2,), dtype)
        steps = jnp.ceil(2 * way * self.length * jnp.sqrt(float(size)) / step)
        steps = jnp.clip(steps, 1, self.max_steps).astype(jnp.int32)
        # A momentum from N(0, M), made round, has a direction that is uniform on the sphere.
        direction = unit(metric.pull(start.momentum))
        begin = Moving(start.theta, direction, start.gradient, start.log_joint)

        def go(_: Any, carry: tuple[Moving, jax.Array]) -> tuple[Moving, jax.Array]:
            new, change = moved(density, carry[0], metric, step)
            return new, carry[1] + change

        end, error = jax.lax.fori_loop(0, steps, go, (begin, jnp.zeros((), dtype)))
        error = jnp.where(jnp.isfinite(error), error, jnp.inf)
        energies = -begin.log_joint, -end.log_joint
        return ended(begin, end, -error, accept, 2 * steps, energies)
