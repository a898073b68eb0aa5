"""Distributions over θ: what a method finds and a posterior holds."""

from abc import abstractmethod
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from posterity.copying import Frozen
from posterity.cpu.compile import kept_jit
from posterity.dtypes import float_dtype

Correlations = Literal["full", "low-rank", "none"]
PUSHED = 10_000  # draws that stand for a density
ASIDE = 2**31 - 1  # folded into a draw's key, far from the small numbers that others fold in


class AbstractDistribution(Frozen):
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

    def aside(self, key: jax.Array, index: jax.Array) -> Any:
        """What makes a predictor beside θ of draw number `index`: by default a key.

        Targets hand it to what draws anew, such as the weights of a group without data.
        """
        return aside_key(key, index)

    @abstractmethod
    def mean_and_sd(self) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation of every element of θ."""

    def centre(self) -> jax.Array:
        """Where one run may start from: the mean, (D,)."""
        return self.mean_and_sd()[0]

    def sample(self, key: jax.Array, draws: int) -> jax.Array:
        """Draws number 0 … `draws` − 1 as one chain: (1, draws, D)."""
        return _drawn(self, key, draws)

    def example(self) -> jax.Array:
        """One θ (D,), as far as possible not by random numbers, which a new JAX may make anew."""
        return self.draw(jax.random.key(0), jnp.zeros((), jnp.int32))

    def examples(self, count: int) -> np.ndarray:
        """A few θ (count, D) from all over it, and as `example` not by random numbers."""
        draws = [self.draw(jax.random.key(0), jnp.asarray(k, jnp.int32)) for k in range(count)]
        return np.stack([np.asarray(theta) for theta in draws])

    def spread(self, numbers: int) -> np.ndarray:
        """Draws (chain, draw, D) that stand for all: of stored ones evenly spaced ones.

        Args:
            numbers: how many numbers they may be.
        """
        count = max(1, min(PUSHED, numbers // self.size))
        return np.asarray(self.sample(jax.random.key(0), count))

    @property
    def point(self) -> bool:
        """Whether it is a single θ, or one for each of several modes, which have no width."""
        return False

    @property
    def in_file(self) -> bool:
        """Whether its draws are in a file, and are read when they are needed."""
        return False

    def as_normals(self, correlations: Correlations | None) -> "AbstractDensity | None":
        """Itself with as many correlations as are asked for, where it is made of normals."""
        return None


def aside_key(key: jax.Array, index: jax.Array) -> jax.Array:
    """The key of draw number `index` that θ itself is not drawn from."""
    return jax.random.fold_in(jax.random.fold_in(key, index), ASIDE)


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

    def example(self) -> jax.Array:
        """What no noise becomes."""
        return self.push(jnp.zeros(self.noise_size, float_dtype()))

    def examples(self, count: int) -> np.ndarray:
        """What noise of unit variance becomes that any machine makes alike."""
        turns = np.outer(np.arange(1, count + 1), np.arange(1, self.noise_size + 1))
        noise = np.sqrt(3.0) * (2 * np.modf(turns * 0.6180339887498949)[0] - 1)
        return np.stack([np.asarray(self.push(jnp.asarray(e, float_dtype()))) for e in noise])

    def draw(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """Noise of the key folded with `index`, pushed."""
        key = jax.random.fold_in(key, index)
        return self.push(jax.random.normal(key, (self.noise_size,), float_dtype()))


@kept_jit
def _drawn(distribution: AbstractDistribution, key: jax.Array, draws: int) -> jax.Array:
    return jax.vmap(lambda index: distribution.draw(key, index))(jnp.arange(draws))[None]
