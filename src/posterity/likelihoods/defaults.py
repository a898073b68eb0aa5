"""What a likelihood is asked, answered from the density of its NumPyro distribution alone.

Labels are enumerated. Counts are enumerated below `HEAD`, and integrated as if continuous above it.
Real targets are integrated by Gauss-Legendre panels over

    y = T(c + w sinh t),   |t| ≤ REACH

with T NumPyro's bijection from the real line to the support, and c and w the median and half the
central 68 % of T⁻¹(y). The panels resolve features down to about a tenth of w; tails as heavy as
Cauchy's lose 1e-6 of their mass. Below that, answers are as exact as the density's own rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

HEAD = 512  # counts that are summed one by one
REACH, PANELS, POINTS = 15.0, 80, 8  # half the range of t; panels in it; points of each panel
WIDTH = 2 * REACH / PANELS
SEARCH = 121  # points at which the bulk of a density is looked for,
ROUNDS, BLIND = 6, 14  # so many times, with and without known moments to start from
MISSING = 0.02  # of a density's mass, beyond which it is none
LEVELS = 64  # targets that stand for a distribution
_ROOTS, _SHARES = np.polynomial.legendre.leggauss(POINTS)

Points = tuple[jax.Array, jax.Array]


def edges(support: Any) -> tuple[Any, Any]:
    """The lowest and highest value of a NumPyro constraint, ∓∞ where it has none."""
    if support is dist.constraints.boolean:
        return 0, 1
    low, high = getattr(support, "lower_bound", -np.inf), getattr(support, "upper_bound", np.inf)
    return low, high


def known(of: Callable[[], Any]) -> Any:
    """What NumPyro answers, or None where it has no answer."""
    try:
        return of()
    except (NotImplementedError, AttributeError):
        return None


def moments(given: dist.Distribution) -> tuple[Any, Any] | None:
    """NumPyro's mean and variance of y; None where it has none.

    Of angles it has the circular mean and variance, which are not those of the number y.
    """
    if given.support is dist.constraints.circular:
        return None
    return known(lambda: (given.mean, given.variance))


def label_log_probs(given: dist.Distribution, classes: int, dtype: Any) -> jax.Array:
    """log P(y = k) of every label: (*batch, K)."""
    each = [given.log_prob(jnp.full(given.batch_shape, k, dtype)) for k in range(classes)]
    return jnp.stack(each, axis=-1)


def nodes(given: dist.Distribution, classes: int = 0, dtype: Any = None) -> Points:
    """Values of y and weights of sum 1, of which expectations under `given` are made.

    Args:
        given: a distribution of single numbers. classes: K for labels, else 0.
        dtype: of labels.

    Returns:
        y and weights (J, *batch).
    """
    if classes:
        y = jnp.arange(classes, dtype=dtype).reshape(-1, *[1] * len(given.batch_shape))
        y = jnp.broadcast_to(y, (classes, *given.batch_shape))
        weights = jnp.moveaxis(jnp.exp(label_log_probs(given, classes, dtype)), -1, 0)
    elif given.support.is_discrete:
        y, weights = _count_nodes(given)
    else:
        y, weights = _Panels(given).nodes()
    return y, weights / one(jnp.sum(weights, axis=0))


def one(total: jax.Array) -> jax.Array:
    """The mass of a density, which should be 1; NaN where it is not nearly so.

    Where arithmetic in single precision has eaten a density (NumPyro's negative binomial from
    means of about 10³ on), what would be derived from it is nothing.
    """
    return jnp.where(jnp.abs(total - 1) < MISSING, total, jnp.nan)


def mean_and_var(points: Points) -> tuple[jax.Array, jax.Array]:
    """The mean and variance of y, from `nodes`: (*batch,) each."""
    y, weights = points
    mean = jnp.sum(jnp.where(weights == 0, 0, weights * y), axis=0)
    off = jnp.where(weights == 0, 0, y - mean)
    return mean, jnp.sum(weights * off**2, axis=0)


def entropy(given: dist.Distribution, points: Points) -> jax.Array:
    """−E log p(y), from `nodes`: (*batch,)."""
    y, weights = points
    each = given.log_prob(y)
    each = jnp.where((weights > 0) & jnp.isfinite(each), each, 0)  # an end of the support
    return -jnp.sum(weights * each, axis=0)


def curvature(
    distribution: Callable[[jax.Array], dist.Distribution],
    outputs: jax.Array,
    points: Callable[[dist.Distribution], Points],
) -> jax.Array:
    """E[s sᵀ] with the score s = ∇ log p(y | f): the expected negative Hessian in the outputs f.

    Args:
        distribution: outputs (rows, ...) to the distribution of y. outputs: (rows, ...).
        points: `nodes` of a distribution.

    Returns:
        (rows, outputs, outputs), with the outputs of a row in C order.
    """

    def of_row(row: jax.Array) -> jax.Array:
        y, weights = points(distribution(row[None]))

        def log_prob(flat: jax.Array) -> jax.Array:
            return distribution(flat.reshape(row.shape)[None]).log_prob(y)

        scores = jax.jacfwd(log_prob)(row.ravel())
        usable = (weights[..., None] > 0) & jnp.isfinite(scores)
        scores = jnp.where(usable, scores, 0).reshape(-1, row.size)
        return (scores * weights.reshape(-1, 1)).T @ scores

    return jax.lax.map(of_row, outputs, batch_size=64)


# -- distribution functions -----------------------------------------------------------------------


def cdf(given: dist.Distribution, y: jax.Array) -> jax.Array:
    """P(Y ≤ y), NumPyro's where it has one: 0 and 1 outside the support.

    NaN where it would be integrated from a density that does not integrate to one.
    """
    low, high = edges(given.support)
    inside = jnp.clip(y, low, high)
    if given.support.is_discrete:
        inside = jnp.floor(inside)
    # A bound at infinity is not asked about: NumPyro need not know what is there.
    asked = jnp.where(jnp.isfinite(inside), inside, jnp.nan)
    found = known(lambda: given.cdf(asked))
    numeric = _cdf_of_counts if given.support.is_discrete else _cdf_by_panels
    if found is None:
        found = numeric(given, inside)
    else:
        unknown = jnp.isnan(found) & ~jnp.isnan(asked)
        found = lazily(unknown, found, numeric, given, inside)
    found = jnp.where(y < low, 0.0, jnp.where(y >= high, 1.0, found))
    found = jnp.where(y == -jnp.inf, 0.0, jnp.where(y == jnp.inf, 1.0, found))
    return jnp.clip(found, 0.0, 1.0)


def cdf_of_labels(given: dist.Distribution, y: jax.Array, classes: int, dtype: Any) -> jax.Array:
    """P(Y ≤ y) of ordered labels, by adding up."""
    mass = jnp.exp(label_log_probs(given, classes, dtype))
    upto = jnp.arange(classes) <= jnp.floor(y)[..., None]
    summed = jnp.clip(jnp.sum(jnp.where(upto, mass, 0), axis=-1), 0.0, 1.0)
    return jnp.where(y >= classes - 1, 1.0, summed)


def lazily(
    needed: jax.Array,
    values: jax.Array,
    better: Callable[[dist.Distribution, jax.Array], jax.Array],
    given: dist.Distribution,
    y: jax.Array,
) -> jax.Array:
    """`better(given, y)` where `needed`, else `values`; computed only if it is needed anywhere.

    A loop of no or one round, which stays one under `vmap`, where a `cond` computes both branches.
    """

    def body(at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        # Tied to what changes in the loop: XLA would compute the rest before it, needed or not.
        left, *tied = jax.lax.optimization_barrier((at[0], given, y))
        return jnp.zeros_like(left), jnp.where(left, better(*tied).astype(at[1].dtype), at[1])

    return jax.lax.while_loop(lambda at: jnp.any(at[0]), body, (needed, values))[1]


def _cdf_by_panels(given: dist.Distribution, y: jax.Array) -> jax.Array:
    return _Panels(given).cdf(y)


# -- counts ---------------------------------------------------------------------------------------


def _head(given: dist.Distribution) -> Points:
    """The first counts and their probabilities."""
    k = jnp.arange(HEAD, dtype=jnp.result_type(float))
    k = jnp.broadcast_to(k.reshape(-1, *[1] * len(given.batch_shape)), (HEAD, *given.batch_shape))
    return k, jnp.where(given.support(k), _finite_exp(given.log_prob(k)), 0)


def _tail(given: dist.Distribution) -> _Panels:
    """The counts from `HEAD` on as if they were continuous."""
    return _Panels(given, dist.constraints.greater_than(HEAD - 0.5))


def _count_nodes(given: dist.Distribution) -> Points:
    parts = _head(given), _tail(given).nodes()
    y, weights = (jnp.concatenate(both) for both in zip(*parts))
    return y, weights


def _cdf_of_counts(given: dist.Distribution, y: jax.Array) -> jax.Array:
    """Sums below `HEAD`; above it, Euler and Maclaurin's integral with its first correction.

    Σ_{k ≤ b} p(k) ≈ Σ_{k < H} p(k) + ∫ p from H − ½ to b + ½ − [p'(b + ½) − p'(H − ½)] / 24
    """
    mass = jnp.moveaxis(_head(given)[1], 0, -1)
    summed = jnp.cumsum(mass, axis=-1)
    whole = jnp.floor(y)
    at = jnp.clip(whole, 0, HEAD - 1).astype(jnp.int32)[..., None]
    summed = jnp.broadcast_to(summed, (*y.shape, HEAD))
    found = jnp.where(whole < 0, 0.0, jnp.take_along_axis(summed, at, -1)[..., 0])

    def with_tail(given: dist.Distribution, whole: jax.Array) -> jax.Array:
        def slope(k: jax.Array) -> jax.Array:
            return _finite_exp(given.log_prob(k + 1)) - _finite_exp(given.log_prob(k))

        start = jnp.full(given.batch_shape, HEAD - 1.0, y.dtype)
        correction = (slope(whole) - slope(start)) / 24
        rest, mass = _tail(given).masses(whole + 0.5)
        head = summed[..., -1]
        return jnp.where(jnp.isnan(one(head + rest)), jnp.nan, head + mass - correction)

    return jnp.clip(lazily(whole >= HEAD, found, with_tail, given, whole), 0.0, 1.0)


# -- panels ---------------------------------------------------------------------------------------


class _Panels:
    """A density cut into panels of t, which lie close where it has its mass.

    Args:
        given: the distribution. support: where it is integrated; None for all of its support.
    """

    def __init__(self, given: dist.Distribution, support: Any = None) -> None:
        self._given = given
        self._part = support is not None
        self._transform = dist.biject_to(given.support if support is None else support)
        self._bulk = self._found()

    def nodes(self) -> Points:
        """Values and probabilities of all points of all panels: (J, *batch)."""
        starts = jnp.asarray(np.arange(PANELS) * WIDTH - REACH, jnp.result_type(float))
        batch = self._given.batch_shape

        def of_panel(start: jax.Array) -> Points:
            t, share = self._points(jnp.broadcast_to(start, batch), WIDTH)
            u = self._u(t)
            return self._transform(u), share * self._density(t)

        y, weights = jax.lax.map(of_panel, starts)
        y, weights = (part.reshape(-1, *batch) for part in (y, weights))
        return jnp.where(weights > 0, y, self._transform(self._bulk[0])), weights

    def cdf(self, y: jax.Array) -> jax.Array:
        """P(Y ≤ y), of total 1."""
        total, mass = self.masses(y)
        return mass / one(total)

    def masses(self, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """∫ p of all y, and up to y."""
        starts = jnp.asarray(np.arange(PANELS) * WIDTH - REACH, jnp.result_type(float))
        batch = self._given.batch_shape

        def of_panel(start: jax.Array) -> jax.Array:
            return self._integral(jnp.broadcast_to(start, batch), WIDTH)

        each = jnp.moveaxis(jax.lax.map(of_panel, starts), 0, -1)
        before = jnp.cumsum(each, axis=-1) - each
        centre, width = self._bulk
        t = jnp.arcsinh((self._transform.inv(y) - centre) / width)
        t = jnp.clip(jnp.where(jnp.isnan(t), -REACH, t), -REACH, REACH)
        at = jnp.clip(jnp.floor((t + REACH) / WIDTH), 0, PANELS - 1)
        start = at * WIDTH - REACH
        index = at.astype(jnp.int32)[..., None]
        left, whole = (
            jnp.take_along_axis(jnp.broadcast_to(part, (*t.shape, PANELS)), index, -1)[..., 0]
            for part in (before, each)
        )
        # A part of a panel is no more than all of it, so that panels follow one another.
        part = jnp.clip(self._integral(start, t - start), 0, whole)
        return jnp.sum(each, axis=-1), left + part

    def _integral(self, start: jax.Array, length: Any) -> jax.Array:
        t, share = self._points(start, length)
        return jnp.sum(share * self._density(t), axis=0)

    def _points(self, start: jax.Array, length: Any) -> Points:
        shape = (-1, *[1] * start.ndim)
        roots = jnp.asarray(_ROOTS, start.dtype).reshape(shape)
        shares = jnp.asarray(_SHARES, start.dtype).reshape(shape)
        return start + length * (roots + 1) / 2, length * shares / 2

    def _u(self, t: jax.Array) -> jax.Array:
        centre, width = self._bulk
        return centre + width * jnp.sinh(t)

    def _density(self, t: jax.Array) -> jax.Array:
        """p of t."""
        width = self._bulk[1]
        return _finite_exp(self._log_density(self._u(t)) + jnp.log(width) + _log_cosh(t))

    def _log_density(self, u: jax.Array) -> jax.Array:
        """log p of u = T⁻¹(y); −∞ where it is not a number."""
        y = self._transform(u)
        each = self._given.log_prob(y) + self._transform.log_abs_det_jacobian(u, y)
        if self._part:
            low, high = edges(self._given.support)
            each = jnp.where((y >= low) & (y <= high), each, -jnp.inf)
        return jnp.where(jnp.isfinite(each), each, -jnp.inf)

    def _found(self) -> tuple[jax.Array, jax.Array]:
        """Median and half the central 68 % of u, by rounds of a grid about those of the last."""
        dtype, batch = jnp.result_type(float), self._given.batch_shape
        step = 2 * REACH / (SEARCH - 1)
        t = jnp.asarray(np.linspace(-REACH, REACH, SEARCH), dtype)
        t = t.reshape(-1, *[1] * len(batch))
        levels = (0.16, 0.5, 0.84)

        def narrowed(_: Any, bulk: Points) -> Points:
            centre, width = bulk
            mass = self._log_density(centre + width * jnp.sinh(t)) + _log_cosh(t)
            most = jnp.max(mass, axis=0)
            mass = jnp.exp(mass - jnp.where(jnp.isfinite(most), most, 0))
            mass = jnp.where(jnp.isfinite(most), mass, 1.0)
            mass = mass / jnp.sum(mass, axis=0)
            summed = jnp.cumsum(mass, axis=0)
            found = []
            for level in levels:
                at = jnp.minimum(jnp.sum(summed < level, axis=0), SEARCH - 1)
                here = jnp.take_along_axis(mass, at[None], 0)[0]
                upto = jnp.take_along_axis(summed, at[None], 0)[0]
                share = jnp.clip(1 - (upto - level) / here, 0, 1)
                found.append(centre + width * jnp.sinh((at + share - 0.5) * step - REACH))
            low, middle, high = found
            least = 4 * jnp.finfo(dtype).eps * (1 + jnp.abs(middle))
            return middle, jnp.maximum((high - low) / 2, least)

        start, rounds = self._start(dtype, batch)
        return jax.lax.fori_loop(0, rounds, narrowed, start)

    def _start(self, dtype: Any, batch: tuple[int, ...]) -> tuple[Points, int]:
        nothing = jnp.zeros(batch, dtype), jnp.ones(batch, dtype)
        found = moments(self._given)
        if found is None or self._part:
            return nothing, BLIND
        mean, sd = (jnp.broadcast_to(part, batch) for part in (found[0], jnp.sqrt(found[1])))
        centre = self._transform.inv(mean)
        width = sd / jnp.exp(self._transform.log_abs_det_jacobian(centre, mean))
        usable = jnp.isfinite(centre) & jnp.isfinite(width) & (width > 0)
        start = tuple(jnp.where(usable, a, b) for a, b in zip((centre, width), nothing))
        return (start[0].astype(dtype), start[1].astype(dtype)), ROUNDS


def _log_cosh(t: jax.Array) -> jax.Array:
    size = jnp.abs(t)
    return size + jnp.log1p(jnp.exp(-2 * size)) - np.log(2)


def _finite_exp(value: jax.Array) -> jax.Array:
    return jnp.where(jnp.isfinite(value), jnp.exp(value), 0)


# -- targets that stand for all of a mean and a variance ------------------------------------------


def targets_of(
    mean: np.ndarray, var: np.ndarray, low: float, high: float, whole: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Equally probable targets of given moments inside a support, and their shares.

    The shape is generic: normal on the real line, gamma from one end, beta between two; of counts
    negative binomial, Poisson or binomial, as the variance is above, at or below the mean.

    Returns:
        y (rows, J, ...) and shares (rows, J).
    """
    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    levels = levels.reshape(1, -1, *[1] * (mean.ndim - 1))
    both = mean, np.broadcast_to(var, mean.shape)
    m, v = (np.asarray(part, np.float64)[:, None] for part in both)
    if whole:
        y = _counts_at(levels, m, v, high)
    else:
        y = _reals_at(levels, m, np.maximum(v, np.finfo(np.float64).tiny), low, high)
    return y, np.full(y.shape[:2], 1 / LEVELS)


