"""Values whose axes are kept in another order, or not yet broadcast.

So nothing is copied between a convolution and what follows it.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from posterity.cpu.conv.primitives import CONVOLVED, per_channel


class Places(NamedTuple):
    """Which axes of a value are its rows, its channels and its positions."""

    rows: int
    channels: int
    along: tuple[int, ...]

    @property
    def order(self) -> tuple[int, ...]:
        """Positions, channels, rows."""
        return (*self.along, self.channels, self.rows)


class AbstractKept(ABC):
    """A value that is not kept as an array of its own."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """That of the value, whatever the order it is kept in."""

    @property
    @abstractmethod
    def dtype(self) -> Any:
        """That of the value, whatever the order it is kept in."""

    @abstractmethod
    def turned(self, order: tuple[int, ...]) -> jax.Array:
        """The value with its axes in this order."""

    @property
    def plain(self) -> jax.Array:
        """The value in its own order of axes."""
        return self.turned(tuple(range(len(self.shape))))

    @property
    def settled(self) -> AbstractKept:
        """The value with what was put off done, and its axes in the order in which it is kept."""
        return self


@dataclasses.dataclass(frozen=True, eq=False)
class Turned(AbstractKept):
    """A value kept with its axes in another order, `array = value.transpose(order)`.

    `spectra` are those that convolutions have asked for so far, so that two share them.
    """

    array: jax.Array
    order: tuple[int, ...]
    spectra: dict[Any, jax.Array] = dataclasses.field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape[self.order.index(axis)] for axis in range(len(self.order)))

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def turned(self, order: tuple[int, ...]) -> jax.Array:
        """The value with its axes in this order."""
        if order == self.order:
            return self.array
        return self.array.transpose([self.order.index(axis) for axis in order])


@dataclasses.dataclass(frozen=True, eq=False)
class Merged(AbstractKept):
    """(rows, features), of which the features are kept as the axes they were merged from."""

    apart: Turned

    @property
    def shape(self) -> tuple[int, int]:
        rows, *rest = self.apart.shape
        return rows, math.prod(rest)

    @property
    def dtype(self) -> Any:
        return self.apart.dtype

    def turned(self, order: tuple[int, ...]) -> jax.Array:
        """The value with its axes in this order."""
        return self.apart.plain.reshape(self.shape).transpose(order)


@dataclasses.dataclass(frozen=True, eq=False)
class Spread(AbstractKept):
    """A value not yet broadcast: axis i of `small` is axis `axes[i]` of the `full` shape."""

    small: jax.Array
    axes: tuple[int, ...]
    full: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.full

    @property
    def dtype(self) -> Any:
        return self.small.dtype

    @property
    def varies(self) -> set[int]:
        """The axes along which it has more than one value."""
        return {axis for axis, size in zip(self.axes, self.small.shape) if size > 1}

    def factor(self, order: tuple[int, ...]) -> jax.Array:
        """With axes in this order, and of size one where the value does not vary."""
        sizes = [1] * len(self.shape)
        for axis, size in zip(self.axes, self.small.shape):
            sizes[axis] = size
        return self.small.reshape(sizes).transpose(order)

    def turned(self, order: tuple[int, ...]) -> jax.Array:
        """The value with its axes in this order."""
        ones = [i for i, size in enumerate(self.small.shape) if size == 1]
        small = lax.squeeze(self.small, ones)
        places = [order.index(axis) for i, axis in enumerate(self.axes) if i not in ones]
        small = small.transpose(np.argsort(places))
        shape = tuple(self.shape[axis] for axis in order)
        if len(places) == 1 and places[0] < len(shape) - 1 and small.dtype in CONVOLVED:
            return per_channel.bind(small, shape=shape, axis=places[0])
        return lax.broadcast_in_dim(small, shape, sorted(places))


def plain_of(value: Any) -> Any:
    """The value as an array."""
    return value.plain if isinstance(value, AbstractKept) else value


def type_of(value: Any) -> jax.ShapeDtypeStruct:
    """Its shape and dtype, without computing it."""
    if isinstance(value, AbstractKept):
        return jax.ShapeDtypeStruct(value.shape, value.dtype)
    return jax.ShapeDtypeStruct(jnp.shape(value), jnp.result_type(value))


def turned_to(value: Any, order: tuple[int, ...]) -> Any:
    """The value with its axes in this order."""
    return value.turned(order) if isinstance(value, AbstractKept) else value.transpose(order)


def settled(value: Any) -> Any:
    """The value with nothing put off."""
    return value.settled if isinstance(value, AbstractKept) else value


def merging(x: Any, params: dict[str, Any]) -> Merged | None:
    """A reshape that merges all axes but the first, where these are kept in another order."""
    x = settled(x)
    if not isinstance(x, Turned) or x.order[-1] != 0 or params["dimensions"] is not None:
        return None
    merged = Merged(x)
    return merged if tuple(params["new_sizes"]) == merged.shape else None


def elementwise(primitive: Any, values: Sequence[Any], params: dict[str, Any]) -> Any:
    """An elementwise operation in the order in which its operands are kept, or None.

    So a bias is added where the convolution left its outputs, and its gradient is a sum over them.
    """
    values = [settled(value) for value in values]
    merged = next((value for value in values if isinstance(value, Merged)), None)
    if merged is not None:
        apart = [_apart(value, merged) for value in values]
        made = elementwise(primitive, apart, params)
        return None if made is None else Merged(made)
    order = next((v.order for v in values if isinstance(v, Turned)), None)
    if order is None:
        return None
    shapes = [type_of(value).shape for value in values]
    shape = jnp.broadcast_shapes(*shapes)
    turned = [
        stretched(value, shape).turned(order) if own else value
        for value, own in zip(values, shapes)
    ]
    return Turned(primitive.bind(*turned, **params), order)


def _apart(value: Any, like: Merged) -> Any:
    """An operand beside `like`, with its features, if it has any, apart as there."""
    if isinstance(value, Merged):
        return value.apart
    shape, value = type_of(value).shape, plain_of(value)
    if not shape:
        return value
    features = like.apart.shape[1:]
    return value.reshape(shape[0], *(features if shape[1] > 1 else (1,) * len(features)))


def as_operands(made: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Results of pointwise operations on `values`, in the order in which the operands are kept.

    What XLA then computes is in that order: a turn after the turn back is none.
    """
    values = [settled(value) for value in values]
    like = next((value for value in values if isinstance(value, (Turned, Merged))), None)
    if like is None or any(jnp.shape(result) != like.shape for result in made):
        return list(made)
    if isinstance(like, Turned):
        return [Turned(result.transpose(like.order), like.order) for result in made]
    shape, order = like.apart.shape, like.apart.order
    return [Merged(Turned(result.reshape(shape).transpose(order), order)) for result in made]


