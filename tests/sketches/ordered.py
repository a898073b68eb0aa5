"""A sketch of a likelihood: ordered classes, told apart by unknown cutpoints."""

from __future__ import annotations

import jax
import numpy as np
import numpyro.distributions as dist

import posterity as po


class Ordered(po.likelihoods.AbstractLikelihood):
    """Ordered classes by cumulative logits (McCullagh 1980).

        P(y ≤ k) = σ(c_k − f),   f = the net's output,   c_0 < c_1 < … unknown

    Of independent z ~ N(0, 2²) the cutpoints are c_0 = z_0 and c_k = c_{k−1} + exp(z_k).

    Args:
        number: how many classes, from 2.
    """

    cutpoints: dist.Distribution  # a field that is a distribution is an unknown with this prior
    kind = "ordinal"
    outputs_per_target = 1

    def __init__(self, number: int) -> None:
        free = dist.Normal(np.zeros(number - 1, np.float32), 2.0).to_event(1)
        self.cutpoints = dist.TransformedDistribution(free, dist.transforms.OrderedTransform())

    def distribution(self, outputs: jax.Array, unknowns: dict) -> dist.Distribution:
        """NumPyro's, with the logits of the cutpoints."""
        return dist.OrderedLogistic(outputs[:, 0], unknowns["cutpoints"])
