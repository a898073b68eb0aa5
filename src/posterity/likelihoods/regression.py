"""Real targets with a location from the net and a scale."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.dtypes import largest_magnitude
from posterity.learnable import is_learned
from posterity.likelihoods.likelihood import AbstractLikelihood, Kind, Unknowns

# float | numpyro Distribution | "net"; NumPyro has no type information to say so.
Scale: TypeAlias = Any

# A scale from the net is softplus(raw) plus this, so that no row claims to be known exactly.
SMALLEST_NET_SCALE = 1e-4


class AbstractRegressionLikelihood(AbstractLikelihood):
    """A likelihood over real targets with a scale that is known, unknown or given by the net."""

    kind: ClassVar[Kind] = "regression"
    scale: eqx.AbstractVar[Scale]

    @property
    def outputs_per_target(self) -> int:
        """One location; and one raw scale where the net gives it."""
        return 2 if self.scale == "net" else 1

    @property
    def bounds(self) -> tuple[float, float]:
        return -np.inf, np.inf

    def check(self, y: np.ndarray) -> None:
        """Any finite number is a target."""

    @abstractmethod
    def noise_levels(self) -> np.ndarray:
        """Equally probable values of noise of mean 0 and variance 1."""

    @abstractmethod
    def information(self) -> tuple[float, float]:
        """scale² times the Fisher information of the location and of the scale."""

    def expected(self, mean: np.ndarray, var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean with noise of that variance at each of `noise_levels`."""
        levels = self.noise_levels()
        y = np.stack([mean + np.sqrt(var) * level for level in levels], axis=1)
        return y, np.full(y.shape[:2], 1 / len(levels))

    def curvature(self, outputs: jax.Array, unknowns: Unknowns) -> jax.Array:
        """Diagonal: information / scale², times (d scale / d raw)² for a raw scale of the net."""
        loc, scale = self._loc_and_scale(outputs, unknowns)
        of_loc, of_scale = self.information()
        each = jnp.broadcast_to(of_loc / jnp.square(scale), loc.shape)[:, None]
        if self.scale == "net":
            slope = jax.nn.sigmoid(outputs[:, 1])
            each = jnp.concatenate([each, (of_scale * (slope / scale) ** 2)[:, None]], axis=1)
        return diagonal(each)

    def _loc_and_scale(self, outputs: jax.Array, unknowns: Unknowns) -> tuple[Any, Any]:
        if self.scale == "net":
            return outputs[:, 0], jax.nn.softplus(outputs[:, 1]) + SMALLEST_NET_SCALE
        return outputs[:, 0], unknowns.get("scale", self.scale)


def diagonal(each: jax.Array) -> jax.Array:
    """Diagonal matrices (rows, n, n) of what each row has: (rows, ...) with n elements."""
    return jax.vmap(jnp.diag)(each.reshape(each.shape[0], -1))


def checked_scale(scale: Any, name: str) -> Scale:
    """A scale as a number, a distribution over positive numbers, a learned number or "net"."""
    if isinstance(scale, str):
        if scale != "net":
            raise ValueError(f'{name} as a word can only be "net", not {scale!r}.')
        return "net"
    if isinstance(scale, dist.Distribution):
        if scale.shape():
            raise ValueError(f"{name}'s prior must be of one number, not of shape {scale.shape()}.")
        if scale.support.is_discrete or bool(np.any(scale.support(-np.logspace(-6, 6, 13)))):
            raise ValueError(
                f"{name}'s prior {type(scale).__name__} allows numbers that are not positive; use "
                "HalfNormal, LogNormal, Gamma, …"
            )
        return scale
    if is_learned(scale):
        return scale
    number = float(scale)
    if not 0 < number < largest_magnitude():
        raise ValueError(f"{name} must be positive and finite, not {scale}.")
    return number
