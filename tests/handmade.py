"""Posteriors made by hand, so that what they must predict is known."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

import posterity as po
from posterity.diagnostics.history import History
from posterity.diagnostics.result import Code, Result
from posterity.distributions.distribution import AbstractDistribution
from posterity.distributions.draws import Draws
from posterity.distributions.normal import Gaussian
from posterity.model.net_target import Target


def posterior_of(
    model: po.Model,
    distribution: AbstractDistribution,
    *,
    columns: int = 1,
    targets: int | None = None,
    history: dict[str, np.ndarray] | None = None,
    **settings: object,
) -> po.Posterior:
    """A posterior of `model` that no method has found."""
    y_shape = () if targets is None else (targets,)
    target = Target.build(model, (columns,), y_shape, 10)
    assert distribution.size == target.size
    return po.Posterior(
        target,
        distribution,
        history=History(history or {}),
        settings={"method": "handmade", **settings},
        result=Result(Code.COMPLETED, "Made by hand."),
    )


def draws_of(theta: object) -> Draws:
    """Stored draws from nested lists (draw, D) or (chain, draw, D)."""
    array = jnp.asarray(np.asarray(theta, np.float32))
    return Draws(array if array.ndim == 3 else array[None])


def gaussian_of(mean: object, sd: object) -> Gaussian:
    """Independent normals from lists."""
    return Gaussian(*(jnp.asarray(np.asarray(v, np.float32)) for v in (mean, sd)))


def linear(likelihood: object, outputs: int = 1, columns: int = 1, bias: bool = False) -> po.Model:
    """A net without hidden layers: f = W x (+ b), θ = (b, W by rows)."""
    net = po.nets.MLP(columns, [], outputs, use_bias=bias)
    return po.Model(net, po.priors.Normal(0, 1), likelihood)
