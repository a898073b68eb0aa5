"""What the nets of images and sequences are made of: plain functions, without weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from posterity.checks import MOST_NUMBERS, Settings
from posterity.dtypes import float_dtype

Shape = tuple[int, ...]

# Functions of JAX's that take every number by itself.
ELEMENTWISE = (
    *("relu", "relu6", "sigmoid", "softplus", "soft_sign", "silu", "swish", "elu", "selu", "celu"),
    *("gelu", "leaky_relu", "hard_tanh", "hard_sigmoid", "hard_silu", "hard_swish", "mish"),
    *("log_sigmoid", "squareplus", "identity", "sparse_plus", "sparse_sigmoid", "tanh"),
)
SMOOTH = ("tanh", "sin", "cos", "abs", "exp", "square", "arctan", "arcsinh", "sinh")

BEFORE_ACTIVATION, LINEAR = 2.0, 1.0  # He et al. 2015; LeCun et al. 1998


def random_weights(
    key: jax.Array, shapes: Sequence[Shape], gains: Sequence[float]
) -> list[jax.Array]:
    """Weights from N(0, gain / fan-in), from one call of the generator.

    Args:
        key: a JAX key.
        shapes: of the weights, the output axis last; fan-in is the product of the other axes.
        gains: one per weight.
    """
    sizes = [int(np.prod(shape)) for shape in shapes]
    # One call for all: each call of the generator costs a tenth of a second to compile.
    noise = jax.random.normal(key, (sum(sizes),), float_dtype())
    pieces = jnp.split(noise, np.cumsum(sizes)[:-1])
    return [
        (gain / np.prod(shape[:-1])) ** 0.5 * piece.reshape(shape)
        for piece, shape, gain in zip(pieces, shapes, gains)
    ]


def elementwise(activation: Callable[[jax.Array], jax.Array]) -> bool:
    """Whether a function is one of JAX's that take every number by itself.

    >>> elementwise(jax.nn.relu), elementwise(jnp.tanh), elementwise(jax.nn.softmax)
    (True, True, False)
    """
    known = [
        *(getattr(jax.nn, name, None) for name in ELEMENTWISE),
        *(getattr(jnp, name, None) for name in SMOOTH),
    ]
    return any(activation is one for one in known)


def zeros(size: int) -> jax.Array:
    """A vector of zeros in the library's precision."""
    return jnp.zeros(size, float_dtype())


def dense(layer: dict[str, Any], x: jax.Array) -> jax.Array:
    """x W + b: (rows, out) from (rows, in)."""
    return x @ layer["weight"] + layer["bias"]


def conv(x: jax.Array, weight: jax.Array, stride: int = 1) -> jax.Array:
    """Convolution of images (rows, height, width, in) with a kernel (height, width, in, out).

    The borders are padded with zeros so that stride 1 keeps height and width.
    """
    return lax.conv_general_dilated(
        x, weight, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def max_pool(x: jax.Array, window: int, stride: int | None = None) -> jax.Array:
    """The largest value in every window; half windows at the border count."""
    if window == 1:
        return x
    step = stride or window
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, window, window, 1), (1, step, step, 1), "SAME"
    )


def as_images(x: jax.Array, in_shape: Shape, net: str) -> jax.Array:
    """Rows of images with a channel axis; a missing one is of one channel.

    Raises:
        ValueError: images of another shape.
    """
    if x.shape[1:] == in_shape[:2] and in_shape[2] == 1:
        return x[..., None]
    if x.shape[1:] != in_shape:
        raise ValueError(
            f"{net}: its images are (height, width, channels) = {in_shape}, not {x.shape[1:]}."
        )
    return x


def check_size(net: str, shapes: Sequence[Shape]) -> None:
    """Refuse weights of more numbers than θ can have.

    Raises:
        ValueError: they have.
    """
    wrong = Settings(net)
    count = sum(math.prod(shape) for shape in shapes)
    if count > MOST_NUMBERS:
        wrong.say(
            f"it would have {count:,} weights, {count * 4e-9:,.0f} GB in single precision; at most "
            f"{MOST_NUMBERS:,} can be numbered"
        )
    wrong.refuse()
