"""Groups: every group of rows has weights of its own, around weights that all groups share."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

import posterity as po


class Groups(po.priors.AbstractPrior):
    """w_g = μ + σ z_g,   z_g ~ N(0, 1) of each group, μ ~ N(0, 1), σ ~ HalfNormal(spread).

    A column of x holds a row's g. Weights of a group from `count` on are new in every draw.

    Args:
        count: how many groups there are. columns: where g is. spread: how much groups may differ.
    """

    count: int = eqx.field(static=True)
    columns: tuple[int | str, ...] = eqx.field(static=True, default=(0,))
    spread: float = eqx.field(static=True, default=1.0)

    def latents(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        normal, found = dist.Normal(0.0, 1.0), {"prior.spread": dist.HalfNormal(self.spread)}
        for path, shape in shapes.items():
            found["prior.shared." + path] = normal.expand(shape)
            found["prior.z." + path] = normal.expand((self.count, *shape))
        return found

    def weights(self, latents: Any, columns: Any = None, key: Any = None) -> dict[str, jax.Array]:
        group = columns[0].astype(int)
        found = {}
        for number, path in enumerate(n[8:] for n in sorted(latents) if n.startswith("prior.z.")):
            own, shared = latents["prior.z." + path][group], latents["prior.shared." + path]
            if key is not None:
                drawn = jax.random.fold_in(jax.random.fold_in(key, group), number)
                new = jax.random.normal(drawn, shared.shape)
                own = jnp.where(group < self.count, own, new)
            found[path] = shared + latents["prior.spread"] * own
        return found

    def start(self, weights: Any, key: jax.Array) -> dict[str, jax.Array]:
        return {"prior.shared." + path: w for path, w in weights.items()}

    def no_mode(self) -> str:
        return "the mode of weights around shared ones depends on how they are parametrised."
