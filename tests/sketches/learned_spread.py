"""A learned spread: each layer's weights are normal, with a scale that is learned from data."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import numpyro.distributions as dist

import posterity as po


class LearnedSpread(po.priors.AbstractPrior):
    """w ~ N(0, s²) within a layer,   s ~ HalfNormal(scale) of each layer.

    Args:
        scale: how large s may be.
    """

    scale: float = eqx.field(static=True, default=1.0)

    def latents(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        spread = {path: "prior.spread." + path.rpartition(".")[0] for path in shapes}
        found: dict[str, Any] = {name: dist.HalfNormal(self.scale) for name in spread.values()}
        for path, name in spread.items():
            found[path] = lambda latents, name=name: dist.Normal(0.0, latents[name])
        return found

    def no_mode(self) -> str:
        return "the density is unbounded where all weights of a layer and their spread are 0."
