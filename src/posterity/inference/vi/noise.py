"""Random numbers for variational inference: many, in every step, of one chain."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def quick_key(key: jax.Array) -> jax.Array:
    """A key of JAX's `rbg` generator, whose numbers cost less than threefry's.

    Noise is most of what a step of a small net costs. Under `vmap` over keys, rbg draws from the
    first key only: it is safe here because a variational fit has one chain, and its draws are one
    call's rows. The numbers differ between platforms.

    >>> bool(jax.random.normal(quick_key(jax.random.key(0)), (3,)).std() > 0)
    True
    """
    data = jax.random.key_data(key)
    return jax.random.wrap_key_data(jnp.concatenate([data, data]), impl="rbg")


@jax.custom_jvp
def held(x: jax.Array, once: jax.Array) -> jax.Array:
    """`x`, computed here and nowhere else: a loop of one round, which XLA does not fuse across.

    On CPU, XLA computes cheap-looking values again wherever they are used. A bias θ = mean + sd ε
    that is added at every pixel is then drawn, through the inverse error function, at every pixel.
    `optimization_barrier` does not prevent it.

    Args:
        x: the array. once: the number one, as something that is known only when it runs.
    """
    return jax.lax.fori_loop(0, once, lambda _, old: x, jnp.zeros_like(x))


@held.defjvp
def _(primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, Any]) -> tuple[Any, Any]:
    return held(*primals), tangents[0]
