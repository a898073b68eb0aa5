"""One mode of draws as several normals, where one is not enough."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST = 64  # normals of a mode
LARGEST = 200  # parameters up to which a mode is divided
PARTS = 20  # consecutive parts of the draws, of which every fourth is held out
SURE = 3.0  # standard errors by which more normals must describe the held-out parts better
PASSES = 100  # of expectation and maximisation
SETTLED = 1e-4  # nats per draw that the last pass gains


class Normals(NamedTuple):
    """Normals with shares: (K,), means (K, D), covariances (K, D, D)."""

    shares: np.ndarray
    means: np.ndarray
    covs: np.ndarray

    def log_densities(self, draws: np.ndarray) -> np.ndarray:
        """log wₖ N(θ; mₖ, Σₖ) of every draw and normal: (n, K)."""
        found = []
        for share, mean, cov in zip(*self):
            chol = np.linalg.cholesky(cov)
            unit = np.linalg.solve(chol, (draws - mean).T)
            scale = np.log(np.diag(chol)).sum() + 0.5 * len(mean) * np.log(2 * np.pi)
            found.append(np.log(share) - scale - 0.5 * np.sum(unit**2, axis=0))
        return np.stack(found, axis=1)


def divided(draws: np.ndarray, least: int) -> Normals | None:
    """As many normals as describe the draws of a mode best; None where one does.

        q(θ) = Σₖ wₖ N(θ; mₖ, Σₖ)

    Normals are doubled while parts of the chain that were held out become likelier, by more than
    three standard errors over the parts. Each is fitted by expectation and maximisation in
    coordinates of unit covariance, with correlations shrunk as those of a single normal.

    Args:
        draws: θ (n, D), in the order of the chains. least: draws that a normal must have.

    >>> rng = np.random.default_rng(0)
    >>> bend = rng.normal(size=(4_000, 2))
    >>> divided(bend, 4) is None
    True
    >>> bend[:, 1] += 2 * bend[:, 0] ** 2
    >>> len(divided(bend, 4).shares) > 2
    True
    """
    count, size = draws.shape
    if size > LARGEST or count < max(3 * least, 4 * PARTS):  # two normals of three quarters
        return None
    mean = draws.mean(0)
    chol = np.linalg.cholesky(np.cov(draws.T).reshape(size, size))
    white = np.linalg.solve(chol, (draws - mean).T).T
    part = np.arange(count) * PARTS // count
    held = part % 4 == 2
    best, before, normals = None, _held_out(white, held, 1, least), 2
    while normals <= MOST and before is not None:
        now = _held_out(white, held, normals, least)
        if now is None or not _better(now - before, part[held]):
            break
        best, before, normals = normals, now, 2 * normals
    found = fitted(white, best, least) if best else None
    if found is None:
        return None
    covs = chol @ found.covs @ chol.T
    return Normals(found.shares, mean + found.means @ chol.T, covs)


def fitted(draws: np.ndarray, count: int, least: int) -> Normals | None:
    """`count` normals of draws (n, D) of about unit scale, or fewer.

    A normal that is left fewer than `least` draws gives them to the others; None where `count` is
    more than one and no two are left.

    Dempster, Laird & Rubin 1977; starts by the draws farthest from each other (Arthur &
    Vassilvitskii 2007), always with the same random numbers.
    """
    belongs = _begun(draws, count)
    before = -np.inf
    for _ in range(PASSES):
        belongs = _shared(belongs, least)
        if belongs.shape[1] < min(count, 2):
            return None
        found = _normals(draws, belongs)
        each = found.log_densities(draws)
        total = np.logaddexp.reduce(each, axis=1)
        belongs = np.exp(each - total[:, None])
        if total.mean() - before < SETTLED:
            break
        before = total.mean()
    return found


def _shared(belongs: np.ndarray, least: int) -> np.ndarray:
    """Shares without the normals that have too few; draws of these belong to all others alike."""
    kept = belongs[:, belongs.sum(0) >= least]
    total = kept.sum(1, keepdims=True)
    return np.where(total > 1e-12, kept / np.maximum(total, 1e-12), 1 / max(kept.shape[1], 1))


def _held_out(white: np.ndarray, held: np.ndarray, count: int, least: int) -> np.ndarray | None:
    """The log density of held-out draws under normals fitted to the others."""
    found = fitted(white[~held], count, least)
    return None if found is None else np.logaddexp.reduce(found.log_densities(white[held]), axis=1)


def _better(gain: np.ndarray, part: np.ndarray) -> bool:
    """Whether a gain is more than chance: draws of one part depend on each other, parts hardly."""
    gains = np.array([gain[part == number].mean() for number in np.unique(part)])
    return bool(gains.mean() > SURE * gains.std(ddof=1) / np.sqrt(len(gains)))


def _begun(draws: np.ndarray, count: int) -> np.ndarray:
    """Which of `count` centres each draw is nearest to: (n, count), zeros and ones."""
    rng = np.random.default_rng(0)
    centres = [draws[rng.integers(len(draws))]]
    nearest = np.sum((draws - centres[0]) ** 2, axis=1)
    for _ in range(count - 1):
        centres.append(draws[rng.choice(len(draws), p=nearest / nearest.sum())])
        nearest = np.minimum(nearest, np.sum((draws - centres[-1]) ** 2, axis=1))
    far = np.stack([np.sum((draws - centre) ** 2, axis=1) for centre in centres], axis=1)
    return (far == far.min(axis=1, keepdims=True)).astype(float)


def _normals(draws: np.ndarray, belongs: np.ndarray) -> Normals:
    """The normal of each column of shares, with shrunk correlations."""
    means, covs = [], []
    for weights in belongs.T:
        mean = weights @ draws / weights.sum()
        root = (draws - mean) * np.sqrt(weights / weights.sum())[:, None]
        sd = np.sqrt(np.sum(root**2, axis=0))
        unit = root / sd
        rho = shrinkage(unit, weights.sum())
        corr = (1 - rho) * unit.T @ unit + rho * np.eye(len(mean))
        means.append(mean)
        covs.append(sd[:, None] * corr * sd)
    return Normals(belongs.mean(0), np.stack(means), np.stack(covs))


def shrinkage(unit: np.ndarray, draws: float | None = None) -> float:
    """ρ of the oracle approximating shrinkage, from rows (n, D) with a unit correlation unitᵀ unit.

    ρ = min(1, [(1 − 2/D) tr C² + D²] / [(n + 1 − 2/D) (tr C² − D)])

    Args:
        unit: the rows. draws: how many draws they stand for, where it is not their number.
    """
    rows, size = unit.shape
    count = rows if draws is None else draws
    small = unit @ unit.T if rows < size else unit.T @ unit
    square = float(np.sum(small**2))  # tr C²
    excess = (count + 1 - 2 / size) * (square - size)
    return float(min(1.0, ((1 - 2 / size) * square + size**2) / excess)) if excess > 0 else 1.0
