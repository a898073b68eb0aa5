"""Objectives of variational inference: the pieces of the ELBO."""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from posterity.methods.vi.families.family import AbstractFamily
from posterity.model.net_target import Target

KL = Literal["closed", "sampled", "sticking"]
COLUMNS = 256  # of a factor: with more, one draw says enough and costs far less
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
    moments, dependence = family.mean_and_sd(phi), family.dependence(phi)
    root, independent = family.root(phi), family.independent
    return closed_kl(target, *moments, thetas, dependence, root, independent)


def closed_kl(
    target: Target,
    mean: jax.Array,
    sd: jax.Array,
    thetas: jax.Array,
    dependence: jax.Array | float = 0.0,
    root: tuple[jax.Array, jax.Array | None] | None = None,
    independent: bool = True,
) -> jax.Array:
    """KL(q ‖ prior) of a normal q, in closed form where the prior is normal.

    Elements with independent normal priors need nothing but the marginals, and those with a
    correlated one the covariance. Where a prior is normal given unknowns u of its own and q is
    independent, the KL given u is closed, and u is drawn. Under other priors E log p is by draws.

    Args:
        target: the target. mean, sd: of q, (D,). thetas: draws of q, (draws, D).
        dependence: Σ H(qᵢ) − H(q), in nats; 0 where the elements are independent.
        root: (sd, factor) with the covariance diag(sd²) + factor factorᵀ; None for (sd, None).
        independent: whether the elements of θ are independent under q.
    """
    normal, other = target.normal_blocks()
    total = jnp.asarray(dependence)
    for block, loc, scale in normal:
        at = slice(block.start, block.stop)
        total = total + normal_kl(mean[at], sd[at], loc, scale)
    drawn = []
    for block in other:
        at = slice(block.start, block.stop)
        if independent and (given := _kl_given(block, mean[at], sd[at], thetas)) is not None:
            total = total + given
            continue
        spread, factor = root or (sd, None)
        known = expected_log_prior(
            block, mean[at], spread[at], None if factor is None else factor[at]
        )
        total = total - entropy(sd[at]) - (0.0 if known is None else known)
        drawn += [block] if known is None else []
    if drawn:
        blocks = tuple(drawn)
        each = jax.vmap(lambda theta: target.log_prior_of(theta, blocks))(thetas)
        total = total - jnp.mean(each)
    return total


def _kl_given(block: Any, mean: jax.Array, sd: jax.Array, thetas: jax.Array) -> jax.Array | None:
    """The mean KL of normals to a block's prior given draws of its unknowns; None if not normal."""
    normal_at: Any = getattr(block, "normal_at", None)
    if normal_at is None or normal_at(thetas[0]) is None:
        return None
    return jnp.mean(jax.vmap(lambda theta: normal_kl(mean, sd, *normal_at(theta)))(thetas))


def expected_log_prior(
    block: Any, mean: jax.Array, sd: jax.Array, factor: jax.Array | None
) -> jax.Array | None:
    """E_q log p(θ) under a block's correlated normal prior N(m₀, Λ⁻¹); None of any other.

        E log p(θ) = log p(mean) − ½ Σ sd² Λᵢᵢ − ½ tr(factorᵀ Λ factor)

    As log p is quadratic,  −½ fᵀ Λ f = log p(m₀ + f) − log p(m₀)  for each column f.
    """
    diagonal = getattr(block, "precision_diag", None)
    if diagonal is None or (factor is not None and factor.shape[1] > COLUMNS):
        return None
    log_prob = block.prior.log_prob
    total = log_prob(mean) - 0.5 * jnp.sum(sd**2 * diagonal)
    if factor is None:
        return total
    at = block.prior.mean
    each = jax.vmap(lambda column: log_prob(at + column))(factor.T)
    return total + jnp.sum(each - log_prob(at))


def entropy(sd: jax.Array) -> jax.Array:
    """Entropy of independent normals: Σ log sd + ½ log 2πe."""
    return jnp.sum(jnp.log(sd)) + 0.5 * (1 + math.log(2 * math.pi)) * sd.size


def normal_kl(mean: jax.Array, sd: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    """KL( N(mean, sd²) ‖ N(loc, scale²) ), summed.

    Σ ½ [ (sd² + (mean − loc)²) / scale² − 1 ] − log(sd / scale)
    """
    ratio = sd / scale
    return jnp.sum(0.5 * (ratio**2 + ((mean - loc) / scale) ** 2 - 1) - jnp.log(ratio))
