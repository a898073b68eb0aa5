"""How good predictions are, mostly from the true targets and a `Predictive`: metric(y, pred)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from posterity.checks import Settings
from posterity.predict.predictive import Predictive

MOST_BINS = 10_000

Metric = TypeVar("Metric", bound=Callable[..., Any])


def in_order(metric: Metric) -> Metric:
    """`metric` with targets joined to predictions by label; the other order is refused by name."""

    @functools.wraps(metric)
    def checked(y: Any, pred: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(y, Predictive) and not isinstance(pred, Predictive):
            name = metric.__name__
            raise TypeError(f"{name}: the targets come first: po.metrics.{name}(y, pred).")
        if isinstance(pred, Predictive):
            y = pred.matched(y)
        return metric(y, pred, *args, **kwargs)

    return cast(Metric, checked)


@in_order
def nll(y: Any, pred: Predictive) -> float:
    """Mean negative log predictive density, in nats per row: −(1/N) Σ log p(yᵢ | xᵢ, data)."""
    return float(-np.mean(pred.log_prob(y)))


@in_order
def rmse(y: Any, pred: Predictive) -> float:
    """Root mean squared error of the predictive mean, in units of y: √ mean (E[y] − y)²."""
    return float(np.sqrt(np.mean((pred.mean - _targets(y, pred.mean)) ** 2)))


@in_order
def accuracy(y: Any, pred: Predictive) -> float:
    """Share of rows whose most probable class is the true one."""
    return float(np.mean(pred.label == _labels(y, pred)))


@in_order
def brier(y: Any, pred: Predictive) -> float:
    """Brier score (Brier 1950): mean over rows of Σₖ (pₖ − 1[y = k])²; 0 is perfect, 2 worst."""
    probs = pred.probs
    truth = np.eye(probs.shape[1])[_labels(y, pred)]
    return float(np.mean(np.sum((probs - truth) ** 2, axis=1)))


@in_order
def ece(y: Any, pred: Predictive, bins: int = 15) -> float:
    """Expected calibration error of the most probable class, in `bins` equal bins of confidence.

        Σ_b (n_b / N) | accuracy_b − mean confidence_b |

    Guo et al. 2017, "On calibration of modern neural networks".
    """
    wrong = Settings("ece")
    wrong.counts(most=MOST_BINS, bins=bins)
    wrong.refuse()
    probs = pred.probs
    confidence = probs.max(1)
    right = probs.argmax(1) == _labels(y, pred)
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(float(np.sum(right[which == b]) - np.sum(confidence[which == b]))) for b in range(bins)
    ]
    return float(np.sum(gaps) / len(confidence))


@in_order
def coverage(y: Any, pred: Predictive, p: float = 0.9) -> float:
    """Share of targets inside the central predictive interval of probability `p`; ideally `p`."""
    lower, upper = pred.interval(p, of="y")
    y = _targets(y, lower)
    return float(np.mean((lower <= y) & (y <= upper)))


def auroc(scores_in: Any, scores_out: Any) -> float:
    """How well a score tells rows of another kind apart: the area under the ROC curve.

        P(score_out > score_in) + ½ P(score_out = score_in)

    over all pairs of a row of each kind (Mann & Whitney 1947): 1 where every row of the other kind
    scores higher, ½ where the score says nothing.

    Args:
        scores_in: how strange each row of the known kind seems (rows,), such as `pred.entropy` or
            `pred.mutual_information`. scores_out: the same of rows of another kind.

    Raises:
        ValueError: no scores, or one that is NaN.

    >>> auroc([0.1, 0.2, 0.3], [0.3, 0.9])
    0.9166666666666666
    """
    known = np.sort(_scores(scores_in, "scores_in"))
    other = _scores(scores_out, "scores_out")
    below, up_to = (np.searchsorted(known, other, side=side) for side in ("left", "right"))
    # Whole numbers until the end: a sum of millions of halves is exact.
    return int(np.sum(below + up_to)) / (2 * known.size * other.size)


class RiskCoverage(NamedTuple):
    """What is wrong among the rows that are answered, as fewer and fewer are refused.

    Attributes:
        coverage: share of rows answered, rising to 1. risk: share of them predicted wrong.
    """

    coverage: np.ndarray
    risk: np.ndarray


@in_order
def risk_coverage(y: Any, pred: Predictive, uncertainty: Any = None) -> RiskCoverage:
    """The risk-coverage curve of answering the most certain rows only.

    El-Yaniv & Wiener 2010, "On the foundations of noise-free selective classification". Rows of
    one uncertainty are answered together or not at all, so a curve may have fewer points than rows.

    Args:
        y: labels (rows,).
        pred: class predictions at these rows.
        uncertainty: of every row (rows,), such as `pred.mutual_information`; None for one minus
            the probability of the predicted class.

    Returns:
        A `RiskCoverage`.

    Raises:
        ValueError: labels or uncertainties of another shape, or that are not numbers.
    """
    wrong = pred.label != _labels(y, pred)
    given = 1 - pred.probs.max(1) if uncertainty is None else uncertainty
    unsure = _scores(given, "uncertainty")
    if unsure.shape != wrong.shape:
        raise ValueError(f"uncertainty: expected shape {wrong.shape}, got {unsure.shape}.")
    order = np.argsort(unsure, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(unsure[order]) > 0), wrong.size - 1)
    answered = ends + 1
    return RiskCoverage(answered / wrong.size, np.cumsum(wrong[order])[ends] / answered)


def refusal_rate(labels: Any) -> float:
    """Share of refused rows among the labels that `Predictive.abstain` gave."""
    return float(np.mean(np.ma.getmaskarray(labels)))


@in_order
def score(y: Any, pred: Predictive) -> dict[str, float]:
    """The metrics that fit the kind of targets, by name."""
    if pred.classes:
        return {
            "accuracy": accuracy(y, pred),
            "nll": nll(y, pred),
            "brier": brier(y, pred),
            "ece": ece(y, pred),
        }
    return {"rmse": rmse(y, pred), "nll": nll(y, pred), "coverage_90": coverage(y, pred, 0.9)}


def _scores(given: Any, name: str) -> np.ndarray:
    """Scores as a vector of numbers."""
    scores = np.asarray(given, float)
    if scores.ndim != 1 or not scores.size:
        raise ValueError(f"{name}: expected at least one score, (rows,); got shape {scores.shape}.")
    if np.isnan(scores).any():
        raise ValueError(f"{name}[{int(np.argmax(np.isnan(scores)))}] is NaN: leave such rows out.")
    return scores


def _targets(y: Any, predicted: np.ndarray) -> np.ndarray:
    """Targets of the very shape of what is predicted: another would be broadcast in silence."""
    y = np.asarray(y, float)
    if y.shape != predicted.shape:
        raise ValueError(f"y: expected shape {predicted.shape}, got {y.shape}.")
    return y


def _labels(y: Any, pred: Predictive) -> np.ndarray:
    """Labels as integers, one per row, each of a class that there is."""
    classes = pred.classes
    y = np.asarray(y)
    if y.shape != pred.label.shape:
        raise ValueError(f"y: expected shape {pred.label.shape}, got {y.shape}.")
    known = np.isin(y, np.arange(classes))
    if not known.all():
        first = int(np.argmin(known))
        raise ValueError(f"y[{first}] = {y[first]} is none of the labels 0 … {classes - 1}.")
    return y.astype(int)
