"""New data from the posterior of a NumPyro program."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np
from numpyro import handlers
from numpyro.infer import Predictive

from posterity.counts import checked_draws, checked_seed
from posterity.distributions.distribution import AbstractDistribution
from posterity.model.arguments import packed
from posterity.model.program_target import ProgramTarget, cannot_run
from posterity.predict.precision import saturated


def replicate(
    target: ProgramTarget,
    distribution: AbstractDistribution,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    draws: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Observed and deterministic sites, by draw; see `ProgramPosterior.replicate`."""
    count = checked_draws(draws)
    arguments = packed(args, kwargs, "replicate") if args or kwargs else target.arguments
    at, noise = jax.random.split(jax.random.key(checked_seed(seed)))
    theta = distribution.sample(at, count).reshape(-1, target.size)
    latent = jax.jit(jax.vmap(target.constrain))(theta)
    given, named = arguments.unpacked
    sampler = Predictive(_Replicated(target.program), posterior_samples=latent)
    try:
        found = sampler(noise, *given, **named)
    except Exception as error:
        raise ValueError(cannot_run(error, "replicate")) from error
    # A factor is an observation of nothing: an empty array.
    kept = {name: np.asarray(value) for name, value in found.items() if value.size}
    for name, value in kept.items():
        _tell(name, saturated(value))
    return kept


def _tell(name: str, bad: np.ndarray) -> None:
    """Warn of a site with draws that are no numbers, or the largest integer there is."""
    if bad.any():
        warnings.warn(
            f"replicate: {int(bad.sum()):,} of {bad.size:,} values of {name!r} are not finite, or "
            f"are the largest integer there is (the first in draw {int(np.argwhere(bad)[0][0])}): "
            "larger ones cannot be drawn. Look at the program's outputs, or set "
            'jax.config.update("jax_enable_x64", True).',
            RuntimeWarning,
            stacklevel=4,
        )


class _Replicated(handlers.uncondition):
    """Observed sites are drawn, as many as were observed: also where no plate says how many."""

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "sample" and msg["is_observed"]:
            shape = np.shape(msg["value"])
            rows = shape[: len(shape) - msg["fn"].event_dim]
            msg["fn"] = msg["fn"].expand(np.broadcast_shapes(rows, msg["fn"].batch_shape))
        super().process_message(msg)