def _reals_at(levels: np.ndarray, m: np.ndarray, v: np.ndarray, low: float, high: float) -> Any:
    from scipy import stats

    if np.isfinite(low) and np.isfinite(high):
        span = high - low
        m, v = np.clip((m - low) / span, 1e-6, 1 - 1e-6), v / span**2
        count = np.maximum(m * (1 - m) / v - 1, 1e-3)
        return low + span * stats.beta.ppf(levels, m * count, (1 - m) * count)
    if np.isfinite(high):
        return -_reals_at(1 - levels, -m, v, -high, -low)
    if np.isfinite(low):
        above = np.maximum(m - low, np.finfo(np.float64).tiny)
        return low + stats.gamma.ppf(levels, above**2 / v, scale=v / above)
    z = stats.norm.ppf(levels)
    return m + np.sqrt(v) * z / np.sqrt(np.mean(z**2))


def _counts_at(levels: np.ndarray, m: np.ndarray, v: np.ndarray, high: float) -> Any:
    from scipy import stats

    m = np.maximum(m, 1e-9)
    spread, narrow = v > m * (1 + 1e-6), v < m * (1 - 1e-6)
    size = np.where(spread, m**2 / np.where(spread, v - m, 1), 1)
    y = np.where(
        spread, stats.nbinom.ppf(levels, size, size / (size + m)), stats.poisson.ppf(levels, m)
    )
    p = np.where(narrow, 1 - v / m, 0.5)
    trials = np.maximum(np.ceil(m), np.round(m / p))
    return np.minimum(np.where(narrow, stats.binom.ppf(levels, trials, m / trials), y), high)
