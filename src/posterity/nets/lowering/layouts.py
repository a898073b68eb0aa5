"""Values whose axes are kept in another order, or not yet broadcast.

So nothing is copied between a convolution and what follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from posterity.nets.lowering.primitives import CONVOLVED, per_channel


class Turned(NamedTuple):
    """A value kept with its axes in another order, `array = value.transpose(order)`."""

    array: jax.Array
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's."""
        return tuple(self.array.shape[self.order.index(axis)] for axis in range(len(self.order)))

    @property
    def plain(self) -> jax.Array:
        """The value."""
        return self.array.transpose(np.argsort(self.order))

    def turned(self, order: tuple[int, ...]) -> jax.Array:
        """The value with its axes in this order."""
        return self.array if order == self.order else self.plain.transpose(order)


class Spread(NamedTuple):
    """A value not yet broadcast: axis i of `small` is axis `axes[i]` of `shape`."""

    small: jax.Array
    axes: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def plain(self) -> jax.Array:
        """The value."""
        return self.turned(tuple(range(len(self.shape))))

    def turned(self, order: tuple[int, ...]) -> jax.Array:
        """The value with its axes in this order."""
        ones = [i for i, size in enumerate(self.small.shape) if size == 1]
        small = lax.squeeze(self.small, ones)
        places = [order.index(axis) for i, axis in enumerate(self.axes) if i not in ones]
        small = small.transpose(np.argsort(places))
        shape = tuple(self.shape[axis] for axis in order)
        if places == [0] and small.dtype in CONVOLVED:
            return per_channel.bind(small, shape=shape)
        return lax.broadcast_in_dim(small, shape, sorted(places))


def plain_of(value: Any) -> Any:
    """The value as an array."""
    return value.plain if isinstance(value, (Turned, Spread)) else value


def type_of(value: Any) -> jax.ShapeDtypeStruct:
    """Its shape and dtype, without computing it."""
    if isinstance(value, Turned):
        return jax.ShapeDtypeStruct(value.shape, value.array.dtype)
    if isinstance(value, Spread):
        return jax.ShapeDtypeStruct(value.shape, value.small.dtype)
    return jax.ShapeDtypeStruct(jnp.shape(value), jnp.result_type(value))


def turned_to(value: Any, order: tuple[int, ...]) -> Any:
    """The value with its axes in this order."""
    lazy = isinstance(value, (Turned, Spread))
    return value.turned(order) if lazy else value.transpose(order)


def elementwise(primitive: Any, values: Sequence[Any], params: dict[str, Any]) -> Turned | None:
    """An elementwise operation in the order in which its operands are kept.

    So a bias is added where the convolution left its outputs, and its gradient is a sum over them.
    """
    order = next((v.order for v in values if isinstance(v, Turned)), None)
    if order is None:
        return None
    shapes = [type_of(value).shape for value in values]
    shape = jnp.broadcast_shapes(*shapes)
    turned = [
        _stretched(value, shape).turned(order) if own else value
        for value, own in zip(values, shapes)
    ]
    return Turned(primitive.bind(*turned, **params), order)


def _stretched(value: Any, shape: tuple[int, ...]) -> Turned | Spread:
    """`value` with its axes of size one broadcast to `shape`."""
    if isinstance(value, Spread):
        return Spread(value.small, value.axes, shape)
    if isinstance(value, Turned) and value.shape == shape:
        return value
    return Spread(plain_of(value), tuple(range(len(shape))), shape)


ELEMENTWISE = (lax.add_p, lax.sub_p, lax.mul_p, lax.div_p, lax.max_p, lax.min_p)
