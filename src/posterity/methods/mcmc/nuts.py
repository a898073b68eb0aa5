"""The no-U-turn sampler."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from posterity.methods.mcmc.hamiltonian import AbstractHamiltonian
from posterity.methods.mcmc.paths import Density, Path, Point, no_u_turn
from posterity.methods.mcmc.warmup import METRICS, Warmup

DEEPEST = 20  # 2²⁰ leapfrog steps: the table of their random numbers takes 4 MB


@dataclasses.dataclass(frozen=True)
class NUTS(AbstractHamiltonian):
    """The no-U-turn sampler with Stan's windowed warm-up, on all data.

    *Target density.* p(θ | data) exactly, in the limit of many draws. Each step draws a momentum
    from N(0, M), follows the Hamiltonian flow of −log p(θ, data) + ½ pᵀM⁻¹p by leapfrog steps ε in
    both directions of time until the path turns back on itself, and draws the next θ from the path.

    In the warm-up, ε is tuned by dual averaging and M⁻¹ is set to the spread of θ, in windows that
    double in length; both then stay fixed.

    Args:
        chains: independent chains. On a CPU they run side by side, one per core at a time, and no
            chain waits for another's longer path; on a GPU they run in step.
        warmup: steps of warm-up per chain, not kept; 20 at least for the metric to be adapted.
        draws: kept draws per chain.
        thin: steps per kept draw.
        target_acceptance: what ε is tuned for, in (0, 1); nearer to 1 means smaller steps.
        max_depth: paths have at most 2^max_depth − 1 leapfrog steps.
        metric: ``"diagonal"``, ``"dense"`` (all correlations; D² numbers) or ``"low-rank"`` (the
            strongest 16 directions, for many weights).

    Returns from `fit` a posterior of `Draws`; `history` has ``log_joint``, ``acceptance_rate``,
    ``divergent``, ``depth``, ``leapfrogs``, ``energy`` and ``step_size`` of every kept step;
    `posterior.diagnostics` says whether to trust it.

    Raises:
        ValueError: a number out of range.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> posterior = po.fit(
    ...     model, (x, 2 * x[:, 0]), po.NUTS(chains=2, warmup=200, draws=100), progress=False
    ... )
    >>> posterior.sample().shape
    (2, 100, 2)

    Hoffman & Gelman 2014, with the multinomial draw of Betancourt 2017. Like NumPyro and BlackJAX,
    and unlike Stan, a doubled path is not also checked across the seam of its halves. Step size and
    moments are adapted by BlackJAX; the tree is our own, for speed (see `paths`).
    """

    chains: int = 4
    warmup: int = 1_000
    draws: int = 1_000
    thin: int = 1
    target_acceptance: float = 0.8
    max_depth: int = 10
    metric: str = "diagonal"

    traced = ("warmup", "draws", "target_acceptance")

    def __post_init__(self) -> None:
        wrong = self._run_settings()
        wrong.counts(most=DEEPEST, max_depth=self.max_depth)
        wrong.fractions(target_acceptance=self.target_acceptance)
        wrong.among(METRICS, metric=self.metric)
        wrong.refuse()

    def _warmup(self) -> Warmup:
        return Warmup(self.warmup, self.target_acceptance, self.metric)

    def _path(
        self, density: Density, metric: Any, key: jax.Array, start: Point, step: jax.Array
    ) -> Path:
        return no_u_turn(density, metric, key, start, step, self.max_depth)
