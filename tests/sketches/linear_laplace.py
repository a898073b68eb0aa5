"""Laplace's approximation by Newton's method, and the net linearised at the mode."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import posterity as po
from posterity.distributions.normal import FullRank
from posterity.methods.method import AbstractMethod, Fitted
from posterity.nets.net import AbstractNet


class Linearised(AbstractNet):
    """outputs(w) = net(ŵ) + J(ŵ) (w − ŵ)."""

    net: AbstractNet
    mode: Any  # ŵ

    def init(self, key: jax.Array) -> Any:
        return self.net.init(key)

    def apply(self, params: Any, x: jax.Array) -> jax.Array:
        away = jax.tree.map(jnp.subtract, params, self.mode)
        out, change = jax.jvp(lambda w: self.net.apply(w, x), (self.mode,), (away,))
        return out + change


State = namedtuple("State", ["position", "precision", "log_joint"])
Info = namedtuple("Info", ["log_joint", "ok"])


@dataclasses.dataclass(frozen=True)
class LinearLaplace(po.MAP):
    """N(mode, Λ⁻¹), Λ = −∇² log joint; log Z ≈ log joint + ½ D log 2π − ½ log |Λ| at the mode."""

    steps: int = 8
    retreat = AbstractMethod.retreat

    def init(self, key: Any, target: Any, theta: jax.Array) -> Any:
        return State(theta, jnp.eye(theta.size, dtype=theta.dtype), jnp.zeros((), theta.dtype))

    def step(self, key: Any, target: Any, state: Any, batch: Any) -> tuple[Any, Info]:
        value, slope = jax.value_and_grad(target.log_joint)(state.position, batch)
        precision = -jax.hessian(target.log_joint)(state.position, batch)
        theta = state.position + jnp.linalg.solve(precision, slope)
        return State(theta, precision, value), Info(value, jnp.isfinite(value + jnp.sum(theta)))

    def finish(self, target: Any, state: Any, draws: Any, memory: Any) -> Fitted:
        mode, precision, value = (np.asarray(leaf[0], np.float64) for leaf in state)
        chol = np.linalg.cholesky(np.linalg.inv(precision)).astype(target.dtype)
        evidence = value + 0.5 * mode.size * np.log(2 * np.pi) + np.log(np.diag(chol)).sum()
        net = Linearised(target.net, target.split(jnp.asarray(state.position[0]))[0])
        fitted = dataclasses.replace(target, net=net)
        return Fitted(FullRank(state.position[0], chol), fitted, {"log_evidence": evidence})
