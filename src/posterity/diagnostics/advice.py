"""What figures of chains mean, as sentences: one for each thing that went wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from posterity.diagnostics import convergence as figures
from posterity.diagnostics.convergence import Mixing
from posterity.diagnostics.monitored import Quantities
from posterity.diagnostics.other_chains import FALLS, RISES, SETTLED, SMALL, Change

# An r-hat counts from here on (Vehtari et al. 2021), if noise does not explain it:
MILD = 1.01
STRONG = 1.05  # up to here it is a matter of more draws
# How often a set of quantities of good chains is said to disagree. The largest r-hat of many is
# large by chance alone, so that the limit of each allows for their number; see docs/diagnostics.md
# for how often it happens in simulations.
RATE = 1e-3
PER_CHAIN = 100  # effective draws per chain, below which the figures themselves are unsure
STEADY = 50  # effective draws that a chain must hold before it is said to be steady
LITTLE = "Each chain holds a mode of its own"
SHARES = (
    "What share of the posterior each mode has is not known: every chain counts the same. "
    "po.ParallelTempering finds shares."
)
LEAST_BFMI = 0.3
ACCEPTANCE_MISS = 0.15  # below the acceptance that a step size was tuned for


@dataclasses.dataclass(frozen=True)
class Sampler:
    """What a sampler reported about its kept steps; None where it reports no such thing.

    Attributes:
        steps: kept steps of all chains.
        divergences, depth_hits: how many diverged, and reached the longest path.
        acceptance, leapfrogs: means over steps.
        bfmi: E-BFMI of every chain.
    """

    steps: int
    divergences: int | None = None
    depth_hits: int | None = None
    acceptance: float | None = None
    leapfrogs: float | None = None
    bfmi: tuple[float, ...] | None = None

    @property
    def divergent_share(self) -> float | None:
        """The share of kept steps that diverged."""
        return None if self.divergences is None else self.divergences / max(self.steps, 1)


def on_mixing(
    what: str,
    monitored: Quantities,
    mixing: Mixing,
    change: Callable[[], Change | None] = lambda: None,
) -> list[str]:
    """Sentences about quantities of one kind.

    Args:
        what: what they are: ``"predictions"``. monitored: their draws. mixing: of each of them.
        change: how predictions would change with other chains, asked where chains are apart; None
            where there are no predictions, or too few chains.
    """
    if np.isnan(mixing.rhat).all():
        return []
    if not (mixing.rhat > MILD).any():
        return _too_few(what, monitored, mixing)
    within = figures.ess_within(monitored.values)
    said = _disagreement(what, monitored, mixing, within, change)
    # Chains that disagree have few effective draws for that reason, of which enough has been said.
    if said and np.nanmax(mixing.rhat) > STRONG:
        if SHARES in said and (found := change()) and found.small:
            return said  # Monte Carlo error within chains is part of what is small
        mixing = mixing._replace(ess_bulk=within, ess_tail=np.full_like(within, np.inf))
        what = f"{what} within chains"
    return [*said, *_too_few(what, monitored, mixing)]


def standing(theta: np.ndarray) -> np.ndarray:
    """The numbers of chains (chain, draw, D) whose draws are all the same."""
    return np.flatnonzero(
        # Some draws at a time, for chains in a file; most differ at once.
        [(c[-1] == c[0]).all() and all((draw == c[0]).all() for draw in c) for c in theta]
    )


def on_chains(theta: np.ndarray) -> list[str]:
    """Sentences about the chains as such: too short, not moving at all, or alone."""
    count, draws = theta.shape[:2]
    if draws < figures.FEWEST:
        return [
            f"With {draws} draw{'s' if draws > 1 else ''} per chain nothing can be said about "
            f"convergence: {figures.FEWEST} are needed for r-hat, and hundreds for an answer."
        ]
    if len(still := standing(theta)):
        which = "No chain has moved" if len(still) == count else f"{_chains(still)} stood still"
        return [
            f"{which[0].upper()}{which[1:]}: all draws are the same. Lower the step size, "
            "standardise the data or start elsewhere."
        ]
    if count == 1:
        return [
            "One chain cannot show whether another would disagree: run chains=4 to see modes that "
            "this one has not visited."
        ]
    return []


def on_sampler(sampler: Sampler, settings: Mapping[str, Any], cause: str = "") -> list[str]:
    """Sentences about divergences, path lengths, acceptance and energies.

    Args:
        cause: why steps diverged, as a sentence, where that is known.
    """
    advice: list[str] = []
    aim = settings.get("target_acceptance")
    if sampler.divergences:
        remedy = f"Raise target_acceptance above {aim}" if aim else "Lower the step size"
        advice.append(
            f"{sampler.divergences} of {sampler.steps} kept steps diverged: parts of the posterior "
            f"may be missed. {cause or f'{remedy}, or tighten the priors.'}"
        )
    if sampler.depth_hits:
        advice.append(
            f"{sampler.depth_hits} of {sampler.steps} kept steps reached max_depth="
            f"{settings.get('max_depth')}: the draws are valid but slow to mix. Warm up longer, or "
            "raise max_depth."
        )
    if aim and sampler.acceptance is not None and sampler.acceptance < aim - ACCEPTANCE_MISS:
        advice.append(
            f"The mean acceptance is {sampler.acceptance:.2f}, far below the {aim} that was aimed "
            "at: the warm-up was too short."
        )
    low = [number for number, value in enumerate(sampler.bfmi or ()) if value < LEAST_BFMI]
    if low:
        least = min(sampler.bfmi[number] for number in low)  # type: ignore[index]
        advice.append(
            f"E-BFMI of {_chains(low)} is down to {least:.2f} (below {LEAST_BFMI}): the sampler "
            "crosses energies slowly, as in heavy tails or a funnel, and may miss parts of them. "
            "Tighten or reparameterise the priors of scales, or draw longer."
        )
    return advice


# -- do the chains agree? -------------------------------------------------------------------------


def _disagreement(
    what: str,
    monitored: Quantities,
    mixing: Mixing,
    independent: np.ndarray,
    change: Callable[[], Change | None],
) -> list[str]:
    """The sentence where r-hat is more than noise; it tells modes from drift."""
    count = monitored.values.shape[0]
    suspect = np.flatnonzero(mixing.rhat > MILD)
    noise = figures.limit(independent[suspect], count, RATE / len(monitored.labels))
    sure = suspect[mixing.rhat[suspect] > noise]
    if not sure.size:
        return []
    worst = sure[np.argmax(mixing.rhat[sure])]
    rhat = mixing.rhat[worst]
    said = f"r-hat of {what} is up to {rhat:.2f} ({monitored.labels[worst]})"
    if rhat <= STRONG:
        return [f"The chains have not quite converged: {said}, above {MILD}. Draw longer."]
    return _apart(said, monitored.values[..., worst], change)


def _apart(said: str, values: np.ndarray, change: Callable[[], Change | None]) -> list[str]:
    """Why chains (chain, draw) are apart: on their way, in modes, or too short to tell."""
    odd = _odd_one(values)
    if odd is not None:
        said += f", and {figures.rhat(np.delete(values, odd, axis=0)):.2f} without chain {odd + 1}"
    if len(values) == 1:
        return [
            f"The chain drifts: {said} between its halves. Warm up longer, then draw longer; it "
            "has not reached the place where it would stay."
        ]
    found = change()
    alone = values.T[None]  # every chain as a quantity of its own
    independent = figures.ess_within(alone)
    limit = np.maximum(figures.limit(independent, 1, RATE), STRONG)
    moving = np.flatnonzero(figures.rhat(alone) > limit)
    if found is not None and found.small:
        return [_little(said, found, moving), SHARES]
    much = "" if found is None else _much(found, len(values))
    if moving.size:
        drift = "drifts" if moving.size == 1 else "drift"
        return [
            f"The chains disagree: {said}, and {_chains(moving)} still {drift}.{much} Warm up "
            "longer, then draw longer."
        ]
    if (independent < STEADY).any():
        return [
            f"The chains disagree: {said}. They are too slow for their length to tell whether "
            f"there are several modes.{much} Warm up longer, then draw longer."
        ]
    return [
        f"The chains disagree: {said}, yet each chain by itself is steady. They sit in several "
        f"modes that they hardly travel between: a somewhat longer run will not help.{much} Start "
        "elsewhere, use po.ParallelTempering or tighten the priors.",
        SHARES,
    ]


def _little(said: str, change: Change, moving: np.ndarray) -> str:
    """That chains are apart and predictions are none the worse for it."""
    drift = "drifts" if moving.size == 1 else "drift"
    drifting = f"; {_chains(moving)} still {drift}, by little" if moving.size else ""
    return (
        f"{LITTLE} ({said}{drifting}), and their mixture is what counts: with "
        f"other chains predictive means would change by about ±{change.typical:.2f} predictive "
        f"sds and predictive sds by ±{change.typical_sd:.0%}, beside a Monte Carlo error of "
        f"±{change.typical_error:.2f} sds."
    )


def _much(change: Change, chains: int) -> str:
    """That other chains or other draws would predict otherwise, and how many would do."""
    said = ""
    if max(change.typical, change.typical_sd) > SMALL:
        said += (
            " More chains would change predictions: with others, predictive means change by about "
            f"±{change.typical:.2f} predictive sds and predictive sds by ±{change.typical_sd:.0%}; "
            f"about chains={change.chains(chains)} make it ±{SMALL}."
        )
    if change.typical_halves > SETTLED:
        said += (
            " From the first halves of all chains to the second, predictive means have moved by "
            f"{change.typical_halves:.2f} predictive sds."
        )
    if change.rise > RISES:
        said += (
            f" From the first halves to the second, the log joint has risen by {change.rise:.1f} "
            "of its sds: the chains are on their way to where the data are fitted better."
        )
    elif change.rise < -FALLS:
        said += (
            f" From the first halves to the second, the log joint has fallen by {-change.rise:.1f} "
            "of its sds: the chains are on their way out of modes."
        )
    return said


def _odd_one(values: np.ndarray) -> int | None:
    """The one chain without which the others would agree."""
    if values.shape[0] < 3:
        return None
    without = [figures.rhat(np.delete(values, chain, axis=0)) for chain in range(len(values))]
    best = int(np.argmin(without))
    others = np.delete(without, best)
    return best if without[best] <= STRONG < others.min() else None


def _too_few(what: str, monitored: Quantities, mixing: Mixing) -> list[str]:
    """The sentence where effective sample sizes are too small for anything to be said."""
    chains = monitored.values.shape[0]
    needed = PER_CHAIN * chains
    low = {
        name: int(np.nanargmin(ess))
        for name, ess in (("bulk", mixing.ess_bulk), ("tail", mixing.ess_tail))
        if np.nanmin(ess) < needed
    }
    if not low:
        return []
    ess = {"bulk": mixing.ess_bulk, "tail": mixing.ess_tail}
    said = " and ".join(
        f"{ess[name][at]:.0f} in the {name} ({monitored.labels[at]})" for name, at in low.items()
    )
    matter = (
        "means and r-hat itself are unsure"
        if "bulk" in low
        else "quantiles and intervals are unsure"
    )
    return [
        f"Too few draws: the effective sample size of {what} is down to {said}; below {needed}, "
        f"{PER_CHAIN} per chain, {matter}. Draw longer."
    ]


def _chains(numbers: Any) -> str:
    """``chain 2``, ``chains 1 and 4``, ``chains 1, 2 and 4``."""
    names = [str(int(number) + 1) for number in numbers]
    if len(names) == 1:
        return f"chain {names[0]}"
    return f"chains {', '.join(names[:-1])} and {names[-1]}"
