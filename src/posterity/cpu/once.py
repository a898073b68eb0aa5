"""Noise of variational inference, and other values that XLA should compute once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from posterity.cpu.random import normal, random_bits

FEW = 1_000  # parameters up to which a step pays more for `run_once` than it gains


def once_marker(at: jax.Array, size: int) -> jax.Array | None:
    """The number one, made of something that is known only when it runs; None for small nets.

    Args:
        at: the steps made so far. size: how many parameters there are.
    """
    return (at >= 0).astype(jnp.int32) if size > FEW else None


def quick_key(key: jax.Array) -> jax.Array:
    """A key of JAX's `rbg` generator, whose numbers cost little where they are few.

    Under `vmap` over keys, rbg draws from the first key only: draw with `by_key`. The numbers
    differ between platforms.

    >>> bool(jax.random.normal(quick_key(jax.random.key(0)), (3,)).std() > 0)
    True
    """
    data = jax.random.key_data(key)
    return jax.random.wrap_key_data(jnp.concatenate([data, data]), impl="rbg")


def by_key(draw: Callable[[jax.Array], jax.Array], key: jax.Array) -> jax.Array:
    """`draw` with the quick key of `key`; under `vmap` with that of every key, one after the other.

    A chain so has the same noise whichever others run beside it.

    >>> keys = jax.random.split(jax.random.key(0))
    >>> two = jax.vmap(lambda key: by_key(lambda quick: jax.random.normal(quick), key))(keys)
    >>> bool(two[0] == two[1])
    False
    """

    @jax.custom_batching.custom_vmap
    def drawn(data: jax.Array) -> jax.Array:
        return draw(quick_key(jax.random.wrap_key_data(data)))

    @drawn.def_vmap
    def _(size: int, batched: list[bool], data: jax.Array) -> tuple[jax.Array, bool]:
        return jax.lax.map(drawn, data), True

    return drawn(jax.random.key_data(key))


def normals(key: jax.Array, shape: tuple[int, ...], dtype: Any, once: Any) -> jax.Array:
    """Standard normal noise: of a small net by `rbg`, which compiles faster, else by threefry.

    Args:
        key: of the step. shape, dtype: of the noise. once: of `once_marker`.
    """
    if once is None:
        return by_key(lambda quick: jax.random.normal(quick, shape, dtype), key)
    key = jax.random.fold_in(key, 0)  # a key that others are folded from is not drawn from
    return run_once(lambda key: normal(key, shape, dtype), once, key)


def words(key: jax.Array, shape: tuple[int, ...], once: Any) -> jax.Array:
    """Random words of 32 bits, likewise."""
    if once is None:
        return by_key(lambda quick: jax.random.bits(quick, shape, jnp.uint32), key)
    return run_once(lambda key: random_bits(key, shape), once, key)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def run_once(function: Callable[..., Any], once: jax.Array | None, *args: Any) -> Any:
    """`function(*args)`, computed here and nowhere else: in a branch, into which XLA does not fuse.

    On CPU, XLA computes cheap-looking values again wherever they are used. A bias θ = mean + sd ε
    that is added at every pixel is then drawn, through the inverse error function, at every pixel.
    `optimization_barrier` does not prevent it.

    Args:
        function: of `args`, of arrays; it closes over nothing that is traced.
        once: of `once_marker`; None to leave XLA free.

    >>> import jax.numpy as jnp
    >>> float(run_once(jnp.exp, jnp.ones((), jnp.int32), jnp.zeros(())))
    1.0
    """
    if once is None:
        return function(*args)

    def nothing(*args: Any) -> Any:
        shapes = jax.eval_shape(function, *args)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    return jax.lax.cond(once == 1, function, nothing, *args)


@run_once.defjvp
def _(function: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    return run_once(function, *primals), jax.jvp(function, primals[1:], tangents[1:])[1]
