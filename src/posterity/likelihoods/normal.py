"""Real targets with normal noise."""

from __future__ import annotations

import jax
import numpy as np
import numpyro.distributions as dist

from posterity.checks import Settings
from posterity.likelihoods.likelihood import Unknowns
from posterity.likelihoods.regression import AbstractRegressionLikelihood, Scale, checked_scale
from posterity.storable import stored


@stored("likelihoods.Normal")
class Normal(AbstractRegressionLikelihood):
    """Real targets with normal noise.

        y ~ N(f, scale²),   f = the net's output

    Args:
        scale: the noise sd, in the units of y. A positive number: known. A NumPyro distribution
            over positive numbers: unknown, with that prior, one value for all rows.
            `po.learned`: one value, optimised. ``"net"``:
            input-dependent, scale(x) = softplus(second half of the net's outputs); the net then
            needs two outputs per target, locations first.

    Targets are finite numbers, shape (rows,) or (rows, targets). Of several targets with
    ``scale="net"`` the net's outputs are (rows, 2 · targets): all locations, then all raw scales.

    >>> Normal(scale="net").outputs_per_target
    2
    """

    scale: Scale

    def __init__(self, scale: Scale = 1.0) -> None:
        wrong = Settings("likelihoods.Normal")
        self.scale = checked_scale(wrong, scale)
        wrong.refuse()

    def noise_levels(self) -> np.ndarray:
        """−1 and 1: a normal's log density is quadratic, and knows no more than the variance."""
        return np.array([-1.0, 1.0])

    def information(self) -> tuple[float, float]:
        """1 of the location and 2 of the scale."""
        return 1.0, 2.0

    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """Normal around the net's outputs."""
        return dist.Normal(*self._loc_and_scale(outputs, unknowns), validate_args=False)

    def cdf(self, given: dist.Distribution, y: jax.Array) -> jax.Array:
        """Φ((y − f) / scale)."""
        return given.cdf(y)
