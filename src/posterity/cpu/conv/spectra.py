"""Convolutions as products of spectra: one small product for each wave.

Inputs (H, W, ·), kernel (h, w, ·) and outputs (H', W', ·) become spectra (waves, 2, ·) of real and
imaginary parts, in which a convolution over positions is a product of its own for each wave:

    ŷ(f) = ŵ(f) x̂(f),    v̂(f) = Σₚ v(p) exp(−2πi f·p / period)

An image of 7×7 and a kernel of 5×5 need 45 waves, and 180 real products of channels where the
convolution has 1,225. Transforms are products with fixed matrices, first along H, then along W:
images small enough to gain by this are too small for a fast Fourier transform to gain by its
recursion.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from posterity.cpu.conv.tiles import Axes, Axis

Part = Literal["inputs", "kernel", "outputs"]
# Writing one number of a spectrum takes as long as this many multiplications in a product: what
# puts patches and spectra into the right order for the layers of `benchmarks/convolutions.py`.
WRITE_COST = 15
LONGEST = 256  # periods: matrices are as large as their squares


def period_of(axis: Axis) -> int:
    """The shortest period in which no sum that is not wanted falls on an output."""
    top = (axis.out - 1) * axis.stride
    return max(axis.size + axis.before, top + axis.reach - axis.before, top + 1)


def waves_of(axes: Axes) -> int:
    """How many waves: along the first axis half of them, as of real numbers the rest is known."""
    first, second = map(period_of, axes)
    return (first // 2 + 1) * second


def cost(axes: Axes, channels: int, outputs: int, rows: int) -> float:
    """What a convolution by spectra costs, in multiplications for each row of the batch."""
    first, second = map(period_of, axes)
    if max(first, second) > LONGEST:
        return math.inf
    half, waves = first // 2 + 1, waves_of(axes)

    def transform(part: Part) -> float:
        height, width = (_count(axis, part) for axis in axes)
        products = 2 * half * height * width + half * (2 * second) * (2 * width)
        return products + WRITE_COST * (2 * half * width + 2 * waves)

    many = channels * outputs
    kernel = many * (transform("kernel") + 4 * WRITE_COST * waves) / rows
    meeting = waves * (4 * many + 2 * outputs * WRITE_COST)
    return channels * transform("inputs") + outputs * transform("outputs") + meeting + kernel


def _count(axis: Axis, part: Part) -> int:
    """How many positions a part of the convolution has."""
    return {"inputs": axis.size, "kernel": axis.kernel, "outputs": axis.out}[part]


def points(axis: Axis, part: Part) -> np.ndarray:
    """The positions at which a part of the convolution is."""
    if part == "kernel":
        return axis.before - axis.dilation * np.arange(axis.kernel)
    return np.arange(_count(axis, part)) * (axis.stride if part == "outputs" else 1)


def phases(count: int, points: np.ndarray, period: int) -> np.ndarray:
    """exp(−2πi f p / period), (count, points); whole turns are left out before rounding."""
    return np.exp(-2j * np.pi * (np.outer(np.arange(count), points) % period) / period)


@functools.cache
def _matrices(axes: Axes, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Real matrices of both steps, (half the waves · 2, H) and (waves · 2, 2 · W).

    Those of the outputs are weighted such that their transposes are the way back.
    """
    first, second = axes
    period = period_of(first)
    half = period // 2 + 1
    along = phases(half, points(first, part), period)
    if part == "outputs":
        twice = [1 if f in (0, period - f) else 2 for f in range(half)]
        along *= np.asarray(twice)[:, None] / (period * period_of(second))
    across = phases(period_of(second), points(second, part), period_of(second))
    real, imaginary = across.real, across.imag
    turn = np.stack([np.stack([real, -imaginary], 1), np.stack([imaginary, real], 1)], 1)
    both = np.stack([along.real, along.imag], 1)
    return both.reshape(2 * half, -1), turn.reshape(2 * len(across), -1)


