"""How good predictions are: all from a `Predictive` and the true targets."""

from __future__ import annotations

from typing import Any

import numpy as np

from posterity.posterior.predictive import Predictive


def nll(pred: Predictive, y: Any) -> float:
    """Mean negative log predictive density, in nats per row: −(1/N) Σ log p(yᵢ | xᵢ, data)."""
    return float(-np.mean(pred.log_prob(y)))


def rmse(pred: Predictive, y: Any) -> float:
    """Root mean squared error of the predictive mean, in units of y: √ mean (E[y] − y)²."""
    return float(np.sqrt(np.mean((pred.mean - _targets(pred, y)) ** 2)))


def accuracy(pred: Predictive, y: Any) -> float:
    """Share of rows whose most probable class is the true one."""
    return float(np.mean(pred.label == _labels(pred, y)))


def brier(pred: Predictive, y: Any) -> float:
    """Brier score (Brier 1950): mean over rows of Σₖ (pₖ − 1[y = k])²; 0 is perfect, 2 worst."""
    probs = _by_class(pred)
    truth = np.eye(probs.shape[1])[_labels(pred, y)]
    return float(np.mean(np.sum((probs - truth) ** 2, axis=1)))


def ece(pred: Predictive, y: Any, bins: int = 15) -> float:
    """Expected calibration error of the most probable class, in `bins` equal bins of confidence.

        Σ_b (n_b / N) | accuracy_b − mean confidence_b |

    Guo et al. 2017, "On calibration of modern neural networks".
    """
    probs = _by_class(pred)
    confidence = probs.max(1)
    right = probs.argmax(1) == _labels(pred, y)
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(float(np.sum(right[which == b]) - np.sum(confidence[which == b]))) for b in range(bins)
    ]
    return float(np.sum(gaps) / len(confidence))


def coverage(pred: Predictive, y: Any, p: float = 0.9) -> float:
    """Share of targets inside the central predictive interval of probability `p`; ideally `p`."""
    lower, upper = pred.interval(p, of="y")
    y = _targets(pred, y)
    return float(np.mean((lower <= y) & (y <= upper)))


def score(pred: Predictive, y: Any) -> dict[str, float]:
    """The metrics that fit the kind of targets, by name."""
    if pred.kind == "classification":
        return {
            "accuracy": accuracy(pred, y),
            "nll": nll(pred, y),
            "brier": brier(pred, y),
            "ece": ece(pred, y),
        }
    return {"rmse": rmse(pred, y), "nll": nll(pred, y), "coverage_90": coverage(pred, y, 0.9)}


def _targets(pred: Predictive, y: Any) -> np.ndarray:
    """Targets of the very shape of the prediction: another would be broadcast in silence."""
    y = np.asarray(y, float)
    if y.shape != pred.mean.shape:
        raise ValueError(f"y: expected shape {pred.mean.shape}, got {y.shape}.")
    return y


def _labels(pred: Predictive, y: Any) -> np.ndarray:
    """Labels as integers, one per row, each of a class that there is."""
    classes = _by_class(pred).shape[1]
    y = np.asarray(y)
    if y.shape != pred.label.shape:
        raise ValueError(f"y: expected shape {pred.label.shape}, got {y.shape}.")
    known = np.isin(y, np.arange(classes))
    if not known.all():
        first = int(np.argmin(known))
        raise ValueError(f"y[{first}] = {y[first]} is none of the labels 0 … {classes - 1}.")
    return y.astype(int)


def _by_class(pred: Predictive) -> np.ndarray:
    probs = pred.probs
    return probs if probs.ndim == 2 else np.stack([1 - probs, probs], axis=1)
