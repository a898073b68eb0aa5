"""A posterior as a prior that remembers what it predicts."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from posterity.distributions.as_prior import refuse_point
from posterity.distributions.distribution import AbstractDistribution
from posterity.distributions.prior_of_predictions import Remembered
from posterity.dtypes import float_dtype
from posterity.inputs import as_inputs, on_device, row_count
from posterity.model.net_target import Target
from posterity.predict.predictive import predict


def remembered(
    target: Target, distribution: AbstractDistribution, x: Any, draws: int
) -> Remembered:
    """What a posterior says about the rows x, as a term of its next prior (`Posterior.as_prior`).

    A prior b log p₀ + (what R rows are remembered as) and N new rows make, with an ELBO whose KL
    weighs κ, or at temperature T,

        log q = b log p₀ + R rows + N/κ rows          κ is the weight of the KL
        log p = (b log p₀ + R rows + N rows) / T      T tempers prior and likelihood alike

    so that the next prior has R ← (R + N/κ) / T and b ← b / T.

    Raises:
        ValueError: no rows, or rows that are not finite or of another shape than in `fit`; or a
            posterior at temperature 0, which is a point.
    """
    refuse_point(distribution)
    inputs = as_inputs(x, target.inputs, "remember")
    predicted = predict(target, distribution, inputs, draws, 0)
    temperature = float(target.temperature)
    if temperature == 0:
        raise ValueError(
            "remember: the posterior was drawn at temperature 0, which is a point and knows no "
            "uncertainty. Fit at another temperature."
        )
    seen = int(target.rows) / float(target.kl_weight)
    rows = (target.prior.rows_seen + seen) / temperature
    most = rows / row_count(inputs)
    counts = rows_known(predicted.aleatoric, predicted.epistemic, most)
    y, shares = target.likelihood.expected(predicted.mean, predicted.aleatoric)
    dtype = target.likelihood.target_dtype
    return Remembered(
        base=target.prior.first,
        x=on_device(inputs),
        y=jnp.asarray(y, dtype),
        shares=jnp.asarray(shares, float_dtype()),
        counts=jnp.asarray(counts, float_dtype()),
        kind=target.likelihood.kind,
        rows=rows,
        base_weight=target.prior.first_weight / temperature,
        inputs=target.inputs,
        y_columns=target.y_columns,
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
