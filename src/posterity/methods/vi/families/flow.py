"""A normalising flow."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from posterity.checks import MOST_SIDE_BY_SIDE, Settings
from posterity.distributions import flow as flows
from posterity.methods.vi.families.family import AbstractFamily, inverse_softplus, softplus
from posterity.storable import stored

UNIT = 0.03  # a step that is right for means and log scales is this much too long for the networks


class FlowPhi(NamedTuple):
    """mean (D,); rho (D,), whose softplus is the scale; weights of the bijection.

    The weights are counted from their start, in units of 0.03.
    """

    mean: jax.Array
    rho: jax.Array
    weights: jax.Array


@stored("families.Flow")
class Flow(AbstractFamily):
    """A normalising flow: an inverse autoregressive flow of FlowJAX, shifted and scaled.

        θ = mean + softplus(rho) f(ε; weights),   ε ~ N(0, I)

    Args:
        layers: autoregressive layers with permutations between them.
        width: hidden units of each layer's network.

    Its KL has no closed form and is sampled. Needs ``posterity[flows]``.

    Kingma et al. 2016, "Improving variational inference with inverse autoregressive flow".
    """

    closed: ClassVar[bool] = False
    layers: int = eqx.field(static=True, default=4)
    width: int = eqx.field(static=True, default=50)

    def __check_init__(self) -> None:
        wrong = Settings("Flow")
        wrong.counts(most=MOST_SIDE_BY_SIDE, layers=self.layers, width=self.width)
        wrong.refuse()

    def _shape(self, size: int) -> flows.FlowShape:
        return flows.FlowShape(size, self.layers, self.width)

    def prepare(self, size: int) -> None:
        """Build FlowJAX's bijection."""
        self._shape(size)

    def init(self, key: jax.Array, theta: jax.Array, sd: float) -> FlowPhi:
        """FlowJAX's own start, which is near the identity, around θ."""
        del key
        weights = jnp.zeros(self._shape(theta.size).start().shape, theta.dtype)
        return FlowPhi(theta, jnp.full_like(theta, inverse_softplus(sd, theta)), weights)

    def centre(self, phi: FlowPhi) -> jax.Array:
        """The shift, which is the mean of what the flow starts as."""
        return phi.mean

    def push(self, phi: FlowPhi, noise: jax.Array) -> jax.Array:
        """mean + sd f(ε)."""
        return jax.vmap(self.density(phi).push)(noise)

    def push_with_log_prob(self, phi: FlowPhi, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draws and their densities in one pass."""
        return jax.vmap(self.density(phi).push_with_log_prob)(noise)

    def mean_and_sd(self, phi: FlowPhi) -> tuple[jax.Array, jax.Array]:
        """By Monte Carlo."""
        return self.density(phi).mean_and_sd()

    def density(self, phi: FlowPhi) -> flows.Flow:
        shape = self._shape(phi.mean.size)
        weights = shape.start().astype(phi.mean.dtype) + UNIT * phi.weights
        return flows.Flow(phi.mean, softplus(phi.rho), weights, shape)
