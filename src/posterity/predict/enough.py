"""How many draws predictions need."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from posterity.distributions.distribution import AbstractDistribution
from posterity.model.net_target import Target
from posterity.predict import stream
from posterity.predict.source import source_of

PILOT = 200  # draws that are looked at
FEWEST, MOST = 200, 1_000  # of a density
TOLERANCE = 1 / math.sqrt(MOST)  # of a predictive mean's standard error, in predictive sds
SHARE = 0.95  # of the rows that must keep the tolerance


def draws_needed(
    target: Target, distribution: AbstractDistribution, x: Any, effective: float | None = None
) -> int:
    """The number of draws that gives predictive means to 3.2 % of the predictive sd.

        epistemic / S ≤ tolerance² (aleatoric + epistemic)   at 95 % of the rows

    It depends on the posterior alone, never on the rows that are predicted. Stored draws depend on
    each other: with E effective ones among all, n evenly spaced ones count for 1 / (1/n + 1/E).

    Args:
        target, distribution: the posterior.
        x: some training rows.
        effective: the effective number of all stored draws, in predictions; None where it is not
            known, and all stored draws are taken.

    Returns:
        Between 200 and 1,000 draws of a density; of stored draws at most as many as there are.
    """
    stored = distribution.stored
    if stored is not None and (effective is None or stored <= FEWEST):
        return stored
    source = source_of(target, distribution, 0, min(PILOT, stored or PILOT))
    found = stream.moments(source, x)
    epistemic = np.asarray(found.m2, np.float64) / float(source.draws)
    total = epistemic + np.asarray(found.var, np.float64)
    share = np.divide(epistemic, total, out=np.zeros_like(total), where=total > 0)
    each = share.reshape(len(share), -1).max(1)
    needed = float(np.clip(np.quantile(each, SHARE) / TOLERANCE**2, FEWEST, MOST))
    needed = 50 * math.ceil(needed / 50 - 1e-9)
    if stored is None or effective is None:
        return needed
    if effective <= needed:
        return stored
    return min(stored, math.ceil(1 / (1 / needed - 1 / effective)))
