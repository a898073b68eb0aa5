"""Priors over the weights of a net."""

from posterity.priors.normal import Normal
from posterity.priors.prior import AbstractPrior, Prior, as_prior, by_path
from posterity.priors.scale_mixture import ScaleMixture, ScaleMixtureDistribution

__all__ = [
    "AbstractPrior",
    "Normal",
    "Prior",
    "ScaleMixture",
    "ScaleMixtureDistribution",
    "as_prior",
    "by_path",
]
