"""Stored draws that stay in a file."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.distributions.draws import AbstractDraws
from posterity.distributions.spool import Spool
from posterity.dtypes import float_dtype


class SpooledDraws(AbstractDraws):
    """Stored draws in a file, of which as many are read at a time as are needed.

    Whatever a posterior does with them gives the same numbers as with `Draws` in memory.

    Args:
        spool: the file. count: draws of each chain, which may be fewer than it has room for.
        first: where they begin in each chain's room.
    """

    spool: Spool = eqx.field(static=True)
    count: int = eqx.field(static=True)
    first: int = eqx.field(static=True, default=0)

    def check_stored(self) -> None:
        """As `Draws.check_stored`, block by block."""
        if len(self.spool.shape) != 3 or not all(self.shape):
            raise ValueError(f"theta has shape {self.spool.shape}, which holds no draws.")
        if self.spool.dtype.kind != "f":
            raise ValueError(f"theta holds {self.spool.dtype} and not floating-point numbers.")
        if not all(np.isfinite(block).all() for block in self.blocks()):
            raise ValueError("theta holds values that are not finite.")

    @property
    def theta(self) -> np.ndarray:
        """All draws (chain, draw, D), mapped: NumPy reads what it touches."""
        return self.spool.array[:, self.first : self.first + self.count]

    @property
    def shape(self) -> tuple[int, ...]:
        """(chain, draw, D)."""
        return (self.spool.shape[0], self.count, *self.spool.shape[2:])

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """θ (n, D) of given numbers, read from the file."""
        return self.raw(numbers).astype(float_dtype(), copy=False)

    def raw(self, numbers: np.ndarray) -> np.ndarray:
        """`rows` in the precision of the file."""
        chain, draw = np.divmod(np.asarray(numbers, np.int64), self.count)
        return self.spool.rows(chain * self.spool.shape[1] + self.first + draw)

    def draw(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """As `Draws.draw`, outside compiled code."""
        del key
        return jnp.asarray(self.even(int(index), int(index) + 1)[0])

    def sample(self, key: jax.Array, draws: int) -> jax.Array:
        """As `Draws.sample`."""
        del key
        return jnp.asarray(self.even(0, draws))[None]

    @property
    def in_file(self) -> bool:
        """True."""
        return True
