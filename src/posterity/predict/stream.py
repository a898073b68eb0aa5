"""Folds over posterior draws in blocks: memory does not grow with the number of draws.

Draws in a file pass by in windows: the same folds, from one window of draws to the next.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posterity.cpu.compile import kept_jit, quick_jit
from posterity.data.batches import LANES, SPARED, room_for
from posterity.dtypes import float_dtype
from posterity.forks import refuse_fork
from posterity.inputs import on_device, padded, row_count, take
from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.model.net_target import Batch, Target
from posterity.predict import precision
from posterity.predict.bar import Bar
from posterity.predict.source import Source, block_of, shorter, windows

ROWS = 2_048  # rows per compiled call; more are done call by call
CANCELS = 1e4  # counts whose log probabilities are computed in double precision


class Draw(NamedTuple):
    """What makes a predictor: θ (D,), and what a distribution's `aside` has of it."""

    theta: jax.Array
    aside: Any = None


class Moments(NamedTuple):
    """Running moments over draws, by row.

    Attributes:
        n: draws so far. mean, m2: mean and sum of squared deviations of E[y | θ].
        var: mean of Var[y | θ]. entropy: mean of H[y | θ] for classes, else zero.
    """

    n: jax.Array
    mean: jax.Array
    m2: jax.Array
    var: jax.Array
    entropy: jax.Array


def by_rows(
    function: Callable[..., Any], source: Source, *rows: Any, each: int = 1, folds: bool = True
) -> Any:
    """`function(source, carry, *rows)` over chunks of rows, joined along the first axis.

    Args:
        function: continues a fold from `carry`, or begins it from None.
        rows: inputs and other arrays with an axis of rows. each: evaluations per row.
        folds: whether `function` may be given the draws in parts.
    """
    refuse_fork("predict")
    total = row_count(rows)
    size = min(_room(source, total, each), ROWS)
    chunks = []
    for start in range(0, total, size):
        chunks.append(padded(take(rows, slice(start, start + size)), size))
    parts: list[Any] = [None] * len(chunks)
    with Bar("predict", int(source.draws)) as bar:
        for window in _parts(source, size * each) if folds else (source,):
            # The next window is read while this one is computed, but no further ahead.
            jax.block_until_ready(parts)
            bar.update(int(window.start))
            # Not fetched: the next chunk is dispatched while this one is computed.
            parts = [function(window, part, *on_device(c)) for part, c in zip(parts, chunks)]
        jax.block_until_ready(parts)
    short = len(chunks) * size - total
    fetched = [jax.tree.map(np.asarray, part) for part in parts]
    fetched[-1] = jax.tree.map(lambda leaf: leaf[: size - short], fetched[-1])
    if len(fetched) == 1:
        return fetched[0]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *fetched)


def _room(source: Source, rows: int, each: int) -> int:
    """For how many rows to compile: a few more, where they cost less than compiling again."""
    spare = SPARED / (float(source.draws) * each * source.target.multiplications(1))
    return room_for(rows, spare) if spare >= LANES else rows


def _parts(source: Source, evaluations: int) -> Iterator[Source]:
    for window in windows(source, evaluations):
        yield from shorter(window, evaluations)


def moments(source: Source, x: Any) -> Any:
    """`Moments` over all draws for every row of `x`, as NumPy arrays; `n` is repeated by row.

    Rows that single precision cannot hold are computed in double precision.
    """
    return moments_and_double(source, x)[0]


def moments_and_double(source: Source, x: Any) -> tuple[Any, np.ndarray]:
    """`moments`, and which rows were computed in double precision: (rows,) booleans."""
    found = by_rows(_moments, source, x)
    bad = precision.too_large(found, int(source.draws), source.target.likelihood)
    if not bad.any() or not _has_moments(source.target.likelihood, found):
        return found, bad & False
    again = precision.redone(found, bad, lambda *given: by_rows(_moments, *given), source, x)
    if again is found:
        return found, bad & False
    # Squares that leave double precision: larger than any number, and no more is known.
    over = np.isnan(again.m2) & np.isfinite(again.mean)
    return again._replace(m2=np.where(over, np.inf, again.m2)), bad


def _has_moments(likelihood: AbstractLikelihood, found: Moments) -> bool:
    """Whether moments that are not finite may be so by their size, and not by the likelihood."""
    if np.isfinite(found.mean).any() and np.isfinite(found.var).any():
        return True
    return likelihood.has_moments


def log_prob(source: Source, x: Any, y: np.ndarray) -> np.ndarray:
    """log (1/S) Σₛ p(y | x, θₛ) of every row."""
    total = by_rows(_log_prob, source, x, y)
    bad = ~np.isfinite(total)
    if source.target.likelihood.kind == "count":
        # y f, exp f and log y! cancel: of 10⁴ single precision leaves two digits after the point.
        bad |= (np.asarray(y).reshape(len(total), -1) > CANCELS).any(1)
    if float_dtype() is np.float32:
        again = functools.partial(by_rows, _log_prob)
        total = precision.redone(total, bad, again, source, x, y)
    return total - np.log(np.asarray(source.draws, total.dtype))