# v (H, W, M) → (waves, 2, M), linear; `back` is the transpose of that, not its inverse.
spectrum = core.Primitive("spectrum")


def _spectrum(v: jax.Array, *, axes: Axes, part: Part, back: bool) -> jax.Array:
    along, across = _matrices(axes, part)
    half, width, many = len(along) // 2, across.shape[1] // 2, v.shape[-1]

    def each(matrix: np.ndarray, v: jax.Array) -> jax.Array:
        stack = jnp.broadcast_to(jnp.asarray(matrix, v.dtype), (half, *matrix.shape))
        return lax.dot_general(stack, v, (((2,), (1,)), ((0,), (0,))))

    def one(matrix: np.ndarray, v: jax.Array) -> jax.Array:
        return jnp.asarray(matrix, v.dtype) @ v.reshape(matrix.shape[1], -1)

    if back:
        return one(along.T, each(across.T, v.reshape(half, -1, many))).reshape(-1, width, many)
    return each(across, one(along, v).reshape(half, -1, many)).reshape(-1, 2, many)


def _shape(v: Any, *, axes: Axes, part: Part, back: bool) -> Any:
    points = tuple(_count(axis, part) for axis in axes)
    shape = points if back else (waves_of(axes), 2)
    return jax.core.ShapedArray((*shape, v.shape[-1]), v.dtype)


def _transposed(t: Any, v: Any, *, axes: Axes, part: Part, back: bool) -> list[Any]:
    if isinstance(t, ad.Zero):
        return [ad.Zero(v.aval)]
    return [spectrum.bind(t, axes=axes, part=part, back=not back)]


def _batched(values: Any, mapped: Any, **how: Any) -> tuple[jax.Array, int]:
    v = jnp.moveaxis(values[0], mapped[0], 2)
    made = spectrum.bind(v.reshape(*v.shape[:2], -1), **how)
    return made.reshape(*made.shape[:2], *v.shape[2:]), 2


_STATIC = ("axes", "part", "back")
spectrum.def_impl(jax.jit(_spectrum, static_argnames=_STATIC))
spectrum.def_abstract_eval(_shape)
mlir.register_lowering(spectrum, mlir.lower_fun(_spectrum, multiple_results=False))
ad.deflinear2(spectrum, _transposed)
batching.primitive_batchers[spectrum] = _batched


def of_inputs(x: jax.Array, axes: Axes) -> jax.Array:
    """Inputs (H, W, C, N) as spectra (waves, 2 · C, N)."""
    return _spectra(x, axes, "inputs")


def of_kernel(w: jax.Array, axes: Axes) -> jax.Array:
    """A kernel (h, w, K, C) as matrices (waves, 2 · K, 2 · C) that multiply spectra."""
    real, imaginary = jnp.split(_spectra(w, axes, "kernel"), 2, axis=1)
    rows = [
        jnp.concatenate([real, -imaginary], 2),
        jnp.concatenate([imaginary, real], 2),
    ]
    return jnp.concatenate(rows, 1)


def _spectra(v: jax.Array, axes: Axes, part: Part) -> jax.Array:
    height, width, first, second = v.shape
    made = spectrum.bind(v.reshape(height, width, -1), axes=axes, part=part, back=False)
    return made.reshape(-1, 2 * first, second)


def product(w: jax.Array, x: jax.Array) -> jax.Array:
    """Spectra of the outputs, (waves, 2 · K, N), of those of the kernel and of the inputs."""
    return lax.dot_general(w, x, (((2,), (1,)), ((0,), (0,))))


def outputs(y: jax.Array, axes: Axes) -> jax.Array:
    """Spectra (waves, 2 · K, N) as outputs (H', W', K, N)."""
    _, channels, rows = y.shape
    made = spectrum.bind(
        y.reshape(-1, 2, channels // 2 * rows), axes=axes, part="outputs", back=True
    )
    return made.reshape(*made.shape[:2], channels // 2, rows)
