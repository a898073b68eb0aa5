"""Real targets with a location from the net and a scale."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.checks import Settings, is_real, said
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


def checked_scale(wrong: Settings, scale: Any) -> Scale:
    """A scale as a number, a distribution over positive numbers, a learned number or "net"."""
    if isinstance(scale, str):
        if scale != "net":
            wrong.add("scale", f'as a word can only be "net", not {said(scale)}')
        return scale
    if isinstance(scale, dist.Distribution):
        _check_prior(wrong, scale)
        return scale
    if is_learned(scale):
        return scale
    most = largest_magnitude()
    if not is_real(scale) or not 0 < float(scale) < most:
        wrong.add("scale", f"must be positive and finite (below {most:g}), not {said(scale)}")
        return scale
    return float(scale)


def _check_prior(wrong: Settings, prior: dist.Distribution) -> None:
    if prior.shape():
        wrong.add("scale", f"has a prior of shape {prior.shape()}, and must be one number")
    elif prior.support.is_discrete or bool(np.any(prior.support(-np.logspace(-6, 6, 13)))):
        wrong.add(
            "scale",
            f"has a prior {type(prior).__name__} that allows numbers that are not positive; use "
            "HalfNormal, LogNormal, Gamma, …",
        )
