"""Folds over posterior draws in blocks: memory does not grow with the number of draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.likelihoods import AbstractClassLikelihood
from posterity.posterior.distributions import AbstractDistribution
from posterity.target import Batch, Target

ROWS = 2_048  # rows per compiled call; more are done call by call
BLOCK = 2**15  # rows × draws evaluated at once for a small net, fewer for a large one
SMALL = 4_096  # parameters up to which a net counts as small


class Source(NamedTuple):
    """Where predictive draws come from: `draws` draws of a distribution over a target's θ.

    `draws` is an array, so that one compilation serves every number of draws.
    """

    target: Target
    distribution: AbstractDistribution
    key: jax.Array
    draws: jax.Array


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


def by_rows(function: Callable[..., Any], source: Source, *rows: np.ndarray) -> Any:
    """`function(source, *rows)` over chunks of rows, joined along the first axis."""
    total = rows[0].shape[0]
    size = min(total, ROWS)
    parts = []
    for start in range(0, total, size):
        chunk = [array[start : start + size] for array in rows]
        short = size - chunk[0].shape[0]
        if short:
            chunk = [np.concatenate([a, np.repeat(a[-1:], short, axis=0)]) for a in chunk]
        out = function(source, *map(jnp.asarray, chunk))
        # Not fetched yet: the next chunk is dispatched while this one is computed.
        parts.append(jax.tree.map(lambda leaf, keep=size - short: leaf[:keep], out))
    if len(parts) == 1:
        return jax.tree.map(np.asarray, parts[0])
    return jax.tree.map(lambda *leaves: np.concatenate([np.asarray(a) for a in leaves]), *parts)


def moments(source: Source, x: np.ndarray) -> Any:
    """`Moments` over all draws for every row of `x`, as NumPy arrays; `n` is repeated by row."""
    return by_rows(_moments, source, x)


def log_prob(source: Source, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log (1/S) Σₛ p(y | x, θₛ) of every row."""
    return by_rows(_log_prob, source, x, y)


def raw(source: Source, x: np.ndarray, of_y: bool) -> np.ndarray:
    """E[y | x, θₛ], or a draw of y, of every draw: (S, rows, ...)."""
    numbers = np.arange(int(source.draws))
    raw_rows = _raw_y if of_y else _raw_mean
    return np.moveaxis(
        by_rows(lambda source, x: raw_rows(source, x, jnp.asarray(numbers)), source, x), 0, 1
    )


def means(target: Target, theta: jax.Array, x: np.ndarray) -> np.ndarray:
    """E[y | x, θ] of given draws θ (..., D): (draws, rows, ...), in the order of the draws."""
    return np.asarray(_means(target, theta.reshape(-1, target.size), jnp.asarray(x)))


@eqx.filter_jit
def _means(target: Target, theta: jax.Array, x: jax.Array) -> jax.Array:
    evaluate = _mean_var(target, x)
    return jax.lax.map(lambda row: evaluate(row)[0], theta, batch_size=32)


def cdf(source: Source, x: np.ndarray, points: np.ndarray, of_y: bool) -> np.ndarray:
    """(1/S) Σₛ P(y ≤ t | x, θₛ), or the share of draws with E[y | x, θₛ] ≤ t, at points t.

    Args:
        points: t of shape (rows, ..., points) where ... is the shape of one row's mean.
    """
    return by_rows(_cdf_of_y if of_y else _cdf_of_mean, source, x, points)


