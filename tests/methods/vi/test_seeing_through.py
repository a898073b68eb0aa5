"""Estimators see through a prior's map where a weight is affine in one normal latent."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax import lax

import posterity as po
from oracles import z_limit
from posterity.methods.vi.estimators.estimator import draw_noise, expected_log_likelihood, plan
from posterity.methods.vi.families.mean_field import MeanField
from posterity.model.net_target import Batch, Target

FIRST, LAST = "layers.0.weight", "layers.1.weight"
ROWS, DRAWS = 12, 3_000
MAPS = {
    "scaled by rows": lambda s, z, u: s[:, None] * z,
    "shifted": lambda s, z, u: 0.5 + s[:, None] * z,
    "taken from": lambda s, z, u: s[:, None] - z / 2,
    "shifted by a repeated normal": lambda s, z, u: u[0, 0] + s[:, None] * z,
    "in a function of its own": jax.jit(lambda s, z, u: jnp.exp(-s)[:, None] * (z + 1)),
    "two normals added": lambda s, z, u: u + z,
    "two normals multiplied": lambda s, z, u: u * z,
    "not affine": lambda s, z, u: jnp.sinh(z),
    "repeated": lambda s, z, u: s[:, None] * z[:1] * jnp.ones_like(z),
}
AFFINE = list(MAPS)[:5]


class Mapped(po.priors.AbstractPrior):
    """The first layer's weight by one of `MAPS`; the others are latents."""

    name: str

    def latents(self, shapes: Any) -> dict[str, Any]:
        normal, shape = dist.Normal(0.0, 1.0), shapes[FIRST]
        made = {"prior.s": dist.HalfNormal(1.0).expand(shape[:1])}
        made |= {f"prior.{name}": normal.expand(shape) for name in "zu"}
        return made | {path: normal for path in shapes if path != FIRST}

    def weights(self, latents: Any, columns: Any = None, key: Any = None) -> dict[str, Any]:
        s, z, u = (latents[f"prior.{name}"] for name in "szu")
        return {**latents, FIRST: MAPS[self.name](s, z, u)}


class Tied(Mapped):
    """Both layers' weights of one latent."""

    def weights(self, latents: Any, columns: Any = None, key: Any = None) -> dict[str, Any]:
        made = super().weights(latents)
        return {**made, LAST: latents["prior.z"][:1]}


def target_of(prior: Any) -> Target:
    net = po.nets.MLP(3, [3], 1, activation=jnp.tanh)
    return Target.build(po.Model(net, prior, po.likelihoods.Normal(1.0)), (3,), (), 2 * ROWS)


@pytest.mark.parametrize("name", list(MAPS))
def test_which_estimator_a_weight_gets(name: str) -> None:
    found = plan(target_of(Mapped(name)), "flipout").by_path()
    assert found[FIRST] == ("flipout" if name in AFFINE else "shared")
    assert found[LAST] == "flipout"
    assert found["layers.0.bias"] == "shared"


def test_a_latent_of_two_weights_is_shared() -> None:
    found = plan(target_of(Tied("scaled by rows")), "flipout").by_path()
    assert found[FIRST] == found[LAST] == "shared"


@pytest.mark.parametrize("estimator", ["flipout", "local"])
@pytest.mark.parametrize("name", ["shifted", "taken from", "shifted by a repeated normal"])
def test_mean_value_and_gradient_are_those_of_shared_draws(name: str, estimator: Any) -> None:
    target, family = target_of(Mapped(name)), MeanField()
    phi = family.init(jax.random.key(0), 0.5 * jnp.ones(target.size), 0.3)
    x = jax.random.normal(jax.random.key(1), (ROWS, 3))
    batch = Batch(x, jnp.sin(x[:, 0]))

    def estimates(kind: Any) -> np.ndarray:
        chosen = plan(target, kind)

        def value(phi: jax.Array, key: jax.Array) -> jax.Array:
            theta = family.push(phi, jax.random.normal(key, (1, target.size)))[0]
            noise = None if chosen.shared else draw_noise(chosen, key, ROWS, x.dtype)
            moments = family.mean_and_sd(phi)
            return expected_log_likelihood(target, chosen, moments, theta, noise, batch)

        def both(key: jax.Array) -> jax.Array:
            found, gradient = jax.value_and_grad(value)(phi, key)
            return jnp.concatenate([found[None], gradient.ravel()])

        keys = jax.random.split(jax.random.key(2), DRAWS)
        return np.asarray(jax.jit(lambda keys: lax.map(both, keys))(keys), np.float64)

    ours, shared = estimates(estimator), estimates("shared")
    error = np.sqrt((ours.var(0) + shared.var(0)) / DRAWS)
    z = np.abs(ours.mean(0) - shared.mean(0)) / np.maximum(error, 1e-12)
    assert z.max() < z_limit(6 * z.size)
    assert ours[:, 0].var() < shared[:, 0].var()
