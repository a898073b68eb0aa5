"""The target of a net: its prior and likelihood as log densities of flat unconstrained θ."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.cpu.kernels import lowered
from posterity.distributions.prior_of_predictions import Recollection, Remembered
from posterity.distributions.prior_of_weights import JointBlock, JointPrior
from posterity.dtypes import float_dtype
from posterity.layout import UNKNOWN, Block, Parameter, lay_out
from posterity.learnable import Learned, Slot, is_learned
from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.model.model import Model, check_outputs
from posterity.model.target import AbstractTarget, check_counts
from posterity.nets.net import AbstractNet
from posterity.priors.prior import Prior
from posterity.storable import stored


class Batch(NamedTuple):
    """Rows of data: inputs `x` (B, ...) and targets `y` (B,) or (B, targets)."""

    x: jax.Array
    y: jax.Array


@stored("targets.Net")
class Target(AbstractTarget):
    """The target of a `Model`: net, prior and likelihood, and the size of its data.

        log p(θ)        = Σ over blocks of log prior(T(θ)) + log |T′(θ)|, + what is remembered
        log p(y | x, θ) = per example

    θ holds the net's parameters in tree order, then the likelihood's unknowns, each mapped to the
    real line by NumPyro's `biject_to`. Built by `Target.build`.

    Attributes:
        convolves: whether the net has convolutions or pooling, which have a fast form on CPU.
    """

    net: AbstractNet
    prior: Prior
    likelihood: AbstractLikelihood
    blocks: tuple[Block | JointBlock, ...]
    parameters: tuple[Parameter, ...] = eqx.field(static=True)
    template: Any = eqx.field(static=True)
    x_shape: tuple[int, ...] = eqx.field(static=True)
    y_shape: tuple[int, ...] = eqx.field(static=True)
    rows: int = eqx.field(static=True)
    slots: tuple[Slot, ...] = eqx.field(static=True)
    kl_weight: float = eqx.field(static=True)
    convolves: bool = eqx.field(static=True)

    def stored_as(self) -> dict[str, Any]:
        """What `build` takes, for files."""
        return {
            "net": self.net,
            "prior": self.prior,
            "likelihood": self.likelihood,
            "x_shape": self.x_shape,
            "y_shape": self.y_shape,
            "rows": int(self.rows),
            "kl_weight": float(self.kl_weight),
        }

    @classmethod
    def from_stored(
        cls,
        net: AbstractNet,
        prior: Prior,
        likelihood: AbstractLikelihood,
        x_shape: tuple[int, ...],
        y_shape: tuple[int, ...],
        rows: int,
        kl_weight: float,
    ) -> Target:
        """The inverse of `stored_as`.

        Raises:
            ValueError: numbers out of their ranges, or parts that do not fit together.
        """
        check_counts(rows, kl_weight)
        return cls.build(Model(net, prior, likelihood), x_shape, y_shape, rows, kl_weight)

    @classmethod
    def build(
        cls,
        model: Model,
        x_shape: tuple[int, ...],
        y_shape: tuple[int, ...],
        rows: int,
        kl_weight: float = 1.0,
    ) -> Target:
        """The target of `model` for data of `rows` rows.

        Args:
            model: net, prior and likelihood.
            x_shape: shape of one row of inputs.
            y_shape: shape of one row of targets; () for one number.
            rows: N.
            kl_weight: the weight of the KL in an ELBO.

        Raises:
            ValueError: the net does not take such inputs or give such outputs.
        """
        template = model.template()
        prior, likelihood, slots = _number_slots(model)
        convolves = check_outputs(model, template, x_shape, y_shape)
        shapes = model.parameters()
        priors = dict(prior.attach(shapes))
        unknowns = {UNKNOWN + name: unknown for name, unknown in likelihood.unknowns().items()}
        for path in sorted(unknowns, key=prior.covers, reverse=True):
            priors[path] = unknowns[path]
            shapes[path] = unknowns[path].shape()
        parameters, plain = lay_out(shapes, priors)
        blocks: tuple[Block | JointBlock, ...] = plain
        if isinstance(prior, Remembered):
            prior.refuse_other(likelihood, tuple(x_shape), tuple(y_shape))
        base = prior.base if isinstance(prior, Remembered) else prior
        if isinstance(base, JointPrior):
            blocks = base.join(parameters, plain)
        leaves, structure = jax.tree.flatten(template)
        return cls(
            net=model.net,
            prior=prior,
            likelihood=likelihood,
            blocks=blocks,
            parameters=parameters,
            template=(structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)),
            x_shape=tuple(x_shape),
            y_shape=tuple(y_shape),
            rows=int(rows),
            slots=slots,
            convolves=convolves,
            kl_weight=float(kl_weight),
        )

    def at(self, numbers: jax.Array | np.ndarray) -> Self:
        """The target with the numbers to be learned at given values.

        Args:
            numbers: unconstrained, one per slot.

        Returns:
            A target in which nothing is left to be learned; itself where nothing was.
        """
        if not self.slots:
            return self
        values = {
            slot.token: jnp.asarray(slot.constrain(numbers[i])) for i, slot in enumerate(self.slots)
        }
        filled = [block.fill(values) for block in self.blocks]
        return dataclasses.replace(
            self,
            prior=self.prior.fill(values),
            likelihood=self.likelihood.fill(values),
            blocks=tuple(filled),
            slots=(),
        )

    @property
    def predicts(self) -> bool:
        """True."""
        return True

    @property
    def net_leaves(self) -> int:
        """How many of the parameters are the net's; the others are the likelihood's unknowns."""
        return len(self.template[1])

    @property
    def fixed_start(self) -> bool:
        """Whether the net holds its own weights, so that every key gives the same."""
        return self.net.holds_weights and not isinstance(self.blocks[0], JointBlock)

    def template_params(self) -> Any:
        """The net's parameter tree as shapes and dtypes."""
        structure, leaves = self.template
        shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in leaves]
        return jax.tree.unflatten(structure, shapes)

    def on_real_line(self, path: str) -> bool:
        """Whether a parameter is its part of θ itself, and not a transform of it."""
        start = next(p.start for p in self.parameters if p.path == path)
        block = next(b for b in self.blocks if b.start <= start < b.stop)
        return block.on_real_line(start)

    # -- θ and what it stands for ----------------------------------------------------------------

    def constrain(self, theta: jax.Array) -> dict[str, jax.Array]:
        """The named, constrained parameters that θ stands for."""
        pieces = [block.constrain(theta)[0].ravel() for block in self.blocks]
        constrained = pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces)
        # Not slices: the gradient of a split is one concatenation, of slices a sum of padded ones.
        sizes = [int(np.prod(parameter.shape)) for parameter in self.parameters]
        return {
            parameter.path: piece.reshape(parameter.shape)
            for parameter, piece in zip(self.parameters, jax.lax.split(constrained, sizes))
        }

    def unconstrain(self, params: Mapping[str, Any]) -> jax.Array:
        """θ from named, constrained parameters; the inverse of `constrain`.

        Raises:
            ValueError: a parameter is missing, unknown or of another shape.
        """
        flat = jnp.concatenate([value.ravel() for value in self.checked(params).values()])
        pieces, start = [], 0
        for block in self.blocks:
            stop = start + block.count
            pieces.append(block.unconstrain(flat[start:stop]))
            start = stop
        return jnp.concatenate(pieces)

    def split(self, theta: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        """θ as the net's parameter tree and the likelihood's unknowns."""
        values = self.constrain(theta)
        structure, leaves = self.template
        weights = [
            values[parameter.path].astype(dtype)
            for parameter, (_, dtype) in zip(self.parameters, leaves)
        ]
        unknowns = {
            path.removeprefix(UNKNOWN): value
            for path, value in values.items()
            if path.startswith(UNKNOWN)
        }
        return jax.tree.unflatten(structure, weights), unknowns

    # -- the model as densities -------------------------------------------------------------------

    def outputs(self, theta: jax.Array, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The net's outputs (rows, outputs per target, *targets) and the likelihood's unknowns."""
        weights, unknowns = self.split(theta)
        return self.shaped(self.lowered(self.net.apply)(weights, x).astype(theta.dtype)), unknowns

    def lowered(self, function: Callable) -> Callable:
        """`function` with fast convolutions, where the net has any."""
        if not self.convolves:
            return function
        return lowered(function)

    def shaped(self, out: jax.Array) -> jax.Array:
        """What the net gave, as (rows, outputs per target, *targets)."""
        return out.reshape(out.shape[0], self.likelihood.outputs_per_target, *self.y_shape)

    def distribution(self, theta: jax.Array, x: jax.Array) -> dist.Distribution:
        """p(y | x, θ), with batch shape (rows, *targets)."""
        return self.likelihood.distribution(*self.outputs(theta, x))

    def log_likelihood(self, theta: jax.Array, batch: Batch) -> jax.Array:
        """log p(yᵢ | xᵢ, θ) of every example of the batch: (B,)."""
        outputs, unknowns = self.outputs(theta, batch.x)
        return self.likelihood.log_prob(outputs, batch.y, unknowns)

    def log_prior(self, theta: jax.Array, *, jacobian: bool = True) -> jax.Array:
        """log p(θ): of the unconstrained θ, or of what it stands for with ``jacobian=False``."""
        return self._log_prior(theta, (*self.blocks, *self.recollections), jacobian)

    def _log_prior(
        self, theta: jax.Array, blocks: tuple[Any, ...], jacobian: bool = True
    ) -> jax.Array:
        total = jnp.zeros((), theta.dtype)
        for block in blocks:
            total = total + block.log_prior(theta, jacobian)
        return total

    # -- the prior's own affairs ------------------------------------------------------------------

    def normal_blocks(self) -> tuple[list[tuple[Any, Any, Any]], tuple[Any, ...]]:
        """The blocks with a normal prior as (block, loc, sd), and the other blocks."""
        normal: list[tuple[Any, Any, Any]] = []
        other: list[Any] = []
        for block in self.blocks:
            found = block.normal()
            if found is None:
                other.append(block)
            else:
                normal.append((block, *found))
        return normal, (*other, *self.recollections)

    @property
    def recollections(self) -> tuple[Recollection, ...]:
        """What the prior remembers of predictions, if it does: a part without elements of θ."""
        return (Recollection(self.prior, self),) if isinstance(self.prior, Remembered) else ()

    def log_prior_of(self, theta: jax.Array, blocks: tuple[Any, ...]) -> jax.Array:
        """The part of `log_prior` that comes from `blocks`."""
        return self._log_prior(theta, blocks)

    def prior_draw(self, key: jax.Array) -> jax.Array:
        """One draw of θ from the prior.

        Raises:
            TypeError: the prior remembers predictions, and is known up to a constant only.
        """
        if self.recollections:
            raise TypeError(
                "prior: it remembers what a posterior predicts, and cannot be drawn from. Start at "
                "the posterior (init=posterior), by a method that draws none of the prior."
            )
        keys = [jax.random.fold_in(key, number) for number in range(len(self.blocks))]
        return jnp.concatenate([block.draw(key, 1)[0] for block, key in zip(self.blocks, keys)])

    def net_draw(self, key: jax.Array) -> jax.Array:
        """θ with the net's own initial weights; the likelihood's unknowns at their prior median.

        Under a joint prior it is a draw from it, and under others a weight outside its support is.
        """
        leaves = [leaf.ravel() for leaf in jax.tree.leaves(self.net.init(key))]
        values = jnp.concatenate(leaves).astype(float_dtype())
        pieces, start = [], 0
        for number, block in enumerate(self.blocks):
            stop = start + block.count
            given = values[start:stop] if stop <= values.size else values[:0]
            pieces.append(block.start_draw(jax.random.fold_in(key, number), given))
            start = stop
        return jnp.concatenate(pieces)


def _number_slots(model: Model) -> tuple[Prior, AbstractLikelihood, tuple[Slot, ...]]:
    """The model's prior and likelihood, and the numbers to be learned in them.

    Tokens become positions, so that a model stated twice is the same target to a compiler.
    """
    found = [*model.prior.slots(), *model.likelihood.slots()]
    first = {slot.token: slot for slot in reversed(found)}
    position = {token: number for number, token in enumerate(dict.fromkeys(s.token for s in found))}

    def renumbered(part: Any) -> Any:
        return Learned(part.value, position[part.token]) if is_learned(part) else part

    prior, likelihood = jax.tree.map(
        renumbered, (model.prior, model.likelihood), is_leaf=is_learned
    )
    slots = [dataclasses.replace(first[token], token=position[token]) for token in position]
    return prior, likelihood, tuple(slots)
