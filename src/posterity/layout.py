"""How parameters lie in θ: where each is, and the runs of θ that share a prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions.transforms import IdentityTransform, biject_to

from posterity.dtypes import float_dtype
from posterity.learnable import fill
from posterity.storable import stored

UNKNOWN = "likelihood."  # what the paths of the likelihood's own unknowns begin with


@stored("layout.Parameter")
class Parameter(NamedTuple):
    """Where one parameter lives in θ: its path, its constrained shape and its slice of θ."""

    path: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Block(eqx.Module):
    """A run of θ under one prior, evaluated in one go.

    `shape` is the constrained shape; neighbours with one scalar prior share a flat block, which
    makes the log prior of a whole net one fused sum.
    """

    prior: dist.Distribution
    start: int = eqx.field(static=True)
    stop: int = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)

    def constrain(self, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The constrained values of this block and log |d constrained / d θ|, summed."""
        transform = biject_to(self.prior.support)
        free = theta[self.start : self.stop].reshape(transform.inverse_shape(self.shape))
        value = transform(free)
        if isinstance(transform, IdentityTransform):
            return value, jnp.zeros((), theta.dtype)
        return value, jnp.sum(transform.log_abs_det_jacobian(free, value))

    @property
    def count(self) -> int:
        """How many constrained numbers it stands for."""
        return int(np.prod(self.shape))

    def unconstrain(self, values: jax.Array) -> jax.Array:
        """The inverse of `constrain`, flat to flat."""
        return biject_to(self.prior.support).inv(values.reshape(self.shape)).ravel()

    def log_prior(self, theta: jax.Array, jacobian: bool = True) -> jax.Array:
        """The log prior of unconstrained θ, or of what it stands for without the Jacobian."""
        value, log_det = self.constrain(theta)
        return jnp.sum(self.prior.log_prob(value)) + (log_det if jacobian else 0.0)

    def start_draw(self, key: jax.Array, values: jax.Array) -> jax.Array:
        """θ of a net's initial weights (`values`, flat); where there are none, the prior's median.

        A weight outside its prior's support, such as a zero bias under a positive prior, is drawn
        from the prior instead.
        """
        if not values.size:
            return jnp.median(self.draw(key, 101), axis=0)
        free = self.unconstrain(values)
        if self.on_real_line(self.start):
            return free
        return jnp.where(jnp.isfinite(free), free, self.draw(key, 1)[0])

    def on_real_line(self, at: int) -> bool:
        """Whether element `at` of θ is the parameter itself, and not a transform of it."""
        return isinstance(biject_to(self.prior.support), IdentityTransform)

    def fill(self, values: Mapping[int, Any]) -> Block:
        """The block with every number to be learned replaced by its value (token → value)."""
        return Block(fill(self.prior, dict(values)), self.start, self.stop, self.shape)

    def draw(self, key: jax.Array, draws: int) -> jax.Array:
        """Unconstrained draws from the prior: (draws, size of the block)."""
        missing = self.shape[: len(self.shape) - len(self.prior.shape())]
        value = self.prior.sample(key, (draws, *missing)).reshape(draws, *self.shape)
        free = biject_to(self.prior.support).inv(value)
        return free.reshape(draws, -1).astype(float_dtype())

    def normal(self) -> tuple[Any, Any] | None:
        """(loc, sd), flat, where the prior is a normal on the real line, else None."""
        base = self.prior
        while isinstance(base, (dist.ExpandedDistribution, dist.Independent)):
            base = base.base_dist
        if isinstance(base, dist.Normal):
            loc, sd = (jnp.broadcast_to(v, self.shape).ravel() for v in (base.loc, base.scale))
            return loc, sd
        return None


def lay_out(
    shapes: Mapping[str, tuple[int, ...]], priors: Mapping[str, dist.Distribution]
) -> tuple[tuple[Parameter, ...], tuple[Block, ...]]:
    """Where each parameter lives in θ, and the blocks that θ falls into.

    Args:
        shapes: path → constrained shape, in the order of θ. priors: path → distribution.
    """
    parameters: list[Parameter] = []
    blocks: list[Block] = []
    start = 0
    for path, shape in shapes.items():
        prior = priors[path]
        transform = biject_to(prior.support)
        stop = start + int(np.prod(transform.inverse_shape(shape)))
        parameters.append(Parameter(path, shape, start, stop))
        last = blocks[-1] if blocks else None
        scalar = prior.shape() == () and not path.startswith(UNKNOWN)
        if scalar and last is not None and last.prior is prior:
            blocks[-1] = Block(prior, last.start, stop, (stop - last.start,))
        elif scalar:
            blocks.append(Block(prior, start, stop, (stop - start,)))
        else:
            blocks.append(Block(fit_shape(prior, shape, path), start, stop, shape))
        start = stop
    return tuple(parameters), tuple(blocks)


def fit_shape(
    distribution: dist.Distribution, shape: tuple[int, ...], path: str
) -> dist.Distribution:
    """`distribution` expanded so that one draw of it has `shape`."""
    event = distribution.event_shape
    batch = shape[: len(shape) - len(event)]
    if event != shape[len(batch) :]:
        raise ValueError(
            f"prior: {type(distribution).__name__} has event shape {event}, which does not end the "
            f"shape {shape} of parameter {path!r}."
        )
    if distribution.batch_shape in ((), batch):
        # Scalar rules stay shared objects: Target evaluates their parameters as one flat block.
        return distribution
    try:
        return distribution.expand(batch)
    except ValueError as error:
        raise ValueError(
            f"prior: {type(distribution).__name__} has batch shape {distribution.batch_shape}, "
            f"which does not broadcast to the shape {shape} of parameter {path!r}."
        ) from error
