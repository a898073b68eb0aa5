"""Where a fold over draws gets them: from a distribution, or in windows from a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.counts import checked_seed
from posterity.distributions.distribution import AbstractDistribution, aside_key
from posterity.distributions.draws import Draws
from posterity.dtypes import float_dtype
from posterity.model.net_target import Target

BLOCK = 2**15  # rows × draws evaluated at once for a small net, fewer for a large one
SMALL = 4_096  # parameters up to which a net counts as small
UNIT = 4 * 10**9  # parameters × inputs × draws between two looks at the clock
WINDOW = 2**24  # bytes of draws that are read from a file at a time, or as many as a block has


class Drawn(Protocol):
    """What is drawn from by number."""

    @property
    def size(self) -> int:
        """D, the length of θ."""

    def draw(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """θ (D,) of draw number `index`."""

    def aside(self, key: jax.Array, index: jax.Array) -> Any:
        """What makes a predictor beside θ of that draw."""


class Window(eqx.Module):
    """Consecutive draws θ (n, D) of a longer row of them, from number `first` on."""

    theta: jax.Array
    first: jax.Array

    @property
    def size(self) -> int:
        """D, the length of θ."""
        return self.theta.shape[1]

    @property
    def stored(self) -> None:
        """None: it is a part of what is stored, and has no parts of its own."""
        return None

    def draw(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """Draw number `index` of the whole row."""
        del key
        return self.theta[index - self.first]

    def aside(self, key: jax.Array, index: jax.Array) -> Any:
        """The key of draw number `index` of the whole row."""
        return aside_key(key, index)


class Source(NamedTuple):
    """Where predictive draws come from: `draws` draws of a distribution over a target's θ.

    A fold goes through those from `start` on to `stop`, which are all of them unless the draws pass
    by in windows. Numbers are arrays, so that one compilation serves every number of draws.
    """

    target: Target
    distribution: Drawn
    key: jax.Array
    draws: jax.Array
    start: jax.Array
    stop: jax.Array

    def __reduce__(self) -> Any:
        """For pickles, which take no key."""
        key = np.asarray(jax.random.key_data(self.key)), str(jax.random.key_impl(self.key))
        parts = {name: part for name, part in self._asdict().items() if name != "key"}
        return _restored, (type(self), *key, parts)

    def __deepcopy__(self, memo: Any) -> Source:
        del memo
        return self


def _restored(kind: type[Source], key: np.ndarray, impl: str, parts: dict[str, Any]) -> Source:
    """What a pickle builds a source with."""
    return kind(**parts, key=jax.random.wrap_key_data(jnp.asarray(key), impl=impl))


def source_of(target: Target, distribution: AbstractDistribution, seed: int, draws: int) -> Source:
    """The source of `draws` draws."""
    none, count = jnp.zeros((), jnp.int32), jnp.asarray(draws, jnp.int32)
    return Source(target, distribution, jax.random.key(checked_seed(seed)), count, none, count)


def windows(source: Source, evaluations: int, *, stored: bool = False) -> Iterator[Source]:
    """The source itself, or where its draws are in a file, windows of them that are in memory.

    A window has whole blocks of the fold, so that blocks are the same as without windows.

    Args:
        source: all draws. evaluations: at how many inputs each draw is evaluated at once.
        stored: give stored draws that are in memory windows, too.
    """
    kept = cast(Draws, source.distribution)
    if kept.stored is None or not (stored or kept.in_file):
        yield source
        return
    block = block_of(kept.size, evaluations)
    width = kept.size * np.dtype(float_dtype()).itemsize
    length, draws = max(1, WINDOW // (block * width)) * block, int(source.draws)
    for start in range(0, draws, length):
        stop = min(start + length, draws)
        # The last one is filled up with what is left out by its number, for one compiled shape.
        theta = np.zeros((min(length, draws), kept.size), float_dtype())
        theta[: stop - start] = kept.even(start, stop)
        first = jnp.asarray(start, jnp.int32)
        window = Window(jnp.asarray(theta), first)
        yield source._replace(distribution=window, start=first, stop=jnp.asarray(stop, jnp.int32))


def shorter(source: Source, evaluations: int) -> Iterator[Source]:
    """The source in parts of some tenths of a second, so that progress can be shown between them.

    Args:
        source: consecutive draws. evaluations: at how many inputs each draw is evaluated at once.
    """
    block = block_of(source.target.size, evaluations)
    most = max(1, UNIT // (source.target.size * evaluations * block)) * block
    start, stop = int(source.start), int(source.stop)
    if stop - start <= most:
        yield source
        return
    for begin in range(start, stop, most):
        end = min(begin + most, stop)
        yield source._replace(start=jnp.asarray(begin, jnp.int32), stop=jnp.asarray(end, jnp.int32))


def block_of(size: int, evaluations: int) -> int:
    """How many draws of a net with `size` parameters are evaluated at once, at so many inputs."""
    budget = BLOCK if size <= SMALL else BLOCK // 32
    return max(1, min(256, budget // evaluations))
