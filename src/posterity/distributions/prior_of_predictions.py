"""A prior that remembers what a posterior predicts: the next prior in function space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp

from posterity.inputs import InputSpec, row_count
from posterity.learnable import Slot
from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.priors.prior import AbstractPrior, Latent, Latents, Shapes
from posterity.storable import refuse_numbers, stored


@stored("priors.Remembered")
class Remembered(AbstractPrior):
    """A prior times the expected likelihood of targets that a posterior predicts.

        log p(θ) = b log p₀(θ) + Σᵢ wᵢ Σⱼ vᵢⱼ log p(yᵢⱼ | xᵢ, θ) + a constant

    b is 1, or 1/T for what was drawn at temperature T, which tempers the prior too. Made by
    `Posterior.as_prior(remember=x)`, which says what w and y are. The constant is unknown: such a
    prior cannot be drawn from, and ELBOs and evidences under it are not those of a model.

    Attributes:
        base: p₀, the prior of the posterior that is remembered.
        x: inputs, arrays (m, ...). y: targets (m, J, ...) expected there.
        shares: vᵢⱼ (m, J), of sum 1 for each input.
        counts: wᵢ (m,), how many rows each input stands for.
        kind: that of the likelihood.
        rows: how many rows the posterior counts for, seen directly and by remembering.
        base_weight: b.
        inputs, y_columns: of the model that was fitted.
    """

    base: AbstractPrior
    x: Any
    y: jax.Array
    shares: jax.Array
    counts: jax.Array
    kind: str = eqx.field(static=True)
    rows: float = eqx.field(static=True)
    base_weight: float = eqx.field(static=True, default=1.0)
    inputs: InputSpec | None = eqx.field(static=True, default=None)
    y_columns: tuple[str, ...] | None = eqx.field(static=True, default=None)

    later_parts: ClassVar[tuple[str, ...]] = ("inputs", "y_columns")

    @property
    def fitted_to(self) -> tuple[InputSpec | None, tuple[str, ...] | None]:
        return self.inputs, self.y_columns

    @property
    def inputs_count(self) -> int:
        """m, how many inputs are remembered."""
        return row_count(self.x)

    @property
    def columns(self) -> tuple[int | str, ...]:  # type: ignore[override]
        """Those of `base`."""
        return self.base.columns

    def latents(self, shapes: Shapes) -> Mapping[str, Latent]:
        return self.base.latents(shapes)

    def weights(
        self, latents: Latents, columns: jax.Array | None = None, key: Any = None
    ) -> Mapping[str, jax.Array]:
        return self.base.weights(latents, columns, key)

    def log_density(self, latents: Latents) -> jax.Array | None:
        return self.base.log_density(latents)

    def join(self, parameters: tuple[Any, ...], blocks: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.base.join(parameters, blocks)

    def term(self, target: Any) -> Recollection:
        return Recollection(self, target)

    def start(self, weights: Latents, key: jax.Array) -> Mapping[str, jax.Array]:
        return self.base.start(weights, key)

    def derived(self, latents: Latents) -> Mapping[str, jax.Array]:
        return self.base.derived(latents)

    def no_mode(self) -> str | None:
        return self.base.no_mode()

    def slots(self) -> list[Slot]:
        return self.base.slots()

    def check_stored(self) -> None:
        """Finite numbers of matching lengths, shares and weights from zero on."""
        try:
            self._check_arrays()
        except ValueError as error:
            raise ValueError(f"what its prior remembers makes no sense: {error}") from error

    def _check_arrays(self) -> None:
        for leaf in jax.tree.leaves(self.x):
            if not jnp.ndim(leaf):
                raise ValueError("an input that is remembered has no rows.")
            refuse_numbers("x", leaf, leaf.ndim, floats=False)
        refuse_numbers("y", self.y, self.y.ndim, floats=False)
        refuse_numbers("shares", self.shares, 2, least=0)
        refuse_numbers("counts", self.counts, 1, least=0)
        m = len(self.counts)
        inputs = {leaf.shape[:1] for leaf in jax.tree.leaves(self.x)}
        if inputs != {(m,)} or self.y.shape[:2] != self.shares.shape or m < 1:
            raise ValueError("its arrays have different lengths.")
        if len(self.shares) != m or not 0 < self.rows < math.inf or not self.base_weight > 0:
            raise ValueError(f"shares of {len(self.shares)} inputs, counts of {m}, of no rows.")

    def covers(self, path: str) -> bool:
        """Whether `base` is the prior of that unknown of the likelihood, too."""
        return self.base.covers(path)

    def fill(self, values: dict[Any, Any]) -> Remembered:
        """The prior with the numbers to be learned in `base` replaced by their values."""
        return eqx.tree_at(lambda prior: prior.base, self, self.base.fill(values))

    @property
    def form(self) -> AbstractPrior:
        return self.base.form

    @property
    def first(self) -> AbstractPrior:
        """The first prior p₀, without the predictions."""
        return self.base

    @property
    def first_weight(self) -> float:
        """The weight b of the first prior."""
        return self.base_weight

    @property
    def rows_seen(self) -> float:
        return self.rows

    def check(
        self, likelihood: AbstractLikelihood, inputs: InputSpec, y_shape: tuple[int, ...]
    ) -> None:
        """Refuse data or a likelihood to which what is remembered does not apply.

        Raises:
            ValueError: rows of another shape, or targets of another kind.
        """
        classes = likelihood.classes or None
        here = (likelihood.kind, classes, _rows(inputs.shapes(1)), y_shape)
        known = self.shares.shape[1] if self.kind in ("classification", "ordinal") else None
        before = (self.kind, known, _rows(self.x), self.y.shape[2:])
        names = ("kind of targets", "number of classes", "shape of an input", "shape of a target")
        for name, one, other in zip(names, here, before):
            if one != other:
                raise ValueError(
                    f"prior: the {name} is {one} in the model and its data, but {other} in the "
                    "posterior that is remembered. Use it with a likelihood and data of its kind."
                )


def _rows(x: Any) -> Any:
    """Shape of a row of every array."""
    shapes = {
        jax.tree_util.keystr(path): array.shape[1:]
        for path, array in jax.tree_util.tree_leaves_with_path(x)
    }
    return shapes.get("", shapes)


class Net(Protocol):
    """What remembering asks of a target."""

    likelihood: AbstractLikelihood

    def outputs(self, theta: jax.Array, x: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The net's outputs, and the likelihood's unknowns."""


