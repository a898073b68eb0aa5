"""Random numbers for variational inference: many, in every step, of one chain."""

from __future__ import annotations

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
