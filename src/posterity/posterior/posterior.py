"""The posterior: what a fit returns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np

from posterity.diagnostics import Result
from posterity.posterior.distributions import AbstractDistribution
from posterity.posterior.history import History
from posterity.posterior.summary import Summary
from posterity.target import Target

if TYPE_CHECKING:
    from posterity.posterior.predictive import Predictive

Seed = int | jax.Array


class Posterior:
    """A distribution over the weights of a model, and what it took to find it.

    Attributes:
        target: the model as densities of θ.
        distribution: a density such as `Gaussian`, or stored `Draws`, over flat unconstrained θ.
        history: what every step reported: `history.elbo`, …
        settings: the method, its settings and the seed, as plain data.
        result: how the run ended, with every warning.
    """

    def __init__(
        self,
        target: Target,
        distribution: AbstractDistribution,
        history: History,
        settings: dict[str, Any],
        result: Result,
    ) -> None:
        self.target = target
        self.distribution = distribution
        self.history = history
        self.settings = settings
        self.result = result

    @property
    def learned(self) -> dict[str, float]:
        """The values found for numbers marked `po.learned`, by name."""
        return dict(self.settings.get("learned", {}))

    def sample(self, seed: Seed, n: int) -> jax.Array:
        """`n` draws of flat unconstrained θ.

        Args:
            seed: an integer or a JAX key.
            n: number of draws, over all chains. A sampler's stored draws come back as they are
                where `n` is their number; fewer are an evenly thinned part, more begin again.

        Returns:
            θ with axes (chain, draw, D).
        """
        if n < 1:
            raise ValueError(f"n: at least one draw is needed, not {n}.")
        return _sample(self.distribution, as_key(seed), int(n))

    def weights(self, path: str, *, n: int = 1_000, seed: Seed = 0) -> np.ndarray:
        """Draws of one named, constrained parameter.

        Args:
            path: its name, such as ``layers.0.weight`` or ``likelihood.scale``.
            n: number of draws, where draws are made on demand; a sampler gives all of its own.
            seed: an integer or a JAX key.

        Returns:
            An array with axes (chain, draw, *shape of the parameter).

        Raises:
            KeyError: there is no such parameter; the message lists those there are.
        """
        if path not in self.target.paths:
            raise KeyError(f"no parameter {path!r}; there are {', '.join(self.target.paths)}.")
        theta = self.sample(seed, self.distribution.stored or n)
        return np.asarray(_named(self.target, theta, path))

    def predict(self, x: Any, *, draws: int | None = None, seed: int = 0) -> Predictive:
        """The predictive distribution at new inputs.

            p(y | x, data) = ∫ p(y | x, θ) q(θ) dθ ≈ (1/S) Σₛ p(y | x, θₛ)

        Args:
            x: inputs (rows, ...), as in `fit`.
            draws: S; None for 1,000, or for all stored draws of a sampler.
            seed: the draws' random seed.

        Returns:
            A `Predictive` with mean, sd, probabilities, labels, quantiles and the split of the
            uncertainty. It is computed in a stream: memory does not grow with `draws`.

        Raises:
            ValueError: `x` is not finite, or its rows have another shape than in `fit`.
        """
        from posterity.posterior.predictive import predict

        if draws is None:
            draws = self.distribution.stored or 1_000
        return predict(self, x, draws, seed)

    def summary(self) -> Summary:
        """A table of the parameters: size, and range of posterior means and sds."""
        return Summary.of(self.target, self.distribution)

    def save(self, path: str | Path) -> Path:
        """Write the posterior to one file; see `posterity.load`.

        The file is safetensors with a JSON description: no code, no pickle. It is written to a
        temporary name, synced and renamed, so that a crash leaves the old file or the new one.

        Args:
            path: where; the suffix ``.safetensors`` is added where there is none.

        Returns:
            The path written.
        """
        from posterity.posterior.store import save

        return save(self, Path(path))

    def to_arviz(self, *, n: int = 1_000, seed: Seed = 0) -> Any:
        """The posterior for ArviZ: `InferenceData` of 0.x, or a `DataTree` of 1.x.

        Args:
            n: number of draws where they are made on demand.
            seed: an integer or a JAX key.
        """
        from posterity.posterior.arviz import to_arviz

        return to_arviz(self, n, seed)

    def __repr__(self) -> str:
        kind = type(self.distribution).__name__
        return (
            f"Posterior({self.settings['method']}, {kind} over {self.target.size} parameters, "
            f"{self.result.code.value})"
        )


def as_key(seed: Seed) -> jax.Array:
    """A JAX key from an integer or a key."""
    if isinstance(seed, (int, np.integer)):
        return jax.random.key(int(seed))
    return seed


@eqx.filter_jit
def _sample(distribution: AbstractDistribution, key: jax.Array, n: int) -> jax.Array:
    return distribution.sample(key, n)


@eqx.filter_jit
def _named(target: Target, theta: jax.Array, path: str) -> jax.Array:
    return jax.vmap(jax.vmap(lambda row: target.constrain(row)[path]))(theta)
