"""Refusal: how sure a prediction of classes is, and which rows are better left unanswered."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from posterity.checks import is_real, said
from posterity.predict import stream
from posterity.predict.precision import split
from posterity.predict.source import Source

Rule = Literal["probability", "median", "entropy", "mutual_information"]


def by_class(probs: np.ndarray) -> np.ndarray:
    """Probabilities of all classes (rows, K), where two classes have P(y = 1) only, (rows,)."""
    return probs if probs.ndim == 2 else np.stack([1 - probs, probs], 1)


def entropy(probs: np.ndarray) -> np.ndarray:
    """Entropy of every row's classes, in nats: (rows,)."""
    p = by_class(probs)
    return -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1)


def cutoff_of(below: float | None, above: float | None, by: Rule) -> float:
    """The one cutoff of rule `by`, checked.

    Raises:
        ValueError: as `Predictive.abstain`.
    """
    if not isinstance(by, str) or by not in get_args(Rule):
        raise ValueError(f"by: expected one of {', '.join(get_args(Rule))}, not {said(by)}.")
    rising = by in ("entropy", "mutual_information")
    cutoff, other = (above, below) if rising else (below, above)
    needed, excess = ("above", "below") if rising else ("below", "above")
    if cutoff is None or other is not None:
        given = "" if other is None else f", not {excess}={other!r}"
        raise ValueError(
            f'abstain: by="{by}" refuses what is {needed} a cutoff; give {needed}={given}.'
        )
    if rising and not (is_real(cutoff) and 0 <= cutoff < np.inf):
        raise ValueError(f"above: must be from 0, in nats, not {said(cutoff)}.")
    if not rising and not (is_real(cutoff) and 0 < cutoff <= 1):
        raise ValueError(f"below: must be a probability above 0, not {said(cutoff)}.")
    return float(cutoff)


def refused(
    by: Rule,
    cutoff: float,
    probs: np.ndarray,
    expected_entropy: np.ndarray,
    source: Source,
    x: Any,
    double: np.ndarray,
) -> np.ndarray:
    """Which rows rule `by` refuses, as `Predictive.abstain` has the rules: (rows,) booleans.

    Args:
        by: the rule. cutoff: of `cutoff_of`.
        probs: mean probabilities over draws, (rows,) or (rows, K).
        expected_entropy: mean entropy given θ, in nats: (rows,).
        source, x: the draws, and the inputs of the rows.
        double: which rows are to be computed in double precision: (rows,) booleans.
    """
    if by == "median":

        def candidate(source: Source, x: Any, probs: np.ndarray) -> np.ndarray:
            return _has_candidate(source, x, probs, cutoff)

        return ~split(candidate, source, double, x, probs)
    if by == "probability":
        return by_class(probs).max(1) < cutoff
    doubt = entropy(probs)
    if by == "mutual_information":
        doubt = doubt - expected_entropy
    return doubt > cutoff


def _has_candidate(source: Source, x: Any, probs: np.ndarray, cutoff: float) -> np.ndarray:
    """Whether half of the draws or more give some class a probability of `cutoff` or more."""
    # One pass over the draws, where a quantile takes several.
    under = np.nextafter(probs.dtype.type(cutoff), probs.dtype.type(-1))
    points = np.full((*probs.shape, 1), under)
    if probs.ndim == 1:
        over = np.full_like(points, 1 - cutoff)
        points = np.concatenate([points, over], axis=1)
    share = stream.cdf(source, x, points, False)
    if probs.ndim == 1:
        return np.logical_or(share[:, 0] <= 0.5, share[:, 1] >= 0.5)
    return np.any(share[..., 0] <= 0.5, axis=1)
