"""Labels of two or more classes."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.checks import MOST_WIDE, Settings
from posterity.dtypes import float_dtype
from posterity.likelihoods.likelihood import AbstractLikelihood, Kind, Unknowns
from posterity.storable import stored


@stored("likelihoods.Bernoulli")
class Bernoulli(AbstractLikelihood):
    """Binary labels.

        y ~ Bernoulli(σ(f)),   f = the net's one output, the log-odds of y = 1

    Targets are 0/1 (bool, integer or whole floats), shape (rows,).

    >>> Bernoulli().outputs_per_target
    1
    """

    kind: ClassVar[Kind] = "classification"

    @property
    def outputs_per_target(self) -> int:
        """One: the log-odds."""
        return 1

    @property
    def classes(self) -> int:
        return 2

    @property
    def target_dtype(self) -> Any:
        """Labels are stored as floats, as they enter the density."""
        return float_dtype()

    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """Bernoulli with the net's log-odds."""
        return dist.BernoulliLogits(outputs[:, 0], validate_args=False)

    def log_prob(self, outputs: jax.Array, y: jax.Array, unknowns: Unknowns) -> jax.Array:
        """y f − log(1 + eᶠ), the stable form with the fewest operations."""
        logits = outputs[:, 0]
        return y * logits - jax.nn.softplus(logits)

    def mean_and_var(self, outputs: jax.Array, unknowns: Unknowns) -> tuple[jax.Array, jax.Array]:
        """P(y = 1) = σ(f), and σ(f) (1 − σ(f)): (rows,)."""
        given = self.distribution(outputs, unknowns)
        return given.mean, given.variance

    def entropy(self, outputs: jax.Array, unknowns: Unknowns) -> jax.Array:
        """log(1 + eᶠ) − σ(f) f, stable for large |f| by its symmetry in f."""
        size = jnp.abs(outputs[:, 0])
        return jax.nn.softplus(-size) + jax.nn.sigmoid(-size) * size

    def curvature(self, outputs: jax.Array, unknowns: Unknowns) -> jax.Array:
        """σ(f) σ(−f): (rows, 1, 1)."""
        return (jax.nn.sigmoid(outputs) * jax.nn.sigmoid(-outputs))[..., None]


@stored("likelihoods.Categorical")
class Categorical(AbstractLikelihood):
    """Labels of K classes.

        y ~ Categorical(softmax(f)),   f = the net's K outputs

    Args:
        classes: K ≥ 2. Targets are whole numbers 0 … K − 1, shape (rows,).

    >>> Categorical(10).outputs_per_target
    10
    """

    kind: ClassVar[Kind] = "classification"
    number: int = eqx.field(static=True)

    def __init__(self, classes: int) -> None:
        wrong = Settings("likelihoods.Categorical")
        wrong.counts(least=2, most=MOST_WIDE, classes=classes)
        wrong.refuse()
        self.number = int(classes)

    def stored_as(self) -> dict[str, Any]:
        """The argument, for files."""
        return {"classes": self.number}

    @classmethod
    def from_stored(cls, classes: int) -> Categorical:
        """The inverse of `stored_as`."""
        return cls(classes)

    @property
    def outputs_per_target(self) -> int:
        """One logit per class."""
        return self.number

    @property
    def classes(self) -> int:
        return self.number

    @property
    def target_dtype(self) -> Any:
        """Labels are stored as int32, to index with."""
        return np.int32

    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """Categorical with the net's logits."""
        return dist.CategoricalLogits(outputs, validate_args=False)

    def log_prob(self, outputs: jax.Array, y: jax.Array, unknowns: Unknowns) -> jax.Array:
        """f_y − log Σ eᶠ."""
        return jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], axis=1)[:, 0]

    def mean_and_var(self, outputs: jax.Array, unknowns: Unknowns) -> tuple[jax.Array, jax.Array]:
        """Probabilities p (rows, K), and p (1 − p); of two classes P(y = 1), (rows,)."""
        p = jax.nn.softmax(outputs)
        p = p[:, 1] if self.number == 2 else p
        return p, p * (1 - p)

    def entropy(self, outputs: jax.Array, unknowns: Unknowns) -> jax.Array:
        """−Σ p log p."""
        log_p = jax.nn.log_softmax(outputs)
        return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)

    def curvature(self, outputs: jax.Array, unknowns: Unknowns) -> jax.Array:
        """diag(p) − p pᵀ: (rows, K, K)."""
        p = jax.nn.softmax(outputs)
        return p[:, :, None] * (jnp.eye(self.number, dtype=p.dtype) - p[:, None, :])
