"""The target of inference: log densities of one flat unconstrained vector θ.

This is the only place that scales a batch by N/B and that weights the KL. Every method, whatever
its kind, asks `Target` and so cannot get either wrong. `docs/log-densities.md` derives it all.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions.transforms import IdentityTransform, biject_to

from posterity.dtypes import float_dtype
from posterity.empirical import Learned, Slot, fill, is_learned
from posterity.likelihoods import AbstractLikelihood
from posterity.model import Model
from posterity.nets.convolves import convolves
from posterity.nets.net import AbstractNet
from posterity.priors import Prior, fit_shape

UNKNOWN = "likelihood."


class Batch(NamedTuple):
    """Rows of data: inputs `x` (B, ...) and targets `y` (B,) or (B, targets)."""

    x: jax.Array
    y: jax.Array


class Parameter(NamedTuple):
    """Where one parameter lives in θ: its path, its constrained shape and its slice of θ."""

    path: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Block(eqx.Module):
    """A run of θ under one prior, evaluated in one go.

    `shape` is the constrained shape; neighbours with one scalar prior share a flat block, which
    makes the log prior of a whole net one fused sum.
    """

    prior: dist.Distribution
    start: int = eqx.field(static=True)
    stop: int = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)

    def constrain(self, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The constrained values of this block and log |d constrained / d θ|, summed."""
        transform = biject_to(self.prior.support)
        free = theta[self.start : self.stop].reshape(transform.inverse_shape(self.shape))
        value = transform(free)
        if isinstance(transform, IdentityTransform):
            return value, jnp.zeros((), theta.dtype)
        return value, jnp.sum(transform.log_abs_det_jacobian(free, value))

    def draw(self, key: jax.Array, draws: int) -> jax.Array:
        """Unconstrained draws from the prior: (draws, size of the block)."""
        missing = self.shape[: len(self.shape) - len(self.prior.shape())]
        value = self.prior.sample(key, (draws, *missing)).reshape(draws, *self.shape)
        free = biject_to(self.prior.support).inv(value)
        return free.reshape(draws, -1).astype(float_dtype())

    def normal(self) -> tuple[Any, Any] | None:
        """(loc, sd) where the prior is a normal on the real line, else None."""
        base = self.prior
        while isinstance(base, (dist.ExpandedDistribution, dist.Independent)):
            base = base.base_dist
        if isinstance(base, dist.Normal):
            return base.loc, base.scale
        return None


