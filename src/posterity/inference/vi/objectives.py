"""Objectives of variational inference: pieces of the ELBO of an independent normal q."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from posterity.target import Batch, Target


def entropy(sd: jax.Array) -> jax.Array:
    """Entropy of independent normals: Σ log sd + ½ log 2πe."""
    return jnp.sum(jnp.log(sd)) + 0.5 * (1 + math.log(2 * math.pi)) * sd.size


def normal_kl(mean: jax.Array, sd: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    """KL( N(mean, sd²) ‖ N(loc, scale²) ), summed.

    Σ ½ [ (sd² + (mean − loc)²) / scale² − 1 ] − log(sd / scale)
    """
    ratio = sd / scale
    return jnp.sum(0.5 * (ratio**2 + ((mean - loc) / scale) ** 2 - 1) - jnp.log(ratio))


def kl(target: Target, mean: jax.Array, sd: jax.Array, thetas: jax.Array) -> jax.Array:
    """KL(q ‖ prior): in closed form where the prior is normal, by `thetas` ~ q elsewhere.

    Args:
        mean, sd: q, (D,). thetas: draws of q, (draws, D).
    """
    normal, other = target.normal_blocks()
    total = jnp.zeros((), mean.dtype)
    for block, loc, scale in normal:
        at = slice(block.start, block.stop)
        loc, scale = (jnp.broadcast_to(v, block.shape).ravel() for v in (loc, scale))
        total = total + normal_kl(mean[at], sd[at], loc, scale)
    if other:
        free = [sd[block.start : block.stop] for block in other]
        log_prior = jnp.mean(jax.vmap(lambda theta: target.log_prior_of(theta, other))(thetas))
        total = total - log_prior - sum(map(entropy, free))
    return total


def monte_carlo_kl(target: Target, mean: jax.Array, sd: jax.Array, thetas: jax.Array) -> jax.Array:
    """log q(θ) − log p(θ) of each draw, whose mean is KL(q ‖ prior): (draws,)."""
    log_q = jnp.sum(
        -0.5 * ((thetas - mean) / sd) ** 2 - jnp.log(sd) - 0.5 * math.log(2 * math.pi), axis=-1
    )
    return log_q - jax.vmap(target.log_prior)(thetas)


def elbo(
    target: Target, mean: jax.Array, sd: jax.Array, thetas: jax.Array, batch: Batch
) -> jax.Array:
    """The ELBO of q, estimated with draws `thetas` (draws, D) on `batch`."""
    if thetas.shape[0] == 1:
        # One draw needs no batched products, which are slower than plain ones on a CPU.
        log_likelihood = target.scaled_log_likelihood(thetas[0], batch)
    else:
        each = jax.vmap(lambda theta: target.scaled_log_likelihood(theta, batch))(thetas)
        log_likelihood = jnp.mean(each)
    return target.elbo(log_likelihood, kl(target, mean, sd, thetas))
