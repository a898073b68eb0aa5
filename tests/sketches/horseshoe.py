"""A horseshoe: most weights next to zero, some as large as the data want them."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

import posterity as po


class Horseshoe(po.priors.AbstractPrior):
    """w = τ λ z,   z ~ N(0, 1), λ ~ C⁺(0, 1) of each weight, τ ~ C⁺(0, scale) of all.

    Args:
        scale: how large τ is expected to be.

    Carvalho, Polson & Scott 2010, "The horseshoe estimator for sparse signals".
    """

    scale: float = eqx.field(static=True, default=1.0)

    def latents(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        found = {"prior.tau": dist.HalfCauchy(self.scale)}
        for path, shape in shapes.items():
            found["prior.local." + path] = dist.HalfCauchy(1.0).expand(shape)
            found["prior.z." + path] = dist.Normal(0.0, 1.0).expand(shape)
        return found

    def weights(self, latents: Any, columns: Any = None, key: Any = None) -> dict[str, jax.Array]:
        local = {n.removeprefix("prior.local."): v for n, v in latents.items() if ".local." in n}
        tau = latents["prior.tau"]
        return {path: tau * lam * latents["prior.z." + path] for path, lam in local.items()}

    def start(self, weights: Any, key: jax.Array) -> dict[str, jax.Array]:
        local = {"prior.local." + path: jnp.ones(w.shape) for path, w in weights.items()}
        z = {"prior.z." + path: w / self.scale for path, w in weights.items()}
        return {"prior.tau": jnp.asarray(self.scale), **local, **z}

    def derived(self, latents: Any) -> dict[str, jax.Array]:
        """How many weights have a scale of more than 1/10."""
        local = jnp.concatenate([v.ravel() for n, v in latents.items() if ".local." in n])
        return {"prior.active": jnp.sum(latents["prior.tau"] * local > 0.1)}

    def no_mode(self) -> str:
        return "the mode of a horseshoe depends on how its scales are parametrised."
