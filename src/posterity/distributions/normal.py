"""Normal distributions over θ: independent, of any covariance, and of low rank."""

# No `from __future__ import annotations`: Equinox reads `AbstractVar` at run time.
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.distributions.distribution import AbstractDensity, Correlations
from posterity.dtypes import float_dtype
from posterity.storable import refuse_numbers, stored

RANK = 10  # directions that are kept where not all are
FULL = 2_000  # parameters: above, D² numbers are too many


class AbstractShifted(AbstractDensity):
    """θ = mean + f(ε), with as many standard normal numbers ε as there are elements of θ."""

    mean: eqx.AbstractVar[jax.Array]

    @property
    def size(self) -> int:
        return self.mean.shape[0]

    @property
    def noise_size(self) -> int:
        return self.size


@stored("distributions.Gaussian")
class Gaussian(AbstractShifted):
    """Independent normals, θ ~ N(mean, diag(sd²)).

    Args:
        mean, sd: (D,).
    """

    mean: jax.Array
    sd: jax.Array

    def check_stored(self) -> None:
        """Finite numbers, sds from zero on."""
        refuse_numbers("mean", self.mean, 1)
        refuse_numbers("sd", self.sd, 1, least=0)
        _refuse_lengths(self.mean, sd=self.sd.shape)

    def push(self, noise: jax.Array) -> jax.Array:
        """mean + sd ε."""
        return self.mean + self.sd * noise

    def log_prob(self, theta: jax.Array) -> jax.Array:
        """Σ log N(θ; mean, sd²)."""
        return jnp.sum(dist.Normal(self.mean, self.sd).log_prob(theta))

    def as_normals(self, correlations: Correlations | None) -> "Gaussian":
        """Itself: it has no correlations."""
        return self

    def marginal(self, at: np.ndarray) -> "Gaussian":
        """The same means and sds."""
        return Gaussian(self.mean[at], self.sd[at])

    def normal(self) -> tuple[jax.Array, jax.Array] | None:
        """The parameters themselves."""
        return self.mean, self.sd

    def mean_and_sd(self) -> tuple[jax.Array, jax.Array]:
        """The parameters themselves."""
        return self.mean, self.sd


@stored("distributions.FullRank")
class FullRank(AbstractShifted):
    """A normal with any covariance, θ ~ N(mean, chol cholᵀ).

    Args:
        mean: (D,). chol: lower triangular (D, D), with a positive diagonal.
    """

    mean: jax.Array
    chol: jax.Array

    def check_stored(self) -> None:
        """A finite factor with a diagonal from zero on, and zeros above it."""
        refuse_numbers("mean", self.mean, 1)
        refuse_numbers("chol", self.chol, 2)
        _refuse_lengths(self.mean, chol=self.chol.shape)
        chol = np.asarray(self.chol)
        if np.diag(chol).min(initial=0) < 0 or np.triu(chol, 1).any():
            raise ValueError("chol is not lower triangular with a positive diagonal.")

    def push(self, noise: jax.Array) -> jax.Array:
        """mean + chol ε."""
        return self.mean + self.chol @ noise

    def log_prob(self, theta: jax.Array) -> jax.Array:
        """log N(θ; mean, chol cholᵀ)."""
        return dist.MultivariateNormal(self.mean, scale_tril=self.chol).log_prob(theta)

    def as_normals(self, correlations: Correlations | None) -> "FullRank | LowRank":
        """Itself, or of low rank."""
        if correlations != "low-rank":
            return self
        mean, sd = (np.asarray(part, np.float64) for part in self.mean_and_sd())
        directions, singular, _ = np.linalg.svd(np.asarray(self.chol, np.float64) / sd[:, None])
        return low_rank(mean, sd, singular**2, directions.T)

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


@stored("distributions.LowRank")
class LowRank(AbstractDensity):
    """A normal whose covariance is diagonal plus low rank, θ ~ N(mean, diag(sd²) + factor factorᵀ).

    Args:
        mean, sd: (D,); `sd` belongs to the diagonal part. factor: (D, K).
    """

    mean: jax.Array
    sd: jax.Array
    factor: jax.Array

    def check_stored(self) -> None:
        """Finite numbers, sds from zero on."""
        refuse_numbers("mean", self.mean, 1)
        refuse_numbers("sd", self.sd, 1, least=0)
        refuse_numbers("factor", self.factor, 2)
        _refuse_lengths(self.mean, sd=self.sd.shape, factor=self.factor.shape[:1])

    @property
    def size(self) -> int:
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

    def as_normals(self, correlations: Correlations | None) -> "FullRank | LowRank":
        """Itself, or with its covariance in full."""
        if correlations != "full":
            return self
        refuse_large(self.size)
        return FullRank(*as_arrays(self.mean, np.linalg.cholesky(np.asarray(self.cov))))

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


def _refuse_lengths(mean: jax.Array, **shapes: tuple[int, ...]) -> None:
    for name, shape in shapes.items():
        if set(shape) != {mean.size}:
            raise ValueError(f"{name} has shape {shape}, but mean has {mean.size} numbers.")


def low_rank(
    mean: np.ndarray, sd: np.ndarray, eigenvalues: np.ndarray, directions: np.ndarray
) -> LowRank:
    """The largest directions of a correlation matrix, with every sd as it is."""
    rank = min(RANK, len(mean))
    factor = np.zeros((len(mean), rank))
    given = min(rank, len(eigenvalues))
    factor[:, :given] = directions[:given].T * np.sqrt(eigenvalues[:given])
    # What rounding, or a matrix of so few directions, leaves to the diagonal must be positive.
    shared = np.sum(factor**2, axis=1)
    factor *= np.sqrt(np.minimum(1, (1 - 1e-4) / np.maximum(shared, 1e-300)))[:, None]
    rest = np.sqrt(1 - np.sum(factor**2, axis=1))
    return LowRank(*as_arrays(mean, sd * rest, sd[:, None] * factor))


def refuse_large(size: int) -> None:
    """Refuse a covariance of more than 2,000² numbers."""
    if size > FULL:
        raise ValueError(
            f'correlations: "full" for {size} parameters needs {size}² numbers; above {FULL} take '
            '"low-rank".'
        )


def as_arrays(*parts: object) -> list:
    """Arrays of the library's float type."""
    return [jnp.asarray(np.asarray(part), float_dtype()) for part in parts]
