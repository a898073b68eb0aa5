"""Likelihoods: what a net's outputs say about the targets y.

A likelihood maps the outputs of a net to a NumPyro distribution over y, one per row, owns its own
unknowns (such as a noise scale with a prior), and knows which targets it can explain.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import numpy as np
import numpyro.distributions as dist

from posterity.dtypes import float_dtype
from posterity.learnable import Slot

Unknowns = Mapping[str, jax.Array]


class AbstractLikelihood(eqx.Module):
    """p(y | outputs of the net, unknowns).

    Attributes:
        kind: ``"classification"``, ``"regression"`` or ``"count"``.
    """

    kind: ClassVar[Literal["classification", "regression", "count"]]

    @property
    @abstractmethod
    def outputs_per_target(self) -> int:
        """How many net outputs each target of a row needs."""

    def unknowns(self) -> dict[str, dist.Distribution]:
        """The likelihood's own unknowns: name → prior."""
        return {}

    def slots(self) -> list[Slot]:
        """The numbers to be learned."""
        return []

    def fill(self, values: dict[int, Any]) -> AbstractLikelihood:
        """The likelihood with every number to be learned replaced by its value."""
        del values
        return self

    @abstractmethod
    def check(self, y: np.ndarray) -> None:
        """Raise a ValueError naming the first target outside the support."""

    @abstractmethod
    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """The distribution of y.

        Args:
            outputs: (rows, outputs_per_target, *targets), as the net gave them.
            unknowns: name → value of each unknown.

        Returns:
            A distribution with batch shape (rows, *targets).
        """

    @property
    def target_dtype(self) -> Any:
        """The dtype in which targets are stored."""
        return float_dtype()

    def log_prob(self, outputs: jax.Array, y: jax.Array, unknowns: Unknowns) -> jax.Array:
        """log p(y | outputs, unknowns) of every row, summed over the row's targets: (rows,)."""
        each = self.distribution(outputs, unknowns).log_prob(y)
        return each.reshape(each.shape[0], -1).sum(-1) if each.ndim > 1 else each

    def mean_and_var(self, outputs: jax.Array, unknowns: Unknowns) -> tuple[jax.Array, jax.Array]:
        """E[y | θ] and Var[y | θ]; for classes, of the one-hot y."""
        given = self.distribution(outputs, unknowns)
        return given.mean, given.variance

    def cdf(self, given: dist.Distribution, y: jax.Array) -> jax.Array:
        """P(Y ≤ y) under a `distribution` of this likelihood."""
        return given.cdf(y)

    def expected(self, mean: np.ndarray, var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Targets that stand for all of a given mean and noise in an expected log likelihood.

            E log p(y | θ) = Σⱼ vⱼ log p(yⱼ | θ) + a constant

        Args:
            mean: of y given θ, averaged over θ: (rows,), (rows, targets) or (rows, K).
            var: of y given θ, likewise; not needed where the mean is sufficient.

        Returns:
            y (rows, J, ...) and their shares v (rows, J), which sum to 1.
        """
        del var
        return mean[:, None], np.ones((len(mean), 1))


def refuse_first(bad: np.ndarray, y: np.ndarray, what: str, remedy: str) -> None:
    """Raise a ValueError that names the first bad target; nothing where none is bad."""
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        where = ", ".join(map(str, first))
        raise ValueError(f"y[{where}] = {y[first]:g} {what}: {remedy}. ({bad.sum()} such targets.)")
