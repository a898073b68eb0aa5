"""Counts."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.likelihoods.likelihood import AbstractLikelihood, Kind, Unknowns
from posterity.likelihoods.regression import diagonal
from posterity.storable import stored

LARGE = 1e9  # rates whose draws are made from a normal
MANY = 64.0  # counts from which their distribution function is Temme's expansion
# C₀ and C₁ in powers of η: Temme 1979; as in Boost.
C_0 = (
    -1 / 3, 1 / 12, -2 / 135, 1 / 864, 1 / 2835, -139 / 777600, 1 / 25515, -2.1854485106799922e-6,
    -1.85406221071516e-6, 8.296711340953086e-7,
)  # fmt: skip
C_1 = (
    -1 / 540, -1 / 288, 1 / 378, -9.9022633744855967e-4, 2.0576131687242798e-4,
    -4.0187757201646091e-7, -1.8098550334489978e-5,
)  # fmt: skip


def upper_gamma(a: jax.Array, x: jax.Array) -> jax.Array:
    """Q(a, x), the regularised upper incomplete gamma function, for a of any size.

        Q(a, x) = ½ erfc(η √(a/2)) + exp(−a η²/2) (C₀(η) + C₁(η)/a) / √(2πa)
        ½ η² = μ − log(1 + μ),   μ = x/a − 1

    from a = 64 on, where the next term is below 10⁻⁷. A series takes √a terms there, and in single
    precision is off by 4 · 10⁻⁵ at 255 and by 10⁻³ at 10⁴.

    Temme 1979, "The asymptotic expansion of the incomplete gamma functions".
    """
    far = a >= MANY
    near = jax.scipy.special.gammaincc(jnp.where(far, 1.0, a), jnp.where(far, 1.0, x))
    mu = jnp.where(far, (x - a) / a, 0.0)
    # (μ − log(1 + μ)) / ½ μ², which rounding would spoil for small μ.
    small = sum((-mu) ** k * 2 / (k + 2) for k in range(14))
    at = jnp.where(jnp.abs(mu) < 0.1, 1.0, mu)
    ratio = jnp.where(jnp.abs(mu) < 0.1, small, 2 * (at - jnp.log1p(at)) / at**2)
    eta = mu * jnp.sqrt(jnp.maximum(ratio, 0))
    near_0 = jnp.clip(eta, -1.0, 1.0)
    first, second = (jnp.polyval(jnp.asarray(c[::-1], eta.dtype), near_0) for c in (C_0, C_1))
    series = first + second / jnp.where(far, a, 1.0)
    rest = jnp.exp(-a * eta**2 / 2) * series / jnp.sqrt(2 * jnp.pi * a)
    return jnp.where(far, 0.5 * jax.scipy.special.erfc(eta * jnp.sqrt(a / 2)) + rest, near)


@stored("likelihoods.Poisson")
class Poisson(AbstractLikelihood):
    """Counts.

        y ~ Poisson(eᶠ),   f = the net's output, the log rate

    Targets are whole numbers from 0, shape (rows,) or (rows, targets).

    >>> Poisson().outputs_per_target
    1
    """

    kind: ClassVar[Kind] = "count"

    @property
    def outputs_per_target(self) -> int:
        """One: the log rate."""
        return 1

    @property
    def bounds(self) -> tuple[float, float]:
        """0 and ∞."""
        return 0.0, np.inf

    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """Poisson with the exponential of the net's outputs as rate."""
        return dist.Poisson(jnp.exp(outputs[:, 0]), validate_args=False)

    def log_prob(self, outputs: jax.Array, y: jax.Array, unknowns: Unknowns) -> jax.Array:
        """y f − eᶠ − log y!, without the logarithm of a rate that may have underflowed."""
        f = outputs[:, 0]
        each = y * f - jnp.exp(f) - jax.lax.lgamma(y + 1.0)
        return each.reshape(each.shape[0], -1).sum(-1)

    def sample(self, given: dist.Distribution, key: jax.Array) -> jax.Array:
        """Counts as integers; in double precision as floats, which hold those that no integer does.

        Rates above 10⁹ have the normal quantile with its correction for skewness, which is off by
        10⁻⁹ of the sd (Cornish & Fisher 1938).
        """
        rate = given.rate
        if rate.dtype != jnp.float64:
            return given.sample(key)
        near = rate < LARGE
        k = dist.Poisson(jnp.where(near, rate, 1.0), validate_args=False).sample(key)
        z = jax.random.normal(jax.random.fold_in(key, 1), rate.shape, rate.dtype)
        far = jnp.round(rate + jnp.sqrt(rate) * z + (z**2 - 1) / 6)
        return jnp.where(near, k.astype(rate.dtype), far)

    def cdf(self, given: dist.Distribution, y: jax.Array) -> jax.Array:
        """P(Y ≤ y) = Q(⌊y⌋ + 1, rate), the regularised upper incomplete gamma function."""
        whole = jnp.floor(y)
        q = upper_gamma(jnp.maximum(whole, 0) + 1, given.rate)
        return jnp.where(whole < 0, 0.0, q)

    def curvature(self, outputs: jax.Array, unknowns: Unknowns) -> jax.Array:
        """The rate eᶠ."""
        return diagonal(jnp.exp(outputs))

    def expected(self, mean: np.ndarray, var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean, which is sufficient: log p is linear in y but for a constant."""
        del var
        return mean[:, None], np.ones((len(mean), 1))
