"""How well Markov chains have mixed: r-hat, effective sample sizes, errors, energies."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import next_fast_len

FEWEST = 4  # draws per chain: halves of fewer than two have no variance
NUMBERS = 2**17  # values looked at together; as many as the processor's cache holds


class Mixing(NamedTuple):
    """Figures of quantities: r-hat, bulk and tail effective sample size, one array each."""

    rhat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray


def mixing(values: ArrayLike) -> Mixing:
    """`rhat`, `ess_bulk` and `ess_tail` in one go, which share their sorting.

    Args:
        values: draws of quantities, (chain, draw, ...).

    Returns:
        A `Mixing` of arrays of shape ``...``. NaN where a quantity is constant or not finite, and
        with fewer than four draws per chain.

    Raises:
        ValueError: there are no axes of chains and draws.

    >>> import numpy as np
    >>> draws = np.random.default_rng(0).normal(size=(4, 500, 3))
    >>> mixing(draws).rhat.round(2)
    array([1., 1., 1.])

    Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, "Rank-normalization, folding, and
    localization: an improved R-hat". As in ArviZ, but for constants, of which ArviZ says that the
    effective sample size is the number of draws, and for single chains: see `rhat`.
    """

    def figures(block: np.ndarray) -> Mixing:
        scores, folded = _scores(block)
        return Mixing(np.fmax(_rhat(scores), _rhat(folded)), _ess(scores), _ess_tail(block))

    return Mixing(*_by_blocks(values, figures, len(Mixing._fields)))


def rhat(values: ArrayLike) -> np.ndarray:
    """How much wider all chains together are than each by itself; 1 where they agree.

        r-hat² = (n − 1) / n + Var[means of half chains] / mean Var[within half chains]

    of the normal scores of the ranks, and of those of the distances from the median, which see
    chains of different width; the larger of the two.

    Args:
        values: as in `mixing`.

    Returns:
        Shape ``...``. Infinite where chains stand still, each elsewhere. Of a single chain, whose
        halves are compared, where ArviZ gives NaN. NaN as in `mixing`.
    """
    return _by_blocks(values, lambda block: [np.fmax(*map(_rhat, _scores(block)))])[0]


def ess_bulk(values: ArrayLike) -> np.ndarray:
    """How many independent draws would know the middle of a distribution as well.

        S / τ,   τ = 1 + 2 Σ of the autocorrelations of the normal scores

    with Geyer's initial monotone sequence. Chains that disagree have few. Shapes as in `rhat`.
    """
    return _by_blocks(values, lambda block: [_ess(_scores(block)[0])])[0]


def ess_tail(values: ArrayLike) -> np.ndarray:
    """As `ess_bulk`, of the 5 % or the 95 % quantile, whichever has fewer."""
    return _by_blocks(values, lambda block: [_ess_tail(block)])[0]


def mcse_mean(values: ArrayLike) -> np.ndarray:
    """The Monte Carlo standard error of the mean over all draws, sd / √ESS; shapes as in `rhat`."""

    def error(block: np.ndarray) -> list[np.ndarray]:
        return [block.std(axis=(1, 2), ddof=1) / np.sqrt(_ess(_halves(block)))]

    return _by_blocks(values, error)[0]


def ess_within(values: ArrayLike) -> np.ndarray:
    """How many independent draws the half chains hold, whether or not they agree.

    The smaller of that of the normal scores and that of the folded ones. It tells an r-hat that
    noise explains from one that it does not; see `limit`. Shapes as in `rhat`.
    """

    def within(block: np.ndarray) -> list[np.ndarray]:
        return [np.min([_ess(z, between=False) for z in _scores(block)], axis=0)]

    return _by_blocks(values, within)[0]


def limit(ess: ArrayLike, chains: int, rate: float) -> np.ndarray:
    """What r-hat stays below at a given rate of false alarms, if all chains agree.

    The means of m = 2 · chains halves of S / m independent draws each vary by m / S, times χ² on
    m − 1 degrees of freedom over m − 1:

        r-hat < √(1 + (m / S) χ²(1 − rate) / (m − 1))

    Args:
        ess: S, from `ess_within`. chains: how many. rate: the rate, of one r-hat.

    Returns:
        The limit, in the shape of `ess`.
    """
    free = 2 * chains - 1
    normal = NormalDist().inv_cdf(1 - rate / 2)  # r-hat is the larger of two
    # Wilson & Hilferty's cube, within 1 % in this tail.
    chi2 = free * (1 - 2 / (9 * free) + normal * np.sqrt(2 / (9 * free))) ** 3
    return np.sqrt(1 + (2 * chains) / np.asarray(ess, float) * chi2 / free)


def bfmi(energy: ArrayLike) -> np.ndarray:
    """The estimated Bayesian fraction of missing information of every chain.

        E-BFMI = mean (Eₙ − Eₙ₋₁)² / Var[E]

    Args:
        energy: (chain, draw), of a Hamiltonian sampler.

    Returns:
        Shape (chain,). Small where momenta drawn anew reach few of the energies there are. NaN with
        fewer than four draws, or a constant or infinite energy.

    Betancourt 2016, "Diagnosing suboptimal cotangent disintegrations".
    """
    energies = np.asarray(energy, float)
    if energies.shape[1] < FEWEST:
        return np.full(energies.shape[0], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.mean(np.diff(energies, axis=1) ** 2, axis=1) / energies.var(axis=1, ddof=1)


def autocorrelation(values: ArrayLike) -> np.ndarray:
    """The correlation of draws with those `lag` draws later: (chain, lag, ...), lag 0 … draws − 1.

    Args:
        values: as in `mixing`. Every chain is taken by itself; a constant has NaN.
    """
    array = np.moveaxis(np.asarray(values, float), 1, -1)
    covariance = _autocovariance(array)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.moveaxis(covariance / covariance[..., :1], -1, 1)


# -- blocks of (quantity, chain, draw) ------------------------------------------------------------


def _by_blocks(values: ArrayLike, function: Callable[[np.ndarray], Any], count: int = 1) -> Any:
    """`count` figures of every quantity, some quantities at a time; NaN where there are none."""
    array = np.asarray(values)
    if array.ndim < 2:
        raise ValueError(f"values: expected (chain, draw, ...), got shape {array.shape}.")
    chains, draws, *shape = array.shape
    flat = array.reshape(chains, draws, -1)
    found = np.full((count, flat.shape[2]), np.nan)
    size = max(1, NUMBERS // max(1, chains * draws))

    def fill(start: int) -> None:
        block = np.ascontiguousarray(np.moveaxis(flat[..., start : start + size], 2, 0), float)
        with np.errstate(invalid="ignore"):
            moves = np.isfinite(block).all((1, 2)) & (np.ptp(block, axis=(1, 2)) > 0)
        if moves.any():
            found[:, start + np.flatnonzero(moves)] = function(block[moves])

    starts = range(0, flat.shape[2] if draws >= FEWEST else 0, size)
    if len(starts) < 2:
        for start in starts:
            fill(start)
    else:  # NumPy sorts and transforms outside Python's lock
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(fill, starts))
    return found.reshape(count, *shape)


def _halves(block: np.ndarray) -> np.ndarray:
    """Chains cut in two, the middle draw of an odd number left out: (quantity, 2 chains, half)."""
    half = block.shape[2] // 2
    return np.concatenate([block[..., :half], block[..., -half:]], axis=1)


def _scores(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores of the ranks of half chains, and of their distances from the median."""
    halves = _halves(block)
    flat = halves.reshape(len(halves), -1)
    order = np.argsort(flat, axis=1)
    ordered = np.take_along_axis(flat, order, axis=1)
    middle = flat.shape[1] // 2  # of an even number
    median = (ordered[:, middle - 1] + ordered[:, middle]) / 2
    # From the median outwards both sides are sorted already: a merge, for a stable sort.
    distance = np.abs(ordered - median[:, None])
    outwards = np.argsort(distance, axis=1, kind="stable")
    far = _unsorted(_ordered_scores(np.take_along_axis(distance, outwards, axis=1)), outwards)
    return (
        _unsorted(_ordered_scores(ordered), order).reshape(halves.shape),
        _unsorted(far, order).reshape(halves.shape),
    )


