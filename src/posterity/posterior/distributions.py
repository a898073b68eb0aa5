"""Distributions over θ: what a method finds and a posterior holds."""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


class AbstractDistribution(eqx.Module):
    """A distribution over flat θ that can be drawn from by number.

    Draw i of key k is always the same θ, however many draws are asked for and in whatever blocks,
    so that predictions can be streamed and repeated exactly.
    """

    @property
    @abstractmethod
    def size(self) -> int:
        """D, the length of θ."""

    @property
    @abstractmethod
    def stored(self) -> int | None:
        """How many draws are stored, or None where draws are made on demand."""

    @abstractmethod
    def draw(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """θ (D,) of draw number `index`."""

    @abstractmethod
    def mean_and_sd(self) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation of every element of θ."""

    @abstractmethod
    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """`n` draws of θ with axes (chain, draw, D)."""


class Gaussian(AbstractDistribution):
    """Independent normals, θ ~ N(mean, diag(sd²)).

    Args:
        mean, sd: (D,).
    """

    mean: jax.Array
    sd: jax.Array

    @property
    def size(self) -> int:
        """D."""
        return self.mean.shape[0]

    @property
    def stored(self) -> int | None:
        """None: draws are made on demand."""
        return None

    def draw(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """mean + sd ε with ε of the key folded with `index`."""
        key = jax.random.fold_in(key, index)
        return self.mean + self.sd * jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def mean_and_sd(self) -> tuple[jax.Array, jax.Array]:
        """The parameters themselves."""
        return self.mean, self.sd

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """One chain of `n` independent draws: (1, n, D)."""
        return jax.vmap(lambda index: self.draw(key, index))(jnp.arange(n))[None]


class Draws(AbstractDistribution):
    """Stored draws, all of one weight; a single one is a point.

    Args:
        theta: (chain, draw, D).
    """

    theta: jax.Array

    @property
    def size(self) -> int:
        """D."""
        return self.theta.shape[-1]

    @property
    def stored(self) -> int:
        """Chains times draws."""
        return self.theta.shape[0] * self.theta.shape[1]

    def draw(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """Stored draw number `index` of an order that visits all chains and times evenly.

        Fewer draws than stored are so a thinned sample of them all; more begin again. The stored
        draws are what they are, so `key` does not matter.
        """
        del key
        total = self.stored
        order = jnp.asarray(_even_order(total))
        return self.theta.reshape(total, self.size)[order[index % total]]

    def mean_and_sd(self) -> tuple[jax.Array, jax.Array]:
        """Moments over all stored draws."""
        flat = self.theta.reshape(-1, self.size)
        return flat.mean(0), flat.std(0)

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """All stored draws (chain, draw, D) where `n` is their number, else (1, n, D) of them."""
        if n == self.stored:
            return self.theta
        return jax.vmap(lambda index: self.draw(key, index))(jnp.arange(n))[None]


def _even_order(total: int) -> np.ndarray:
    """0 … total − 1 ordered by the ranks of k φ mod 1, so that every beginning is spread evenly."""
    turns = np.arange(total) * 0.6180339887498949 % 1.0
    return np.argsort(np.argsort(turns)).astype(np.int32)
