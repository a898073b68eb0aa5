"""Distributions over θ: what a method finds and a posterior holds."""

# No `from __future__ import annotations`: Equinox reads `AbstractVar` at run time.
import functools
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.dtypes import float_dtype


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

    def centre(self) -> jax.Array:
        """Where one run may start from: the mean, (D,)."""
        return self.mean_and_sd()[0]

    @abstractmethod
    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """`n` draws of θ with axes (chain, draw, D)."""


class AbstractDensity(AbstractDistribution):
    """A distribution with a density, drawn from by pushing standard normal noise through a map."""

    @property
    @abstractmethod
    def noise_size(self) -> int:
        """How many standard normal numbers make one draw."""

    @abstractmethod
    def push(self, noise: jax.Array) -> jax.Array:
        """θ (D,) from standard normal noise (noise_size,)."""

    @abstractmethod
    def log_prob(self, theta: jax.Array) -> jax.Array:
        """log q(θ) of one θ (D,)."""

    def marginal(self, at: np.ndarray) -> "AbstractDensity":
        """The density of the elements `at` of θ, the others integrated out."""
        raise TypeError(f"{type(self).__name__} has no marginals in closed form.")

    def normal(self) -> tuple[jax.Array, jax.Array] | None:
        """(mean, sd) of independent normals; None of any other density."""
        return None

    def push_with_log_prob(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """A draw and its log density, which a flow knows from the way there."""
        theta = self.push(noise)
        return theta, self.log_prob(theta)

    @property
    def stored(self) -> int | None:
        """None: draws are made on demand."""
        return None

    def draw(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """Noise of the key folded with `index`, pushed."""
        key = jax.random.fold_in(key, index)
        return self.push(jax.random.normal(key, (self.noise_size,), float_dtype()))

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """One chain of `n` independent draws: (1, n, D)."""
        return jax.vmap(lambda index: self.draw(key, index))(jnp.arange(n))[None]


class AbstractShifted(AbstractDensity):
    """θ = mean + f(ε), with as many standard normal numbers ε as there are elements of θ."""

    mean: eqx.AbstractVar[jax.Array]

    @property
    def size(self) -> int:
        """D."""
        return self.mean.shape[0]

    @property
    def noise_size(self) -> int:
        """D."""
        return self.size


class Gaussian(AbstractShifted):
    """Independent normals, θ ~ N(mean, diag(sd²)).

    Args:
        mean, sd: (D,).
    """

    mean: jax.Array
    sd: jax.Array

    def push(self, noise: jax.Array) -> jax.Array:
        """mean + sd ε."""
        return self.mean + self.sd * noise

    def log_prob(self, theta: jax.Array) -> jax.Array:
        """Σ log N(θ; mean, sd²)."""
        return jnp.sum(dist.Normal(self.mean, self.sd).log_prob(theta))

    def marginal(self, at: np.ndarray) -> "Gaussian":
        """The same means and sds."""
        return Gaussian(self.mean[at], self.sd[at])

    def normal(self) -> tuple[jax.Array, jax.Array] | None:
        """The parameters themselves."""
        return self.mean, self.sd

    def mean_and_sd(self) -> tuple[jax.Array, jax.Array]:
        """The parameters themselves."""
        return self.mean, self.sd


class FullRank(AbstractShifted):
    """A normal with any covariance, θ ~ N(mean, chol cholᵀ).

    Args:
        mean: (D,). chol: lower triangular (D, D), with a positive diagonal.
    """

    mean: jax.Array
    chol: jax.Array

    def push(self, noise: jax.Array) -> jax.Array:
        """mean + chol ε."""
        return self.mean + self.chol @ noise

    def log_prob(self, theta: jax.Array) -> jax.Array:
        """log N(θ; mean, chol cholᵀ)."""
        return dist.MultivariateNormal(self.mean, scale_tril=self.chol).log_prob(theta)

    def marginal(self, at: np.ndarray) -> "FullRank":
        """Rows of the factor, made triangular again."""
        rows = np.transpose(np.linalg.qr(np.asarray(self.chol, np.float64)[at].T)[1])
        chol = jnp.asarray(rows * np.sign(np.diag(rows)), self.chol.dtype)
        return FullRank(self.mean[at], chol)

    @property
    def precision_diag(self) -> jax.Array:
        """The diagonal of the inverse covariance (D,)."""
        eye = jnp.eye(self.size, dtype=self.chol.dtype)
        root = jax.scipy.linalg.solve_triangular(self.chol, eye, lower=True)
        return jnp.sum(root**2, axis=0)

    def mean_and_sd(self) -> tuple[jax.Array, jax.Array]:
        """The mean, and the root of the covariance's diagonal."""
        return self.mean, jnp.sqrt(jnp.sum(self.chol**2, axis=1))

    @property
    def cov(self) -> jax.Array:
        """The covariance (D, D)."""
        return self.chol @ self.chol.T


class LowRank(AbstractDensity):
    """A normal whose covariance is diagonal plus low rank, θ ~ N(mean, diag(sd²) + factor factorᵀ).

    Args:
        mean, sd: (D,); `sd` belongs to the diagonal part. factor: (D, K).
    """

    mean: jax.Array
    sd: jax.Array
    factor: jax.Array

    @property
    def size(self) -> int:
        """D."""
        return self.mean.shape[0]

    @property
    def noise_size(self) -> int:
        """D + K."""
        return sum(self.factor.shape)

    def push(self, noise: jax.Array) -> jax.Array:
        """mean + sd ε₁ + factor ε₂."""
        return self.mean + self.sd * noise[: self.size] + self.factor @ noise[self.size :]

    def log_prob(self, theta: jax.Array) -> jax.Array:
        """log N(θ; mean, diag(sd²) + factor factorᵀ), by the matrix determinant lemma."""
        normal = dist.LowRankMultivariateNormal(self.mean, self.factor, self.sd**2)
        return normal.log_prob(theta)

    def marginal(self, at: np.ndarray) -> "LowRank":
        """Rows of each part."""
        return LowRank(self.mean[at], self.sd[at], self.factor[at])

    @property
    def precision_diag(self) -> jax.Array:
        """The diagonal of the inverse covariance (D,), by Woodbury's identity."""
        unit = self.factor / self.sd[:, None]
        small = jnp.linalg.cholesky(jnp.eye(unit.shape[1], dtype=unit.dtype) + unit.T @ unit)
        shared = jax.scipy.linalg.solve_triangular(small, unit.T, lower=True)
        return (1 - jnp.sum(shared**2, axis=0)) / self.sd**2

    def mean_and_sd(self) -> tuple[jax.Array, jax.Array]:
        """The mean, and the root of the covariance's diagonal."""
        return self.mean, jnp.sqrt(self.sd**2 + jnp.sum(self.factor**2, axis=1))

    @property
    def cov(self) -> jax.Array:
        """The covariance (D, D)."""
        return jnp.diag(self.sd**2) + self.factor @ self.factor.T


class AbstractDraws(AbstractDistribution):
    """Stored draws, all of one weight, in memory or in a file.

    Each has `theta` (chain, draw, D); that of draws in a file is mapped, so that NumPy reads what
    it touches.
    """

    if TYPE_CHECKING:  # a field of one, a property of the other

        @property
        def theta(self) -> Any:
            """All draws."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(chain, draw, D)."""

    @property
    def size(self) -> int:
        """D."""
        return self.shape[2]

    @property
    def stored(self) -> int:
        """Chains times draws."""
        return self.shape[0] * self.shape[1]

    @abstractmethod
    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """θ (n, D) of given numbers, chain after chain, without touching the others."""

    def even(self, start: int, stop: int) -> np.ndarray:
        """Draws number `start` … `stop` − 1 of the order of `draw`: (n, D)."""
        order = even_order(self.stored)
        return self.rows(order[np.arange(start, stop) % self.stored])

    def blocks(self) -> Iterator[np.ndarray]:
        """All of θ, chain after chain, in blocks of 16 MB."""
        for numbers in in_blocks(self.stored, self.size * np.dtype(float_dtype()).itemsize):
            yield self.rows(numbers)

    def mean_and_sd(self) -> tuple[jax.Array, jax.Array]:
        """Moments over all stored draws, in double precision; squares are of deviations."""
        mean = sum(block.sum(0, dtype=np.float64) for block in self.blocks()) / self.stored
        square = sum(((block - mean) ** 2).sum(0) for block in self.blocks()) / self.stored
        return jnp.asarray(mean, float_dtype()), jnp.asarray(np.sqrt(square), float_dtype())


class Draws(AbstractDraws):
    """Stored draws in memory; a single one is a point.

    Args:
        theta: (chain, draw, D).
    """

    theta: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        """(chain, draw, D)."""
        return self.theta.shape

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """θ (n, D) of given numbers."""
        return np.asarray(self.theta).reshape(self.stored, self.size)[numbers]

    def draw(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """Stored draw number `index` of an order that visits all chains and times evenly.

        Fewer draws than stored are so a thinned sample of them all; more begin again. The stored
        draws are what they are, so `key` does not matter.
        """
        del key
        total = self.stored
        order = jnp.asarray(even_order(total))
        return self.theta.reshape(total, self.size)[order[index % total]]

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """All stored draws (chain, draw, D) where `n` is their number, else (1, n, D) of them."""
        if n == self.stored:
            return self.theta
        return jax.vmap(lambda index: self.draw(key, index))(jnp.arange(n))[None]


@functools.lru_cache(maxsize=4)
def even_order(total: int) -> np.ndarray:
    """0 … total − 1 ordered by the ranks of k φ mod 1, so that every beginning is spread evenly."""
    turns = np.arange(total) * 0.6180339887498949 % 1.0
    return np.argsort(np.argsort(turns)).astype(np.int32)


def in_blocks(total: int, width: int, most: int = 2**24) -> Iterator[np.ndarray]:
    """0 … total − 1 in blocks whose rows, of `width` bytes each, take at most 16 MB."""
    size = max(1, most // max(width, 1))
    for start in range(0, total, size):
        yield np.arange(start, min(start + size, total))
