"""The Fisher information from gradients of single rows, and steps that it scales.

What SGFS needs of it, in three sizes: all of the matrix, its leading directions and the diagonal,
or the diagonal alone. Each keeps spreads, sums of squares of deviations, and moves by them:

    θ ← θ + 2 (M + 4B/ε)⁻¹ (g + ζ),   ζ ~ N(0, 4B/ε)
"""

# No `from __future__ import annotations`: Equinox reads the fields at run time.
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from posterity.inference.sgmcmc.noise import normal
from posterity.target import Batch

ROWS_BYTES = 2**26  # of gradients of single rows, held at a time
RANK = 16  # leading directions of a low-rank estimate


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


class Full(AbstractFisher):
    """All of the matrix: D² numbers, and a factorisation that the caller renews now and then.

    With B = LLᵀ and L⁻¹ M L⁻ᵀ = Q diag(λ) Qᵀ, a move is 2 T (λ + 4/ε)⁻¹ (Tᵀ g + √(4/ε) η) with
    T = L⁻ᵀ Q, for any ε.
    """

    def spread(self, deviations: jax.Array) -> jax.Array:
        """Σ d dᵀ."""
        return deviations.T @ deviations

    def sum(self, a: Any, first: jax.Array, b: Any, second: jax.Array) -> jax.Array:
        """Of matrices."""
        return a * first + b * second

    def scaled(self, a: Any, spread: jax.Array) -> jax.Array:
        """Of the matrix."""
        return a * spread

    def factor(self, spread: jax.Array, prior: jax.Array) -> tuple[jax.Array, jax.Array]:
        """T (D, D) and λ (D,)."""
        matrix = spread + jnp.diag(prior)
        size = matrix.shape[0]
        eye = jnp.eye(size, dtype=matrix.dtype)
        if isinstance(self.base, str):
            # Directions of which nothing is known, neither from rows nor from the prior.
            floor = 1e-6 * jnp.trace(matrix) / size + jnp.finfo(matrix.dtype).tiny
            values, vectors = jnp.linalg.eigh(matrix)
            return vectors / jnp.sqrt(jnp.maximum(values, floor)), jnp.ones_like(prior)
        if self.base is None:
            values, vectors = jnp.linalg.eigh(matrix)
            return vectors, jnp.maximum(values, 0.0)
        base = self.base if self.base.ndim == 2 else jnp.diag(self.base)
        back = jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(base), eye, lower=True)
        values, vectors = jnp.linalg.eigh(back @ matrix @ back.T)
        return back.T @ vectors, jnp.maximum(values, 0.0)

    def largest(self, factor: tuple[jax.Array, jax.Array]) -> jax.Array:
        """The largest λ."""
        return jnp.max(factor[1])

    def move(
        self,
        factor: tuple[jax.Array, jax.Array],
        key: jax.Array,
        gradient: jax.Array,
        inverse: jax.Array,
        heat: jax.Array,
    ) -> jax.Array:
        """In the coordinates where M and B are diagonal, and back."""
        turn, values = factor
        noise = normal(key, gradient.shape, gradient.dtype)
        pushed = gradient @ turn + jnp.sqrt(heat * inverse) * noise
        return turn @ (2 * pushed / (values + inverse))


class Diagonal(AbstractFisher):
    """Variances alone, for many weights."""

    def spread(self, deviations: jax.Array) -> jax.Array:
        """Σ d²."""
        return jnp.sum(deviations**2, axis=0)

    def sum(self, a: Any, first: jax.Array, b: Any, second: jax.Array) -> jax.Array:
        """Of vectors."""
        return a * first + b * second

    def scaled(self, a: Any, spread: jax.Array) -> jax.Array:
        """Of the vector."""
        return a * spread

    def factor(self, spread: jax.Array, prior: jax.Array) -> tuple[jax.Array, jax.Array]:
        """M and B."""
        return spread + prior, _diagonal_base(self.base, spread + prior)

    def largest(self, factor: tuple[jax.Array, jax.Array]) -> jax.Array:
        """The largest element of M / B."""
        matrix, base = factor
        return jnp.max(matrix / base)

    def move(
        self,
        factor: tuple[jax.Array, jax.Array],
        key: jax.Array,
        gradient: jax.Array,
        inverse: jax.Array,
        heat: jax.Array,
    ) -> jax.Array:
        """Element by element."""
        matrix, base = factor
        noise = normal(key, gradient.shape, gradient.dtype)
        pushed = gradient + jnp.sqrt(heat * inverse * base) * noise
        return 2 * pushed / (matrix + inverse * base)


class Leading(NamedTuple):
    """diag(rest) + UᵀU: variances that are exact, and the leading directions U (RANK, D)."""

    rest: jax.Array
    directions: jax.Array


