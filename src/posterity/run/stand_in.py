"""Whether the normals that stand for draws predict as the draws do."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from posterity.distributions.distribution import AbstractDensity
from posterity.distributions.draws import AbstractDraws
from posterity.inputs import as_inputs, row_count, take
from posterity.posterior import Posterior

ROWS = 100  # at which both predict
DRAWS = 2_000  # of each
WIDER = 1.5  # times the sd of the draws, or this part of it, beyond which it is said
SHIFTED = 0.5  # of these sds that means may be apart


class Difference(NamedTuple):
    """How otherwise a stand-in predicts, over all rows: sds as a ratio, means in the draws' sds."""

    ratio: float
    shift: float

    @property
    def large(self) -> bool:
        """Whether either is beyond its limit."""
        return not (1 / WIDER <= self.ratio <= WIDER and self.shift <= SHIFTED)


def difference(posterior: Posterior, density: AbstractDensity, x: Any) -> Difference:
    """The epistemic sds and the means of a density beside those of a posterior.

        ratio² = Σ Var_q E[y | x, θ] / Σ Var E[y | x, θ]
        shift² = Σ (E_q y − E y)² / Σ Var E[y | x, θ]

    Args:
        posterior: the draws. density: what stands for them. x: inputs; 100 of them are used.
    """
    inputs = as_inputs(x, posterior.target.inputs)
    rows = row_count(inputs)
    inputs = take(inputs, np.linspace(0, rows - 1, min(ROWS, rows)).astype(int))
    parts = posterior.history, posterior.settings, posterior.result
    other = Posterior(posterior.target, density, *parts)
    drawn = posterior.predict(inputs, draws=min(DRAWS, posterior.distribution.stored or DRAWS))
    stood = other.predict(inputs, draws=DRAWS)
    var = float(np.sum(drawn.epistemic, dtype=np.float64)) or 1e-30
    wider = float(np.sum(stood.epistemic, dtype=np.float64))
    apart = float(np.sum((stood.mean - drawn.mean) ** 2, dtype=np.float64))
    return Difference(float(np.sqrt(wider / var)), float(np.sqrt(apart / var)))


def warning(posterior: Posterior, density: AbstractDensity, x: Any) -> str | None:
    """The sentence where a density predicts otherwise than the draws that it stands for."""
    if not isinstance(posterior.distribution, AbstractDraws):
        return None
    found = difference(posterior, density, x)
    if not found.large:
        return None
    return (
        "The normals that stand for the old draws predict otherwise than the draws: at the new "
        f"rows their epistemic sd is {found.ratio:.3g} times that of the draws, and their means "
        f"are {found.shift:.2g} of its sds away (limits {1 / WIDER:.2g} to {WIDER:g}, and "
        f"{SHIFTED:g}). Do not trust this update: remember predictions in place of weights, "
        "update(data, remember=x) with inputs x like the old ones, or fit all rows at once."
    )
