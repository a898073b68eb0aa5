"""Metrics from what a window has seen: draws of θ, and gradients of the log joint at them.

Of a normal posterior with covariance Σ the gradient is −Σ⁻¹ (θ − μ), so that draws with the
covariance A have gradients with B = Σ⁻¹ A Σ⁻¹. The geometric mean of A and B⁻¹,

    S = A # B⁻¹,   the one positive S with S B S = A,

is then Σ itself, whichever draws they were and however few beyond D: noise in A is in B too.
Estimates know no unit: θ in other units has the same metric in other units, so that nothing here
compares a variance with a fixed number.

Seyboldt, Carlson & Carpenter 2026, "Preconditioning Hamiltonian Monte Carlo by minimizing Fisher
divergence", and nutpie, which is theirs. The low-rank part is our own cut of theirs.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from posterity.methods.mcmc.mass_matrix import Dense, LowRank

RANK = 16  # directions of a low-rank metric, at most
FAITH = 3e-4  # weight of the identity however many draws there are: posteriors are not normal
LEAST = 1e-6  # of a variance, added to it: what single precision makes of a singular matrix


def dense(cov: jax.Array, count: jax.Array) -> Dense:
    """M⁻¹ = A # B⁻¹.

    Args:
        cov: A of θ and B of the gradient (2, D, D). count: of how many draws.
    """
    var = jnp.diagonal(cov, axis1=1, axis2=2)
    scale = jnp.sqrt(_ratio(var))
    both = jnp.stack([cov[0] / jnp.outer(scale, scale), cov[1] * jnp.outer(scale, scale)])
    factor = scale[:, None] * _factor(both, count)
    upper = jnp.linalg.qr(factor.T, mode="r")
    chol = (upper * jnp.where(jnp.diagonal(upper) < 0, -1.0, 1.0)[:, None]).T
    return Dense(chol @ chol.T, chol)


def low_rank(theta: jax.Array, gradient: jax.Array, count: jax.Array) -> LowRank:
    """√(Var[θ] / Var[∇]) by element, and the directions that are widest or narrowest in it.

    Args:
        theta, gradient: (draw, D). count: the first so many of them count.

    In the plane of the leading directions of the draws, which are wide, and of the gradients, which
    are narrow, A # B⁻¹ is taken. Its eigenvalues that are farthest from 1 stay.
    """
    size = theta.shape[1]
    valid = (jnp.arange(theta.shape[0]) < count)[:, None]
    off = [_centred(values, valid, count) for values in (theta, gradient)]
    var = jnp.stack([jnp.sum(values**2, axis=0) for values in off]) / jnp.maximum(count - 1, 1)
    scale = jnp.sqrt(_ratio(var))
    off = [off[0] / scale, off[1] * scale]
    if size > 2 * RANK:
        plane = jnp.linalg.qr(jnp.concatenate([_leading(v) for v in off], axis=1))[0]
    else:
        plane = jnp.eye(size, dtype=theta.dtype)
    inside = [values @ plane for values in off]
    both = jnp.stack([values.T @ values for values in inside]) / jnp.maximum(count - 1, 1)
    factor = _factor(both, count)
    vectors, singular, _ = jnp.linalg.svd(factor)
    values = singular**2
    order = jnp.argsort(-jnp.abs(jnp.log(values)))[: min(RANK, size)]
    return LowRank(scale, plane @ vectors[:, order], values[order])


def _ratio(var: jax.Array) -> jax.Array:
    """√(Var[θ] / Var[∇]) of (2, D), or Var[θ] where the gradient does not change."""
    steep = var[1] > 0
    logs = jnp.log(var[0]) - jnp.log(jnp.where(steep, var[1], 1.0))
    return jnp.where(steep, jnp.exp(0.5 * logs), var[0])


def _factor(cov: jax.Array, count: jax.Array) -> jax.Array:
    """F with F Fᵀ = A # B⁻¹, for A and B (2, D, D) in units in which their diagonals are equal.

    Fewer draws than dimensions say nothing of most directions, and of the others what is not so:
    the identity is added to both with a weight that falls from 1 as (D / n)⁵ to 3e-4.
    """
    size = cov.shape[-1]
    weight = jnp.clip((size / jnp.maximum(count, 1)) ** 5, FAITH, 1.0)
    # Of a normal tr(A B) / D is the square of how much of it the draws have seen; see above.
    seen = jnp.sqrt(jnp.sum(cov[0] * cov[1]) / size)
    level = LEAST * jnp.diagonal(cov, axis1=1, axis2=2) + weight * seen
    a, b = cov + jax.vmap(jnp.diag)(level)
    chol = jnp.linalg.cholesky(a)
    values, vectors = jnp.linalg.eigh(chol.T @ b @ chol)
    least = jnp.finfo(cov.dtype).eps * values[-1]
    return chol @ vectors * jnp.maximum(values, least) ** -0.25


def _centred(values: jax.Array, valid: jax.Array, count: jax.Array) -> jax.Array:
    mean = jnp.sum(values, axis=0, where=valid) / count
    return jnp.where(valid, values - mean, 0.0)


def _leading(off: jax.Array) -> jax.Array:
    """The leading directions of centred values (draw, D): orthonormal columns (D, RANK)."""
    return jnp.linalg.svd(off, full_matrices=False)[2][:RANK].T
