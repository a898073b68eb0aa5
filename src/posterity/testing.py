"""Checks for what users write themselves: a likelihood against its own draws and density."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.checks import Settings
from posterity.cpu.compile import quick_jit
from posterity.likelihoods import defaults
from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.predict.quantiles import bracketed

LEVELS = 0.05, 0.3, 0.5, 0.95  # of the quantiles that are looked at
EDGES = np.linspace(0.02, 0.98, 9)  # levels of the draws between which the density is integrated
SKEWED = 0.1  # skewness / √draws from which a mean of draws is not near a normal
COUNTED = 4_096  # counts that are summed one by one
PIECES, POINTS = 8, 12  # between two edges, and points of each for the integral


class Compared(NamedTuple):
    """A figure, what draws say instead, and how far apart they may be.

    Attributes:
        what: the figure in words. found: its values. drawn: those of draws, of the same shape.
        sd: of an element of the sum of draws. bound: the largest such element, where it has one;
            0 where it is nearly normal. slack: of rounding.
    """

    what: str
    found: np.ndarray
    drawn: np.ndarray
    sd: np.ndarray
    bound: float
    slack: np.ndarray


def check_likelihood(
    likelihood: AbstractLikelihood,
    outputs: Any,
    unknowns: Mapping[str, Any] | None = None,
    *,
    draws: int = 10_000,
    seed: int = 0,
    failure_rate: float = 1e-4,
) -> None:
    """Compare every figure that a likelihood derives with draws of y and with the density.

    These are: the support (`check`, `bounds`), the log probability and its normalisation, mean and
    variance, entropy, distribution function, quantiles, expected targets, and the curvature. Where
    a mean of so many draws is no measure, as of a variance with heavy tails, the figure is compared
    with an integral of the density instead, which draws have confirmed before.

    Args:
        likelihood: yours. Numbers to be learned must have their values.
        outputs: what a net may give, (rows, outputs_per_target, *targets). A few rows suffice.
        unknowns: name → value; None for none.
        draws: draws of y for every row; the more, the finer the comparison.
        seed: random seed.
        failure_rate: how often the check may fail by chance where all is right.

    Raises:
        AssertionError: figures that disagree: each by name, first row, value, and the value and
            standard error of the draws.
        ValueError: an argument out of its range.

    >>> import numpy as np, posterity as po
    >>> po.testing.check_likelihood(po.likelihoods.Poisson(), np.array([[0.0], [1.5]]), draws=1_000)
    """
    wrong = Settings("check_likelihood")
    wrong.instances(AbstractLikelihood, "a likelihood", likelihood=likelihood)
    wrong.counts(least=100, draws=draws)
    wrong.fractions(failure_rate=failure_rate)
    wrong.refuse()
    outputs = jnp.asarray(outputs, jnp.result_type(float))
    unknowns = {name: jnp.asarray(value) for name, value in (unknowns or {}).items()}
    _Check(likelihood, outputs, unknowns, int(draws), seed).all(failure_rate)


@quick_jit
def _sample(likelihood: AbstractLikelihood, outputs: Any, unknowns: Any, keys: Any) -> jax.Array:
    """Draws of y: (draws, rows, *targets)."""
    given = likelihood.distribution(outputs, unknowns)
    return jax.vmap(lambda key: likelihood.sample(given, key))(keys)


@quick_jit
def _log_prob(likelihood: AbstractLikelihood, outputs: Any, y: Any, unknowns: Any) -> jax.Array:
    """log p of all draws: (draws, rows)."""
    return jax.vmap(lambda y: likelihood.log_prob(outputs, y, unknowns))(y)


@quick_jit
def _density(likelihood: AbstractLikelihood, outputs: Any, y: Any, unknowns: Any) -> jax.Array:
    """log p of all draws by the distribution: (draws, rows, *targets)."""
    return likelihood.distribution(outputs, unknowns).log_prob(y)


@quick_jit
def _derived(likelihood: AbstractLikelihood, outputs: Any, unknowns: Any) -> tuple[Any, ...]:
    """Mean, variance, entropy and curvature."""
    return (
        *likelihood.mean_and_var(outputs, unknowns),
        likelihood.entropy(outputs, unknowns),
        likelihood.curvature(outputs, unknowns),
    )


@quick_jit
def _integrated(likelihood: AbstractLikelihood, outputs: Any, unknowns: Any) -> tuple[Any, ...]:
    """Mean, variance, entropy and curvature by integrals of the density."""
    given = likelihood.distribution(outputs, unknowns)
    points = likelihood._nodes(given)
    entropy = defaults.entropy(given, points)
    curvature = AbstractLikelihood.curvature(likelihood, outputs, unknowns)
    return *defaults.mean_and_var(points), entropy.reshape(len(outputs), -1).sum(1), curvature


@quick_jit
def _cdf(likelihood: AbstractLikelihood, outputs: Any, y: Any, unknowns: Any) -> jax.Array:
    return likelihood.cdf(likelihood.distribution(outputs, unknowns), y)


@quick_jit
def _scores(likelihood: AbstractLikelihood, outputs: Any, y: Any, unknowns: Any) -> jax.Array:
    """The gradient of log p in the outputs, of all draws: (draws, *outputs)."""

    def of(y: jax.Array) -> jax.Array:
        return jax.grad(lambda at: jnp.sum(likelihood.log_prob(at, y, unknowns)))(outputs)

    return jax.vmap(of)(y)


class _Check:
    def __init__(
        self,
        likelihood: AbstractLikelihood,
        outputs: jax.Array,
        unknowns: dict[str, jax.Array],
        draws: int,
        seed: int,
    ) -> None:
        self.likelihood, self.outputs, self.unknowns = likelihood, outputs, unknowns
        self.name = type(likelihood).__name__
        self.rows, self.draws = len(outputs), draws
        self.compared: list[Compared] = []
        self.wrong: list[str] = []
        self._shapes(likelihood.distribution(outputs, unknowns))
        keys = jax.random.split(jax.random.key(seed), draws)
        self.y = np.asarray(_sample(likelihood, outputs, unknowns, keys), np.float64)
        self.stored = jnp.asarray(self.y, likelihood.target_dtype)
        self.log_prob = np.asarray(_log_prob(likelihood, outputs, self.stored, unknowns))
        found = [np.asarray(part, float) for part in _derived(likelihood, outputs, unknowns)]
        self.mean, var, self.entropy, self.curvature = found
        self.var = np.broadcast_to(var, self.mean.shape)
        self._integrals: list[np.ndarray] | None = None

    def all(self, failure_rate: float) -> None:
        """Every comparison, those first that others rest on; then the verdict."""
        self._support()
        self._density()
        self._normalised()
        self._moments()
        self._of_draws("entropy", self.entropy, -self.log_prob.astype(float), 2)
        if self.likelihood.ordered:
            self._cdf()
            if not self.likelihood.classes:
                self._quantiles()
        self._expected()
        self._curvature()
        self._judge(failure_rate)
        if self.wrong:
            raise AssertionError(" ".join(f"{self.name}{sentence}" for sentence in self.wrong))

    # -- what must hold exactly -------------------------------------------------------------------

    def _shapes(self, given: dist.Distribution) -> None:
        per_target = self.likelihood.outputs_per_target
        assert self.outputs.shape[1:2] == (per_target,), (
            f"outputs: expected shape (rows, {per_target}, *targets), got {self.outputs.shape}."
        )
        batch = (self.rows, *self.outputs.shape[2:])
        assert (given.batch_shape, given.event_shape) == (batch, ()), (
            f"{self.name}.distribution: its batch shape is {given.batch_shape} and its event shape "
            f"{given.event_shape}; expected {batch} and ()."
        )
        whole = self.likelihood.whole
        assert given.support.is_discrete == whole, (
            f'{self.name}.kind: it is "{self.likelihood.kind}", but the support of '
            f"{type(given).__name__} is {'not ' * whole}discrete."
        )

    def _support(self) -> None:
        try:
            self.likelihood.check(self.y[:100].reshape(-1, *self.y.shape[2:]))
        except ValueError as error:
            self.wrong.append(f".check refuses a draw: {error}")
        low, high = self.likelihood.bounds
        outside = (self.y < low) | (self.y > high)
        if outside.any():
            self.wrong.append(
                f".bounds: they are {low:g} … {high:g}; {self.y[outside][0]:g} was drawn."
            )

    def _density(self) -> None:
        found = self.log_prob
        each = np.asarray(_density(self.likelihood, self.outputs, self.stored, self.unknowns))
        each = each.reshape(*found.shape, -1).sum(-1)
        off = np.abs(found - each)
        # A sum of targets rounds as its largest part does.
        if not np.allclose(found, each, rtol=1e-3, atol=1e-3 if each.ndim > 2 else 1e-4):
            worst = int(np.argmax(off.max(0)))
            self.wrong.append(
                f".log_prob: row {worst}: it differs by up to {off[:, worst].max():.3g} from the "
                "density of `distribution`."
            )

    def _expected(self) -> None:
        mean, var = self.mean, self.var
        if not (np.isfinite(var).all() and np.isfinite(mean).all()):
            return
        y, shares = self.likelihood.expected(mean, var)
        if not np.allclose(shares.sum(1), 1, atol=1e-4):
            self.wrong.append(".expected: shares of sum ≠ 1.")
        low, high = self.likelihood.bounds
        if not ((y >= low) & (y <= high)).all():
            self.wrong.append(".expected: y outside the support.")
        if self.likelihood.classes:
            return
        spread = np.sqrt(var)
        weights = np.expand_dims(shares, tuple(range(2, y.ndim)))
        off = np.abs((weights * y).sum(1) - mean) / (spread + 1e-12)
        if not (off < 0.1).all():
            self.wrong.append(
                f".expected: row {int(np.argmax(off.reshape(self.rows, -1).max(1)))}: the mean of "
                f"y is off by {off.max():.3g} of its sd."
            )

    # -- what is compared with draws --------------------------------------------------------------

    def _normalised(self) -> None:
        """The density's mass between some values, and the share of draws there."""
        if classes := self.likelihood.classes:
            points = np.arange(classes).reshape(-1, *[1] * (self.y.ndim - 1))
            points = np.broadcast_to(points, (classes, *self.y.shape[1:]))
            mass = np.exp(self._log_density(points))
            for label in range(classes):
                self._share(f"log_prob: of label {label}", mass[label], self.y == label)
            return
        # Edges from one half of the draws, shares from the other.
        half = self.draws // 2
        edges = np.quantile(self.y[:half], EDGES, axis=0, method="lower")
        mass = self._mass(edges)
        for number, (low, high) in enumerate(itertools.pairwise(edges)):
            inside = (self.y[half:] > low) & (self.y[half:] <= high)
            what = f"log_prob: its density integrated from {low.ravel()[0]:g} to "
            self._share(f"{what}{high.ravel()[0]:g}, …", mass[number], inside)

    def _mass(self, edges: np.ndarray) -> np.ndarray:
        """∫ or Σ of exp(log_prob) over (edge, next edge]: (edges − 1, rows, *targets)."""
        span = float((edges[-1] - edges[0]).max())
        whole = self.likelihood.whole
        if whole and span <= COUNTED:
            k = edges[0] + np.arange(1, int(span) + 1).reshape(-1, *[1] * (self.y.ndim - 1))
            each = np.exp(self._log_density(k))
            return np.stack(
                [
                    np.where((k > low) & (k <= high), each, 0).sum(0)
                    for low, high in itertools.pairwise(edges)
                ]
            )
        roots, shares = np.polynomial.legendre.leggauss(POINTS)
        starts = np.arange(PIECES)
        at = ((starts[:, None] + (roots + 1) / 2) / PIECES).ravel()
        weights = np.tile(shares / 2 / PIECES, PIECES)
        low, width = edges[:-1, None] + 0.5 * whole, np.diff(edges, axis=0)[:, None]
        shape = (1, -1, *[1] * (self.y.ndim - 1))
        y = low + width * at.reshape(shape)
        each = np.exp(self._log_density(y.reshape(-1, *y.shape[2:]))).reshape(y.shape)
        return (width * each * weights.reshape(shape)).sum(1)

    def _log_density(self, y: np.ndarray) -> np.ndarray:
        at = jnp.asarray(y, self.likelihood.target_dtype)
        found = np.asarray(_density(self.likelihood, self.outputs, at, self.unknowns), float)
        return np.where(np.isnan(found), -np.inf, found)

    def _moments(self) -> None:
        mean, var = self.mean, self.var
        drawn = self.y
        if (classes := self.likelihood.classes) > 2:
            drawn = (self.y[..., None] == np.arange(classes)).astype(float)
        assert mean.shape == drawn.shape[1:], (
            f"{self.name}.mean_and_var: the mean has shape {mean.shape}, not {drawn.shape[1:]}."
        )
        self._of_draws("mean_and_var: mean", mean, drawn, 0)
        centre = np.where(np.isfinite(mean), mean, np.median(drawn, 0))
        self._of_draws("mean_and_var: variance", var, (drawn - centre) ** 2, 1)

    def _cdf(self) -> None:
        at = np.quantile(self.y, [0.02, 0.2, 0.5, 0.7, 0.95], axis=0, method="lower")
        low, high = self.likelihood.bounds
        far = 1e3 * (1 + np.abs(self.y).max())
        below, above = (np.full((1, *self.y.shape[1:]), end) for end in (-far, far))
        inner = [np.full_like(below, end) for end in (low, high) if np.isfinite(end)]
        points = np.sort(np.concatenate([below, *inner, at, at + 0.5, above]), axis=0)
        points = points.astype(np.dtype(jnp.result_type(float)))
        answer = _cdf(self.likelihood, self.outputs, jnp.asarray(points), self.unknowns)
        found = np.asarray(answer, float)
        self._first(np.isnan(found), "NaN", points)
        self._first((found < 0) | (found > 1), "no probability", points)
        self._first(np.diff(found, axis=0, prepend=0) < -1e-6, "falling", points)
        self._first((points < low) & (found > 0), "above 0 below the support", points)
        self._first((points >= high) & (found < 1), "below 1 above the support", points)
        for point, share in zip(points, found):
            self._share(f"cdf at {point.ravel()[0]:g}, …", share, self.y <= point)

    def _quantiles(self) -> None:
        """Quantiles as a `Predictive` finds them: no more than a share q of draws is below them."""

        def cdf(points: np.ndarray) -> np.ndarray:
            at = jnp.asarray(np.moveaxis(points, -1, 0))
            found = _cdf(self.likelihood, self.outputs, at, self.unknowns)
            return np.moveaxis(np.asarray(found), 0, -1)

        hull, whole = self.likelihood.bounds, self.likelihood.whole
        sd = np.sqrt(self.var)
        found = [bracketed(cdf, q, self.mean, sd, hull, whole) for q in LEVELS]
        spread = np.diff(np.quantile(self.y, [0.25, 0.75], axis=0), axis=0)[0]
        slack = 1e-4 * spread
        low, high = self.likelihood.bounds
        for q, value in zip(LEVELS, np.asarray(found, float)):
            what = f"quantile({q:g})"
            bad = ~((value >= low) & (value <= high))
            if bad.any():
                first = np.argwhere(bad)[0]
                self.wrong.append(
                    f".{what}: row {', '.join(map(str, first))}: {value[tuple(first)]:g} is "
                    f"outside the support, {low:g} … {high:g}."
                )
                continue
            upto, under = self.y <= value + slack, self.y < value - slack
            # The share of draws up to it is q or more, and of those below it q or less.
            self._share(what, np.maximum(q, upto.mean(0)), upto)
            self._share(what, np.minimum(q, under.mean(0)), under)

    def _curvature(self) -> None:
        found = self.curvature
        size = int(np.prod(self.outputs.shape[1:]))
        shape = (self.rows, size, size)
        assert found.shape == shape, (
            f"{self.name}.curvature: its shape is {found.shape}; expected {shape}."
        )
        each = _scores(self.likelihood, self.outputs, self.stored, self.unknowns)
        scores = np.asarray(each, float).reshape(*self.log_prob.shape, size)
        self._of_draws("curvature", found, scores[..., :, None] * scores[..., None, :], 3)

    # -- comparisons ------------------------------------------------------------------------------

    def _share(self, what: str, found: np.ndarray, inside: np.ndarray) -> None:
        """A probability against the share of draws."""
        p = np.clip(found, 0, 1)
        drawn = inside.mean(0)
        sd = np.sqrt(np.maximum(p * (1 - p), drawn * (1 - drawn)) / len(inside))
        slack = np.full(p.shape, 2e-4)
        self.compared.append(Compared(what, found, drawn, sd, 1 / len(inside), slack))

    def _of_draws(self, what: str, found: np.ndarray, drawn: np.ndarray, number: int) -> None:
        """A mean of draws; or where that is too skewed to tell, the integral of that number."""
        mean, sd = drawn.mean(0), drawn.std(0)
        with np.errstate(all="ignore"):
            skew = np.abs((((drawn - mean) / sd) ** 3).mean(0)) / np.sqrt(len(drawn))
        heavy = ~(skew < SKEWED) & (sd > 0)
        slack = 2e-4 * (1e-2 + np.abs(mean))
        if heavy.any():
            # No number at all is right where there is none: of what has tails as heavy.
            missing = heavy & ~np.isfinite(found)
            other = self._integral(number)
            mean = np.where(missing, found, np.where(heavy, other, mean))
            sd = np.where(heavy, 0, sd)
            slack = np.where(heavy, 0.01 * (1e-2 + np.abs(other)), slack)
            found = np.where(missing, 0, found)
            mean = np.where(missing, 0, mean)
        slack = np.where(np.isfinite(slack), slack, 0)
        self.compared.append(Compared(what, found, mean, sd / np.sqrt(len(drawn)), 0.0, slack))

    def _integral(self, number: int) -> np.ndarray:
        if self._integrals is None:
            found = _integrated(self.likelihood, self.outputs, self.unknowns)
            self._integrals = [np.asarray(part, float) for part in found]
        return self._integrals[number]

    def _judge(self, failure_rate: float) -> None:
        """Refuse figures that are off by more than chance and rounding.

        Each comparison may fail by chance with an equal part of the failure rate. Means of draws
        are near a normal; shares obey Bernstein's inequality.
        """
        each = failure_rate / sum(one.found.size for one in self.compared)
        normal = NormalDist().inv_cdf(1 - each / 2)
        log = math.log(2 / each)
        told: set[str] = set()
        for one in self.compared:
            if one.bound:
                allowed = math.sqrt(2 * log) * one.sd + 2 / 3 * log * one.bound
            else:
                allowed = normal * one.sd
            bad = ~(np.abs(one.found - one.drawn) <= allowed + one.slack)
            figure = one.what.partition(" at ")[0].partition(": its")[0].partition(": of")[0]
            if bad.any() and figure not in told:
                told.add(figure)
                at = tuple(int(i) for i in np.argwhere(bad)[0])
                self.wrong.append(
                    f".{one.what}: row {', '.join(map(str, at))}: it is {one.found[at]:.6g}, but "
                    f"draws of y give {one.drawn[at]:.6g} ± {one.sd[at]:.2g}."
                )

    def _first(self, bad: np.ndarray, what: str, points: np.ndarray) -> None:
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            self.wrong.append(f".cdf is {what}: row {at[1]}, y = {points[at]:g}.")
