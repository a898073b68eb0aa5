"""Predictions held against the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from posterity.plots import style
from posterity.predict.predictive import Predictive

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 300  # rows up to which every point gets its interval


def predicted_observed(
    pred: Predictive,
    y: Any,
    *,
    interval: float = 0.9,
    y_name: str = "y",
    ax: Axes | None = None,
) -> Axes:
    """Observed targets over predicted means; a perfect prediction lies on the diagonal.

    Args:
        pred: the prediction at the rows of `y`; real targets or counts.
        y: targets (rows,) or (rows, targets).
        interval: probability of the predictive intervals, drawn for up to 300 rows.
        y_name: name of the target, with its unit.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: the targets are classes, or of another shape than the prediction.
    """
    if pred.classes:
        raise ValueError("predicted_observed: the targets are classes; use calibration.")
    truth = np.asarray(pred.matched(y), float)
    if truth.shape != pred.mean.shape:
        raise ValueError(f"y: expected shape {pred.mean.shape}, got {truth.shape}.")
    ax = style.axes(ax)
    both = np.concatenate([truth.ravel(), pred.mean.ravel()])
    ends = style.span(both, 0.05)
    ax.plot(
        ends, ends, color=style.QUIET, linewidth=1, linestyle="--", label="observed = predicted"
    )
    rows = len(truth)
    if rows <= MOST_BARS:
        _bars(ax, pred, truth.reshape(rows, -1), interval)
    means, observed = pred.mean.reshape(rows, -1), truth.reshape(rows, -1)
    targets = means.shape[1]
    for target in range(targets):
        ax.scatter(
            means[:, target],
            observed[:, target],
            s=14,
            color=style.colour(target),
            alpha=style.see_through(rows),
            linewidths=0,
            label=style.plain(f"{y_name} [{target}]") if targets > 1 else None,
        )
    ax.set_aspect("equal", adjustable="datalim")
    style.label(ax, f"predicted {y_name}", f"observed {y_name}")
    style.legend(ax)
    return ax


def _bars(ax: Axes, pred: Predictive, observed: np.ndarray, interval: float) -> None:
    """A horizontal bar per point: its predictive interval. `observed` is (rows, targets)."""
    bounds = [bound.reshape(observed.shape) for bound in pred.interval(interval, of="y")]
    means = pred.mean.reshape(observed.shape)
    for target in range(observed.shape[1]):
        sides = means - bounds[0], bounds[1] - means
        ax.errorbar(
            means[:, target],
            observed[:, target],
            xerr=np.maximum([side[:, target] for side in sides], 0),
            fmt="none",
            ecolor=style.colour(target),
            elinewidth=0.8,
            alpha=0.3,
            label=f"{100 * interval:.4g} % interval" if target == 0 else None,
        )


def calibration(pred: Predictive, y: Any, *, bins: int = 10, ax: Axes | None = None) -> Axes:
    """How often the most probable class is right, over how probable it was said to be.

    On the diagonal, what is said with 80 % is right 8 times in 10; below it the model is too sure.
    Bars are 90 % intervals for the share of a bin's rows (Wilson 1927).

    Args:
        pred: class predictions at the rows of `y`.
        y: labels (rows,).
        bins: bins of equal width, from 1/K to 1 for K classes.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: the targets are no classes, or of another length than the prediction.
    """
    confident, right, lowest = _confidence(pred, y)
    edges = np.linspace(lowest, 1, bins + 1)
    which = np.clip(np.searchsorted(edges, confident, side="right") - 1, 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    seen = count > 0
    n = count[seen]
    said = np.bincount(which, confident, bins)[seen] / n
    share = np.bincount(which, right, bins)[seen] / n
    low, high = _wilson(share, n)
    ax = style.axes(ax)
    ax.plot([lowest, 1], [lowest, 1], color=style.QUIET, linewidth=1, linestyle="--", label="ideal")
    ax.errorbar(
        said,
        share,
        yerr=np.maximum([share - low, high - share], 0),
        fmt="o-",
        color=style.colour(0),
        markersize=5,
        linewidth=1.3,
        elinewidth=1,
        capsize=2.5,
        label="share right, with 90 % interval",
    )
    ax.set_xlim(lowest - 0.02, 1.02)
    ax.set_ylim(min(float(low.min()), lowest) - 0.03, 1.03)
    style.label(ax, "probability of the predicted class", "share of rows predicted right")
    style.legend(ax)
    return ax


def confidence(pred: Predictive, y: Any, *, bins: int = 20, ax: Axes | None = None) -> Axes:
    """How probable the predicted classes were said to be, for right and for wrong predictions.

    Args:
        pred, y, ax: as in `calibration`.
        bins: bins of equal width, from 1/K to 1 for K classes.

    Returns:
        The Axes.

    Raises:
        ValueError: the targets are no classes, or of another length than the prediction.
    """
    confident, right, lowest = _confidence(pred, y)
    ax = style.axes(ax)
    ax.hist(
        [confident[right], confident[~right]],
        bins=np.linspace(lowest, 1, bins + 1).tolist(),
        stacked=True,
        color=[style.colour(0), style.colour(1)],
        label=[f"right ({right.sum():,})", f"wrong ({(~right).sum():,})"],
        rwidth=0.94,
    )
    style.label(ax, "probability of the predicted class", "rows")
    style.thousands(ax.yaxis)
    ax.set_xlim(lowest - 0.02, 1.02)
    style.legend(ax)
    return ax


def _confidence(pred: Predictive, y: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Probability of the predicted class, whether it is the true one, and the least possible."""
    if not pred.classes:
        raise ValueError("pred: its targets are no classes; use predicted_observed.")
    labels = np.asarray(pred.matched(y))
    if labels.shape != pred.label.shape:
        raise ValueError(f"y: expected shape {pred.label.shape}, got {labels.shape}.")
    return np.clip(pred.probs.max(1), 0, 1), pred.label == labels, 1 / pred.classes


def _wilson(share: np.ndarray, n: np.ndarray, z: float = 1.645) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of a share seen in n rows."""
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return middle - half, middle + half
