"""Random arrays: weights that a network runs on unchanged, by Quax.

A weight with independent normal elements is (mean, sd, deviation). Where it meets an example, the
product with its noise is drawn in a cheaper or less noisy way than by drawing the weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import quax
from jax import lax

SMALLEST_VARIANCE = 1e-30  # of a product, below which the root's gradient is no number


class Local(eqx.Module):
    """Local reparameterisation: the product itself is drawn.

        x · W = x · mean + sqrt(x² · sd²) z,   z ~ N(0, 1) of each output

    Right where the weight meets one position of the example, once: then the outputs are
    independent normals. Kingma, Salimans & Welling 2015.

    Args:
        z: standard normal noise of the product's shape.
    """

    z: jax.Array

    def product(self, bind: Callable, x: jax.Array, weight: Random) -> jax.Array:
        """The product of `x` with the random weight; `bind(x, array)` is that with an array."""
        variance = jnp.maximum(bind(x * x, weight.sd * weight.sd), SMALLEST_VARIANCE)
        return bind(x, weight.mean) + jnp.sqrt(variance) * self.z


class Flipout(eqx.Module):
    """Flipout: the one deviation that all examples share, its signs flipped for each.

        x · W = x · mean + r (x s · deviation),   r, s = ±1 at random

    An example's weight is mean + deviation ∘ s rᵀ, which is distributed as the weight is, is one
    value wherever the example meets it, and is uncorrelated between examples. Wen et al. 2018.

    Args:
        s, r: random signs that multiply the other operand and the product. s is None where it would
            be one sign: s r is then distributed as r is, and one look at x serves both products.
    """

    s: jax.Array | None
    r: jax.Array

    def product(self, bind: Callable, x: jax.Array, weight: Random) -> jax.Array:
        """The product of `x` with the random weight; `bind(x, array)` is that with an array."""
        flipped = x if self.s is None else x * self.s
        return bind(x, weight.mean) + self.r * bind(flipped, weight.deviation)


class Random(quax.ArrayValue):
    """A weight of independent normal elements, as one example sees it.

    Args:
        mean, sd: of every element; `sd` may be negative after scaling, as only its square counts.
        deviation: the draw that all examples share, minus the mean.
        noise: what is drawn per example, and how it enters a product.
    """

    mean: jax.Array
    sd: jax.Array
    deviation: jax.Array
    noise: Local | Flipout

    def aval(self) -> Any:
        """Shape and dtype of the weight."""
        return jax.core.ShapedArray(self.mean.shape, self.mean.dtype)

    def materialise(self) -> jax.Array:
        """The shared draw. `uses.py` sees to it that weights that need it are never wrapped."""
        return self.mean + self.deviation

    def viewed(self, view: Callable[[jax.Array], jax.Array]) -> Random:
        """The weight through a linear map that keeps its elements apart."""
        return Random(view(self.mean), view(self.sd), view(self.deviation), self.noise)

    def shifted(self, shift: Callable[[jax.Array], jax.Array]) -> Random:
        """The weight with known numbers added: only its mean moves."""
        return Random(shift(self.mean), self.sd, self.deviation, self.noise)


Array = jax.Array


def _register_view(primitive: Any) -> None:
    @quax.register(primitive)
    def _(weight: Random, **params: Any) -> Any:
        return weight.viewed(lambda array: primitive.bind(array, **params))


for _primitive in (
    lax.transpose_p,
    lax.reshape_p,
    lax.squeeze_p,
    lax.convert_element_type_p,
    lax.broadcast_in_dim_p,
    lax.copy_p,
    lax.neg_p,
):
    _register_view(_primitive)


@quax.register(lax.mul_p)
def _(weight: Random, known: Array, **params: Any) -> Any:
    return weight.viewed(lambda array: lax.mul_p.bind(array, known, **params))


@quax.register(lax.mul_p)
def _(known: Array, weight: Random, **params: Any) -> Any:
    return weight.viewed(lambda array: lax.mul_p.bind(known, array, **params))


@quax.register(lax.div_p)
def _(weight: Random, known: Array, **params: Any) -> Any:
    return weight.viewed(lambda array: lax.div_p.bind(array, known, **params))


@quax.register(lax.add_p)
def _(weight: Random, known: Array, **params: Any) -> Any:
    return weight.shifted(lambda mean: lax.add_p.bind(mean, known, **params))


@quax.register(lax.add_p)
def _(known: Array, weight: Random, **params: Any) -> Any:
    return weight.shifted(lambda mean: lax.add_p.bind(known, mean, **params))


@quax.register(lax.sub_p)
def _(weight: Random, known: Array, **params: Any) -> Any:
    return weight.shifted(lambda mean: lax.sub_p.bind(mean, known, **params))


@quax.register(lax.sub_p)
def _(known: Array, weight: Random, **params: Any) -> Any:
    flipped = weight.viewed(lambda array: lax.neg_p.bind(array))
    return flipped.shifted(lambda mean: lax.add_p.bind(known, mean))


@quax.register(lax.dot_general_p)
def _(x: Array, weight: Random, **params: Any) -> Any:
    return weight.noise.product(lambda a, w: lax.dot_general_p.bind(a, w, **params), x, weight)


@quax.register(lax.dot_general_p)
def _(weight: Random, x: Array, **params: Any) -> Any:
    return weight.noise.product(lambda a, w: lax.dot_general_p.bind(w, a, **params), x, weight)


@quax.register(lax.conv_general_dilated_p)
def _(x: Array, kernel: Random, **params: Any) -> Any:
    return kernel.noise.product(
        lambda a, w: lax.conv_general_dilated_p.bind(a, w, **params), x, kernel
    )
