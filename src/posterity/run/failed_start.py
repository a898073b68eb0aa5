"""What to say where no step could be made: which parameter, which row, from which start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from numpyro.distributions.distribution import validation_enabled

from posterity.layout import Parameter
from posterity.methods.method import AbstractMethod
from posterity.model.target import AbstractTarget
from posterity.posterior import AbstractPosterior
from posterity.run import single_precision

OTHER_START = (
    'Standardise x and y, choose tighter priors, or start elsewhere (init="prior", or your own θ).'
)
WORDS = {"net": "the net's own first weights", "prior": "a draw from the prior"}


def origin(init: Any, seed: int) -> str:
    """Where a run started, in words.

    Args:
        init: as `fit` takes it. seed: the run's.

    >>> origin("prior", 3)
    'a draw from the prior, seed 3'
    """
    if isinstance(init, str):
        return f"{WORDS.get(init, init)}, seed {seed}"
    if isinstance(init, AbstractMethod):
        return f"a fit by {type(init).__name__}, seed {seed}"
    if isinstance(init, AbstractPosterior):
        return "the posterior given"
    return "the parameters given" if isinstance(init, Mapping) else "the θ given"


def why(target: AbstractTarget, theta: jax.Array, whole: Any) -> str:
    """Why no step can be made from a start θ (D,), and what to do.

    Args:
        target: the model as densities of θ. theta: the start. whole: all of the data as one batch.
    """
    remedy = single_precision.of_start(target, whole, theta) or OTHER_START
    # NumPyro's own checks would raise an error of theirs where a parameter is not finite.
    with validation_enabled(is_validate=False):
        return f"{blame(target, theta, whole)} {remedy}"


def blame(target: AbstractTarget, theta: jax.Array, whole: Any) -> str:
    """Why no step can be made from a start, in a sentence that names parameters; as `why`."""
    target = target.at_start()
    log_prior = float(target.log_prior(theta))
    if not np.isfinite(log_prior):
        found = f"the log prior there is {log_prior}{_first_in(prior_blame(target, theta))}"
        return f"{found}. {_largest(target, theta)}"
    each = np.asarray(target.log_likelihood(theta, whole))
    rough = paths_of(target, ~np.isfinite(jax.grad(target.log_joint)(theta, whole)))
    gradient = f"the gradient there is not finite{_first_in(rough)}" if rough else ""
    if not np.isfinite(each).all():
        row = int(np.argwhere(~np.isfinite(each))[0, 0])
        found = f"the log likelihood of row {row} there is {each[row]}"
        found = f"{found}, and {gradient}" if rough else found
    else:
        found = gradient or "density and gradient are finite there, but nowhere a step away"
    return f"{found}. {_largest(target, theta)}"


def prior_blame(target: AbstractTarget, theta: jax.Array) -> list[str]:
    """The parameters whose own log prior is not finite, as far as their priors are apart."""
    found: list[str] = []
    for block in target.prior_blocks:
        if np.isfinite(float(block.log_prior(theta))):
            continue
        inside = np.zeros(target.size, bool)
        inside[block.start : block.stop] = _guilty(block, theta)
        found += paths_of(target, inside)
    if not found:  # of a program, whose sites have no blocks
        found = paths_of(target, ~np.isfinite(jax.grad(target.log_prior)(theta)))
    return found


def paths_of(target: AbstractTarget, marked: Any) -> list[str]:
    """The parameters with a marked element of θ, in their order."""
    marked = np.asarray(marked)
    return [p.path for p in target.parameters if marked[p.start : p.stop].any()]


def _guilty(block: Any, theta: jax.Array) -> np.ndarray:
    """Which elements of a block have no finite log prior; all, where it is not one of elements."""
    each = block.each(theta)
    if each is None:
        return np.ones(block.stop - block.start, bool)
    return ~np.isfinite(np.asarray(each)).ravel()


def _first_in(paths: list[str]) -> str:
    if not paths:
        return ""
    more = len(paths) - 1
    others = f" and in {more} other parameter{'s' * (more > 1)}" if more else ""
    return f", first in {paths[0]!r}{others}"


def _largest(target: AbstractTarget, theta: jax.Array) -> str:
    """Overflow begins where numbers are largest."""
    sizes = np.abs(np.asarray(theta))
    sizes = np.where(np.isnan(sizes), np.inf, sizes)

    def largest(parameter: Parameter) -> float:
        return float(sizes[parameter.start : parameter.stop].max(initial=0.0))

    worst = max(target.parameters, key=largest)
    return f"The largest number of that start is {largest(worst):.3g}, in {worst.path!r}."
