"""What inference asks of any model: log densities of one flat unconstrained vector θ.

This is the only place that scales a batch by N/B and that weights the KL. Every method, whatever
its kind, asks a target and so cannot get either wrong. `docs/log-densities.md` derives it all.
"""

# No `from __future__ import annotations`: Equinox reads `AbstractVar` at run time.
import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.copying import Frozen
from posterity.dtypes import float_dtype
from posterity.layout import Parameter
from posterity.learnable import Slot

MOST_ROWS = 2**53  # whole numbers that double precision holds


class AbstractTarget(Frozen):
    """Log densities of flat unconstrained θ: what inference asks of any model.

        log joint = log p(θ) + (N / B) Σ_{i in batch} log p(yᵢ | xᵢ, θ)
        ELBO      = (N / B) Σ_{i in batch} E_q log p(yᵢ | xᵢ, θ) − kl_weight · KL(q ‖ p)

    Attributes:
        rows: N, the number of rows of all data.
        parameters: where each named parameter lives in θ.
        slots: the numbers to be learned (`po.learned`); `at` puts values in their places.
        kl_weight: weight of the KL in an ELBO; 1 for the Bayesian posterior.
        temperature: T of the posterior [p(θ) p(y | x, θ)]^(1/T) that a sampler draws from; 1 for
            the Bayesian posterior. The densities here are those of T = 1.

    `rows`, `kl_weight` and `temperature` are arrays, so that other values compile nothing.
    """

    rows: eqx.AbstractVar[Any]
    parameters: eqx.AbstractVar[tuple[Parameter, ...]]
    slots: eqx.AbstractVar[tuple[Slot, ...]]
    kl_weight: eqx.AbstractVar[Any]
    temperature: eqx.AbstractVar[Any]

    @property
    def size(self) -> int:
        """D, the length of θ."""
        return self.parameters[-1].stop

    @property
    def paths(self) -> tuple[str, ...]:
        """The names of the parameters, in the order of θ."""
        return tuple(parameter.path for parameter in self.parameters)

    @property
    def derived(self) -> tuple[str, ...]:
        """The names of what `values` has beside the parameters."""
        return ()

    @property
    def named(self) -> tuple[str, ...]:
        """The names of what has a meaning of its own, as elements of weights have not."""
        return (*self.paths[self.net_leaves :], *self.derived)

    @property
    def no_mode(self) -> str | None:
        """Why a posterior mode would be misleading, as a sentence; None where it is not."""
        return None

    @property
    def dtype(self) -> Any:
        """That of θ and of the data."""
        return float_dtype()

    @property
    def predicts(self) -> bool:
        """Whether it has rows of x, at which it can be asked for predictions."""
        return False

    @property
    def prior_blocks(self) -> tuple[Any, ...]:
        """The runs of θ that have a prior density of their own; none where it knows of none."""
        return ()

    def multiplications(self, rows: int) -> float:
        """How many the log joint takes at so many rows; infinite where that is not known."""
        return math.inf

    @property
    def net_leaves(self) -> int:
        """How many of the parameters are a net's; they come first."""
        return 0

    @property
    def fixed_start(self) -> bool:
        """Whether `net_draw` gives the same θ for every key."""
        return False

    # -- θ and what it stands for ----------------------------------------------------------------

    @abstractmethod
    def constrain(self, theta: jax.Array) -> dict[str, jax.Array]:
        """The named, constrained parameters that θ stands for."""

    @abstractmethod
    def unconstrain(self, params: Mapping[str, Any]) -> jax.Array:
        """θ from named, constrained parameters; the inverse of `constrain`."""

    def values(self, theta: jax.Array) -> dict[str, jax.Array]:
        """The parameters, and whatever else the model names that follows from them."""
        return self.constrain(theta)

    def checked(self, params: Mapping[str, Any]) -> dict[str, jax.Array]:
        """Named, constrained parameters as arrays, in the order of θ.

        Raises:
            ValueError: a parameter is missing, unknown or of another shape.
        """
        expected = {parameter.path: parameter.shape for parameter in self.parameters}
        if set(params) != set(expected):
            missing, extra = set(expected) - set(params), set(params) - set(expected)
            raise ValueError(f"params: missing {sorted(missing)}, unknown {sorted(extra)}.")
        for path, shape in expected.items():
            if jnp.shape(params[path]) != shape:
                raise ValueError(
                    f"params: {path!r} has shape {jnp.shape(params[path])}, expected {shape}."
                )
        return {path: jnp.asarray(params[path], float_dtype()) for path in expected}

    def at(self, numbers: jax.Array | np.ndarray) -> Self:
        """The target with the numbers to be learned at given values."""
        return self

    def at_start(self) -> Self:
        """The target with the numbers to be learned where they start."""
        return self.at(jnp.asarray([slot.start for slot in self.slots], float_dtype()))

    def in_double(self) -> Self:
        """The same densities in float64, to be asked under ``jax.enable_x64``."""
        return widened(self)

    # -- the model as densities -------------------------------------------------------------------

    @abstractmethod
    def log_prior(self, theta: jax.Array, *, jacobian: bool = True) -> jax.Array:
        """log p(θ): of the unconstrained θ, or of what it stands for with ``jacobian=False``."""

    @abstractmethod
    def log_likelihood(self, theta: jax.Array, batch: Any) -> jax.Array:
        """log p(yᵢ | xᵢ, θ) of every example of the batch: (B,)."""

    def scaled_log_likelihood(self, theta: jax.Array, batch: Any) -> jax.Array:
        """(N / B) Σ log p(yᵢ | xᵢ, θ): the unbiased estimate of the log likelihood of all rows."""
        return self.scaled(self.log_likelihood(theta, batch), batch)

    def scaled(self, each: jax.Array, batch: Any) -> jax.Array:
        """(N / B) Σ of one log likelihood per row of a batch (B,), 0 where a row is no data."""
        if batch.mask is not None:  # the batch has all N rows
            return jnp.sum(each)
        return self.rows / each.shape[0] * jnp.sum(each)

    def summed(self, mean: jax.Array) -> jax.Array:
        """N · mean: what a mean over rows stands for of the sum over all of them."""
        return self.rows * mean

    def batch_noise(self, covariance: jax.Array, batch: int) -> jax.Array:
        """(N² / B) · covariance of one row: of a scaled sum over B rows, drawn independently."""
        return self.rows * (self.rows / batch) * covariance

    def log_joint(self, theta: jax.Array, batch: Any, *, jacobian: bool = True) -> jax.Array:
        """log p(θ) + (N / B) Σ log p(yᵢ | xᵢ, θ)."""
        return self.log_prior(theta, jacobian=jacobian) + self.scaled_log_likelihood(theta, batch)

    def elbo(self, expected_log_likelihood: jax.Array, kl: jax.Array, warm: Any = 1.0) -> jax.Array:
        """The evidence lower bound from an already scaled expected log likelihood and a KL.

        `warm` ≤ 1 weighs the KL less while a fit warms up.
        """
        return expected_log_likelihood - self.kl_weight * warm * kl

    # -- the prior's own affairs ------------------------------------------------------------------

    @abstractmethod
    def normal_blocks(self) -> tuple[list[tuple[Any, Any, Any]], tuple[Any, ...]]:
        """The parts of θ with a normal prior as (block, loc, sd), flat, and the other parts."""

    @abstractmethod
    def log_prior_of(self, theta: jax.Array, blocks: tuple[Any, ...]) -> jax.Array:
        """The part of `log_prior` that comes from `blocks`, of those `normal_blocks` gives."""

    @abstractmethod
    def prior_draw(self, key: jax.Array) -> jax.Array:
        """One draw of θ from the prior."""

    @abstractmethod
    def net_draw(self, key: jax.Array) -> jax.Array:
        """θ to start from, where nothing else is asked for."""


