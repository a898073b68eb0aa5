"""Values of which the last step is put off, as the next may make it cheaper.

A convolution by spectra ends with their transform. Where its outputs are multiplied by what is the
same at all positions, or added to those of a like convolution, that is done to the spectra; and
inputs that are another convolution's inputs times such a factor need no transform of their own. So
Flipout's two convolutions of a layer share their transforms.
"""

from __future__ import annotations

import dataclasses
import functools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from posterity.cpu.conv import spectra
from posterity.cpu.conv.layouts import (
    AbstractKept,
    Places,
    Spread,
    Turned,
    settled,
    stretched,
    turned_to,
    type_of,
)
from posterity.cpu.conv.tiles import Axes


class AbstractPending(AbstractKept):
    """A value that is settled when it is asked for in any other way."""

    @property
    @abstractmethod
    def settled(self) -> Turned:
        """The value with nothing put off."""

    def turned(self, order: tuple[int, ...]) -> jax.Array:
        """The value with its axes in this order."""
        return self.settled.turned(order)


@dataclasses.dataclass(frozen=True, eq=False)
class Scaled(AbstractPending):
    """`value` times a factor that does not vary along all axes, not yet multiplied."""

    value: Turned
    by: Spread

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @functools.cached_property
    def settled(self) -> Turned:
        order = self.value.order
        return Turned(lax.mul(self.value.array, self.by.turned(order)), order)


@dataclasses.dataclass(frozen=True, eq=False)
class Convolved(AbstractPending):
    """The outputs of a convolution, the value's axes being `at`, as spectra.

    Args:
        spectra: (waves, 2 · channels, rows).
    """

    spectra: jax.Array
    axes: Axes
    at: Places

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = dict(zip(self.at.along, (axis.out for axis in self.axes)))
        sizes[self.at.channels] = self.spectra.shape[1] // 2
        sizes[self.at.rows] = self.spectra.shape[2]
        return tuple(sizes[axis] for axis in range(len(sizes)))

    @property
    def dtype(self) -> Any:
        return self.spectra.dtype

    @functools.cached_property
    def settled(self) -> Turned:
        made = spectra.outputs(self.spectra, self.axes)
        made = made[:, 0] if len(self.at.along) == 1 else made
        return Turned(made, self.at.order)


def put_off(primitive: Any, values: Sequence[Any]) -> AbstractKept | None:
    """A product or sum put off, or done to spectra, or None where it is neither."""
    if len(values) != 2:
        return None
    a, b = values
    if primitive is lax.mul_p:
        return _times(a, b) or _times(b, a)
    if primitive not in (lax.add_p, lax.sub_p):
        return None
    if not (isinstance(a, Convolved) and isinstance(b, Convolved)):
        return None
    if a.shape != b.shape or a.at != b.at or a.axes != b.axes:
        return None
    return dataclasses.replace(a, spectra=primitive.bind(a.spectra, b.spectra))


def _times(value: Any, by: Any) -> AbstractKept | None:
    """`value` times what varies along some of its axes only; None if it is not that."""
    value = value if isinstance(value, Convolved) else settled(value)
    if not isinstance(value, (Convolved, Turned)) or isinstance(by, (Convolved, Turned, Scaled)):
        return None
    of = type_of(by)
    alike = of.dtype == value.dtype and len(of.shape) == len(value.shape)
    if not alike or jnp.broadcast_shapes(of.shape, value.shape) != value.shape:
        return None
    by = stretched(by, value.shape)
    if isinstance(value, Convolved) and by.varies <= {value.at.channels, value.at.rows}:
        return dataclasses.replace(value, spectra=_scaled(value.spectra, by, value.at))
    value = value.settled
    return Scaled(value, by) if len(by.varies) < len(value.shape) else None


def _scaled(spectra: jax.Array, by: Spread, at: Places) -> jax.Array:
    """Spectra (waves, 2 · channels, rows) of a value times what is the same at all positions."""
    apart = spectra.reshape(spectra.shape[0], 2, -1, spectra.shape[2])
    return (apart * lax.squeeze(by.factor(at.order), range(len(at.along)))).reshape(spectra.shape)


def spectra_of(x: Any, axes: Axes, at: Places) -> jax.Array:
    """The spectra (waves, 2 · channels, rows) of a convolution's inputs `x`."""
    if isinstance(x, Scaled) and x.by.varies <= {at.channels, at.rows}:
        return _scaled(spectra_of(x.value, axes, at), x.by, at)
    x = settled(x)
    known = x.spectra if isinstance(x, Turned) else {}
    if (axes, at) not in known:
        array = turned_to(x, at.order)
        known[axes, at] = spectra.of_inputs(array[:, None] if len(at.along) == 1 else array, axes)
    return known[axes, at]
