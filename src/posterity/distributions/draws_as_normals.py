"""Draws as normals: their modes, and the mean and covariance of each."""

from __future__ import annotations

from typing import cast

import numpy as np

from posterity.distributions.distribution import AbstractDensity
from posterity.distributions.em import divided, shrinkage
from posterity.distributions.mixture import Component, Mixture
from posterity.distributions.normal import (
    FULL,
    FullRank,
    Gaussian,
    as_arrays,
    low_rank,
    refuse_large,
)

APART = 2.0  # two normals of one sd have two humps where their means are further apart, in sds
ENOUGH = 2  # draws per parameter, from which on a full covariance is estimated


def as_mixture(theta: np.ndarray, correlations: str | None) -> AbstractDensity:
    """Draws (chain, draw, D) as normals, those of a mode of weight its share of the draws.

    A mode is one normal, or several where held-out draws ask for them (`components`).

    Args:
        theta: the draws.
        correlations: ``"full"`` or ``"low-rank"``; None for full where each mode has two draws per
            parameter and there are at most 2,000 of them, else low rank.

    Raises:
        ValueError: a mode of fewer than three draws, which say nothing of its width.
    """
    theta = np.asarray(theta, np.float64)
    groups = [np.concatenate(theta[chains]) for chains in modes(theta)]
    least, size = min(map(len, groups)), theta.shape[-1]
    if least < 3:
        raise ValueError(
            f"as_prior: a mode has {least} draw{'s' * (least > 1)}, which cannot say how wide it "
            "is; at least three are needed. Fit with a method that finds a distribution."
        )
    if correlations is None:
        correlations = "full" if size <= FULL and least >= ENOUGH * size else "low-rank"
    shares: list[float] = []
    found: list[Component] = []
    for group in groups:
        parts = _normals_of(group, correlations)
        found += [normal for _, normal in parts]
        shares += [share * len(group) / sum(map(len, groups)) for share, _ in parts]
    return found[0] if len(found) == 1 else Mixture.of(shares, found)


def _normals_of(draws: np.ndarray, correlations: str) -> list[tuple[float, Component]]:
    """The normals of a mode (draw, D), each with its share."""
    one = normal_of(draws, correlations)  # also looks whether the chain has moved
    found = divided(draws, ENOUGH * draws.shape[1])
    if found is None:
        return [(1.0, one)]
    parts = []
    for share, mean, cov in zip(*found):
        normal = FullRank(*as_arrays(mean, np.linalg.cholesky(cov)))
        kept = normal.as_normals("low-rank") if correlations == "low-rank" else normal
        parts.append((float(share), cast(Component, kept)))
    return parts


def modes(theta: np.ndarray) -> list[list[int]]:
    """The chains of each mode: those that a path of agreeing chains connects.

    Two chains agree where no element of θ has means more than two sds apart, with the sd that is
    the root mean square of both: two normals of one sd have one hump up to there and two beyond.
    A chain that moves between modes is one mode, whose normal is as wide as its way.

    >>> import numpy as np
    >>> draws = np.random.default_rng(0).normal(size=(4, 50, 2))
    >>> draws[2:] += 10
    >>> modes(draws)
    [[0, 1], [2, 3]]
    """
    means, variances = theta.mean(1), theta.var(1)
    left, found = list(range(len(theta))), []
    while left:
        waiting, group = [left.pop(0)], []
        while waiting:
            one = waiting.pop()
            group.append(one)
            scale = np.sqrt((variances[left] + variances[one]) / 2)
            gap = np.abs(means[left] - means[one])
            near = [left[i] for i in np.flatnonzero((gap <= APART * scale).all(1))]
            waiting += near
            left = [chain for chain in left if chain not in near]
        found.append(sorted(group))
    return found


def normal_of(draws: np.ndarray, correlations: str) -> Component:
    """The normal of draws (draw, D), with correlations shrunk towards none.

        C = (1 − ρ) corr(draws) + ρ I,   Σ = diag(sd) C diag(sd)

    The sds are those of the draws. ρ is that of the oracle approximating shrinkage, for draws of
    unit variance. Low rank keeps the ten largest directions of C, and every sd.

    Chen, Wiesel, Eldar & Hero 2010, "Shrinkage algorithms for MMSE covariance estimation", whose
    target is the mean variance; ours is each variance, as weights differ in scale.
    """
    mean, sd = draws.mean(0), draws.std(0, ddof=1)
    if (sd == 0).any():
        raise ValueError(
            f"as_prior: element {int(np.argmin(sd))} of θ is the same in all draws of a mode; the "
            "chain did not move."
        )
    unit = (draws - mean) / (sd * np.sqrt(len(draws) - 1))
    rho = shrinkage(unit)
    if correlations == "full":
        refuse_large(len(mean))
        corr = (1 - rho) * unit.T @ unit + rho * np.eye(len(mean))
        return FullRank(*as_arrays(mean, sd[:, None] * np.linalg.cholesky(corr)))
    _, singular, directions = np.linalg.svd(unit, full_matrices=False)
    return low_rank(mean, sd, singular**2 * (1 - rho), directions)


def independent(mean: object, sd: object) -> Gaussian:
    """Moments of each element alone."""
    return Gaussian(*as_arrays(mean, sd))