def raw(source: Source, x: Any, of_y: bool, double: np.ndarray) -> np.ndarray:
    """E[y | x, θₛ], or a draw of y, of every draw: (S, rows, ...).

    Args:
        double: which rows are to be computed in double precision: (rows,) booleans.
    """

    def by_row(source: Source, x: Any) -> np.ndarray:
        return np.moveaxis(_raw(source, x, of_y), 0, 1)

    return np.moveaxis(precision.split(by_row, source, double, x), 1, 0)


def _raw(source: Source, x: Any, of_y: bool) -> np.ndarray:
    raw_rows = _raw_y if of_y else _raw_mean
    found = []
    # Of draws in memory, too: a loop of another length rounds differently.
    for window in windows(source, 1, stored=True):
        numbers = jnp.arange(int(window.start), int(window.stop))

        def some(source: Source, carry: Any, x: Any, numbers: Any = numbers) -> jax.Array:
            return raw_rows(source, x, numbers)

        found.append(np.moveaxis(by_rows(some, window, x, folds=False), 0, 1))
    return found[0] if len(found) == 1 else np.concatenate(found)


def means(target: Target, theta: jax.Array, x: Any) -> np.ndarray:
    """E[y | x, θ] of given draws θ (..., D): (draws, rows, ...), in the order of the draws."""
    theta = theta.reshape(-1, target.size)
    brief = theta.shape[0] * target.multiplications(row_count(x)) < SPARED
    return np.asarray((_means_quickly if brief else _means)(target, theta, on_device(x)))


def mean_of_each(target: Target, theta: jax.Array, x: Any) -> jax.Array:
    """E[y | x, θ] of draws (n, D): (n, rows, ...)."""
    evaluate = _mean_var(target, x)
    return jax.lax.map(lambda row: evaluate(Draw(row))[0], theta, batch_size=32)


_means, _means_quickly = kept_jit(mean_of_each), quick_jit(mean_of_each)


def variances(target: Target, theta: jax.Array, x: Any) -> np.ndarray:
    """Var[y | x, θ] of draws θ (n, D): (n, rows, ...)."""
    return np.asarray(_variances(target, theta, on_device(x)))


@quick_jit
def _variances(target: Target, theta: jax.Array, x: Any) -> jax.Array:
    evaluate = _mean_var(target, x)
    return jax.lax.map(lambda row: evaluate(Draw(row))[1], theta, batch_size=32)


def cdf(source: Source, x: Any, points: np.ndarray, of_y: bool) -> np.ndarray:
    """(1/S) Σₛ P(y ≤ t | x, θₛ), or the share of draws with E[y | x, θₛ] ≤ t, at points t.

    Args:
        points: t of shape (rows, ..., points) where ... is the shape of one row's mean.
    """
    function = _cdf_of_y if of_y else _cdf_of_mean
    total = by_rows(function, source, x, points, each=points.shape[-1])
    return total / np.asarray(source.draws, total.dtype)


