"""What a model expects before it has seen data."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posterity import memory
from posterity.counts import checked_draws, checked_seed
from posterity.cpu.compile import kept_jit
from posterity.distributions.distribution import aside_key
from posterity.forks import refuse_fork
from posterity.inputs import on_device, read, row_count
from posterity.model.columns import positions
from posterity.model.indexing import trace
from posterity.model.model import Model
from posterity.model.net_target import Target
from posterity.predict import precision


def prior_predictive(model: Model, x: Any, draws: int = 100, *, seed: int = 0) -> np.ndarray:
    """Targets drawn from the prior predictive distribution.

        w, s ~ prior,   y ~ p(y | net(w, x), s)

    Args:
        model: net, prior and likelihood.
        x: inputs (rows, ...), as in `fit`.
        draws: number of draws.
        seed: random seed.

    Returns:
        y of shape (draws, rows), or (draws, rows, targets) for nets with several targets.

    Raises:
        TypeError: the model is a NumPyro program.
        ValueError: `x` is not finite or the net cannot take its rows.

    >>> import numpy as np, posterity as po
    >>> model = po.Model(po.nets.MLP(1, [5], 1), po.priors.Normal(), po.likelihoods.Poisson())
    >>> po.prior_predictive(model, np.zeros((3, 1)), draws=10).shape
    (10, 3)
    """
    if not isinstance(model, Model):
        raise TypeError(
            f"model: expected a po.Model of a net, got {type(model).__name__}. For a NumPyro "
            "program use numpyro.infer.Predictive(program, num_samples=draws)."
        )
    refuse_fork("prior_predictive")
    key, count = jax.random.key(checked_seed(seed)), checked_draws(draws)
    given = read(x)
    _, seen = positions(model.prior.columns, given.spec)
    found = trace(model.net, model.template(), seen)
    shape = getattr(found.out, "shape", ())[1:]  # `build` refuses what has none
    targets = int(np.prod(shape)) // model.likelihood.outputs_per_target
    y_shape = (targets,) if targets > 1 else ()
    target = Target.build(model, given.spec, y_shape, rows=1)
    keys = jax.random.split(key, count)
    inputs = given.converted(target.inputs)
    memory.refuse_size("draws", f"{count:,} draws", [count, row_count(inputs), *y_shape])
    drawn = np.asarray(_drawn(target, on_device(inputs), keys))
    if model.likelihood.kind == "count" and precision.saturated(drawn).any():
        # Counts above 2³¹, which integers of 64 bits, or floats, hold.
        with jax.enable_x64(True):
            target = Target.build(model, given.spec, y_shape, rows=1)
            again = _drawn(target, on_device(given.converted(target.inputs)), keys)
            drawn = precision.whole(np.asarray(again))
    bad = precision.saturated(drawn) if model.likelihood.kind == "count" else ~np.isfinite(drawn)
    if bad.any():
        first = int(np.argwhere(bad)[0][0])
        warnings.warn(
            f"prior_predictive: {int(bad.sum()):,} of {bad.size:,} draws of y are no numbers that "
            f"double precision holds (the first in draw {first}): the prior allows outputs of the "
            "net that are too large for this likelihood. Choose tighter priors.",
            RuntimeWarning,
            stacklevel=2,
        )
    return drawn


@kept_jit
def _drawn(target: Target, inputs: Any, keys: jax.Array) -> jax.Array:
    def draw(key: jax.Array) -> jax.Array:
        weights, noise = jax.random.split(key)
        aside = aside_key(key, jnp.zeros((), jnp.int32))
        given = target.distribution(target.prior_draw(weights), inputs, aside)
        return target.likelihood.sample(given, noise)

    return jax.lax.map(draw, keys)
