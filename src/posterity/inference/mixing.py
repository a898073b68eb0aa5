"""Whether chains agree, judged by what they predict."""

from __future__ import annotations

import numpy as np

from posterity.data.batches import Batches
from posterity.posterior import stream
from posterity.posterior.distributions import Draws
from posterity.target import Target

ROWS = 100  # training rows at which predictions are compared
ENOUGH = 1.05  # split r-hat up to which chains agree


def predictive_rhat(target: Target, draws: Draws, batches: Batches) -> float:
    """The largest split r-hat of E[y | x, θ] over evenly spaced training rows.

    Weights of a network are label-symmetric, so that chains that predict alike may differ in every
    weight; predictions decide. Each chain is cut in halves, which also shows a single chain that
    drifts (Gelman et al., Bayesian Data Analysis, 3rd ed., section 11.4).

    Returns:
        1 for chains that agree perfectly; NaN with fewer than four draws per chain.
    """
    from blackjax.diagnostics import potential_scale_reduction

    chains, length = draws.theta.shape[:2]
    half = length // 2
    if half < 2:
        return float("nan")
    full = batches.full
    rows = np.linspace(0, batches.rows - 1, min(ROWS, batches.rows)).astype(int)
    x = np.asarray(full.x)[rows]
    means = stream.means(target, draws.theta, x)
    means = means.reshape(chains, length, -1)[:, : 2 * half]
    split = means.reshape(chains, 2, half, -1).reshape(2 * chains, half, -1)
    moving = split[:, :, split.reshape(-1, split.shape[-1]).std(0) > 0]
    if moving.shape[-1] == 0:
        return 1.0
    with np.errstate(divide="ignore"):  # chains that stand still, each elsewhere: r-hat is infinite
        return float(np.max(potential_scale_reduction(moving)))


def mixing_advice(target: Target, draws: Draws, batches: Batches) -> list[str]:
    """A sentence where the chains' predictions disagree."""
    rhat = predictive_rhat(target, draws, batches)
    if not rhat > ENOUGH:
        return []
    return [
        f"The chains disagree: split r-hat of predictions at training rows is up to {rhat:.2f} "
        f"(above {ENOUGH}). Draw longer, or warm up longer; if it stays, the posterior has several "
        "modes that the chains do not travel between."
    ]
