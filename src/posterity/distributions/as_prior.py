"""A posterior as a prior: the normal, or the normals, that stand for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from posterity.distributions.distribution import AbstractDensity
from posterity.distributions.draws import AbstractDraws, Draws
from posterity.distributions.draws_as_normals import as_mixture, independent, keep
from posterity.distributions.mixture import Mixture
from posterity.distributions.normal import FullRank, Gaussian, LowRank
from posterity.distributions.prior_of_predictions import Remembered
from posterity.distributions.prior_of_weights import JointPrior
from posterity.layout import UNKNOWN
from posterity.model.program_target import ProgramTarget
from posterity.predict.remember import remembered

if TYPE_CHECKING:
    from posterity.posterior import Posterior

Correlations = Literal["full", "low-rank", "none"]
KINDS: tuple[Correlations | None, ...] = (None, "full", "low-rank", "none")
NUMBERS = 5 * 10**7  # of draws that normals are made of: 0.4 GB in double precision
PUSHED = 10_000  # draws of a density that is no normal, of which its normal is made


def as_prior(
    posterior: Posterior, correlations: Correlations | None, remember: Any = None
) -> JointPrior | Remembered:
    """`Posterior.as_prior`, which see."""
    target = posterior.target
    if isinstance(target, ProgramTarget):
        raise TypeError(
            "as_prior: the model is a NumPyro program, whose priors stand in the program itself; "
            "write posterior.summary() into it by hand."
        )
    if remember is not None:
        if correlations is not None:
            raise ValueError(
                "correlations, remember: give one of them. The weights' correlations are not kept "
                "where predictions are remembered in their place."
            )
        _refuse_point(posterior)
        return remembered(posterior, remember)
    unknowns = {UNKNOWN + name: unknown for name, unknown in target.likelihood.unknowns().items()}
    density = density_of(posterior, correlations)
    return JointPrior(target.prior.form, density, target.parameters, unknowns)


def density_of(posterior: Posterior, correlations: Correlations | None) -> AbstractDensity:
    """The normal, or mixture of normals, that stands for a posterior's distribution."""
    if correlations not in KINDS:
        raise ValueError(
            f'correlations: there are "full", "low-rank", "none" and None, not {correlations!r}.'
        )
    _refuse_point(posterior)
    given = posterior.distribution
    if correlations == "none":
        mean, sd = given.mean_and_sd()
        _refuse_still(np.asarray(sd))
        return independent(mean, sd)
    if isinstance(given, (Gaussian, FullRank, LowRank, Mixture)):
        return keep(given, correlations)
    if not isinstance(given, AbstractDraws):
        given = Draws(posterior.sample(jax.random.key(0), PUSHED))
    return as_mixture(_thinned(given), correlations)


def _refuse_point(posterior: Posterior) -> None:
    given = posterior.distribution
    if isinstance(given, AbstractDraws) and given.stored == 1:
        raise ValueError(
            f"as_prior: {posterior.settings.get('method')} found a point, which does not say how "
            "sure it is. Fit with a method that finds a distribution, such as po.ADVI."
        )


def _thinned(draws: AbstractDraws) -> np.ndarray:
    """Draws (chain, draw, D), as many as are few enough numbers, evenly spaced."""
    chains, count, size = draws.shape
    step = -(-draws.stored * size // NUMBERS)
    numbers = np.arange(count)[::step] + count * np.arange(chains)[:, None]
    return draws.rows(numbers.ravel()).reshape(*numbers.shape, size)


def _refuse_still(sd: np.ndarray) -> None:
    if not (sd > 0).all():
        raise ValueError(
            f"as_prior: element {int(np.argmin(sd))} of θ is the same in all draws; the chains did "
            "not move."
        )
