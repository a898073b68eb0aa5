"""What predictions would be with other chains: each chain of several is left out in turn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posterity.diagnostics import convergence as figures

FEWEST = 4  # chains, below which their spread is a matter of luck
SMALL = 0.04  # predictive sds by which predictions may change: it costs 0.001 nats per row
SETTLED = 0.1  # predictive sds by which the halves of all chains may differ
RISES, FALLS = 0.5, 1.0  # sds by which a log joint may rise or fall between halves


class Change(NamedTuple):
    """How predictions would change with other chains, one number per prediction.

    Attributes:
        mean: of the predictive mean, in predictive sds. sd: of the predictive sd, relative.
        error: of the mean, by Monte Carlo within these chains. halves: by how much the second
            halves of all chains say other than the first; both in predictive sds.
        rise: of the log joint from the first halves to the second, one number, in its sds within
            them: chains that underfit together agree, and are on their way.
    """

    mean: np.ndarray
    sd: np.ndarray
    error: np.ndarray
    halves: np.ndarray
    rise: float = 0.0

    @property
    def typical(self) -> float:
        """Of the mean, over all predictions: the root mean square, in predictive sds."""
        return _rms(self.mean)

    @property
    def typical_sd(self) -> float:
        """Of the sd, over all predictions, relative."""
        return _rms(self.sd)

    @property
    def typical_error(self) -> float:
        """Of Monte Carlo, over all predictions, in predictive sds."""
        return _rms(self.error)

    @property
    def typical_halves(self) -> float:
        """From the first halves to the second, over all predictions, in predictive sds."""
        return _rms(self.halves)

    @property
    def small(self) -> bool:
        """Whether it matters to nobody."""
        most = max(self.typical, self.typical_sd, self.typical_error)
        return most <= SMALL and self.typical_halves <= SETTLED and -FALLS <= self.rise <= RISES

    def chains(self, count: int) -> int:
        """How many chains in place of `count` would make the change small."""
        return int(np.ceil(count * (max(self.typical, self.typical_sd) / SMALL) ** 2))


def change(values: np.ndarray, var: np.ndarray, log_joint: np.ndarray | None = None) -> Change:
    """The jackknife over chains (Quenouille 1956, Tukey 1958) of predictive means and sds.

        se² = (C − 1) / C · Σ over chains of (figure without the chain − their mean)²

    An ensemble of other chains, from starts of the same kind, differs from this one by √2 se.

    Args:
        values: E[y | x, θ], (chain, draw, prediction). var: means over draws of Var[y | x, θ],
            (chain, prediction). Of tails without a variance, the spread of E[y | x, θ] counts.
        log_joint: of every kept step (chain, step), where it is known.
    """
    values, var = np.asarray(values, float), np.where(np.isfinite(var), var, 0.0)
    count = len(values)
    means = values.mean(1)
    squares = values.var(1) + means**2 + var
    sd = _mixture(means.mean(0), squares.mean(0))[1]
    without = [
        _mixture(*((part.sum(0) - part[chain]) / (count - 1) for part in (means, squares)))
        for chain in range(count)
    ]
    error = np.sqrt(values.var(1).mean(0) / figures.ess_within(values))
    first, second = _halves(values)
    halves = np.abs(second.mean((0, 1)) - first.mean((0, 1)))
    return Change(
        mean=_jackknife([one for one, _ in without]) / sd,
        sd=_jackknife([np.log(one) for _, one in without]),
        error=np.nan_to_num(error) / sd,
        halves=halves / sd,
        rise=0.0 if log_joint is None else _rise(np.asarray(log_joint, float)),
    )


def _rise(log_joint: np.ndarray) -> float:
    """From the first halves of (chain, step) to the second, over the sd within both."""
    first, second = _halves(log_joint)
    within = np.sqrt((first.var(1).mean() + second.var(1).mean()) / 2)
    return float(second.mean() - first.mean()) / max(float(within), np.finfo(float).tiny)


def _halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of chains (chain, draw, …), the first half and the second."""
    half = values.shape[1] // 2
    return values[:, :half], values[:, -half:]


def _mixture(mean: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of a mixture whose parts have these means of y and of y²."""
    return mean, np.sqrt(np.maximum(square - mean**2, np.finfo(float).tiny))


def _jackknife(without: list[np.ndarray]) -> np.ndarray:
    figures = np.stack(without)
    return np.sqrt((len(figures) - 1) * figures.var(0))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
