"""A slab and a spike on every weight."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import constraints

from posterity.checks import Settings
from posterity.dtypes import float_dtype
from posterity.priors.prior import Prior
from posterity.priors.settings import positive, share

SPIKE = math.exp(-6)  # the narrow scale of a mixture, unless said otherwise


def ScaleMixture(pi: Any = 0.5, scale_1: Any = 1.0, scale_2: Any = SPIKE) -> Prior:
    """A mixture of two normals of different width on every weight: a slab and a spike.

        w ~ π N(0, scale_1²) + (1 − π) N(0, scale_2²)

    Args:
        pi: share of the first; between 0 and 1, or `po.learned`.
        scale_1, scale_2: standard deviations; positive numbers, or `po.learned`. The defaults,
            1 and e⁻⁶, are among those the paper tries (−log of 0, 1, 2 and of 6, 7, 8).

    Returns:
        A `Prior` for all parameters; learned numbers are shared by all layers.

    Raises:
        ValueError: a number out of its range.

    Blundell et al. 2015, "Weight uncertainty in neural networks", who keep π and the scales fixed,
    as they found learning them worse for their nets; with `po.learned` they are learned.

    >>> prior = ScaleMixture(0.25, 1.0, 0.1)
    >>> float(prior.latents({"w": (2,)})["w"].variance) == 0.25 + 0.75 * 0.1**2
    True
    """
    wrong = Settings("priors.ScaleMixture")
    pi = share(wrong, pi=pi)
    scale_1, scale_2 = positive(wrong, scale_1=scale_1), positive(wrong, scale_2=scale_2)
    wrong.refuse()
    return Prior((("*", ScaleMixtureDistribution(pi, scale_1, scale_2)),))


class ScaleMixtureDistribution(dist.Distribution):
    """π N(0, scale_1²) + (1 − π) N(0, scale_2²), as a NumPyro distribution."""

    arg_constraints: ClassVar[dict[str, Any]] = {
        "pi": constraints.unit_interval,
        "scale_1": constraints.positive,
        "scale_2": constraints.positive,
    }
    support = constraints.real
    pytree_data_fields = ("pi", "scale_1", "scale_2")

    def __init__(self, pi: Any, scale_1: Any, scale_2: Any, *, validate_args: Any = None) -> None:
        self.pi, self.scale_1, self.scale_2 = pi, scale_1, scale_2
        super().__init__(batch_shape=(), event_shape=(), validate_args=validate_args)

    def log_prob(self, value: Any, intermediates: Any = None) -> jax.Array:
        """The logarithm of the sum of both densities, stable where either underflows."""
        slab = jnp.log(self.pi) + dist.Normal(0.0, self.scale_1).log_prob(value)
        spike = jnp.log1p(-jnp.asarray(self.pi)) + dist.Normal(0.0, self.scale_2).log_prob(value)
        return jnp.logaddexp(slab, spike)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Which of the two, then a normal of its width."""
        first, second = jax.random.split(key)
        slab = jax.random.bernoulli(first, self.pi, sample_shape)
        scale = jnp.where(slab, self.scale_1, self.scale_2)
        return scale * jax.random.normal(second, sample_shape, float_dtype())

    @property
    def mean(self) -> float:
        """Zero."""
        return 0.0

    @property
    def variance(self) -> Any:
        """π scale_1² + (1 − π) scale_2²."""
        return self.pi * self.scale_1**2 + (1 - self.pi) * self.scale_2**2
