"""Hamiltonian Monte Carlo."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from posterity.checks import MOST_SIDE_BY_SIDE
from posterity.methods.mcmc.hamiltonian import AbstractHamiltonian
from posterity.methods.mcmc.paths import Density, Path, Point, fixed_length
from posterity.methods.mcmc.warmup import METRICS, Warmup


@dataclasses.dataclass(frozen=True)
class HMC(AbstractHamiltonian):
    """Hamiltonian Monte Carlo with paths of random length, on all data.

    *Target density.* p(θ | data) exactly, in the limit of many draws. Each step draws a momentum
    from N(0, M), makes L leapfrog steps ε of the Hamiltonian flow of −log p(θ, data) + ½ pᵀM⁻¹p,
    and accepts their end with probability min(1, e^(H − H′)). L is drawn anew for every path,
    uniformly from 1 … 2 leapfrogs − 1, so that no direction of θ comes round in step with it.

    Warm-up as in `NUTS`.

    Args:
        leapfrogs: the mean of L.
        chains, warmup, draws, thin, metric: as in `NUTS`.
        target_acceptance: what ε is tuned for, in (0, 1).

    Returns from `fit` what `NUTS` returns.

    Raises:
        ValueError: a number out of range.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> method = po.HMC(leapfrogs=8, chains=2, warmup=200, draws=100)
    >>> po.fit(model, (x, 2 * x[:, 0]), method, progress=False).sample().shape
    (2, 100, 2)

    Duane et al. 1987; Neal 2011, "MCMC using Hamiltonian dynamics", section 3.2 for random lengths.
    """

    leapfrogs: int = 32
    chains: int = 4
    warmup: int = 1_000
    draws: int = 1_000
    thin: int = 1
    target_acceptance: float = 0.8
    metric: str = "diagonal"

    traced = ("leapfrogs", "warmup", "draws", "target_acceptance")

    def __post_init__(self) -> None:
        wrong = self._run_settings()
        wrong.counts(most=MOST_SIDE_BY_SIDE, leapfrogs=self.leapfrogs)
        wrong.fractions(target_acceptance=self.target_acceptance)
        wrong.among(METRICS, metric=self.metric)
        wrong.refuse()

    def _warmup(self) -> Warmup:
        return Warmup(self.warmup, self.target_acceptance, self.metric)

    def _path(
        self, density: Density, metric: Any, key: jax.Array, start: Point, step: jax.Array
    ) -> Path:
        length_key, accept_key = jax.random.split(key)
        leapfrogs = jax.random.randint(length_key, (), 1, 2 * self.leapfrogs)
        return fixed_length(density, metric, accept_key, start, step, leapfrogs)