def _fold(
    source: Source, rows: int, merge: Callable[[Any, jax.Array, jax.Array], Any], carry: Any
) -> Any:
    """Fold `merge(carry, thetas, weights)` over blocks of draws; weight 0 marks draws too many."""
    budget = BLOCK if source.target.size <= SMALL else BLOCK // 32
    block = max(1, min(256, budget // rows))

    def body(number: jax.Array, carry: Any) -> Any:
        index = number * block + jnp.arange(block)
        # Draws too many repeat the last one: zero times another could be zero times infinity.
        known = jnp.minimum(index, source.draws - 1)
        thetas = jax.vmap(source.distribution.draw, (None, 0))(source.key, known)
        return merge(carry, thetas, (index < source.draws).astype(thetas.dtype))

    return jax.lax.fori_loop(0, -(-source.draws // block), body, carry)


def _each_draw(function: Callable[[jax.Array], Any], thetas: jax.Array) -> Any:
    """`function` of every draw of a block, with the draws as first axis."""
    if thetas.shape[0] > 1:
        return jax.vmap(function)(thetas)
    # A block of one, as large nets have, is spared batched products and grouped convolutions.
    return jax.tree.map(lambda leaf: leaf[None], function(thetas[0]))


def _mean_var(target: Target, x: jax.Array) -> Callable[[jax.Array], tuple[Any, Any, Any]]:
    likelihood = target.likelihood

    def evaluate(theta: jax.Array) -> tuple[Any, Any, Any]:
        outputs, unknowns = target.outputs(theta, x)
        mean, var = likelihood.mean_and_var(outputs, unknowns)
        entropy = jnp.zeros(x.shape[0], theta.dtype)
        if isinstance(likelihood, AbstractClassLikelihood):
            entropy = likelihood.entropy(outputs)
        return mean, jnp.broadcast_to(var, mean.shape), entropy

    return evaluate


@eqx.filter_jit
def _moments(source: Source, x: jax.Array) -> Moments:
    evaluate = _mean_var(source.target, x)
    theta = jax.ShapeDtypeStruct((source.distribution.size,), x.dtype)
    shapes = jax.eval_shape(evaluate, theta)
    zeros = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]

    def merge(old: Moments, thetas: jax.Array, weights: jax.Array) -> Moments:
        means, variances, entropies = _each_draw(evaluate, thetas)
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

    start = Moments(jnp.zeros((), x.dtype), zeros[0], zeros[0], zeros[1], zeros[2])
    done = _fold(source, x.shape[0], merge, start)
    return done._replace(n=jnp.broadcast_to(done.n, x.shape[:1]))


@eqx.filter_jit
def _log_prob(source: Source, x: jax.Array, y: jax.Array) -> jax.Array:
    def merge(old: jax.Array, thetas: jax.Array, weights: jax.Array) -> jax.Array:
        each = _each_draw(lambda theta: source.target.log_likelihood(theta, Batch(x, y)), thetas)
        each = jnp.where(weights[:, None] > 0, each, -jnp.inf)
        return jnp.logaddexp(old, jax.scipy.special.logsumexp(each, axis=0))

    start = jnp.full(x.shape[0], -jnp.inf, x.dtype)
    return _fold(source, x.shape[0], merge, start) - jnp.log(source.draws)


@eqx.filter_jit
def _raw_mean(source: Source, x: jax.Array, numbers: jax.Array) -> jax.Array:
    evaluate = _mean_var(source.target, x)

    def one(index: jax.Array) -> jax.Array:
        return evaluate(source.distribution.draw(source.key, index))[0]

    return jnp.moveaxis(jax.lax.map(one, numbers), 0, 1)


@eqx.filter_jit
def _raw_y(source: Source, x: jax.Array, numbers: jax.Array) -> jax.Array:
    def one(index: jax.Array) -> jax.Array:
        theta = source.distribution.draw(source.key, index)
        noise = jax.random.fold_in(jax.random.fold_in(source.key, index), 1)
        return source.target.distribution(theta, x).sample(noise)

    return jnp.moveaxis(jax.lax.map(one, numbers), 0, 1)


@eqx.filter_jit
def _cdf_of_y(source: Source, x: jax.Array, points: jax.Array) -> jax.Array:
    def each(theta: jax.Array) -> jax.Array:
        given = source.target.distribution(theta, x)
        return jnp.moveaxis(source.target.likelihood.cdf(given, jnp.moveaxis(points, -1, 0)), 0, -1)

    return _average(source, x, points, each)


@eqx.filter_jit
def _cdf_of_mean(source: Source, x: jax.Array, points: jax.Array) -> jax.Array:
    evaluate = _mean_var(source.target, x)

    def each(theta: jax.Array) -> jax.Array:
        return (evaluate(theta)[0][..., None] <= points).astype(points.dtype)

    return _average(source, x, points, each)


def _average(
    source: Source, x: jax.Array, points: jax.Array, each: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    def merge(old: jax.Array, thetas: jax.Array, weights: jax.Array) -> jax.Array:
        return old + jnp.tensordot(weights, _each_draw(each, thetas), 1)

    rows = x.shape[0] * points.shape[-1]
    return _fold(source, rows, merge, jnp.zeros_like(points)) / source.draws
