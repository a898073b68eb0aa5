"""Newton steps within a trust region, and the covariance that the Hessian at an optimum gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

MOST_PRODUCTS = 100  # Hessian-vector products per step
ENOUGH = 1e-4  # share of the predicted gain that a step must bring to be taken


class Move(NamedTuple):
    """A step, the gain that the quadratic model predicts for it, and the products it took."""

    step: jax.Array
    gain: jax.Array
    products: jax.Array


class Conjugate(NamedTuple):
    """Conjugate gradients under way: the step so far, residual, direction, and whether to stop."""

    step: jax.Array
    residual: jax.Array
    direction: jax.Array
    products: jax.Array
    stop: jax.Array


def newton_step(
    hessian: Callable[[jax.Array], jax.Array],
    gradient: jax.Array,
    radius: jax.Array,
    moving: jax.Array,
) -> Move:
    """The minimum of the quadratic model within the trust region, by conjugate gradients.

        minimise  gᵀ s + ½ sᵀ H s   over   ‖s‖ ≤ radius

    Iterations end where the residual is small, at the region's edge, or along a direction of
    negative curvature, which is followed to the edge. Without `moving` the step is zero.

    Steihaug 1983, "The conjugate gradient method and trust regions in large scale optimization".
    """
    norm = jnp.linalg.norm(gradient)
    enough = jnp.minimum(0.1, jnp.sqrt(norm)) * norm
    most = min(MOST_PRODUCTS, 2 * gradient.size)

    def to_edge(step: jax.Array, direction: jax.Array) -> jax.Array:
        """How far along `direction` the edge is: the positive root of ‖step + t d‖ = radius."""
        a, b = jnp.vdot(direction, direction), jnp.vdot(step, direction)
        c = jnp.minimum(jnp.vdot(step, step) - radius**2, 0.0)
        return -c / (b + jnp.sqrt(b**2 - a * c))

    def iterate(now: Conjugate) -> Conjugate:
        product = hessian(now.direction)
        curvature = jnp.vdot(now.direction, product)
        squared = jnp.vdot(now.residual, now.residual)
        size = squared / curvature
        inside = jnp.linalg.norm(now.step + size * now.direction) < radius
        inside = inside & (curvature > 0)
        size = jnp.where(inside, size, to_edge(now.step, now.direction))
        residual = now.residual + size * product
        after = jnp.vdot(residual, residual)
        return Conjugate(
            now.step + size * now.direction,
            residual,
            after / squared * now.direction - residual,
            now.products + 1,
            ~inside | (jnp.sqrt(after) <= enough),
        )

    zero = jnp.zeros((), jnp.int32)
    start = Conjugate(jnp.zeros_like(gradient), gradient, -gradient, zero, ~moving)
    end = jax.lax.while_loop(lambda now: ~now.stop & (now.products < most), iterate, start)
    # residual = gradient + H step.
    gain = -0.5 * jnp.vdot(end.step, gradient + end.residual)
    return Move(end.step, gain, end.products)


def next_radius(radius: jax.Array, step: jax.Array, ratio: jax.Array) -> jax.Array:
    """A smaller region where the model failed, a larger one where it held up to the edge.

    Args:
        radius: of the region. step: made in it. ratio: of the gain found to the gain predicted.
    """
    length = jnp.linalg.norm(step)
    narrower = jnp.where(ratio < 0.25, 0.25 * length, radius)
    wider = (ratio > 0.75) & (length > 0.99 * radius)
    return jnp.where(wider, 2 * radius, narrower)


def response(
    hessian: Callable[[jax.Array], jax.Array], unit: jax.Array, weight: float
) -> jax.Array:
    """The Cholesky factor (D, D) of the linear-response covariance; zero where there is none.

        cov = weight [ H⁻¹ ]_mean,mean,   H = the Hessian of the loss in φ = [mean, log sd]

    Args:
        hessian: v ↦ H v, of (2, D). unit: of φ (2, D), in which H's diagonal is near 1.
        weight: how often a tilt of the posterior counts in the loss, as the KL does.
    """
    size = unit.shape[1]
    basis = jnp.eye(2 * size, dtype=unit.dtype).reshape(-1, *unit.shape)
    full = jax.lax.map(lambda v: (unit * hessian(unit * v)).ravel(), basis, batch_size=64)
    full = 0.5 * (full + full.T)
    # With a diagonal near 1 nothing is lost to scales.
    lower = jnp.linalg.cholesky(full)
    half = jax.scipy.linalg.solve_triangular(lower, jnp.eye(2 * size, size), lower=True)
    cov = weight * unit[0][:, None] * (half.T @ half) * unit[0]
    chol = jnp.linalg.cholesky(0.5 * (cov + cov.T))
    return jnp.where(jnp.all(jnp.isfinite(chol)), chol, 0.0)
