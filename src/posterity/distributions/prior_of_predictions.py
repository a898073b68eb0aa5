"""A prior that remembers what a posterior predicts: the next prior in function space."""

from __future__ import annotations

from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.priors.prior import Prior, Shapes
from posterity.storable import refuse_numbers, stored


@stored("priors.Remembered")
class Remembered(Prior):
    """A prior times the expected likelihood of targets that a posterior predicts.

        log p(θ) = log p₀(θ) + Σᵢ wᵢ Σⱼ vᵢⱼ log p(yᵢⱼ | xᵢ, θ) + a constant

    Made by `Posterior.as_prior(remember=x)`, which says what w and y are. The constant is unknown:
    such a prior cannot be drawn from, and ELBOs and evidences under it are not those of a model.

    Attributes:
        base: p₀, the prior of the posterior that is remembered.
        x: inputs (m, ...). y: targets (m, J, ...) expected there.
        shares: vᵢⱼ (m, J), of sum 1 for each input.
        weights: wᵢ (m,), how many rows each input stands for.
        kind: that of the likelihood: ``"classification"``, ``"regression"`` or ``"count"``.
        rows: how many rows the posterior had seen, directly and by remembering.
    """

    base: Prior
    x: jax.Array
    y: jax.Array
    shares: jax.Array
    weights: jax.Array
    kind: str = eqx.field(static=True)
    rows: int = eqx.field(static=True)

    def check_stored(self) -> None:
        """Finite numbers of matching lengths, shares and weights from zero on."""
        try:
            self._check_arrays()
        except ValueError as error:
            raise ValueError(f"what its prior remembers makes no sense: {error}") from error

    def _check_arrays(self) -> None:
        refuse_numbers("x", self.x, self.x.ndim)
        refuse_numbers("y", self.y, self.y.ndim, floats=False)
        refuse_numbers("shares", self.shares, 2, least=0)
        refuse_numbers("weights", self.weights, 1, least=0)
        m = len(self.weights)
        if self.x.shape[:1] != (m,) or self.y.shape[:2] != self.shares.shape or m < 1:
            raise ValueError("its arrays have different lengths.")
        if len(self.shares) != m or self.rows < 1:
            raise ValueError(f"shares of {len(self.shares)} inputs, weights of {m}, of no rows.")

    def attach(self, shapes: Shapes) -> dict[str, dist.Distribution]:
        """As that of `base`."""
        return self.base.attach(shapes)

    def covers(self, path: str) -> bool:
        """Whether `base` is the prior of that unknown of the likelihood, too."""
        return self.base.covers(path)

    def fill(self, values: dict[int, Any]) -> Remembered:
        """The prior with the numbers to be learned in `base` replaced by their values."""
        base = self.base.fill(values)
        return eqx.tree_at(lambda prior: (prior.base, prior.rules), self, (base, base.rules))

    def refuse_other(
        self, likelihood: AbstractLikelihood, x_shape: tuple[int, ...], y_shape: tuple[int, ...]
    ) -> None:
        """Refuse data or a likelihood to which what is remembered does not apply.

        Raises:
            ValueError: rows of another shape, or targets of another kind.
        """
        classes = getattr(likelihood, "classes", None)
        here = (likelihood.kind, classes, x_shape, y_shape)
        known = self.shares.shape[1] if self.kind == "classification" else None
        before = (self.kind, known, self.x.shape[1:], self.y.shape[2:])
        names = ("kind of targets", "number of classes", "shape of an input", "shape of a target")
        for name, one, other in zip(names, here, before):
            if one != other:
                raise ValueError(
                    f"prior: the {name} is {one} in the model and its data, but {other} in the "
                    "posterior that is remembered. Use it with a likelihood and data of its kind."
                )


class Net(Protocol):
    """What remembering asks of a target."""

    likelihood: AbstractLikelihood

    def outputs(self, theta: jax.Array, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The net's outputs, and the likelihood's unknowns."""


class Recollection(eqx.Module):
    """What is remembered, as a part of a target's prior that has no elements of θ of its own."""

    prior: Remembered
    target: Any

    @property
    def start(self) -> int:
        """0, as `stop`."""
        return 0

    @property
    def stop(self) -> int:
        """0."""
        return 0

    def log_prior(self, theta: jax.Array, jacobian: bool = True) -> jax.Array:
        """Σᵢ wᵢ Σⱼ vᵢⱼ log p(yᵢⱼ | xᵢ, θ), of θ and of what it stands for alike."""
        del jacobian
        net: Net = self.target
        given, unknowns = net.outputs(theta, self.prior.x)

        def of_targets(y: jax.Array) -> jax.Array:
            return net.likelihood.log_prob(given, y, unknowns)

        each = jax.vmap(of_targets, in_axes=1, out_axes=1)(self.prior.y)
        return jnp.sum(self.prior.weights[:, None] * self.prior.shares * each)
