"""The Fisher information from gradients of single rows, and steps that it scales.

What SGFS needs of it, in three sizes: all of the matrix, its leading directions and the diagonal,
or the diagonal alone. Each keeps spreads, sums of squares of deviations, and moves by them:

    θ ← θ + 2 (M + 4B/ε)⁻¹ (g + ζ),   ζ ~ N(0, 4B/ε)
"""

# No `from __future__ import annotations`: Equinox reads the fields at run time.
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax


class AbstractFisher(eqx.Module):
    """A size of M and of the covariances that it is made of.

    Attributes:
        base: B: None for I, variances (D,), a matrix (D, D), or ``"fisher"`` for M itself.
    """

    base: Any

    @abstractmethod
    def spread(self, deviations: jax.Array) -> Any:
        """Of deviations from a mean (rows, D): their sum of squares, as far as it is kept."""

    @abstractmethod
    def sum(self, a: Any, first: Any, b: Any, second: Any) -> Any:
        """a · first + b · second, of spreads; a, b ≥ 0."""

    @abstractmethod
    def scaled(self, a: Any, spread: Any) -> Any:
        """a · spread; a ≥ 0."""

    @abstractmethod
    def factor(self, spread: Any, prior: jax.Array) -> Any:
        """What a move needs of M = spread + diag(prior)."""

    @abstractmethod
    def largest(self, factor: Any) -> jax.Array:
        """The largest eigenvalue of M, or a bound of it, where B is round."""

    @abstractmethod
    def move(
        self, factor: Any, key: jax.Array, gradient: jax.Array, inverse: jax.Array, heat: jax.Array
    ) -> jax.Array:
        """2 (M + 4B/ε)⁻¹ (g + ζ), with `inverse` = 4/ε and ζ of variance `heat` · 4B/ε."""


class AbstractArrayFisher(AbstractFisher):
    """A size whose spreads are single arrays."""

    def sum(self, a: Any, first: jax.Array, b: Any, second: jax.Array) -> jax.Array:
        return a * first + b * second

    def scaled(self, a: Any, spread: jax.Array) -> jax.Array:
        return a * spread
