"""What is put off until the next step, and Flipout, which gains by it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from cpu.conv.comparing import (
    NHWC,
    force,
    lowering_changes,
    normal,
    transforms,
)
from posterity.cpu.conv.evaluation import lowered


def flipout(
    mean: jax.Array, noise: jax.Array, x: jax.Array, s: jax.Array, r: jax.Array
) -> jax.Array:
    def conv(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC)

    return conv(x, mean) + r * conv(x * s, noise)


def test_flipout_by_hand(way: str) -> None:
    """Two convolutions per layer, signs per example, a bias added to their sum."""
    s, r = jnp.sign(normal(6, 5, 1, 1, 3)), jnp.sign(normal(7, 5, 1, 1, 4))

    def layer(mean: jax.Array, noise: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.tanh(flipout(mean, noise, jnp.tanh(x), s, r) + bias)

    assert (
        lowering_changes(
            layer, normal(0, 3, 3, 3, 4), normal(1, 3, 3, 3, 4), normal(2, 4), normal(3, 5, 6, 7, 3)
        )
        <= 1
    )


def test_flipout_shares_its_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the inputs, one of the outputs, and one of each kernel; the same for gradients."""
    force("spectra", monkeypatch)
    s, r = jnp.sign(normal(6, 5, 1, 1, 3)), jnp.sign(normal(7, 5, 1, 1, 4))

    def layers(first: jax.Array, mean: jax.Array, noise: jax.Array, x: jax.Array) -> jax.Array:
        x = lax.conv_general_dilated(x, first, (1, 1), "SAME", dimension_numbers=NHWC)
        return flipout(mean, noise, jnp.tanh(x), s, r).sum()

    sizes = (3, 3, 2, 3), (3, 3, 3, 4), (3, 3, 3, 4), (5, 6, 7, 2)
    args = [normal(i, *size) for i, size in enumerate(sizes)]
    assert transforms(jax.grad(lowered(layers), argnums=(0, 1, 2)), *args) == {
        ("inputs", "there"): 2,
        ("inputs", "back"): 1,
        ("kernel", "there"): 3,
        ("kernel", "back"): 3,
        ("outputs", "there"): 2,
        ("outputs", "back"): 2,
    }


def after(x: jax.Array, w: jax.Array, strides: tuple[int, int] = (1, 1)) -> jax.Array:
    return lax.conv_general_dilated(x, w, strides, "SAME", dimension_numbers=NHWC)


# Of x (4, 6, 5, 3), w (3, 3, 3, 3) and v (1, 3, 3, 3): what may be put off, and what may not.
PUT_OFF = {
    "met by two kernels": lambda x, w, v: (lambda h: after(h, w) + after(h, v))(after(x, w)),
    "used twice": lambda x, w, v: after(x, w) * jnp.tanh(after(x, w)) + x,
    "scaled by channel": lambda x, w, v: after(jnp.tanh(after(x, w)) * normal(5, 3), v),
    "scaled by row": lambda x, w, v: after(x, w) * normal(5, 4, 1, 1, 1) * 2.0,
    "scaled by column": lambda x, w, v: after(after(x, v) * normal(5, 1, 1, 5, 1), w),
    "scaled by place": lambda x, w, v: after(x, w) * normal(5, 4, 6, 5, 3),
    "scaled by one number": lambda x, w, v: after(x, w) * jnp.full((1, 1, 1, 1), 3.0),
    "scaled by its mean": lambda x, w, v: after(x, w) * after(x, v).mean((1, 2), keepdims=True),
    "scaled twice": lambda x, w, v: after(after(x, v) * normal(5, 4, 1, 1, 3) * normal(6, 3), w),
    "squared": lambda x, w, v: after(x, w) * after(x, w),
    "added": lambda x, w, v: after(x, w) + after(jnp.sin(x), 2 * w),
    "subtracted": lambda x, w, v: after(x, w) - after(jnp.sin(x), w[::-1]),
    "added to another kind": lambda x, w, v: after(x, w) + after(x, v),
    "added to a smaller": lambda x, w, v: after(x, w) + after(x.mean((1, 2), keepdims=True), w),
    "scaled into a larger": lambda x, w, v: after(x[:1], w) * normal(5, 4, 6, 5, 3),
    "one row": lambda x, w, v: after(after(x[:1], v) * normal(5, 1, 1, 1, 3), w),
    "turned": lambda x, w, v: jnp.transpose(after(x, w) * normal(5, 4, 1, 1, 3), (3, 0, 2, 1)),
    "strided": lambda x, w, v: after(after(x, v) * normal(5, 4, 1, 1, 3), w, (2, 2)),
}


# By patches only products are put off.
BOTH = [(name, "spectra") for name in PUT_OFF]
BOTH += [(name, "patches") for name in PUT_OFF if "scaled" in name]


@pytest.mark.parametrize(("name", "way"), BOTH, indirect=["way"])
def test_what_is_put_off_is_done(name: str, way: str) -> None:
    x, w, v = normal(0, 4, 6, 5, 3), normal(1, 3, 3, 3, 3), normal(2, 1, 3, 3, 3)
    assert lowering_changes(PUT_OFF[name], x, w, v) <= 1
