"""A mixture of normals: a posterior with several modes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posterity.distributions.distribution import AbstractDensity, Correlations
from posterity.distributions.normal import FullRank, Gaussian, LowRank
from posterity.dtypes import float_dtype
from posterity.storable import refuse_numbers, stored

Component = Gaussian | FullRank | LowRank


@stored("distributions.Mixture")
class Mixture(AbstractDensity):
    """A mixture of K normals of one kind.

        q(θ) = Σₖ wₖ qₖ(θ)

    Args:
        weights: wₖ, positive, with sum 1, (K,).
        components: one `Gaussian`, `FullRank` or `LowRank` whose arrays have a leading axis K.

    >>> import jax.numpy as jnp
    >>> one, two = (Gaussian(jnp.full(3, at), jnp.ones(3)) for at in (-5.0, 5.0))
    >>> mixture = Mixture.of([0.25, 0.75], [one, two])
    >>> mixture.mean_and_sd()[0].tolist()
    [2.5, 2.5, 2.5]
    """

    weights: jax.Array
    components: Component

    def stored_as(self) -> dict[str, Any]:
        """The weights, and the components one by one."""
        parts = jax.tree.map(np.asarray, self.components)
        single = [jax.tree.map(lambda leaf, k=k: leaf[k], parts) for k in range(self.count)]
        return {"weights": self.weights, "components": tuple(single)}

    @classmethod
    def from_stored(cls, weights: jax.Array, components: tuple[Component, ...]) -> Mixture:
        """The inverse of `stored_as`.

        Raises:
            ValueError: weights that are no shares, or components of several kinds or sizes.
        """
        refuse_numbers("weights", weights, 1)
        if not (weights > 0).all() or abs(float(weights.sum()) - 1) > 1e-3:
            raise ValueError("the mixture's weights are not positive numbers of sum 1.")
        if len({type(component) for component in components}) != 1:
            raise ValueError("the components of a mixture are not of one kind.")
        if len(components) != len(weights):
            raise ValueError(f"{len(weights)} weights are for {len(components)} components.")
        stacked = jax.tree.map(lambda *leaves: _stack(leaves), *components)
        return cls(weights, stacked)

    @classmethod
    def of(cls, weights: object, components: list[Component]) -> Mixture:
        """The mixture of a list of components; those of low rank must be of one rank."""
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *components)
        return cls(jnp.asarray(np.asarray(weights), stacked.mean.dtype), stacked)

    def at(self, number: int | jax.Array) -> Component:
        """Component number `number`, from 0."""
        return jax.tree.map(lambda leaf: leaf[number], self.components)

    @property
    def count(self) -> int:
        """K, the number of components."""
        return self.weights.shape[0]

    @property
    def size(self) -> int:
        return self.components.mean.shape[-1]

    @property
    def noise_size(self) -> int:
        """One number for the choice of a component, and those of the component."""
        rank = self.components.factor.shape[-1] if isinstance(self.components, LowRank) else 0
        return 1 + self.size + rank

    def push(self, noise: jax.Array) -> jax.Array:
        """The first number, by its rank among normals, chooses the component; the rest make θ."""
        share = jax.scipy.stats.norm.cdf(noise[0])
        number = jnp.sum(share > jnp.cumsum(self.weights)[:-1])
        return self.at(number).push(noise[1:])

    def log_prob(self, theta: jax.Array) -> jax.Array:
        """log Σₖ wₖ qₖ(θ), stable where all but one underflow."""
        each = jax.vmap(lambda component: component.log_prob(theta))(self.components)
        return jax.scipy.special.logsumexp(each + jnp.log(self.weights))

    def mean_and_sd(self) -> tuple[jax.Array, jax.Array]:
        """By the law of total variance."""
        means, sds = jax.vmap(lambda component: component.mean_and_sd())(self.components)
        mean = self.weights @ means
        return mean, jnp.sqrt(self.weights @ (sds**2 + (means - mean) ** 2))

    def as_normals(self, correlations: Correlations | None) -> Mixture:
        """The mixture of its components so treated."""
        parts = [self.at(k).as_normals(correlations) for k in range(self.count)]
        return Mixture.of(self.weights, parts)

    def marginal(self, at: np.ndarray) -> Mixture:
        """The mixture of the components' marginals."""
        return Mixture.of(self.weights, [self.at(k).marginal(at) for k in range(self.count)])

    def centre(self) -> jax.Array:
        """The mean of the heaviest component: between modes nothing is likely."""
        return self.at(jnp.argmax(self.weights)).mean


def _stack(leaves: tuple[Any, ...]) -> jax.Array:
    """One array of the components' arrays, in the library's precision.

    Raises:
        ValueError: they have different shapes, or numbers out of its range.
    """
    if len({np.shape(leaf) for leaf in leaves}) > 1:
        raise ValueError("the components of a mixture have different sizes.")
    with np.errstate(over="ignore"):
        stacked = np.stack(leaves).astype(float_dtype())
    if not np.isfinite(stacked).all():
        raise ValueError(
            "a component of the mixture has numbers beyond single precision. Run this before "
            'anything else of JAX: jax.config.update("jax_enable_x64", True)'
        )
    return jnp.asarray(stacked)
