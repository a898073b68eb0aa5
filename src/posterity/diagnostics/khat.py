"""How far an approximate posterior is from the exact one: Pareto k-hat."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from posterity.counts import checked_draws, checked_seed
from posterity.cpu.compile import kept_jit, quick_jit
from posterity.distributions.distribution import AbstractDensity, AbstractDistribution
from posterity.model.target import AbstractTarget

LEAST_DRAWS = 100
FEW = 100  # parameters up to which compiling takes longer than the draws
LEAST_TAIL = 5  # draws that a generalised Pareto distribution can be fitted to
NO_WEIGHT = math.log(np.finfo(np.float64).tiny)  # a log weight below the largest that counts as 0
EQUAL = 1e-2  # log weights within this of each other are equal, but for float32's rounding
PRIOR_SHAPE = (0.5, 10)  # what k is drawn towards in small samples, and by how many draws


class KHat(NamedTuple):
    """The estimated tail shape k of the importance weights, and what it means.

    Attributes:
        value: k-hat; −∞ where all weights are equal, ∞ where fewer than 5 stand out.
        message: a sentence with the verdict and the remedy.
        threshold: the value up to which `draws` draws give reliable expectations.
        draws: how many there were.
    """

    value: float
    message: str
    threshold: float
    draws: int

    @property
    def good(self) -> bool:
        """Whether the approximation is near enough to be corrected, and so to be trusted."""
        return self.value <= self.threshold

    def __str__(self) -> str:
        return self.message


def pareto_khat(
    target: AbstractTarget, distribution: AbstractDistribution, batch: Any, draws: int, seed: int
) -> KHat:
    """k-hat of a density over the θ of a target, on all rows; see `posterity.pareto_khat`.

    Raises:
        TypeError, ValueError: as there.
    """
    if distribution.stored is not None:
        raise TypeError(
            "pareto_khat: stored draws have no density; it judges variational posteriors. For a "
            "sampler look at posterior.result."
        )
    count = checked_draws(draws, LEAST_DRAWS)  # which a tail needs
    density, key = cast(AbstractDensity, distribution), jax.random.key(checked_seed(seed))
    weigh = _weigh_quickly if target.size <= FEW else _weigh
    log_weights = weigh(target, density, batch, key, jnp.arange(count))
    weights = np.asarray(log_weights, np.float64)
    if np.isnan(weights).any():
        first = int(np.argmax(np.isnan(weights)))
        raise ValueError(
            f"posterior: the log density at draw {first} is NaN ({np.isnan(weights).sum()} of "
            f"{draws} are): the model cannot be evaluated where q has its mass."
        )
    value = khat(weights)
    threshold = min(1 - 1 / math.log10(draws), 0.7)
    return KHat(value, _verdict(value, threshold, draws), threshold, draws)


def _log_weights(
    target: AbstractTarget, q: AbstractDensity, batch: Any, key: jax.Array, numbers: jax.Array
) -> jax.Array:
    """log p(y, θ | x) − log q(θ) of the draws of the given numbers."""

    def one(number: jax.Array) -> jax.Array:
        noise = jax.random.normal(jax.random.fold_in(key, number), (q.noise_size,), target.dtype)
        theta, log_q = q.push_with_log_prob(noise)
        kl = log_q - target.log_prior(theta)
        # The ELBO's integrand; under a tempered KL it is that many times the log weight.
        return target.elbo(target.scaled_log_likelihood(theta, batch), kl) / target.kl_weight

    return jax.lax.map(one, numbers, batch_size=64)


_weigh, _weigh_quickly = kept_jit(_log_weights), quick_jit(_log_weights)


def _verdict(value: float, threshold: float, draws: int) -> str:
    if value == -math.inf:
        return "All importance weights are equal: the approximation is the exact posterior."
    k = f"Pareto k-hat is {value:.2f}"
    if value <= threshold:
        near = "very near" if value <= 0.5 else "near"
        return (
            f"{k}, below {threshold:.2f}: the approximation is good, {near} the exact posterior "
            "over the weights."
        )
    if value <= 0.7:
        return (
            f"{k}, above the {threshold:.2f} that {draws:,} draws can tell from a poor fit: the "
            "approximation may be good. Raise draws."
        )
    more = "by far " if value > 1 else ""
    return (
        f"{k}, above {threshold:.2f}: the approximation is poor. The posterior over the weights "
        f"has {more}more mass in the tails of q than q says: standard deviations are too small, or "
        "a mode is missed. Check that the fit has converged; then try a family with correlations, "
        "or NUTS, and compare the predictions on held-out rows."
    )


def khat(log_weights: np.ndarray) -> float:
    """k-hat of importance weights given by their logarithms, any constant added.

    Args:
        log_weights: (S,), not NaN; −∞ for weight 0.

    Returns:
        The shape of the generalised Pareto distribution fitted to the ⌈min(S/5, 3√S)⌉ largest
        weights; −∞ where all weights are equal, and ∞ where fewer than 5 stand out.
    """
    count = log_weights.size
    ordered = np.sort(log_weights - log_weights.max())
    if ordered[0] > -EQUAL:
        return -math.inf
    cut = max(ordered[-math.ceil(min(count / 5, 3 * math.sqrt(count))) - 1], NO_WEIGHT)
    tail = ordered[ordered > cut]
    if tail.size < LEAST_TAIL:
        return math.inf
    return pareto_shape(np.exp(tail) - math.exp(cut))


def pareto_shape(excess: np.ndarray) -> float:
    """The shape k of a generalised Pareto distribution, fitted to ascending positive numbers.

        p(z) = (1/σ) (1 + k z / σ)^(−1 − 1/k)

    With b = −k/σ, the likelihood is profiled over a grid of b, and its mean is taken under a weak
    prior. k is then drawn towards 0.5 with the weight of ten numbers.

    Zhang & Stephens 2009; the last step is Vehtari et al. 2024.
    """
    n = excess.size
    points = 30 + int(math.sqrt(n))
    quartile = excess[int(n / 4 + 0.5) - 1]
    grid = (1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))) / (3 * quartile)
    grid = grid + 1 / excess[-1]
    shapes = np.log1p(-grid[:, None] * excess).mean(axis=1)
    log_likelihood = n * (np.log(-grid / shapes) - shapes - 1)
    weights = np.exp(log_likelihood - log_likelihood.max())
    weights /= weights.sum()
    weights[weights < 10 * np.finfo(float).eps] = 0.0
    best = np.sum(grid * weights) / weights.sum()
    shape = np.log1p(-best * excess).mean()
    centre, worth = PRIOR_SHAPE
    return float((n * shape + worth * centre) / (n + worth))
