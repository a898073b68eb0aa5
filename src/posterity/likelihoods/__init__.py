"""Likelihoods: what the outputs of a net say about the targets."""

from posterity.likelihoods.classes import Bernoulli, Categorical
from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.likelihoods.normal import Normal
from posterity.likelihoods.poisson import Poisson
from posterity.likelihoods.regression import AbstractRegressionLikelihood
from posterity.likelihoods.student_t import StudentT

__all__ = [
    "AbstractLikelihood",
    "AbstractRegressionLikelihood",
    "Bernoulli",
    "Categorical",
    "Normal",
    "Poisson",
    "StudentT",
]