def stretched(value: Any, shape: tuple[int, ...]) -> Turned | Spread:
    """`value` with its axes of size one broadcast to `shape`."""
    if isinstance(value, Spread):
        return Spread(value.small, value.axes, shape)
    if isinstance(value, Turned) and value.shape == shape:
        return value
    return Spread(plain_of(value), tuple(range(len(shape))), shape)


ELEMENTWISE = (lax.add_p, lax.sub_p, lax.mul_p, lax.div_p, lax.max_p, lax.min_p)
POINTWISE = frozenset(
    (
        *ELEMENTWISE,
        *(
            lax.abs_p,
            lax.neg_p,
            lax.sign_p,
            lax.square_p,
            lax.sqrt_p,
            lax.rsqrt_p,
            lax.integer_pow_p,
        ),
        *(lax.exp_p, lax.expm1_p, lax.log_p, lax.log1p_p, lax.tanh_p, lax.logistic_p, lax.erf_p),
        *(lax.pow_p, lax.select_n_p, lax.clamp_p, lax.stop_gradient_p),
        *(lax.eq_p, lax.ne_p, lax.lt_p, lax.le_p, lax.gt_p, lax.ge_p, lax.is_finite_p),
        *(lax.convert_element_type_p, lax.copy_p),
    )
)