def _fold(
    source: Source, rows: int, merge: Callable[[Any, Draw, jax.Array], Any], carry: Any
) -> Any:
    """Fold `merge(carry, draws, weights)` over blocks of draws; weight 0 marks draws too many."""
    block = block_of(source.target.size, rows)

    def body(number: jax.Array, carry: Any) -> Any:
        index = number * block + jnp.arange(block)
        # Draws too many repeat the last one: zero times another could be zero times infinity.
        known = jnp.minimum(index, source.stop - 1)
        draws = jax.vmap(_draw, (None, 0))(source, known)
        return merge(carry, draws, (index < source.stop).astype(draws.theta.dtype))

    return jax.lax.fori_loop(source.start // block, -(-source.stop // block), body, carry)


def _draw(source: Source, index: jax.Array) -> Draw:
    """Draw number `index`."""
    distribution, key = source.distribution, source.key
    return Draw(distribution.draw(key, index), distribution.aside(key, index))


def _each_draw(function: Callable[[Draw], Any], draws: Draw) -> Any:
    """`function` of every draw of a block, with the draws as first axis."""
    if draws.theta.shape[0] > 1:
        return jax.vmap(function)(draws)
    # A block of one, as large nets have, is spared batched products and grouped convolutions.
    only = jax.tree.map(lambda leaf: leaf[0], draws)
    return jax.tree.map(lambda leaf: leaf[None], function(only))


def _mean_var(target: Target, x: Any) -> Callable[[Draw], tuple[Any, Any, Any]]:
    likelihood = target.likelihood
    classes = likelihood.classes

    def evaluate(draw: Draw) -> tuple[Any, Any, Any]:
        theta = draw.theta
        outputs, unknowns = target.outputs(theta, x, draw.aside)
        mean, var = likelihood.mean_and_var(outputs, unknowns)
        entropy = jnp.zeros(row_count(x), theta.dtype)
        if classes:
            entropy = likelihood.entropy(outputs, unknowns)
        return mean, jnp.broadcast_to(var, mean.shape), entropy

    return evaluate


@kept_jit
def _moments(source: Source, carry: Moments | None, x: Any) -> Moments:
    evaluate = _mean_var(source.target, x)

    def merge(old: Moments, draws: Draw, weights: jax.Array) -> Moments:
        means, variances, entropies = _each_draw(evaluate, draws)
        n = jnp.sum(weights)
        total = old.n + n

        def average(values: jax.Array) -> jax.Array:
            return jnp.tensordot(weights, values, 1) / n

        # Chan et al.'s pairwise update: squares are never subtracted from squares.
        mean = average(means)
        m2 = n * average((means - mean) ** 2)
        step = mean - old.mean
        return Moments(
            total,
            old.mean + step * n / total,
            old.m2 + m2 + step**2 * old.n * n / total,
            old.var + (average(variances) - old.var) * n / total,
            old.entropy + (average(entropies) - old.entropy) * n / total,
        )

    if carry is None:
        dtype = source.target.dtype
        shapes = jax.eval_shape(lambda index: evaluate(_draw(source, index)), source.start)
        zeros = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]
        begin = Moments(jnp.zeros((), dtype), zeros[0], zeros[0], zeros[1], zeros[2])
    else:
        begin = carry._replace(n=carry.n[0])
    rows = row_count(x)
    done = _fold(source, rows, merge, begin)
    return done._replace(n=jnp.broadcast_to(done.n, (rows,)))


@kept_jit
def _log_prob(source: Source, carry: Any, x: Any, y: jax.Array) -> jax.Array:
    """log Σₛ p(y | x, θₛ)."""

    def log_likelihood(draw: Draw) -> jax.Array:
        return source.target.log_likelihood(draw.theta, Batch(x, y), draw.aside)

    def merge(old: jax.Array, draws: Draw, weights: jax.Array) -> jax.Array:
        each = _each_draw(log_likelihood, draws)
        each = jnp.where(weights[:, None] > 0, each, -jnp.inf)
        return jnp.logaddexp(old, jax.scipy.special.logsumexp(each, axis=0))

    rows = row_count(x)
    begin = jnp.full(rows, -jnp.inf, source.target.dtype) if carry is None else carry
    return _fold(source, rows, merge, begin)


def _raw_mean(source: Source, x: Any, numbers: jax.Array) -> jax.Array:
    evaluate = _mean_var(source.target, x)

    def one(index: Any) -> jax.Array:
        return evaluate(_draw(source, index))[0]

    return jnp.moveaxis(jax.lax.map(one, numbers), 0, 1)


@kept_jit
def _raw_y(source: Source, x: Any, numbers: jax.Array) -> jax.Array:
    def one(index: Any) -> jax.Array:
        theta, aside = _draw(source, index)
        noise = jax.random.fold_in(jax.random.fold_in(source.key, index), 1)
        given = source.target.distribution(theta, x, aside)
        return source.target.likelihood.sample(given, noise)

    return jnp.moveaxis(jax.lax.map(one, numbers), 0, 1)


@kept_jit
def _cdf_of_y(source: Source, carry: Any, x: Any, points: jax.Array) -> jax.Array:
    def each(draw: Draw) -> jax.Array:
        given = source.target.distribution(draw.theta, x, draw.aside)
        return jnp.moveaxis(source.target.likelihood.cdf(given, jnp.moveaxis(points, -1, 0)), 0, -1)

    return _sum(source, carry, x, points, each)


@kept_jit
def _cdf_of_mean(source: Source, carry: Any, x: Any, points: jax.Array) -> jax.Array:
    evaluate = _mean_var(source.target, x)

    def each(draw: Draw) -> jax.Array:
        return (evaluate(draw)[0][..., None] <= points).astype(points.dtype)

    return _sum(source, carry, x, points, each)


def _sum(
    source: Source,
    carry: Any,
    x: Any,
    points: jax.Array,
    each: Callable[[Draw], jax.Array],
) -> jax.Array:
    def merge(old: jax.Array, draws: Draw, weights: jax.Array) -> jax.Array:
        return old + jnp.tensordot(weights, _each_draw(each, draws), 1)

    rows = row_count(x) * points.shape[-1]
    return _fold(source, rows, merge, jnp.zeros_like(points) if carry is None else carry)