class Recollection(eqx.Module):
    """What is remembered, as a part of a target's prior that has no elements of θ of its own."""

    prior: Remembered
    target: Any

    @property
    def start(self) -> int:
        """Where the part of θ begins; it is of no length."""
        return 0

    @property
    def stop(self) -> int:
        """Where the part of θ ends."""
        return 0

    def log_prior(self, theta: jax.Array, jacobian: bool = True) -> jax.Array:
        """Σᵢ wᵢ Σⱼ vᵢⱼ log p(yᵢⱼ | xᵢ, θ) + (b − 1) log p₀(θ).

        The rest of the prior is p₀. What was tempered is the density of θ, so that the Jacobian
        belongs to the second term however the first is looked at.
        """
        del jacobian
        net: Net = self.target
        given, unknowns = net.outputs(theta, self.prior.x)

        def of_targets(y: jax.Array) -> jax.Array:
            return net.likelihood.log_prob(given, y, unknowns)

        each = jax.vmap(of_targets, in_axes=1, out_axes=1)(self.prior.y)
        known = jnp.sum(self.prior.counts[:, None] * self.prior.shares * each)
        if self.prior.base_weight == 1:
            return known
        base = sum(block.log_prior(theta) for block in self.target.blocks)
        return known + (self.prior.base_weight - 1) * base
