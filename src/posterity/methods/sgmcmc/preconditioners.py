"""Diagonal preconditioners: scales at which a sampler's steps are equal."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posterity.checks import Settings
from posterity.model.net_target import Target
from posterity.storable import stored

WORDS = ("rmsprop",)
FLOOR = 1e-5  # added to the root of the mean squared gradient per row (Li et al. 2016)


@stored("preconditioners.Variances")
class Variances:
    """What a user gives, (D,) or (D, D), hashable so that it is part of a method's settings."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self._key = (values.shape, values.tobytes())

    def stored_as(self) -> dict[str, Any]:
        """The numbers, for files."""
        return {"values": self.values}

    @classmethod
    def from_stored(cls, values: list[Any]) -> Variances:
        """The inverse of `stored_as`, of lists."""
        return cls(np.asarray(values, np.float64))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Variances) and self._key == other._key

    def __repr__(self) -> str:
        return f"<array of shape {self.values.shape}>"

    def of(self, target: Target, theta: jax.Array) -> jax.Array:
        """The array, in the dtype of θ.

        Raises:
            ValueError: there are not as many as there are parameters.
        """
        if self.values.shape[0] != theta.shape[0]:
            raise ValueError(
                f"preconditioner: {self.values.shape[0]} rows for {theta.shape[0]} numbers "
                f"in θ ({', '.join(target.paths)}); give one for each, in that order."
            )
        return jnp.asarray(self.values, theta.dtype)


def as_variances(method: str, given: Any) -> Any:
    """A preconditioner as settings keep it: None, a word, or `Variances`.

    Raises:
        ValueError: an unknown word, or numbers that are no variances.
    """
    if given is None or isinstance(given, Variances):
        return given
    if isinstance(given, str):
        refuse_other_words(method, given, WORDS)
        return given
    values = np.asarray(given, np.float64)
    if values.ndim != 1 or not values.size:
        raise ValueError(
            f"{method}: preconditioner must be variances (D,), one for each number in θ, not of "
            f"shape {values.shape}."
        )
    wrong = ~(np.isfinite(values) & (values > 0))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"{method}: preconditioner[{first}] = {values[first]} is no variance; all must be "
            "positive and finite."
        )
    return Variances(values)


def refuse_other_words(method: str, given: str, words: tuple[str, ...]) -> None:
    """Raise a ValueError where a preconditioner is none of the words it may be."""
    wrong = Settings(method)
    wrong.among(words, preconditioner=given)
    wrong.refuse()


def as_base(method: str, given: Any) -> Any:
    """B of SGFS as settings keep it: None, ``"fisher"``, variances, or a matrix.

    Raises:
        ValueError: an unknown word; no positive variances; no positive definite matrix.
    """
    if isinstance(given, str):
        refuse_other_words(method, given, ("fisher",))
        return given
    if given is None or isinstance(given, Variances) or np.ndim(given) != 2:
        return as_variances(method, given)
    matrix = np.asarray(given, np.float64)
    if matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        raise ValueError(
            f"{method}: preconditioner must be square and finite, not of shape {matrix.shape}."
        )
    if not np.allclose(matrix, matrix.T) or np.linalg.eigvalsh(matrix)[0] <= 0:
        raise ValueError(f"{method}: preconditioner must be symmetric and positive definite.")
    return Variances(matrix)


def rmsprop(squares: jax.Array, steps: jax.Array) -> jax.Array:
    """1 / (10⁻⁵ + √v), with v the mean squared gradient per row; 1 before the first gradient."""
    return jnp.where(steps > 0, 1 / (FLOOR + jnp.sqrt(squares)), 1.0)
