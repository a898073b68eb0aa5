"""A convolution's spectra: one axis at a time, with numpy, for every small shape."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from jax import lax

from posterity.cpu.conv import spectra
from posterity.cpu.conv.tiles import MOST_PLACES, Axis, cost_of_patches

AXES = [
    axis
    for size, kernel, stride, before, after, dilation in itertools.product(
        (1, 4, 5), (1, 2, 3, 5), (1, 2), (-1, 0, 1, 4), (-1, 0, 3), (1, 2)
    )
    if (axis := Axis(size, kernel, stride, before, after, dilation)).out > 0
]


def by_definition(x: np.ndarray, w: np.ndarray, axis: Axis) -> np.ndarray:
    """Output o is the sum of w[k] x[o stride + k dilation - before], where there is such an x."""
    y = np.zeros(axis.out)
    for o, k in itertools.product(range(axis.out), range(axis.kernel)):
        place = o * axis.stride + k * axis.dilation - axis.before
        y[o] += w[k] * x[place] if 0 <= place < axis.size else 0.0
    return y


def by_waves(x: np.ndarray, w: np.ndarray, axis: Axis, period: int) -> np.ndarray:
    """All waves of the period, as complex numbers."""
    to = {
        part: spectra.phases(period, spectra.points(axis, part), period)
        for part in ("inputs", "kernel", "outputs")
    }
    return np.real((to["inputs"] @ x) * (to["kernel"] @ w) @ to["outputs"].conj()) / period


def test_the_period_is_long_enough_for_every_axis() -> None:
    assert len(AXES) > 300
    rng = np.random.default_rng(0)
    for axis in AXES:
        x, w = rng.normal(size=axis.size), rng.normal(size=axis.kernel)
        waves = by_waves(x, w, axis, spectra.period_of(axis))
        np.testing.assert_allclose(waves, by_definition(x, w, axis), atol=1e-12, err_msg=str(axis))


def test_the_period_is_no_longer_than_needed() -> None:
    """Of unpadded and padded convolutions, one wave less gives other numbers."""
    rng = np.random.default_rng(0)
    for axis in (Axis(7, 5, 1, 2, 2, 1), Axis(7, 5, 1, 0, 0, 1), Axis(8, 3, 1, 1, 1, 2)):
        x, w = rng.normal(size=axis.size), rng.normal(size=axis.kernel)
        waves = by_waves(x, w, axis, spectra.period_of(axis) - 1)
        assert np.abs(waves - by_definition(x, w, axis)).max() > 0.1


@pytest.mark.parametrize("period", [1, 2, 5, 6])
def test_the_way_back_is_the_inverse(period: int) -> None:
    """Both axes of a kernel of one element that is one, odd and even periods."""
    axes = (Axis(period, 1, 1, 0, 0, 1), Axis(7 - period, 1, 1, 0, 0, 1))
    v = jax.random.normal(jax.random.key(0), (period, 7 - period, 2, 3))
    made = spectra.outputs(spectra.of_inputs(v, axes), axes)
    np.testing.assert_allclose(made, v, atol=1e-6)


def test_spectra_serve_double_precision() -> None:
    axes = (Axis(6, 3, 1, 1, 1, 1), Axis(5, 3, 1, 1, 1, 1))
    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(0), (6, 5, 2, 4))
        w = jax.random.normal(jax.random.key(1), (3, 3, 3, 2))
        made = spectra.product(spectra.of_kernel(w, axes), spectra.of_inputs(x, axes))
        theirs = lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("HWCN", "HWOI", "HWCN")
        )
        assert theirs.dtype == made.dtype == np.float64
        np.testing.assert_allclose(spectra.outputs(made, axes), theirs, atol=1e-13)


def layer(size: int, kernel: int, channels: int, outputs: int, rows: int = 128) -> bool:
    """Whether spectra are said to cost less."""
    axis = Axis(size, kernel, 1, kernel // 2, kernel // 2, 1)
    ours = spectra.cost((axis, axis), channels, outputs, rows)
    return ours < cost_of_patches((axis, axis), channels, outputs)


def test_costs_choose_as_measured() -> None:
    """`python benchmarks/convolutions.py` has the times."""
    assert layer(7, 5, 16, 120)
    assert layer(14, 5, 6, 16)
    assert layer(8, 3, 64, 64)
    assert layer(16, 3, 32, 32)
    assert not layer(28, 5, 1, 6)
    assert not layer(28, 3, 1, 32)
    assert not layer(8, 1, 64, 64)
    # The transform of the kernel does not pay for one row.
    assert not layer(7, 5, 16, 120, rows=1)
    # A kernel of more places than patches can have.
    assert layer(16, int(MOST_PLACES**0.5) + 2, 2, 2)


def test_long_series_are_left_to_patches() -> None:
    """Matrices of a million columns are not even thought of."""
    line, none = Axis(1_000_000, 9, 1, 4, 4, 1), Axis(1, 1, 1, 0, 0, 1)
    assert spectra.cost((line, none), 64, 64, 128) == np.inf
