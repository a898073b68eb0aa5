"""Quantiles of a mixture over draws: a bracket, narrowed by passes over the draws."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.predict import stream
from posterity.predict.source import Source

Of = Literal["y", "mean"]

# Each pass over the draws divides a quantile's bracket by POINTS + 1: 5⁹ is about two million.
POINTS, PASSES = 4, 9
MORE = 30  # passes at most, where a quantile lies close to an end of the support
CLOSE = 1e-6  # the part of its distance from that end to which it is then found
WIDER = 60  # times that a bracket is doubled where there is no variance to begin with


def levels_of(q: float | Any) -> np.ndarray:
    """The probabilities asked for, in a row.

    Raises:
        ValueError: one is out of range.
    """
    levels = np.atleast_1d(np.asarray(q, float))
    if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"q: probabilities must lie between 0 and 1, not {q!r}.")
    return levels


def resolve(of: Of | None, likelihood: AbstractLikelihood) -> Of:
    """What the quantiles are of, for targets of a likelihood.

    Raises:
        ValueError: another word, or ``"y"`` for classes without an order.
    """
    if of is None:
        return "y" if likelihood.ordered else "mean"
    if of not in ("y", "mean"):
        raise ValueError(f'of: must be "y" or "mean", not {of!r}.')
    if of == "y" and not likelihood.ordered:
        raise ValueError('of: a label has no quantiles; use of="mean" for its probability.')
    return of


def solve(
    source: Source, x: Any, levels: np.ndarray, mean: np.ndarray, sd: np.ndarray, of: Of
) -> np.ndarray:
    """The quantiles at `levels` of every row, in the model's own units.

        μ − sd √((1 − q)/q) ≤ quantile ≤ μ + sd √(q/(1 − q))   (Cantelli's inequality)

    Where y has no variance, the bracket is doubled until it holds the quantile. A bracket is cut at
    the ends of the support.

    Args:
        source, x: the draws, and the inputs of the rows. levels: of `levels_of`.
        mean, sd: of what `of` says, over all draws.
        of: ``"y"`` or ``"mean"``.

    Returns:
        (levels, ...) where ... is the shape of `mean`.
    """
    return np.stack([_solve(source, x, q, mean, sd, of) for q in levels])


def _solve(
    source: Source, x: Any, q: float, mean: np.ndarray, sd: np.ndarray, of: Of
) -> np.ndarray:
    """Bracket by Cantelli's inequality, then narrow the bracket by passes over the draws."""
    likelihood = source.target.likelihood
    whole = of == "y" and likelihood.whole
    low, high = _hull(likelihood)
    lower = mean - sd * np.sqrt((1 - q) / q) * 1.001
    upper = mean + sd * np.sqrt(q / (1 - q)) * 1.001
    if not (np.isfinite(lower) & np.isfinite(upper)).all():
        lower, upper = _widened(source, x, q, lower, upper, of)
    # The lowest count is a quantile itself, and the lower side of a bracket is not.
    lower = np.clip(lower, low - whole, high).astype(mean.dtype)
    upper = np.clip(upper, low, high).astype(mean.dtype)
    for number in range(MORE):
        if number >= PASSES and (of == "mean" or whole or _narrow(lower, upper, low, high)):
            break
        # The bracket must hold the very numbers at which the CDF was computed.
        grid = np.linspace(lower, upper, POINTS + 2, axis=-1).astype(mean.dtype)
        below = stream.cdf(source, x, grid[..., 1:-1], of == "y") < q
        cell = below.sum(-1, keepdims=True)
        lower = np.take_along_axis(grid, cell, -1)[..., 0]
        upper = np.take_along_axis(grid, cell + 1, -1)[..., 0]
    return np.floor(upper) if whole else (lower + upper) / 2


def ranks(probs: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The lowest ordered class that suffices: P(Y ≤ k) ≥ q.

    Args:
        probs: mean probabilities over draws (rows, K). levels: of `levels_of`.

    Returns:
        (levels, rows) integers.

    >>> ranks(np.array([[0.2, 0.5, 0.3]]), np.array([0.1, 0.5, 0.9]))[:, 0]
    array([0, 1, 2])
    """
    upto = np.cumsum(probs, axis=1)
    # The last class is left out: it always suffices, whatever rounding makes of the sum.
    return (upto[:, :-1] < levels[:, None, None]).sum(-1)


def _hull(likelihood: AbstractLikelihood) -> tuple[float, float]:
    """Between which numbers y and its mean lie; for classes, probabilities."""
    return (0.0, 1.0) if likelihood.classes else likelihood.bounds


def _narrow(lower: np.ndarray, upper: np.ndarray, low: float, high: float) -> bool:
    """Whether brackets are narrow for their distance from the ends of the support."""
    distance = np.minimum(upper - low, high - lower)
    smallest = np.finfo(lower.dtype).tiny
    return bool(np.all(upper - lower <= np.maximum(CLOSE * distance, smallest)))


def _widened(
    source: Source, x: np.ndarray, q: float, lower: np.ndarray, upper: np.ndarray, of: Of
) -> tuple[np.ndarray, np.ndarray]:
    """A bracket that holds the quantile, doubled from ∓1 where it is not finite."""
    known = np.isfinite(lower) & np.isfinite(upper)
    low, high = _hull(source.target.likelihood)
    size = np.ones(lower.shape)
    for _ in range(WIDER):
        lower, upper = np.where(known, lower, -size), np.where(known, upper, size)
        ends = np.clip(np.stack([lower, upper], -1), low, high).astype(x.dtype)
        share = stream.cdf(source, x, ends, of == "y")
        known = known | ((share[..., 1] >= q) & ((share[..., 0] < q) | (lower <= low)))
        if known.all():
            break
        size = np.where(known, size, 2 * size)
    return lower, upper
