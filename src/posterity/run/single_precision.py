"""Whether single precision is the cause of a run's trouble: its densities once more in double.

A Cholesky factor of a nearly singular matrix is NaN in float32 and not in float64; a sum of large
terms of both signs jumps. Neither has to do with priors or step sizes. What fails in float64 as
well, as in a funnel, is not blamed on precision.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posterity.cpu.compile import quick_jit
from posterity.distributions.distribution import AbstractDistribution
from posterity.dtypes import float_dtype
from posterity.inputs import row_count, take
from posterity.model.target import AbstractTarget, widened

REMEDY = (
    'Run in double precision: jax.config.update("jax_enable_x64", True) before anything else, or '
    "JAX_ENABLE_X64=1 in the environment."
)
POINTS = 16  # draws that are looked at, and three times as many places in their reach
REACH = 10.0  # nats that a path climbs beyond the kinetic energy of D / 2 that it has on average
JUMP = 0.3  # nats by which log densities may be off before acceptances are
LARGEST = 1e10  # of a log density: what is beyond overflows in float32 for a reason of its own
WORK = 1e9  # rows × points × parameters looked at, at most
FEWEST_ROWS = 16


class Densities(NamedTuple):
    """Log densities of some points, in float64, and where they and their gradients are finite."""

    values: np.ndarray
    fine: np.ndarray


def of_start(target: AbstractTarget, whole: Any, theta: Any) -> str:
    """A sentence where a start θ (D,) fails in single precision only; empty otherwise.

    Args:
        target: the model as densities of θ. whole: all of the data as one batch.
    """
    theta = np.asarray(theta)
    near = theta + 0.01 * np.random.default_rng(0).normal(size=(3, theta.size))
    both = _both(target, whole, np.concatenate([theta[None], near]))
    if both is None:
        return ""
    single, double = both
    if not double.fine.all() or np.abs(double.values).max() > LARGEST or single.fine.all():
        return ""
    return (
        "Single precision is the cause: in float64 density and gradient are finite there, with a "
        f"log density of {double.values[0]:.5g}. {REMEDY}"
    )


def of_run(target: AbstractTarget, whole: Any, distribution: AbstractDistribution) -> str:
    """A sentence where densities fail or jump within reach of the draws in single precision only.

    Args:
        target, whole: as in `of_start`. distribution: what the run has found.
    """
    draws = np.asarray(distribution.spread(POINTS * target.size)).reshape(-1, target.size)
    draws = draws[np.linspace(0, len(draws) - 1, min(len(draws), POINTS)).astype(int)]
    both = _both(target, whole, np.concatenate([draws, _in_reach(draws)]))
    if both is None:
        return ""
    single, double = both
    known = double.values[: len(draws)][double.fine[: len(draws)]]
    if not known.size:
        return ""
    # A path at the energy of a draw gets as far as its kinetic energy takes it.
    least = known.min() - target.size / 2 - REACH
    reached = double.fine & (double.values > least) & (np.abs(double.values) < LARGEST)
    broken = reached & ~single.fine
    if broken.any():
        return (
            f"Single precision is the cause: at {broken.sum()} of {reached.sum()} places within "
            "reach of the draws the log density or its gradient is not finite in float32, and is "
            f"finite in float64. {REMEDY}"
        )
    off = (single.values - double.values)[reached]
    jump = float(np.abs(off - np.median(off)).max()) if off.size else 0.0
    if jump > JUMP:
        return (
            "Single precision is too coarse for this model: within reach of the draws its log "
            f"density is off by up to {jump:.2g} nats in float32. {REMEDY}"
        )
    return ""


def _in_reach(draws: np.ndarray) -> np.ndarray:
    """Places (3 n, D) to which differences of draws lead; of a single one, places near it."""
    if len(draws) < 3:
        noise = np.random.default_rng(0).normal(size=(3 * POINTS, draws.shape[1]))
        return draws[0] + 0.03 * (np.abs(draws[0]) + 0.1) * noise
    steps = [np.roll(draws, 1 + number, 0) - np.roll(draws, -1, 0) for number in range(3)]
    return np.concatenate([draws + 0.5 * step for step in steps])


def _both(
    target: AbstractTarget, whole: Any, points: np.ndarray
) -> tuple[Densities, Densities] | None:
    """Densities at points (n, D) in single and in double; None where that cannot be said."""
    if float_dtype() is np.float64:
        return None
    try:
        target = target.at_start()
        data = _some(target, whole, len(points))
        single = _densities(target, data, points)
        with jax.enable_x64(True):
            double = _densities(target.in_double(), widened(data), points)
    except Exception:  # a model need not run in double precision
        return None
    return single, double


def _densities(target: AbstractTarget, data: Any, points: np.ndarray) -> Densities:
    values, fine = _evaluated(target, data, jnp.asarray(points, float_dtype()))
    return Densities(np.asarray(values, np.float64), np.asarray(fine))


@quick_jit
def _evaluated(target: AbstractTarget, data: Any, points: jax.Array) -> tuple[Any, Any]:
    def one(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, gradient = jax.value_and_grad(lambda theta: target.log_joint(theta, data))(theta)
        return value, jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))

    return jax.lax.map(one, points)


def _some(target: AbstractTarget, whole: Any, points: int) -> Any:
    """So many evenly spaced rows of the data that densities at the points take no time of note."""
    if not target.predicts:  # a program's data are one piece
        return whole
    whole = jax.tree.map(np.asarray, whole)
    count = row_count(whole.x)
    convolves = getattr(target, "convolves", False)
    most = WORK / (points * target.size * (100 if convolves else 1))
    rows = np.linspace(0, count - 1, int(np.clip(most, FEWEST_ROWS, count))).astype(int)
    return take(whole, rows)
