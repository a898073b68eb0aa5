"""Quantiles of a mixture over draws: a bracket, narrowed by passes over the draws."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from posterity.predict import stream
from posterity.predict.windows import Source

Of = Literal["y", "mean"]

# Each pass over the draws divides a quantile's bracket by POINTS + 1: 5⁹ is about two million.
POINTS, PASSES = 4, 9


def levels_of(q: float | Any) -> np.ndarray:
    """The probabilities asked for, in a row.

    Raises:
        ValueError: one is out of range.
    """
    levels = np.atleast_1d(np.asarray(q, float))
    if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"q: probabilities must lie between 0 and 1, not {q!r}.")
    return levels


def resolve(of: Of | None, kind: str) -> Of:
    """What the quantiles are of, for targets of a kind.

    Raises:
        ValueError: another word, or ``"y"`` for classes.
    """
    classes = kind == "classification"
    if of is None:
        return "mean" if classes else "y"
    if of not in ("y", "mean"):
        raise ValueError(f'of: must be "y" or "mean", not {of!r}.')
    if classes and of == "y":
        raise ValueError('of: a label has no quantiles; use of="mean" for its probability.')
    return of


def solve(
    source: Source, x: Any, levels: np.ndarray, mean: np.ndarray, sd: np.ndarray, of: Of
) -> np.ndarray:
    """The quantiles at `levels` of every row, in the model's own units.

        μ − sd √((1 − q)/q) ≤ quantile ≤ μ + sd √(q/(1 − q))   (Cantelli's inequality)

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
    lower = mean - sd * np.sqrt((1 - q) / q) * 1.001
    upper = mean + sd * np.sqrt(q / (1 - q)) * 1.001
    for _ in range(PASSES):
        # The bracket must hold the very numbers at which the CDF was computed.
        grid = np.linspace(lower, upper, POINTS + 2, axis=-1).astype(mean.dtype)
        below = stream.cdf(source, x, grid[..., 1:-1], of == "y") < q
        cell = below.sum(-1, keepdims=True)
        lower = np.take_along_axis(grid, cell, -1)[..., 0]
        upper = np.take_along_axis(grid, cell + 1, -1)[..., 0]
    if of == "y" and source.target.likelihood.kind == "count":
        return np.floor(upper)
    return (lower + upper) / 2
