"""Convolution and pooling as loops over pixels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def random_params(net: Any, seed: int = 0) -> Any:
    """Parameters that are all different from zero, one and each other."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: jnp.asarray(rng.normal(0.1, 0.5, a.shape), jnp.float32),
        jax.eval_shape(net.init, jax.random.key(0)),
    )


def conv(x: np.ndarray, weight: np.ndarray, stride: int = 1) -> np.ndarray:
    """Images (rows, height, width, in) with a kernel, zeros around; odd zeros come last."""
    padded, (height, width) = _pad(x, weight.shape[:2], stride, 0.0)
    out = np.empty((len(x), height, width, weight.shape[-1]))
    for i in range(height):
        for j in range(width):
            rows, columns = (
                slice(k * stride, k * stride + n) for k, n in zip((i, j), weight.shape)
            )
            out[:, i, j] = np.tensordot(padded[:, rows, columns], weight, 3)
    return out


def pool(x: np.ndarray, window: int, stride: int | None = None) -> np.ndarray:
    """The largest value of every window."""
    step = stride or window
    padded, (height, width) = _pad(x, (window, window), step, -np.inf)
    out = np.empty((len(x), height, width, x.shape[-1]))
    for i in range(height):
        for j in range(width):
            rows, columns = (slice(k * step, k * step + window) for k in (i, j))
            out[:, i, j] = padded[:, rows, columns].max((1, 2))
    return out


def _pad(x: np.ndarray, window: Any, stride: int, value: float) -> tuple[np.ndarray, list[int]]:
    out = [-(-side // stride) for side in x.shape[1:3]]
    around = [(0, 0)]
    for n, side, size in zip(out, x.shape[1:3], window):
        missing = max((n - 1) * stride + size - side, 0)
        around.append((missing // 2, missing - missing // 2))
    return np.pad(x, [*around, (0, 0)], constant_values=value), out
