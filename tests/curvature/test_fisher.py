"""The Fisher estimate against a loop over rows, and moves against dense algebra."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracles import conjugate
from posterity.curvature import SIZES
from posterity.curvature import row_gradients as chunks
from posterity.curvature.fisher import AbstractFisher
from posterity.curvature.low_rank import RANK, Leading
from posterity.curvature.row_gradients import row_gradients
from posterity.data.batches import as_batches
from posterity.model.net_target import Batch, Target

ORACLE = conjugate(rows=60)
BATCH = as_batches(ORACLE.data, ORACLE.model.likelihood, None).full
TARGET = Target.build(ORACLE.model, ORACLE.x.shape[1:], (), 60)
THETA = jnp.array([0.3, -0.2, 0.5])
RNG = np.random.default_rng(3)


def gradient(row: Batch) -> tuple[jax.Array, jax.Array]:
    def one(theta: jax.Array) -> jax.Array:
        return TARGET.log_likelihood(theta, Batch(row.x[None], row.y[None]))[0]

    return jax.value_and_grad(one)(THETA)


def dense(size: str, spread) -> np.ndarray:
    if size == "diagonal":
        return np.diag(spread)
    if isinstance(spread, Leading):
        return np.diag(spread.rest) + np.asarray(spread.directions.T @ spread.directions)
    return np.asarray(spread)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rows_at_once", [60, 20, 7])
def test_covariance_is_that_of_a_loop_over_rows(
    size: str, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "ROWS_BYTES", 4 * 3 * rows_at_once)
    one = jax.jit(lambda x, y: gradient(Batch(x, y))[1])
    loop = np.stack([one(x, y) for x, y in zip(BATCH.x, BATCH.y)])
    expected = np.cov(loop.T)
    values, mean, spread = row_gradients(gradient, BATCH, 3, SIZES[size](None))
    assert values.shape == (60,)
    np.testing.assert_allclose(mean, loop.mean(0), rtol=1e-5, atol=1e-5)
    if size == "diagonal":
        expected = np.diag(np.diag(expected))
    np.testing.assert_allclose(dense(size, spread), expected, rtol=1e-4, atol=1e-4)


def problem(size: str, count: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deviations, a prior precision and a gradient."""
    rows = RNG.normal(size=(count, 5)) @ RNG.normal(size=(5, 5))
    return rows.astype(np.float32), np.full(5, 0.7, np.float32), RNG.normal(size=5)


BASES = {
    "identity": None,
    "variances": np.linspace(0.5, 2.0, 5),
    "matrix": np.eye(5) + 0.3,
    "fisher": "fisher",
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("base", BASES)
def test_moves_have_the_mean_and_covariance_of_the_equation(size: str, base: str) -> None:
    if base == "matrix" and size != "full":
        pytest.skip("a matrix goes with the full size")
    given = BASES[base]
    rows, prior, slope = problem(size)
    of = SIZES[size](given if isinstance(given, str | None) else jnp.asarray(given, jnp.float32))
    spread = of.spread(jnp.asarray(rows))
    factor, inverse = of.factor(spread, jnp.asarray(prior)), jnp.asarray(3.0)
    matrix = dense(size, spread) + np.diag(prior)
    b = {
        "identity": np.eye(5),
        "variances": np.diag(np.linspace(0.5, 2.0, 5)),
        "matrix": np.eye(5) + 0.3,
        "fisher": matrix,
    }[base]
    gain = 2 * np.linalg.inv(matrix + 3.0 * b)
    zero = jnp.asarray(slope, jnp.float32)

    def move(key: jax.Array, heat: float) -> jax.Array:
        return of.move(factor, key, zero, inverse, jnp.asarray(heat))

    np.testing.assert_allclose(move(jax.random.key(0), 0.0), gain @ slope, rtol=2e-3, atol=1e-5)
    keys = jax.random.split(jax.random.key(1), 40_000)
    moves = np.asarray(jax.vmap(lambda key: move(key, 1.0))(keys), np.float64)
    cov = gain @ (3.0 * b) @ gain
    # In coordinates where it should be the identity; an entry's standard error is at most √2/√n.
    half = np.linalg.inv(np.linalg.cholesky(cov))
    white = (moves - gain @ slope) @ half.T
    assert np.abs(white.T @ white / 40_000 - np.eye(5)).max() < 5.5 * np.sqrt(2 / 40_000)


def test_low_rank_keeps_the_strongest_directions_and_every_variance() -> None:
    of: AbstractFisher = SIZES["low-rank"](None)
    strong = RNG.normal(size=(4, 50))
    rows = (RNG.normal(size=(200, 4)) @ (10 * strong) + RNG.normal(size=(200, 50))).astype("f4")
    spread = of.spread(jnp.asarray(rows))
    assert spread.directions.shape == (RANK, 50)
    full = rows.T @ rows
    np.testing.assert_allclose(np.diag(dense("low-rank", spread)), np.diag(full), rtol=1e-4)
    off = np.linalg.norm(dense("low-rank", spread) - full) / np.linalg.norm(full)
    assert off < 0.01
    mixed = of.sum(0.25, spread, 0.75, spread)
    np.testing.assert_allclose(
        dense("low-rank", mixed), dense("low-rank", spread), rtol=2e-3, atol=2.0
    )
