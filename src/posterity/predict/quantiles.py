"""Quantiles of a mixture over draws: a bracket, narrowed by passes over the draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from posterity.checks import said
from posterity.dtypes import float_dtype
from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.predict import stream
from posterity.predict.precision import redone, split
from posterity.predict.source import Source

Of = Literal["y", "mean"]

# Each pass over the draws divides a quantile's bracket by POINTS + 1: 5⁹ is about two million.
POINTS, PASSES = 4, 9
MORE = 30  # passes at most, where a quantile lies close to an end of the support
CLOSE = 1e-6  # the part of its distance from that end to which it is then found
WIDE = 1e-3  # of its numbers, from which rounding does not hide a bracket's ends
WIDER = 60  # times that a bracket is doubled where there is no variance to begin with


def levels_of(q: float | Any) -> np.ndarray:
    """The probabilities asked for, in a row.

    Raises:
        ValueError: one is out of range.
    """
    try:
        levels = np.atleast_1d(np.asarray(q, float))
    except (TypeError, ValueError):
        levels = np.array([np.nan])
    strange = isinstance(q, (bool, str)) or levels.ndim != 1 or not levels.size
    if strange or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"q: probabilities must lie between 0 and 1, not {said(q)}.")
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
    source: Source,
    x: Any,
    levels: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    of: Of,
    double: np.ndarray,
) -> np.ndarray:
    """The quantiles at `levels` of every row, in the model's own units.

        μ − sd √((1 − q)/q) ≤ quantile ≤ μ + sd √(q/(1 − q))   (Cantelli's inequality)

    Where y has no variance, the bracket is doubled until it holds the quantile. A bracket is cut at
    the ends of the support. NaN where the distribution function is not known, as of a density
    that does not integrate to one.

    Args:
        source, x: the draws, and the inputs of the rows. levels: of `levels_of`.
        mean, sd: of what `of` says, over all draws.
        of: ``"y"`` or ``"mean"``.
        double: which rows are to be computed in double precision: (rows,) booleans.

    Returns:
        (levels, ...) where ... is the shape of `mean`.
    """

    likelihood = source.target.likelihood
    whole = of == "y" and likelihood.whole

    def by_row(source: Source, x: Any, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
        def cdf(points: np.ndarray) -> np.ndarray:
            return stream.cdf(source, x, points, of == "y")

        found = [bracketed(cdf, q, mean, sd, _hull(likelihood), whole, of == "y") for q in levels]
        each = np.moveaxis(np.stack(found), 0, 1)
        # Where one level shows that the distribution function is wrong, none is known.
        return np.where(np.isnan(each).any(1, keepdims=True), np.nan, each).astype(float_dtype())

    found = split(by_row, source, double, x, mean, sd)
    if float_dtype() is np.float32:
        # A density that single precision spoils may be one in double precision.
        missing = np.isnan(found).reshape(len(found), -1).any(1) & ~double
        found = redone(found, missing, by_row, source, x, mean, sd)
    return np.moveaxis(found, 1, 0)


def bracketed(
    cdf: Callable[[np.ndarray], np.ndarray],
    q: float,
    mean: np.ndarray,
    sd: np.ndarray,
    hull: tuple[float, float],
    whole: bool,
    spread: bool = True,
) -> np.ndarray:
    """The quantile at level `q`: a bracket by Cantelli's inequality, narrowed by a grid in it.

    Args:
        cdf: points (..., n) to P(Y ≤ point), of the same shape, where ... is that of `mean`.
        mean, sd: of Y, as far as they exist. hull: the ends of the support.
        whole: whether Y is a whole number.
        spread: whether Y has a density or counts, and so no reason to lie at a bracket's end.
    """
    low, high = hull
    dtype = float_dtype()  # of the context: rows in single precision have their brackets in it
    mean, sd = mean.astype(dtype), sd.astype(dtype)
    with np.errstate(all="ignore"):  # of infinite and unknown moments
        lower = mean - sd * np.sqrt((1 - q) / q) * 1.001
        upper = mean + sd * np.sqrt(q / (1 - q)) * 1.001
    if not (np.isfinite(lower) & np.isfinite(upper)).all():
        lower, upper = _widened(cdf, q, mean, (lower, upper), hull)
    # The lowest count is a quantile itself, and the lower side of a bracket is not.
    lower = np.clip(lower, low - whole, high).astype(dtype)
    upper = np.clip(upper, low, high).astype(dtype)
    unknown = np.isnan(lower) | np.isnan(upper)
    inner = (upper - lower) > WIDE * np.maximum(np.abs(lower), np.abs(upper))
    from_low, from_high = inner & (lower > low), inner & (upper < high)
    for number in range(MORE):
        if number >= PASSES and (not spread or whole or _narrow(lower, upper, low, high)):
            break
        # The bracket must hold the very numbers at which the CDF was computed.
        grid = np.linspace(lower, upper, POINTS + 2, axis=-1).astype(dtype)
        share = cdf(grid[..., 1:-1])
        unknown |= np.isnan(share).any(-1)
        cell = (share < q).sum(-1, keepdims=True)
        from_low, from_high = from_low & (cell[..., 0] == 0), from_high & (cell[..., 0] == POINTS)
        lower = np.take_along_axis(grid, cell, -1)[..., 0]
        upper = np.take_along_axis(grid, cell + 1, -1)[..., 0]
    found = np.floor(upper) if whole else (lower + upper) / 2
    # The first bracket holds the quantile: at an end of it, the distribution function is wrong.
    unknown |= (from_low | from_high) & spread
    return np.where(unknown, np.nan, found).astype(dtype)


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
    cdf: Callable[[np.ndarray], np.ndarray],
    q: float,
    mean: np.ndarray,
    bracket: tuple[np.ndarray, np.ndarray],
    hull: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """A bracket that holds the quantile, doubled from ∓1 or ∓|mean| where it is not finite.

    NaN where none is found.
    """
    lower, upper = bracket
    low, high = hull
    known = np.isfinite(lower) & np.isfinite(upper)
    size = np.where(np.isfinite(mean) & (mean != 0), np.abs(mean), 1.0)
    for _ in range(WIDER):
        lower, upper = np.where(known, lower, -size), np.where(known, upper, size)
        share = cdf(np.clip(np.stack([lower, upper], -1), low, high).astype(float_dtype()))
        known = known | ((share[..., 1] >= q) & ((share[..., 0] < q) | (lower <= low)))
        if known.all():
            break
        size = np.where(known, size, 2 * size)
    return np.where(known, lower, np.nan), np.where(known, upper, np.nan)