class Target(eqx.Module):
    """Log densities of flat unconstrained θ for one model and the size of its data.

        log p(θ)        = Σ over blocks of log prior(T(θ)) + log |T′(θ)|
        log p(y | x, θ) = per example
        log joint       = log p(θ) + (N / B) Σ_{i in batch} log p(yᵢ | xᵢ, θ)
        ELBO            = (N / B) Σ_{i in batch} E_q log p(yᵢ | xᵢ, θ) − kl_weight · KL(q ‖ p)

    θ holds the net's parameters in tree order, then the likelihood's unknowns, each mapped to the
    real line by NumPyro's `biject_to`. Built by `Target.build`.

    Attributes:
        rows: N, the number of rows of all data.
        parameters: where each named parameter lives in θ.
        slots: the numbers to be learned (`po.learned`); `at` puts values in their places.
        convolves: whether the net has convolutions or pooling, which have a fast form on CPU.
        kl_weight: 1 for a Bayesian posterior; anything else is a tempered one.
    """

    net: AbstractNet
    prior: Prior
    likelihood: AbstractLikelihood
    blocks: tuple[Block, ...]
    parameters: tuple[Parameter, ...] = eqx.field(static=True)
    template: Any = eqx.field(static=True)
    x_shape: tuple[int, ...] = eqx.field(static=True)
    y_shape: tuple[int, ...] = eqx.field(static=True)
    rows: int = eqx.field(static=True)
    slots: tuple[Slot, ...] = eqx.field(static=True, default=())
    convolves: bool = eqx.field(static=True, default=False)
    kl_weight: float = eqx.field(static=True, default=1.0)

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
        for name, unknown in likelihood.unknowns().items():
            priors[UNKNOWN + name] = unknown
            shapes[UNKNOWN + name] = unknown.shape()
        parameters, blocks = _lay_out(shapes, priors)
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

    def at(self, numbers: jax.Array) -> Target:
        """The target with the numbers to be learned at given values.

        Args:
            numbers: unconstrained, one per slot.

        Returns:
            A target in which nothing is left to be learned; itself where nothing was.
        """
        if not self.slots:
            return self
        values = {slot.token: slot.constrain(numbers[i]) for i, slot in enumerate(self.slots)}
        filled = [Block(fill(b.prior, values), b.start, b.stop, b.shape) for b in self.blocks]
        return dataclasses.replace(
            self,
            prior=self.prior.fill(values),
            likelihood=self.likelihood.fill(values),
            blocks=tuple(filled),
            slots=(),
        )

    def at_start(self) -> Target:
        """The target with the numbers to be learned where they start."""
        return self.at(jnp.asarray([slot.start for slot in self.slots], float_dtype()))

    @property
    def size(self) -> int:
        """D, the length of θ."""
        return self.parameters[-1].stop

    @property
    def paths(self) -> tuple[str, ...]:
        """The names of the parameters, in the order of θ."""
        return tuple(parameter.path for parameter in self.parameters)

    @property
    def net_leaves(self) -> int:
        """How many of the parameters are the net's; the others are the likelihood's unknowns."""
        return len(self.template[1])

    @property
    def dtype(self) -> Any:
        """That of θ and of the data."""
        return float_dtype()

    def template_params(self) -> Any:
        """The net's parameter tree as shapes and dtypes."""
        structure, leaves = self.template
        shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in leaves]
        return jax.tree.unflatten(structure, shapes)

    def on_real_line(self, path: str) -> bool:
        """Whether a parameter is its part of θ itself, and not a transform of it."""
        start = next(p.start for p in self.parameters if p.path == path)
        block = next(b for b in self.blocks if b.start <= start < b.stop)
        return isinstance(biject_to(block.prior.support), IdentityTransform)

    # -- θ and what it stands for ----------------------------------------------------------------

    def constrain(self, theta: jax.Array) -> dict[str, jax.Array]:
        """The named, constrained parameters that θ stands for."""
        pieces = [block.constrain(theta)[0].ravel() for block in self.blocks]
        constrained = pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces)
        values, start = {}, 0
        for parameter in self.parameters:
            stop = start + int(np.prod(parameter.shape))
            values[parameter.path] = constrained[start:stop].reshape(parameter.shape)
            start = stop
        return values

    def unconstrain(self, params: Mapping[str, Any]) -> jax.Array:
        """θ from named, constrained parameters; the inverse of `constrain`.

        Raises:
            ValueError: a parameter is missing, unknown or of another shape.
        """
        expected = {parameter.path: parameter.shape for parameter in self.parameters}
        if set(params) != set(expected):
            missing, extra = set(expected) - set(params), set(params) - set(expected)
            raise ValueError(f"params: missing {sorted(missing)}, unknown {sorted(extra)}.")
        for path, shape in expected.items():
            if jnp.shape(params[path]) != shape:
                raise ValueError(
                    f"params: {path!r} has shape {jnp.shape(params[path])}, expected {shape}."
                )
        flat = jnp.concatenate(
            [jnp.asarray(params[path], float_dtype()).ravel() for path in expected]
        )
        pieces, start = [], 0
        for block in self.blocks:
            stop = start + int(np.prod(block.shape))
            value = flat[start:stop].reshape(block.shape)
            pieces.append(biject_to(block.prior.support).inv(value).ravel())
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
        from posterity.nets.lowering import lowered

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
        return self._log_prior(theta, self.blocks, jacobian)

    def _log_prior(
        self, theta: jax.Array, blocks: tuple[Block, ...], jacobian: bool = True
    ) -> jax.Array:
        total = jnp.zeros((), theta.dtype)
        for block in blocks:
            value, log_det = block.constrain(theta)
            total = total + jnp.sum(block.prior.log_prob(value)) + (log_det if jacobian else 0.0)
        return total

    def scaled_log_likelihood(self, theta: jax.Array, batch: Batch) -> jax.Array:
        """(N / B) Σ log p(yᵢ | xᵢ, θ): the unbiased estimate of the log likelihood of all rows."""
        return self.scaled(self.log_likelihood(theta, batch))

    def scaled(self, each: jax.Array) -> jax.Array:
        """(N / B) Σ of one log likelihood per row of a batch (B,)."""
        return self.rows / each.shape[0] * jnp.sum(each)

    def log_joint(self, theta: jax.Array, batch: Batch, *, jacobian: bool = True) -> jax.Array:
        """log p(θ) + (N / B) Σ log p(yᵢ | xᵢ, θ)."""
        return self.log_prior(theta, jacobian=jacobian) + self.scaled_log_likelihood(theta, batch)

    def elbo(self, expected_log_likelihood: jax.Array, kl: jax.Array, warm: Any = 1.0) -> jax.Array:
        """The evidence lower bound from an already scaled expected log likelihood and a KL.

        `warm` ≤ 1 weighs the KL less while a fit warms up.
        """
        return expected_log_likelihood - self.kl_weight * warm * kl

    # -- the prior's own affairs ------------------------------------------------------------------

    def normal_blocks(self) -> tuple[list[tuple[Block, Any, Any]], tuple[Block, ...]]:
        """The blocks with a normal prior as (block, loc, sd), and the other blocks."""
        normal: list[tuple[Block, Any, Any]] = []
        other: list[Block] = []
        for block in self.blocks:
            found = block.normal()
            if found is None:
                other.append(block)
            else:
                normal.append((block, *found))
        return normal, tuple(other)

    def log_prior_of(self, theta: jax.Array, blocks: tuple[Block, ...]) -> jax.Array:
        """The part of `log_prior` that comes from `blocks`."""
        return self._log_prior(theta, blocks)

    def prior_draw(self, key: jax.Array) -> jax.Array:
        """One draw of θ from the prior."""
        keys = [jax.random.fold_in(key, number) for number in range(len(self.blocks))]
        return jnp.concatenate([block.draw(key, 1)[0] for block, key in zip(self.blocks, keys)])

    def net_draw(self, key: jax.Array) -> jax.Array:
        """θ with the net's own initial weights; the likelihood's unknowns at their prior median.

        A weight outside its prior's support, such as a zero bias under a positive prior, is drawn
        from the prior instead.
        """
        leaves = [leaf.ravel() for leaf in jax.tree.leaves(self.net.init(key))]
        values = jnp.concatenate(leaves).astype(float_dtype())
        pieces, start = [], 0
        for number, block in enumerate(self.blocks):
            stop = start + int(np.prod(block.shape))
            drawn = functools.partial(block.draw, jax.random.fold_in(key, number))
            if stop > values.size:
                pieces.append(jnp.median(drawn(101), axis=0))
            else:
                transform = biject_to(block.prior.support)
                free = transform.inv(values[start:stop].reshape(block.shape)).ravel()
                if not isinstance(transform, IdentityTransform):
                    free = jnp.where(jnp.isfinite(free), free, drawn(1)[0])
                pieces.append(free)
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


