"""Named, constrained parameters of draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from posterity import memory
from posterity.cpu.compile import kept_jit
from posterity.distributions.draws import Draws
from posterity.distributions.spool import scratch
from posterity.model.target import AbstractTarget

ROWS = 1_024  # draws at a time


@kept_jit
def of_theta(
    target: AbstractTarget, theta: jax.Array, paths: tuple[str, ...]
) -> dict[str, jax.Array]:
    """Path → its values (chain, draw, *shape) for θ (chain, draw, D)."""

    def of(row: jax.Array) -> dict[str, jax.Array]:
        values = target.values(row)
        return {path: values[path] for path in paths}

    return jax.vmap(jax.vmap(of))(theta)


def of_draws(target: AbstractTarget, draws: Draws, paths: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The same for stored draws, some at a time.

    Values that would not fit into memory are in a file: mapped arrays, whose file goes with them.
    """
    found: dict[str, np.ndarray] = {}
    for start in range(0, draws.stored, ROWS):
        theta = draws.rows(np.arange(start, min(start + ROWS, draws.stored)))
        for path, values in of_theta(target, jnp.asarray(theta)[None], paths).items():
            if path not in found:
                found[path] = _room((draws.stored, *values.shape[2:]), values.dtype)
            found[path][start : start + len(theta)] = values[0]
    lead = draws.shape[:2]
    return {path: values.reshape(*lead, *values.shape[1:]) for path, values in found.items()}


def _room(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = int(np.prod(shape)) * dtype.itemsize
    return np.empty(shape, dtype) if memory.fits(size) else scratch(shape, dtype)
