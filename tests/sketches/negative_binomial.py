"""A sketch of a likelihood: counts that are spread more widely than Poisson's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

import posterity as po


class NegativeBinomial(po.likelihoods.AbstractLikelihood):
    """Counts of variance μ + μ² / dispersion.

        y ~ NegativeBinomial(mean μ = eᶠ, dispersion),   f = the net's output

    Args:
        dispersion: a positive number, a prior over such numbers (unknown), or `po.learned`.
    """

    dispersion: Any
    kind = "count"
    outputs_per_target = 1

    def distribution(self, outputs: jax.Array, unknowns: dict) -> dist.Distribution:
        """NumPyro's, by mean and dispersion."""
        dispersion = unknowns.get("dispersion", self.dispersion)
        return dist.NegativeBinomial2(jnp.exp(outputs[:, 0]), dispersion)
