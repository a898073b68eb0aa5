"""A posterior as a prior: the normal, or the normals, that stand for it."""

from __future__ import annotations

import numpy as np

from posterity.checks import said
from posterity.distributions.distribution import (
    AbstractDensity,
    AbstractDistribution,
    Correlations,
)
from posterity.distributions.draws_as_normals import as_mixture, independent
from posterity.distributions.prior_of_weights import JointPrior
from posterity.layout import UNKNOWN
from posterity.model.net_target import Target

KINDS: tuple[Correlations | None, ...] = (None, "full", "low-rank", "none")
NUMBERS = 5 * 10**7  # of draws that normals are made of: 0.4 GB in double precision


def as_prior(
    target: Target, distribution: AbstractDistribution, correlations: Correlations | None
) -> JointPrior:
    """The prior that a distribution over the θ of a target becomes; see `Posterior.as_prior`."""
    unknowns = {UNKNOWN + name: unknown for name, unknown in target.likelihood.unknowns().items()}
    density = density_of(distribution, correlations)
    names = target.inputs, target.y_columns
    return JointPrior(target.prior.form, density, target.parameters, unknowns, *names)


def density_of(
    distribution: AbstractDistribution, correlations: Correlations | None
) -> AbstractDensity:
    """The normal, or mixture of normals, that stands for a distribution over θ.

    Raises:
        ValueError: `correlations` is none of those there are; the distribution is a point, or an
            element of θ is the same in all draws.
    """
    if not (correlations is None or (isinstance(correlations, str) and correlations in KINDS)):
        raise ValueError(
            'correlations: there are "full", "low-rank", "none" and None, not '
            f"{said(correlations)}."
        )
    refuse_point(distribution)
    if correlations == "none":
        mean, sd = distribution.mean_and_sd()
        _refuse_still(np.asarray(sd))
        return independent(mean, sd)
    normals = distribution.as_normals(correlations)
    if normals is not None:
        return normals
    return as_mixture(distribution.spread(NUMBERS), correlations)


def refuse_point(distribution: AbstractDistribution) -> None:
    """Refuse single θ, which have no width: one, or several modes without their surroundings.

    Raises:
        ValueError: it is such.
    """
    if distribution.point:
        raise ValueError(
            "as_prior: the method found a point, which does not say how sure it is. Fit with a "
            "method that finds a distribution, such as po.ADVI."
        )


def _refuse_still(sd: np.ndarray) -> None:
    if not (sd > 0).all():
        raise ValueError(
            f"as_prior: element {int(np.argmin(sd))} of θ is the same in all draws; the chains did "
            "not move."
        )
