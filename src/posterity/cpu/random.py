"""Random numbers that cost less inside a compiled loop on a CPU."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posterity.cpu.kernels import kernels_on

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def normal(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """`jax.random.normal`, the same to the last bit, with the rounds of its generator unrolled.

    On a CPU JAX compiles threefry as a loop of five rounds, to compile fast. Inside the loop over
    steps that is half the time of a small net's step (`python benchmarks/run.py moons-sgmcmc`); a
    half million numbers take 2.3 times as long, and by the `rbg` generator seven times.

    Args:
        key: of JAX's default generator; for any other, and for float64, JAX's own function serves.
        shape, dtype: of the noise.

    >>> import jax, jax.numpy as jnp
    >>> key = jax.random.key(3)
    >>> bool(jnp.all(normal(key, (5, 2), jnp.float32) == jax.random.normal(key, (5, 2))))
    True

    Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    if dtype != np.float32 or not _unrolls(key, shape):
        return jax.random.normal(key, shape, dtype)
    bits = random_bits(key, shape)
    below_one = jax.lax.bitcast_convert_type((bits >> 9) | jnp.uint32(0x3F800000), jnp.float32) - 1
    least = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(least, below_one * (np.float32(1) - least) + least)
    return np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform)


def random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """`jax.random.bits`, 32 of them each, the same and unrolled likewise.

    Args:
        key: as in `normal`. shape: of the words.
    """
    if not _unrolls(key, shape):
        return jax.random.bits(key, shape, jnp.uint32)
    return _enciphered(jax.random.key_data(key), math.prod(shape)).reshape(shape)


def _unrolls(key: jax.Array, shape: tuple[int, ...]) -> bool:
    """Whether the numbers would be those of JAX, and kernels are on."""
    ours = str(jax.random.key_impl(key)) == "threefry2x32"
    return (
        kernels_on()
        and ours
        and jax.config.values["jax_threefry_partitionable"]
        and math.prod(shape) < 2**32
    )


def _enciphered(key: jax.Array, count: int) -> jax.Array:
    """The numbers 0 … count − 1, enciphered: 32 random bits each."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(PARITY))
    high = jnp.zeros(count, jnp.uint32) + schedule[0]
    low = jnp.arange(count, dtype=jnp.uint32) + schedule[1]
    for number in range(5):
        for turn in ROTATIONS[number % 2]:
            high = high + low
            low = high ^ ((low << turn) | (low >> (32 - turn)))
        high = high + schedule[(number + 1) % 3]
        low = low + schedule[(number + 2) % 3] + jnp.uint32(number + 1)
    return high ^ low