class LowRank(AbstractFisher):
    """The leading directions, and all variances: for many weights that depend on one another."""

    def spread(self, deviations: jax.Array) -> Leading:
        """The strongest directions of the deviations, and what is left of each variance."""
        return _leading(deviations, jnp.sum(deviations**2, axis=0))

    def sum(self, a: Any, first: Leading, b: Any, second: Leading) -> Leading:
        """Of both; what a direction loses in it goes to the variances."""
        directions = jnp.concatenate(
            [jnp.sqrt(a) * first.directions, jnp.sqrt(b) * second.directions]
        )
        variances = a * first.rest + b * second.rest + jnp.sum(directions**2, axis=0)
        return _leading(directions, variances)

    def scaled(self, a: Any, spread: Leading) -> Leading:
        """Of both parts."""
        return Leading(a * spread.rest, jnp.sqrt(a) * spread.directions)

    def factor(self, spread: Leading, prior: jax.Array) -> tuple[Leading, jax.Array]:
        """M, and B where it is diagonal."""
        matrix = Leading(spread.rest + prior, spread.directions)
        base = None if isinstance(self.base, str) else self.base
        return matrix, _diagonal_base(base, prior)

    def largest(self, factor: tuple[Leading, jax.Array]) -> jax.Array:
        """A bound: of the diagonal part, and of the leading directions."""
        matrix, base = factor
        if isinstance(self.base, str):
            return jnp.ones((), base.dtype)
        directions = matrix.directions / jnp.sqrt(base)
        # The directions are orthogonal but for B, so that this norm is nearly an eigenvalue;
        # LAPACK's eigenvalues in float32 can fail where some are all but zero.
        products = directions @ directions.T
        return jnp.max(matrix.rest / base) + jnp.max(jnp.sum(jnp.abs(products), axis=1))

    def move(
        self,
        factor: tuple[Leading, jax.Array],
        key: jax.Array,
        gradient: jax.Array,
        inverse: jax.Array,
        heat: jax.Array,
    ) -> jax.Array:
        """By Woodbury's identity."""
        (rest, directions), base = factor
        noise_key, more_key = jax.random.split(key)
        noise = normal(noise_key, gradient.shape, gradient.dtype)
        if isinstance(self.base, str):
            more = normal(more_key, directions.shape[:1], gradient.dtype)
            zeta = jnp.sqrt(rest) * noise + more @ directions
            rest, directions = (1 + inverse) * rest, jnp.sqrt(1 + inverse) * directions
        else:
            zeta = jnp.sqrt(base) * noise
            rest = rest + inverse * base
        pushed = gradient + jnp.sqrt(heat * inverse) * zeta
        scaled = directions / rest
        small = jnp.eye(directions.shape[0], dtype=directions.dtype) + scaled @ directions.T
        inner = jnp.linalg.solve(small, scaled @ pushed)
        return 2 * (pushed / rest - inner @ scaled)


SIZES: dict[str, type[AbstractFisher]] = {"full": Full, "low-rank": LowRank, "diagonal": Diagonal}


def row_gradients(
    gradient: Callable[[Batch], tuple[jax.Array, jax.Array]],
    batch: Batch,
    size: int,
    fisher: AbstractFisher,
) -> tuple[jax.Array, jax.Array, Any]:
    """Values, mean gradient and covariance over the rows of a batch.

    Args:
        gradient: one row → value () and gradient (D,). batch: B rows. size: D. fisher: the size of
            the covariance.

    Rows are taken a chunk at a time, so that their gradients fit `ROWS_BYTES`; means and spreads of
    chunks are joined exactly (Chan, Golub & LeVeque 1983).

    Returns:
        Values (B,), the mean (D,), and the spread over B − 1.
    """
    count = batch.y.shape[0]
    chunk = max(1, min(count, ROWS_BYTES // (4 * size)))
    while count % chunk:
        chunk -= 1

    def part(some: Batch) -> tuple[jax.Array, jax.Array, Any]:
        values, gradients = jax.vmap(gradient)(some)
        mean = jnp.mean(gradients, axis=0)
        return values, mean, fisher.spread(gradients - mean)

    def join(carry: tuple, some: Batch) -> tuple[tuple, jax.Array]:
        before, mean, spread = carry
        values, its_mean, its_spread = part(some)
        off = its_mean - mean
        share = chunk / (before + chunk)
        between = fisher.spread((jnp.sqrt(before * share) * off)[None])
        spread = fisher.sum(1.0, fisher.sum(1.0, spread, 1.0, its_spread), 1.0, between)
        return (before + chunk, mean + share * off, spread), values

    parts = jax.tree.map(lambda a: a.reshape(-1, chunk, *a.shape[1:]), batch)
    values, mean, spread = part(jax.tree.map(lambda a: a[0], parts))
    if chunk < count:
        start = (jnp.asarray(chunk, mean.dtype), mean, spread)
        later = jax.tree.map(lambda a: a[1:], parts)
        (_, mean, spread), others = jax.lax.scan(join, start, later)
        values = jnp.concatenate([values, others.ravel()])
    return values, mean, fisher.scaled(1 / (count - 1), spread)


def _diagonal_base(base: Any, matrix: jax.Array) -> jax.Array:
    if isinstance(base, str):
        return jnp.maximum(matrix, 1e-6 * jnp.mean(matrix) + jnp.finfo(matrix.dtype).tiny)
    return jnp.ones_like(matrix) if base is None else base


def _leading(directions: jax.Array, variances: jax.Array) -> Leading:
    """The RANK strongest directions of UᵀU, and the rest of the variances (D,)."""
    if directions.shape[0] > RANK:
        products = directions @ directions.T
        # A little more on the diagonal: with zeros among them the eigenvalues may not be found.
        ridge = 1e-6 * jnp.trace(products) * jnp.eye(len(products), dtype=products.dtype)
        _, vectors = jnp.linalg.eigh(products + ridge)
        directions = vectors[:, -RANK:].T @ directions
    short = RANK - directions.shape[0]
    directions = jnp.concatenate(
        [directions, jnp.zeros((short, directions.shape[1]), directions.dtype)]
    )
    return Leading(jnp.maximum(variances - jnp.sum(directions**2, axis=0), 0.0), directions)
