"""The target of a net: its prior and likelihood as log densities of flat unconstrained θ."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.cpu.kernels import lowered
from posterity.dtypes import float_dtype
from posterity.frames import default_names
from posterity.inputs import InputSpec, as_spec
from posterity.layout import UNKNOWN, Parameter, named
from posterity.learnable import Learned, Slot, is_learned
from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.model.columns import positions, refuse_other_names, separate
from posterity.model.latents import check_weights, derived_names, lay_out_prior
from posterity.model.model import Model, check_outputs, shapes_by_path
from posterity.model.target import AbstractTarget, Weights, check_counts
from posterity.nets.net import AbstractNet
from posterity.priors.prior import AbstractPrior
from posterity.storable import stored


class Batch(NamedTuple):
    """Rows of data, as the compiled loop hands them to a method.

    Attributes:
        x: inputs: arrays (B, ...). y: targets (B,) or (B, targets).
        mask: (B,), where the batch is all rows of the data and others that fill the room: True for
            rows that are data. None where all are.
    """

    x: Any
    y: jax.Array
    mask: jax.Array | None = None

    def masked(self, each: jax.Array) -> jax.Array:
        """One number per row (B,), and 0 for rows that are no data."""
        return each if self.mask is None else jnp.where(self.mask, each, 0)


@stored("targets.Net")
class Target(AbstractTarget):
    """The target of a `Model`: net, prior and likelihood, and the size of its data.

        log p(θ)        = Σ over blocks of log prior(T(θ)) + log |T′(θ)|, + what is remembered
        log p(y | x, θ) = per example

    θ holds the prior's latents, which are the net's weights in tree order unless the prior makes
    weights of something else, then the likelihood's unknowns, each mapped to the real line by
    NumPyro's `biject_to`. Latents that are single unknowns of the prior come last of its latents.
    Built by `Target.build`.

    Attributes:
        inputs: the description of a row of x.
        blocks: the runs of θ under one density each.
        weights: path and shape of each of the net's weights, in tree order.
        columns: where in a row of x the columns lie that the prior reads and the net does not see.
        latent_count: how many of `parameters` are latents of the prior.
        element_count: how many of these, from the first, are weights or what weights are made of.
        found: names of weights that are no latents. extra: names of what the prior derives.
        convolves: whether the net has convolutions or pooling, which have a fast form on CPU.
        cpu_kernels: whether that form is used.
        y_columns: names of the columns of several targets; None where they have none.
    """

    net: AbstractNet
    prior: AbstractPrior
    likelihood: AbstractLikelihood
    blocks: tuple[Any, ...]
    parameters: tuple[Parameter, ...] = eqx.field(static=True)
    weights: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)
    columns: tuple[int, ...] = eqx.field(static=True)
    latent_count: int = eqx.field(static=True)
    element_count: int = eqx.field(static=True)
    found: tuple[str, ...] = eqx.field(static=True)
    extra: tuple[str, ...] = eqx.field(static=True)
    template: Any = eqx.field(static=True)
    inputs: InputSpec = eqx.field(static=True)
    y_shape: tuple[int, ...] = eqx.field(static=True)
    rows: Any
    slots: tuple[Slot, ...] = eqx.field(static=True)
    kl_weight: Any
    temperature: Any
    convolves: bool = eqx.field(static=True)
    cpu_kernels: bool = eqx.field(static=True, default=True)
    y_columns: tuple[str, ...] | None = eqx.field(static=True, default=None)

    later_parts: ClassVar[tuple[str, ...]] = ("y_columns",)

    def stored_as(self) -> dict[str, Any]:
        """What `build` takes, for files."""
        return {
            "net": self.net,
            "prior": self.prior,
            "likelihood": self.likelihood,
            "inputs": self.inputs,
            "y_shape": self.y_shape,
            "rows": int(self.rows),
            "kl_weight": float(self.kl_weight),
            "temperature": float(self.temperature),
            "y_columns": self.y_columns,
        }

    @classmethod
    def from_stored(
        cls,
        net: AbstractNet,
        prior: AbstractPrior,
        likelihood: AbstractLikelihood,
        inputs: InputSpec,
        y_shape: tuple[int, ...],
        rows: int,
        kl_weight: float,
        temperature: float,
        y_columns: tuple[str, ...] | None = None,
    ) -> Target:
        """The inverse of `stored_as`.

        Raises:
            ValueError: numbers out of their ranges, or parts that do not fit together.
        """
        check_counts(rows, kl_weight, temperature)
        model = Model(net, prior, likelihood)
        weights = kl_weight, temperature
        made = cls.build(model, inputs, y_shape, rows, *weights, y_columns=y_columns)
        if made.inputs != inputs:
            raise ValueError(f"its inputs are {inputs}, but its net takes {made.inputs}.")
        if made.y_columns != y_columns or len(set(y_columns or ())) < len(y_columns or ()):
            raise ValueError(f"its targets of shape {tuple(y_shape)} are not called so.")
        return made

    def __reduce__(self) -> Any:
        """For pickles: built again, as the parameter tree of a user's net has no way into them."""
        weights = {"kl_weight": self.kl_weight, "temperature": self.temperature}
        parts = {**self.stored_as(), **{name: np.asarray(w) for name, w in weights.items()}}
        return _built, (type(self), parts, self.cpu_kernels)

    @classmethod
    def build(
        cls,
        model: Model,
        inputs: InputSpec | Sequence[int],
        y_shape: tuple[int, ...],
        rows: int,
        kl_weight: float = 1.0,
        temperature: float = 1.0,
        *,
        y_columns: tuple[str, ...] | None = None,
    ) -> Target:
        """The target of `model` for data of `rows` rows.

        Args:
            model: net, prior and likelihood.
            inputs: the description of the inputs, or the shape of one row of one float array.
                Arrays said to be integers become floats where the net does not index with them.
            y_shape: shape of one row of targets; () for one number.
            rows: N.
            kl_weight: the weight of the KL in an ELBO.
            temperature: of the posterior that a sampler draws from.
            y_columns: names of several targets; None where they have none.

        Raises:
            ValueError: the net does not take such inputs or give such outputs; the prior names
                columns that x does not have, or does not give every weight.
        """
        template = model.template()
        prior, likelihood, slots = _number_slots(model)
        given = as_spec(inputs).without_numbers()
        if y_columns is not None and (y_shape != (len(y_columns),) or default_names(y_columns)):
            y_columns = None
        columns, seen = positions(prior.columns, given) if prior.columns else ((), given)
        described, convolves = check_outputs(model, template, seen, y_shape)
        if columns:
            described = given.with_dtypes(("float",))
        shapes = shapes_by_path(template)
        parameters, blocks, latent_count, element_count = lay_out_prior(prior, likelihood, shapes)
        prior.check(likelihood, described, tuple(y_shape))
        if any(fitted := prior.fitted_to):
            refuse_other_names(*fitted, described, y_columns)
        start = _at_start(prior, slots)
        latents = parameters[:latent_count]
        check_weights(start, latents, shapes)
        names = {parameter.path for parameter in latents}
        leaves, structure = jax.tree.flatten(template)
        return cls(
            net=model.net,
            prior=prior,
            likelihood=likelihood,
            blocks=blocks,
            parameters=parameters,
            weights=tuple(shapes.items()),
            columns=columns,
            latent_count=latent_count,
            element_count=element_count,
            found=() if columns else tuple(path for path in shapes if path not in names),
            extra=derived_names(start, parameters, latent_count),
            template=(structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)),
            inputs=described,
            y_shape=tuple(y_shape),
            y_columns=y_columns,
            slots=slots,
            convolves=convolves,
            **Weights.of(rows, kl_weight, temperature)._asdict(),
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
        values: dict[Any, Any] = {
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

    def in_double(self) -> Self:
        structure, leaves = self.template
        wide = [(shape, "float64" if dtype == "float32" else dtype) for shape, dtype in leaves]
        return dataclasses.replace(super().in_double(), template=(structure, tuple(wide)))

    @property
    def predicts(self) -> bool:
        return True

    @property
    def prior_blocks(self) -> tuple[Any, ...]:
        return self.blocks

    def multiplications(self, rows: int) -> float:
        """Rows × D, with the inputs that the prior remembers; of a net without convolutions."""
        if self.convolves:
            return math.inf
        remembered = sum(part.prior.inputs_count for part in self.recollections)
        return (rows + remembered) * self.size

    @property
    def net_leaves(self) -> int:
        """How many parameters, from the first, are weights or elements of which they are made."""
        return self.element_count

    @property
    def fixed_start(self) -> bool:
        """Whether the net holds its own weights, so that every key gives the same."""
        return self.net.holds_weights and self.blocks[0].keeps_start

    @property
    def derived(self) -> tuple[str, ...]:
        """Weights that are made of latents, and what else follows from the prior's latents.

        Of a prior that reads columns of x there are no weights without a row.
        """
        return (*self.found, *self.extra)

    @property
    def named(self) -> tuple[str, ...]:
        """Unknowns of prior and likelihood, and what the prior derives."""
        return (*self.paths[self.net_leaves :], *self.extra)

    @property
    def no_mode(self) -> str | None:
        """Why a posterior mode would be misleading; None where it is not."""
        return self.prior.no_mode()

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
        return named(self.parameters, constrained)

    def values(self, theta: jax.Array) -> dict[str, jax.Array]:
        """The named, constrained parameters, the net's weights, and what the prior derives."""
        values = self.constrain(theta)
        if not self.derived:
            return values
        latents = self._latents(values)
        if self.found:
            made = self.prior.weights(latents)
            values = values | {path: made[path] for path in self.found}
        derived = self.prior.derived(latents)
        return values | {name: derived[name] for name in self.extra}

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

    def latents(self, theta: jax.Array) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """θ as the prior's latents and the likelihood's unknowns."""
        values = self.constrain(theta)
        unknowns = {
            path.removeprefix(UNKNOWN): value
            for path, value in values.items()
            if path.startswith(UNKNOWN)
        }
        return self._latents(values), unknowns

    def _latents(self, values: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        return {p.path: values[p.path] for p in self.parameters[: self.latent_count]}

    def tree(self, weights: Mapping[str, jax.Array]) -> Any:
        """Weights by path as the net's parameter tree."""
        structure, leaves = self.template
        cast = [weights[p].astype(dtype) for (p, _), (_, dtype) in zip(self.weights, leaves)]
        return jax.tree.unflatten(structure, cast)

    def split(self, theta: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        """θ as the net's parameter tree and the likelihood's unknowns.

        Raises:
            TypeError: the prior reads columns of x, so that each row has weights of its own.
        """
        if self.columns:
            raise TypeError(
                "prior: it reads columns of x, so that every row has weights of its own; ask the "
                "target for outputs."
            )
        latents, unknowns = self.latents(theta)
        return self.tree(self.prior.weights(latents)), unknowns

    # -- the model as densities -------------------------------------------------------------------

    def outputs(
        self, theta: jax.Array, x: Any, aside: Any = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The net's outputs (rows, outputs per target, *targets) and the likelihood's unknowns.

        Args:
            theta: (D,). x: rows. aside: what a posterior draw has beside θ; None in training.
        """
        latents, unknowns = self.latents(theta)
        if self.columns:
            function = self.lowered(lambda latents, x: self.evaluate(latents, x, aside))
            out = function(latents, x)
        else:
            weights = self.tree(self.prior.weights(latents, None, aside))
            out = self.lowered(self.net.apply)(weights, x)
        return self.shaped(out.astype(theta.dtype)), unknowns

    def evaluate(self, latents: Mapping[str, jax.Array], x: Any, aside: Any = None) -> Any:
        """What the net gives for rows of x, with weights made of latents.

        Where the prior reads columns of x, each row has weights of its own; those that do not
        depend on the row are not repeated.
        """
        if not self.columns:
            return self.net.apply(self.tree(self.prior.weights(latents, None, aside)), x)

        def row(read: jax.Array, x: jax.Array) -> jax.Array:
            weights = self.tree(self.prior.weights(latents, read, aside))
            return self.net.apply(weights, jax.tree.map(lambda leaf: leaf[None], x))[0]

        return jax.vmap(row)(*separate(x, self.columns))

    def lowered(self, function: Callable) -> Callable:
        """`function` with fast convolutions, where the net has any."""
        if not (self.convolves and self.cpu_kernels):
            return function
        return lowered(function)

    def shaped(self, out: jax.Array) -> jax.Array:
        """What the net gave, as (rows, outputs per target, *targets)."""
        return out.reshape(out.shape[0], self.likelihood.outputs_per_target, *self.y_shape)

    def distribution(self, theta: jax.Array, x: Any, aside: Any = None) -> dist.Distribution:
        """p(y | x, θ), with batch shape (rows, *targets)."""
        return self.likelihood.distribution(*self.outputs(theta, x, aside))

    def log_likelihood(self, theta: jax.Array, batch: Batch, aside: Any = None) -> jax.Array:
        """log p(yᵢ | xᵢ, θ) of every example of the batch: (B,); 0 where a row is no data."""
        outputs, unknowns = self.outputs(theta, batch.x, aside)
        return batch.masked(self.likelihood.log_prob(outputs, batch.y, unknowns))

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
    def recollections(self) -> tuple[Any, ...]:
        """What the prior remembers of predictions, if it does: a part without elements of θ."""
        term = self.prior.term(self)
        return () if term is None else (term,)

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
        return self._by_block(key, lambda block, key: block.draw(key, 1)[0])

    def net_draw(self, key: jax.Array) -> jax.Array:
        """θ with the net's own initial weights; other unknowns at their prior median.

        Under a joint prior it is a draw from it, and under others a weight outside its support is.
        """
        leaves = jax.tree.leaves(self.net.init(key))
        weights = {
            path: leaf.astype(float_dtype()) for (path, _), leaf in zip(self.weights, leaves)
        }
        started = self.prior.start(weights, key)

        def start(block: Any, key: jax.Array) -> jax.Array:
            inside = [p.path for p in self.parameters if block.start <= p.start < block.stop]
            if not all(path in started for path in inside):
                return block.start_draw(key, jnp.zeros(0))
            values = [jnp.asarray(started[path], float_dtype()).ravel() for path in inside]
            return block.start_draw(key, jnp.concatenate(values))

        return self._by_block(key, start)

    def _by_block(self, key: jax.Array, piece: Callable[[Any, jax.Array], jax.Array]) -> jax.Array:
        """θ block by block; those whose prior depends on others after those others."""
        keys = [jax.random.fold_in(key, number) for number in range(len(self.blocks))]
        pieces = [
            jnp.zeros(block.stop - block.start) if block.given else piece(block, key)
            for block, key in zip(self.blocks, keys)
        ]
        theta = jnp.concatenate(pieces)
        given = [(block, key) for block, key in zip(self.blocks, keys) if block.given]
        for block, key in sorted(given, key=lambda pair: len(pair[0].names)):
            drawn = piece(block.at(theta), key)
            theta = theta.at[block.start : block.stop].set(drawn)
        return theta


def _built(kind: type[Target], parts: dict[str, Any], cpu_kernels: bool) -> Target:
    """What a pickle builds a target with."""
    return dataclasses.replace(kind.from_stored(**parts), cpu_kernels=cpu_kernels)


def _at_start(prior: AbstractPrior, slots: tuple[Slot, ...]) -> AbstractPrior:
    """The prior with its numbers to be learned where they start."""
    if not slots:
        return prior
    return prior.fill({slot.token: slot.constrain(jnp.asarray(slot.start)) for slot in slots})


def _number_slots(model: Model) -> tuple[AbstractPrior, AbstractLikelihood, tuple[Slot, ...]]:
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