def _lay_out(
    shapes: Mapping[str, tuple[int, ...]], priors: Mapping[str, dist.Distribution]
) -> tuple[tuple[Parameter, ...], tuple[Block, ...]]:
    parameters: list[Parameter] = []
    blocks: list[Block] = []
    start = 0
    for path, shape in shapes.items():
        prior = priors[path]
        transform = biject_to(prior.support)
        stop = start + int(np.prod(transform.inverse_shape(shape)))
        parameters.append(Parameter(path, shape, start, stop))
        last = blocks[-1] if blocks else None
        scalar = prior.shape() == () and not path.startswith(UNKNOWN)
        if scalar and last is not None and last.prior is prior:
            blocks[-1] = Block(prior, last.start, stop, (stop - last.start,))
        elif scalar:
            blocks.append(Block(prior, start, stop, (stop - start,)))
        else:
            blocks.append(Block(fit_shape(prior, shape, path), start, stop, shape))
        start = stop
    return tuple(parameters), tuple(blocks)


def check_outputs(
    model: Model, template: Any, x_shape: tuple[int, ...], y_shape: tuple[int, ...]
) -> bool:
    """Refuse a net that cannot take rows of `x_shape` or gives the wrong number of outputs.

    Returns whether the net convolves or pools.
    """
    rows = 3
    x = jax.ShapeDtypeStruct((rows, *x_shape), float_dtype())
    try:
        jaxpr, out = jax.make_jaxpr(model.net.apply, return_shape=True)(template, x)
    except Exception as error:
        raise ValueError(
            f"x: the net cannot take rows of shape {x_shape}: {str(error).splitlines()[0]} Check "
            "the number of input columns of the net and of x."
        ) from error
    per_target = model.likelihood.outputs_per_target
    needed = per_target * int(np.prod(y_shape))
    given = int(np.prod(out.shape[1:]))
    if out.shape[0] != rows or given != needed:
        name = type(model.likelihood).__name__
        raise ValueError(
            f"net: it gives outputs of shape {('rows', *out.shape[1:])} for rows of x, but "
            f"{name} needs {needed} per row ({per_target} for each of {int(np.prod(y_shape))} "
            "target columns of y). Change the net's output size."
        )
    return convolves(jaxpr)
