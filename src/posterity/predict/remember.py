"""A posterior as a prior that remembers what it predicts."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from posterity.distributions.as_prior import refuse_point
from posterity.distributions.distribution import AbstractDistribution
from posterity.distributions.prior_of_predictions import Remembered
from posterity.dtypes import float_dtype
from posterity.model.net_target import Target
from posterity.predict.predictive import check_rows, predict


def remembered(
    target: Target, distribution: AbstractDistribution, x: Any, draws: int
) -> Remembered:
    """`Posterior.as_prior(remember=x)`, which see.

    Raises:
        ValueError: no rows, or rows that are not finite or of another shape than in `fit`.
    """
    refuse_point(distribution)
    inputs = check_rows(x, target.x_shape, "remember")
    predicted = predict(target, distribution, inputs, draws, 0)
    before = target.prior if isinstance(target.prior, Remembered) else None
    rows = target.rows + (before.rows if before else 0)
    # A tempered posterior counts every row 1 / temperature times beside the prior.
    most = rows / len(inputs) / target.kl_weight
    weights = rows_known(predicted.aleatoric, predicted.epistemic, most)
    y, shares = target.likelihood.expected(predicted.mean, predicted.aleatoric)
    dtype = target.likelihood.target_dtype
    return Remembered(
        rules=target.prior.rules,
        base=before.base if before else target.prior,
        x=jnp.asarray(inputs, float_dtype()),
        y=jnp.asarray(y, dtype),
        shares=jnp.asarray(shares, float_dtype()),
        weights=jnp.asarray(weights, float_dtype()),
        kind=target.likelihood.kind,
        rows=rows,
    )


def rows_known(aleatoric: np.ndarray, epistemic: np.ndarray, most: float) -> np.ndarray:
    """How many rows each input stands for: what a mean would take to be known as well.

        w = min(most, aleatoric / epistemic)

    The mean of w targets of variance a is known to a / w. Of several targets the least counts.

    >>> rows_known(np.array([1.0, 1.0]), np.array([0.5, 0.001]), 10.0)
    array([ 2., 10.])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.where(epistemic > 0, aleatoric / epistemic, np.inf)
    known = known.reshape(len(known), -1).min(1)
    return np.minimum(most, known).astype(np.float64)
