"""Where a run starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions.distribution import validation_enabled

from posterity.counts import checked_seed
from posterity.cpu.compile import kept_jit, quick_jit
from posterity.dtypes import float_dtype
from posterity.model.target import AbstractTarget
from posterity.posterior import AbstractPosterior

Init = Any
WORDS = ("net", "prior")

START = 2**30  # folded into a chain's key for its starts: far from the numbers of its steps


def start_points(
    init: Init, target: AbstractTarget, seed: int, chains: Sequence[int], starts: int
) -> tuple[jax.Array, jax.Array]:
    """The key of each chain, and start points θ (start, chain, D).

    The key depends on the seed and the chain's number only.

    Args:
        init: ``"net"``, ``"prior"``, an array θ (D,), (chain, D) or (start, chain, D), a mapping
            of named constrained parameters, or a `Posterior` of the same model (its centre, or
            draws of it for several chains or starts).
        target: the target. seed: the run's seed. chains: their numbers. starts: how many per chain.

    A net that holds its own weights (Equinox, NNX) gives the same ones for every key. The first
    start of the first chain is then exactly there; the others have noise added, of the spread that
    each array has, so that chains do not begin at one point.

    Raises:
        ValueError, TypeError: `init` does not fit the target, or is not finite.
    """
    chain_numbers = np.asarray(chains, np.int32)
    if isinstance(init, str):
        if init not in WORDS:
            raise ValueError(f'init: as a word it is "net" or "prior", not {init!r}.')
        return _drawn(target, _seed(seed), chain_numbers, starts, init == "prior")
    keys = _keys(_seed(seed), chain_numbers)
    grid = (starts, len(chain_numbers), target.size)
    if isinstance(init, AbstractPosterior):
        if init.target.paths != target.paths or init.target.size != target.size:
            raise ValueError("init: the posterior is of another model; its parameters differ.")
        if starts * len(chain_numbers) == 1:
            return keys, init.distribution.centre()[None, None]
        return keys, jnp.asarray(init.sample(starts * len(chain_numbers), seed=keys[0])).reshape(
            grid
        )
    if isinstance(init, Mapping):
        # What is not finite is found below; NumPyro's own checks would name no remedy.
        with validation_enabled(is_validate=False):
            init = target.at_start().unconstrain(init)
    theta = np.asarray(init, float_dtype())
    if theta.shape not in ((target.size,), grid[1:], grid):
        raise ValueError(
            f"init: expected θ of shape ({target.size},) or (chains, {target.size}), got "
            f"{theta.shape}."
        )
    if not np.isfinite(theta).all():
        first = ", ".join(map(str, np.argwhere(~np.isfinite(theta))[0]))
        raise ValueError(f"init[{first}] is not finite; a run needs a finite start.")
    return keys, jnp.broadcast_to(jnp.asarray(theta), grid)


def _seed(seed: int) -> np.ndarray:
    """The seed as an array, so that another seed is no reason to compile again."""
    return np.asarray(checked_seed(seed) % 2**32, np.uint32)


@kept_jit
def _keys(seed: Any, chains: Any) -> jax.Array:
    return jax.vmap(lambda chain: jax.random.fold_in(jax.random.key(seed), chain))(chains)


@quick_jit
def _drawn(
    target: AbstractTarget, seed: Any, chains: Any, starts: int, from_prior: bool
) -> tuple[jax.Array, jax.Array]:
    """Keys, and θ (start, chain, D) from the prior or from the net's initial weights."""
    keys, target = _keys(seed, chains), target.at_start()
    draw = target.prior_draw if from_prior else target.net_draw

    def start(number: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: draw(jax.random.fold_in(key, number)))(keys)

    thetas = jax.vmap(start)(jnp.arange(starts) + START)
    if from_prior or not target.fixed_start or starts * len(chains) == 1:
        return keys, thetas
    first = (jnp.arange(starts)[:, None] == 0) & (chains == 0)
    noise = jax.random.normal(jax.random.fold_in(keys[0], START), thetas.shape, thetas.dtype)
    moved = thetas + _spread(target, thetas[0, 0]) * noise
    return keys, jnp.where(first[..., None], thetas, moved)


def _spread(target: AbstractTarget, theta: jax.Array) -> jax.Array:
    """The standard deviation within each parameter, for each element of θ."""
    pieces = [
        jnp.broadcast_to(jnp.std(theta[p.start : p.stop]), (p.stop - p.start,))
        for p in target.parameters
    ]
    return jnp.concatenate(pieces)
