"""How parameters lie in θ: where each is, and the runs of θ that share a prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

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
PRIOR = "prior."  # what those of a prior's own unknowns begin with


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

    keeps_start: ClassVar[bool] = True  # whether a run starts at the net's own weights
    given: ClassVar[bool] = False  # whether its prior depends on other elements of θ

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

    def each(self, theta: jax.Array) -> jax.Array | None:
        """The log prior of every element; None where it is not one of elements."""
        each = self.prior.log_prob(self.constrain(theta)[0])
        return each if each.size == self.stop - self.start else None

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

    def fill(self, values: Mapping[Any, Any]) -> Block:
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
        return _loc_and_sd(self.prior, self.shape)


class Words(NamedTuple):
    """A description that prints without quotes."""

    text: str

    def __repr__(self) -> str:
        return self.text


class GivenBlock(eqx.Module):
    """One latent whose prior depends on the prior's own unknowns; `Block` tells of its fields.

        p(z | u) |dz / dθ|,   u the unknowns that are stated before z

    Attributes:
        block: where it lies; its prior only says on which support. owner: the prior that states it.
        path: the latent's name. shapes: of the net's weights.
        unknowns: the unknowns before it, and where they lie.
    """

    block: Block
    owner: Any
    unknowns: tuple[Block | GivenBlock, ...]
    path: str = eqx.field(static=True)
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    keeps_start: ClassVar[bool] = True
    given: ClassVar[bool] = True

    @property
    def start(self) -> int:
        """That of the block."""
        return self.block.start

    @property
    def stop(self) -> int:
        """That of the block."""
        return self.block.stop

    @property
    def count(self) -> int:
        """How many constrained numbers it stands for."""
        return self.block.count

    @property
    def prior(self) -> Words:
        """In words, for reports."""
        return Words(f"of {type(self.owner).__name__}, given its own unknowns")

    def at(self, theta: jax.Array) -> Block:
        """The block under its prior given the unknowns of `theta` (D,)."""
        known = {
            name: block.constrain(theta)[0].reshape(block.shape)
            for name, block in zip(self.names, self.unknowns)
        }
        prior = self.owner.latents(dict(self.shapes))[self.path](known)
        prior = fit_shape(prior, self.shape, self.path)
        return Block(prior, self.start, self.stop, self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the latent."""
        return self.block.shape

    def constrain(self, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The constrained values and the log determinant."""
        return self.block.constrain(theta)

    def unconstrain(self, values: jax.Array) -> jax.Array:
        """The inverse of `constrain`, flat to flat."""
        return self.block.unconstrain(values)

    def on_real_line(self, at: int) -> bool:
        """Whether element `at` of θ is the latent itself."""
        return self.block.on_real_line(at)

    def log_prior(self, theta: jax.Array, jacobian: bool = True) -> jax.Array:
        """The log prior given the unknowns of `theta`."""
        return self.at(theta).log_prior(theta, jacobian)

    def each(self, theta: jax.Array) -> jax.Array | None:
        """The log prior of every element given the unknowns of `theta`."""
        return self.at(theta).each(theta)

    def normal(self) -> None:
        """None: the moments depend on the unknowns, see `normal_at`."""

    def normal_at(self, theta: jax.Array) -> tuple[Any, Any] | None:
        """(loc, sd), flat, where the prior given the unknowns of `theta` is a normal."""
        return self.at(theta).normal()

    def fill(self, values: Mapping[Any, Any]) -> GivenBlock:
        """The block with every number to be learned replaced by its value (token → value)."""
        unknowns = tuple(block.fill(values) for block in self.unknowns)
        return eqx.tree_at(
            lambda block: (block.owner, block.unknowns),
            self,
            (self.owner.fill(dict(values)), unknowns),
        )


def constrain_all(
    parts: tuple[Block | GivenBlock, ...], theta: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The constrained values of several blocks, flat, and the log determinant of all."""
    values, log_dets = zip(*(part.constrain(theta) for part in parts))
    return jnp.concatenate([value.ravel() for value in values]), sum(log_dets)


def unconstrain_all(parts: tuple[Block | GivenBlock, ...], values: jax.Array) -> jax.Array:
    """The inverse of `constrain_all`, flat to flat."""
    ends = np.cumsum([part.count for part in parts])[:-1]
    pieces = jnp.split(values, ends)
    return jnp.concatenate([part.unconstrain(piece) for part, piece in zip(parts, pieces)])


class SpanBlock(eqx.Module):
    """A run of θ, from its beginning, under one joint density, whose parts map it to parameters.

    Attributes:
        prior: the density. parts: the blocks that say how θ (stop,) maps to parameters, in order.
    """

    prior: Any
    parts: tuple[Block | GivenBlock, ...]

    @property
    def start(self) -> int:
        """Where the run begins, which is with θ."""
        return 0

    @property
    def stop(self) -> int:
        """Where the parts end."""
        return self.parts[-1].stop

    @property
    def count(self) -> int:
        """How many constrained numbers it stands for."""
        return sum(part.count for part in self.parts)

    def constrain(self, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The constrained values, flat, and the log determinant."""
        return constrain_all(self.parts, theta)

    def unconstrain(self, values: jax.Array) -> jax.Array:
        """The inverse of `constrain`, flat to flat."""
        return unconstrain_all(self.parts, values)


class DensityBlock(SpanBlock):
    """All latents of a prior, under a joint density of its own over their constrained values."""

    parameters: tuple[Parameter, ...] = eqx.field(static=True)

    keeps_start: ClassVar[bool] = True
    given: ClassVar[bool] = False

    def log_prior(self, theta: jax.Array, jacobian: bool = True) -> jax.Array:
        """The prior's own log density, and the log determinant."""
        values, log_det = self.constrain(theta)
        log_density = self.prior.log_density(named(self.parameters, values))
        return log_density + (log_det if jacobian else 0.0)

    def each(self, theta: jax.Array) -> None:
        """None: it is not one of elements."""

    def draw(self, key: jax.Array, draws: int) -> jax.Array:
        """Not known.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"prior: {type(self.prior).__name__} gives a joint density, and cannot be drawn from. "
            'Start at the net\'s weights (init="net"), by a method that draws none of the prior.'
        )

    def start_draw(self, key: jax.Array, values: jax.Array) -> jax.Array:
        """θ of latents to start from, all of which the prior must give.

        Raises:
            ValueError: it does not.
        """
        if not values.size:
            raise ValueError(
                f"prior: {type(self.prior).__name__}.start must give all latents, as the prior's "
                "joint density has no medians to start from."
            )
        return self.unconstrain(values)

    def normal(self) -> None:
        """None: estimators know no normal under a joint density."""

    def on_real_line(self, at: int) -> bool:
        """Whether element `at` of θ is the latent itself."""
        return next(part for part in self.parts if at < part.stop).on_real_line(at)

    def fill(self, values: Mapping[Any, Any]) -> DensityBlock:
        """The block with every number to be learned replaced by its value (token → value)."""
        parts = tuple(part.fill(values) for part in self.parts)
        return DensityBlock(self.prior.fill(dict(values)), parts, self.parameters)


AnyBlock = Block | GivenBlock | DensityBlock


def named(parameters: tuple[Parameter, ...], values: jax.Array) -> dict[str, jax.Array]:
    """Flat constrained values by name."""
    # Not slices: the gradient of a split is one concatenation, of slices a sum of padded ones.
    sizes = [int(np.prod(parameter.shape)) for parameter in parameters]
    return {
        parameter.path: piece.reshape(parameter.shape)
        for parameter, piece in zip(parameters, jax.lax.split(values, sizes))
    }


def _loc_and_sd(prior: dist.Distribution, shape: tuple[int, ...]) -> tuple[Any, Any] | None:
    base = prior
    while isinstance(base, (dist.ExpandedDistribution, dist.Independent)):
        base = base.base_dist
    if isinstance(base, dist.Normal):
        loc, sd = (jnp.broadcast_to(v, shape).ravel() for v in (base.loc, base.scale))
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
        scalar = prior.shape() == () and not path.startswith((UNKNOWN, PRIOR))
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
