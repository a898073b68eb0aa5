"""Real targets with heavy-tailed noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.checks import Settings
from posterity.likelihoods.likelihood import Unknowns
from posterity.likelihoods.regression import AbstractRegressionLikelihood, Scale, checked_scale
from posterity.storable import stored

LEVELS = 64  # values that stand for heavy-tailed noise


@stored("likelihoods.StudentT")
class StudentT(AbstractRegressionLikelihood):
    """Real targets with heavy-tailed noise, for data with outliers.

        y ~ f + scale · t(df),   Var[y | θ] = scale² df / (df − 2)

    Args:
        df: degrees of freedom, above 2 so that the predictive variance exists.
        scale: as in `Normal`; the scale of the t distribution, not its sd.

    Targets are finite numbers, shape (rows,) or (rows, targets).

    >>> StudentT(df=4.0, scale=0.5).outputs_per_target
    1
    """

    scale: Scale
    df: float

    def __init__(self, df: float = 4.0, scale: Scale = 1.0) -> None:
        wrong = Settings("likelihoods.StudentT")
        wrong.within(lambda v: 2 < v < np.inf, "above 2, where the variance exists", df=df)
        self.scale = checked_scale(wrong, scale)
        wrong.refuse()
        self.df = float(df)

    def noise_levels(self) -> np.ndarray:
        """The medians of 64 equally probable parts of the t distribution."""
        from scipy import stats

        at = (np.arange(LEVELS) + 0.5) / LEVELS
        return stats.t.ppf(at, self.df) * np.sqrt((self.df - 2) / self.df)

    def information(self) -> tuple[float, float]:
        """(df + 1) / (df + 3) of the location and 2 df / (df + 3) of the scale."""
        return (self.df + 1) / (self.df + 3), 2 * self.df / (self.df + 3)

    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """Student's t around the net's outputs."""
        loc, scale = self._loc_and_scale(outputs, unknowns)
        return dist.StudentT(self.df, loc, scale, validate_args=False)

    def cdf(self, given: dist.Distribution, y: jax.Array) -> jax.Array:
        """½ + ½ sign(t) I(t² / (df + t²); ½, df/2), which is exact near t = 0 in float32 too."""
        t = (y - given.loc) / given.scale
        # In this form, as t² may overflow.
        share = jax.scipy.special.betainc(0.5, 0.5 * self.df, 1 / (1 + self.df / t**2))
        return 0.5 + 0.5 * jnp.sign(t) * share
