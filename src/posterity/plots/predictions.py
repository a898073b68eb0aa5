"""What figures ask of predictions."""

from __future__ import annotations

from posterity.plots.style import Rescale
from posterity.posterior import Posterior
from posterity.predict.predictive import Predictive


def draws_of(posterior: Posterior, draws: int) -> int:
    """`draws`, or all stored ones where those are fewer: to repeat them would teach nothing."""
    return min(draws, posterior.distribution.stored or draws)


def in_units(pred: Predictive, rescale: Rescale | None) -> Predictive:
    """`pred` in the original units of a target that was standardised by ``(loc, scale)``."""
    return pred if rescale is None else pred.rescaled(*rescale)