class Weights(NamedTuple):
    """N, the weight of the KL and the temperature, as the arrays that a target holds."""

    rows: np.int32
    kl_weight: np.floating
    temperature: np.floating

    @classmethod
    def of(cls, rows: int, kl_weight: float, temperature: float) -> Self:
        """In the library's precision."""
        dtype = np.dtype(float_dtype()).type
        return cls(np.int32(rows), dtype(kl_weight), dtype(temperature))


def widened(tree: Any) -> Any:
    """A target or data with arrays of float64 in the place of float32, on the host."""

    def widen(leaf: Any) -> Any:
        single = getattr(leaf, "dtype", None) == np.float32
        return np.asarray(leaf, np.float64) if single else leaf

    return jax.tree.map(widen, tree)


def check_counts(rows: int, kl_weight: float, temperature: float) -> None:
    """Refuse what no fit has, as a forged file may have it.

    Raises:
        ValueError: no rows, or a weight or temperature that is negative or not finite.
    """
    if not 1 <= rows <= MOST_ROWS:
        raise ValueError(f"rows must be at least 1, and no more than 2⁵³, not {rows:.6g}.")
    if not 0 < kl_weight < np.inf:
        raise ValueError(f"kl_weight must be positive and finite, not {kl_weight}.")
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be a finite number from 0, not {temperature}.")