def _unsorted(ordered: np.ndarray, order: np.ndarray) -> np.ndarray:
    values = np.empty_like(ordered)
    np.put_along_axis(values, order, ordered, axis=1)
    return values


def _ordered_scores(ordered: np.ndarray) -> np.ndarray:
    """Normal scores of sorted rows; what is equal has the mean of its ranks."""
    size = ordered.shape[1]
    same = ordered[:, 1:] == ordered[:, :-1]
    if not same.any():
        return np.broadcast_to(_score_table(size)[::2], ordered.shape)
    at = np.arange(size)
    ends = np.pad(~same, ((0, 0), (1, 1)), constant_values=True)
    first = np.maximum.accumulate(np.where(ends[:, :-1], at, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends[:, 1:], at, size)[:, ::-1], axis=1)[:, ::-1]
    return _score_table(size)[first + last]


@functools.lru_cache(maxsize=8)
def _score_table(size: int) -> np.ndarray:
    """Φ⁻¹((r − 3/8) / (size + 1/4)) of the ranks r = 1, 1.5, 2, …, size (Blom 1958)."""
    inverse = NormalDist().inv_cdf
    lower = [inverse((1 + at / 2 - 0.375) / (size + 0.25)) for at in range(size - 1)]
    return np.array([*lower, 0.0, *(-score for score in reversed(lower))])


