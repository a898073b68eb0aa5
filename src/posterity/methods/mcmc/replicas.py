"""Replicas of θ at several temperatures: where they are, and paths of all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.methods.mcmc.mass_matrix import Diagonal
from posterity.methods.mcmc.paths import Path, Point, fixed_length
from posterity.model.net_target import Batch, Target


class Place(NamedTuple):
    """θ, log prior and log likelihood there, and the gradient of each; a row for every replica."""

    theta: jax.Array
    log_prior: jax.Array
    log_likelihood: jax.Array
    prior_gradient: jax.Array
    gradient: jax.Array


def look(target: Target, batch: Batch, theta: jax.Array) -> Place:
    """Prior and likelihood at θ (D,), with their gradients."""
    log_prior, prior_gradient = jax.value_and_grad(target.log_prior)(theta)
    likelihood = jax.value_and_grad(lambda theta: target.scaled_log_likelihood(theta, batch))
    log_likelihood, gradient = likelihood(theta)
    return Place(theta, log_prior, log_likelihood, prior_gradient, gradient)


def looked(target: Target, batch: Batch, theta: jax.Array) -> Place:
    """`look` at every θ of (K + 1, D), sorted: the most probable is the coldest."""
    place = jax.vmap(lambda theta: look(target, batch, theta))(theta)
    log_joint = place.log_prior + place.log_likelihood
    order = jnp.argsort(jnp.where(jnp.isfinite(log_joint), log_joint, -jnp.inf))
    return jax.tree.map(lambda leaf: leaf[order], place)


def untempered(target: Target, path: Path, beta: jax.Array) -> Place:
    """The end of a path at β in its two parts.

    The tempered density less the prior's is divided by β, which saves an evaluation. The rounding
    that is divided, too, is multiplied by a β again wherever it counts.
    """
    log_prior, prior_gradient = jax.value_and_grad(target.log_prior)(path.theta)
    return Place(
        theta=path.theta,
        log_prior=log_prior,
        log_likelihood=(path.log_joint - log_prior) / beta,
        prior_gradient=prior_gradient,
        gradient=(path.gradient - prior_gradient) / beta,
    )


def moved(
    key: jax.Array,
    target: Target,
    batch: Batch,
    place: Place,
    rungs: tuple[jax.Array, jax.Array, jax.Array],
    leapfrogs: jax.Array,
) -> tuple[Place, Path]:
    """K replicas after a path of each; all of one length, so that none waits for another.

    Args:
        place: where they are. rungs: β (K,), diagonal metric (K, D) and step size (K,) of each.
        leapfrogs: of every path.
    """
    betas, var, sizes = rungs
    noise_key, path_key = jax.random.split(key)
    noises = jax.random.normal(noise_key, var.shape, var.dtype)

    def move(key: Any, noise: Any, old: Place, beta: Any, var: Any, size: Any) -> Any:
        def tempered(theta: jax.Array) -> jax.Array:
            return target.log_prior(theta) + beta * target.scaled_log_likelihood(theta, batch)

        metric = Diagonal(var)
        start = Point(
            theta=old.theta,
            momentum=metric.momentum(noise),
            gradient=old.prior_gradient + beta * old.gradient,
            log_joint=old.log_prior + beta * old.log_likelihood,
        )
        path = fixed_length(jax.value_and_grad(tempered), metric, key, start, size, leapfrogs)
        return untempered(target, path, beta), path

    keys = jax.random.split(path_key, betas.shape[0])
    return jax.vmap(move)(keys, noises, place, betas, var, sizes)
