"""Objectives of variational inference: the pieces of the ELBO."""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from posterity.inference.vi.families import AbstractFamily
from posterity.target import Target

KL = Literal["closed", "sampled", "sticking"]
KLS: tuple[KL, ...] = ("closed", "sampled", "sticking")


def draw(
    family: AbstractFamily, phi: Any, noise: jax.Array, kind: KL
) -> tuple[jax.Array, jax.Array | None]:
    """Draws θ (draws, D) of q, and log q of each where the KL is sampled.

    Sticking the landing: the path through θ is kept, that through φ is cut, so that the gradient's
    noise vanishes as q reaches the posterior. Roeder, Wu & Duvenaud 2017.
    """
    if kind == "sticking":
        thetas = family.push(phi, noise)
        return thetas, family.log_prob(jax.lax.stop_gradient(phi), thetas)
    if kind == "sampled" or not family.closed:
        return family.push_with_log_prob(phi, noise)
    return family.push(phi, noise), None


def kl(
    target: Target,
    family: AbstractFamily,
    phi: Any,
    thetas: jax.Array,
    log_q: jax.Array | None = None,
) -> jax.Array:
    """KL(q ‖ prior): by draws where their log q is given, else in closed form where there is one.

        KL = Σ KL(qᵢ ‖ pᵢ) + [Σ H(qᵢ) − H(q)]

    Args:
        target: the target. family, phi: q. thetas: draws of q, (draws, D). log_q: of each.
    """
    if log_q is not None:
        return jnp.mean(log_q - jax.vmap(target.log_prior)(thetas))
    return closed_kl(target, *family.mean_and_sd(phi), thetas, family.dependence(phi))


def closed_kl(
    target: Target,
    mean: jax.Array,
    sd: jax.Array,
    thetas: jax.Array,
    dependence: jax.Array | float = 0.0,
) -> jax.Array:
    """KL(q ‖ prior) of a q with normal marginals, in closed form where the prior is normal.

    Elements with a normal prior need nothing but the marginals; under other priors E log p is by
    draws.

    Args:
        target: the target. mean, sd: of q, (D,). thetas: draws of q, (draws, D).
        dependence: Σ H(qᵢ) − H(q), in nats; 0 where the elements are independent.
    """
    normal, other = target.normal_blocks()
    total = jnp.asarray(dependence)
    for block, loc, scale in normal:
        at = slice(block.start, block.stop)
        total = total + normal_kl(mean[at], sd[at], loc, scale)
    if other:
        free = [sd[block.start : block.stop] for block in other]
        log_prior = jnp.mean(jax.vmap(lambda theta: target.log_prior_of(theta, other))(thetas))
        total = total - log_prior - sum(map(entropy, free))
    return total


def entropy(sd: jax.Array) -> jax.Array:
    """Entropy of independent normals: Σ log sd + ½ log 2πe."""
    return jnp.sum(jnp.log(sd)) + 0.5 * (1 + math.log(2 * math.pi)) * sd.size


def normal_kl(mean: jax.Array, sd: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    """KL( N(mean, sd²) ‖ N(loc, scale²) ), summed.

    Σ ½ [ (sd² + (mean − loc)²) / scale² − 1 ] − log(sd / scale)
    """
    ratio = sd / scale
    return jnp.sum(0.5 * (ratio**2 + ((mean - loc) / scale) ** 2 - 1) - jnp.log(ratio))
