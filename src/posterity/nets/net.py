"""What the core sees of a network: a pytree of parameters and a function of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import jax

from posterity.copying import Frozen, nameable

Params = Any


class AbstractNet(Frozen):
    """A network as `init(key) -> params` and `apply(params, x) -> outputs`.

    Attributes:
        holds_weights: True where `init` gives weights that the user's module already holds, so
            that several chains would start at one point.
    """

    holds_weights: ClassVar[bool] = False

    def __getstate__(self) -> dict[str, Any]:
        """For pickles: with names in the place of functions that have one."""
        return {name: nameable(value) for name, value in vars(self).items()}

    @property
    def features_first(self) -> bool:
        """Whether `apply` begins by transposing x; full batches are then stored that way."""
        return False

    @property
    def column_axis(self) -> tuple[str, int] | None:
        """Path of the weight, and its axis, that runs over the columns of x; None: not known."""
        return None

    @property
    def rowwise(self) -> bool:
        """Whether each row is computed by itself by construction.

        `fit` tries all other nets on a few rows, and refuses those that mix them.
        """
        return False

    def check(self, x: Any) -> None:
        """Refuse a net by what it does to a few rows `x`: nothing by default.

        Raises:
            ValueError: its outputs are no function of its weights and of each row.
        """

    @abstractmethod
    def init(self, key: jax.Array) -> Params:
        """Initial parameters: a pytree of floating-point arrays whose paths name them."""

    @abstractmethod
    def apply(self, params: Params, x: Any) -> jax.Array:
        """Outputs (rows, outputs) for inputs `x`: (rows, ...), or a tuple or dictionary."""