def _rhat(halves: np.ndarray) -> np.ndarray:
    draws = halves.shape[2]
    between = halves.mean(axis=2).var(axis=1, ddof=1)
    within = halves.var(axis=2, ddof=1).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((draws - 1) / draws + between / within)


def _ess_tail(block: np.ndarray) -> np.ndarray:
    flat = block.reshape(len(block), -1)
    found = []
    for quantile in np.quantile(flat, [0.05, 0.95], axis=1):
        below = _halves(block <= quantile[:, None, None]).astype(float)
        found.append(_ess(below))
    return np.min(found, axis=0)


def _ess(halves: np.ndarray, *, between: bool = True) -> np.ndarray:
    """S / τ by Geyer's initial monotone sequence, over (quantity, chain, draw).

    Without `between`, the differences of the chains' means are left out of the variance.
    """
    _, chains, draws = halves.shape
    covariance = _autocovariance(halves, mean=True)
    wide = covariance[:, 0] + (halves.mean(axis=2).var(axis=1, ddof=1) if between else 0.0)
    moving = wide > 0  # an indicator of a quantile may be the same everywhere
    wide = np.where(moving, wide, 1.0)[:, None]
    rho = 1 - (covariance[:, :1] * draws / (draws - 1) - covariance) / wide
    rho[:, 0] = 1.0
    # Sums of neighbours are positive in theory; from the first that is not, all is noise.
    longest = max(0, -(-(draws - 4) // 2))
    pairs = rho[:, : 2 * longest + 2].reshape(len(rho), longest + 1, 2).sum(axis=2)
    ends = ~(pairs > 0)
    ends[:, longest] = True
    end = ends.argmax(axis=1)
    row = np.arange(len(rho))
    falling = np.cumsum(np.minimum.accumulate(pairs, axis=1), axis=1)
    before = np.where(end > 0, falling[row, end - 1], 0.0)
    even = rho[row, 2 * end]
    last = np.where((even > 0) | ((pairs[row, end] >= 0) & (end > 0)), even, 0.0)
    size = chains * draws
    tau = np.maximum(-1 + 2 * before + last, 1 / np.log10(size))
    return np.where(moving, size / tau, float(size))


def _autocovariance(values: np.ndarray, *, mean: bool = False) -> np.ndarray:
    """By lag along the last axis, over n; with `mean`, the mean over the axis before."""
    draws = values.shape[-1]
    room = next_fast_len(2 * draws - 1, real=True)
    waves = np.fft.rfft(values - values.mean(axis=-1, keepdims=True), room)
    power = waves.real**2 + waves.imag**2
    return np.fft.irfft(power.mean(axis=-2) if mean else power, room)[..., :draws] / draws
