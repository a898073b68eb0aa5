"""One prior over all of θ at once: what a posterior becomes when it is the next prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import equinox as eqx
import jax
import numpy as np
import numpyro.distributions as dist

from posterity.dtypes import float_dtype
from posterity.inputs import InputSpec
from posterity.layout import (
    PRIOR,
    UNKNOWN,
    AnyBlock,
    Block,
    GivenBlock,
    Parameter,
    SpanBlock,
)
from posterity.learnable import Slot
from posterity.priors.prior import AbstractPrior, Latent, Latents, Shapes
from posterity.storable import stored


class Density(Protocol):
    """What a joint prior asks of a density over flat unconstrained θ."""

    @property
    def noise_size(self) -> int:
        """How many standard normal numbers make one draw."""

    def push(self, noise: jax.Array) -> jax.Array:
        """θ from noise."""

    def log_prob(self, theta: jax.Array) -> jax.Array:
        """log q(θ)."""

    def marginal(self, at: np.ndarray) -> Any:
        """The density of some elements of θ."""

    def normal(self) -> tuple[jax.Array, jax.Array] | None:
        """(mean, sd) of independent normals; None of any other density."""


@stored("priors.Joint")
class JointPrior(AbstractPrior):
    """A density over a net's weights and a likelihood's unknowns together.

        p(θ) = q(θ)   over flat unconstrained θ

    Made by `Posterior.as_prior`. The model's first prior, and the distributions of the unknowns,
    are those of the model that was fitted; here they only say where each latent may lie, that is
    how θ maps to weights. Their densities are no longer used: they are in q.

    Attributes:
        base: the first prior of the model that was fitted.
        density: q, such as `FullRank` or `Mixture`.
        parameters: where each parameter lies in the θ of q.
        unknowns: the distributions that the likelihood's unknowns once had, by path.
        inputs, y_columns: of the model that was fitted.
    """

    base: AbstractPrior
    density: Any
    parameters: tuple[Parameter, ...] = eqx.field(static=True)
    unknowns: dict[str, dist.Distribution]
    inputs: InputSpec | None = eqx.field(static=True, default=None)
    y_columns: tuple[str, ...] | None = eqx.field(static=True, default=None)

    later_parts: ClassVar[tuple[str, ...]] = ("inputs", "y_columns")

    @property
    def fitted_to(self) -> tuple[InputSpec | None, tuple[str, ...] | None]:
        return self.inputs, self.y_columns

    def check_stored(self) -> None:
        """The parameters follow each other and end where the density does."""
        starts = [0, *(parameter.stop for parameter in self.parameters)]
        follow = all(p.start == at and p.stop > at for p, at in zip(self.parameters, starts))
        if not follow or len(starts) < 2 or getattr(self.density, "size", None) != starts[-1]:
            raise ValueError("the parameters of a joint prior are not those of its density.")

    @property
    def columns(self) -> tuple[int | str, ...]:  # type: ignore[override]
        """Those of `base`."""
        return self.base.columns

    def latents(self, shapes: Shapes) -> Mapping[str, Latent]:
        """Those of `base`, of exactly the net that was fitted.

        Raises:
            ValueError: the net has other parameters; the paths that differ are listed.
        """
        fitted = {p.path: p.shape for p in self.parameters if not p.path.startswith(UNKNOWN)}
        if any(path.startswith(PRIOR) for path in fitted):
            found = self.base.latents(shapes)
            here = {
                path: shapes.get(path, fitted.get(path)) if callable(given) else given.shape()
                for path, given in found.items()
            }
            here |= {path: shapes[path] for path in here if path in shapes}
            _refuse_other_net(here, fitted)
            return found
        _refuse_other_net(shapes, fitted)
        return self.base.latents(shapes)

    def weights(
        self, latents: Latents, columns: jax.Array | None = None, key: Any = None
    ) -> Mapping[str, jax.Array]:
        return self.base.weights(latents, columns, key)

    def derived(self, latents: Latents) -> Mapping[str, jax.Array]:
        return self.base.derived(latents)

    def no_mode(self) -> str | None:
        return self.base.no_mode()

    def slots(self) -> list[Slot]:
        """None: what was learned is frozen in q."""
        return []

    def as_distribution(self) -> Any:
        return self.density

    @property
    def form(self) -> AbstractPrior:
        return self.base

    def covers(self, path: str) -> bool:
        """Whether q has an unknown of that path."""
        return path in self.unknowns

    def fill(self, values: dict[Any, Any]) -> JointPrior:
        """Itself: what was learned is frozen in q."""
        return self

    def join(
        self, parameters: tuple[Parameter, ...], blocks: tuple[Any, ...]
    ) -> tuple[JointBlock | AnyBlock, ...]:
        """`blocks` with those that q covers as one block under it.

        What q covers beyond them (an unknown that the likelihood does not have) is integrated out.

        Raises:
            ValueError: an unknown has another shape or support than in q; they are listed.
        """
        known = {parameter.path: parameter for parameter in self.parameters}
        inside = [p for p in parameters if p.path in known]
        stop = inside[-1].stop
        covered = tuple(block for block in blocks if block.stop <= stop)
        self._refuse_other_unknowns(inside, covered)
        at = np.concatenate([np.arange(known[p.path].start, known[p.path].stop) for p in inside])
        whole = self.parameters[-1].stop
        density = self.density if len(at) == whole else self.density.marginal(at)
        return (JointBlock.of(density, covered), *blocks[len(covered) :])

    def _refuse_other_unknowns(self, inside: list[Parameter], covered: tuple[Block, ...]) -> None:
        known = {parameter.path: parameter.shape for parameter in self.parameters}
        wrong = []
        for parameter in inside:
            if not self.covers(parameter.path):
                continue
            block = next(b for b in covered if b.start == parameter.start)
            before = self.unknowns[parameter.path].support
            if known[parameter.path] != parameter.shape or not _same(before, block.prior.support):
                wrong.append(
                    f"{parameter.path!r} is {_shape(parameter.shape)} on {block.prior.support} in "
                    f"the likelihood and {_shape(known[parameter.path])} on {before} in the "
                    "posterior"
                )
        if wrong:
            raise ValueError(f"prior: the posterior's likelihood differs: {'; '.join(wrong)}.")


class JointBlock(SpanBlock):
    """A run of θ under a density of unconstrained θ, so that no Jacobian is counted with it."""

    precision_diag: jax.Array | None  # of a correlated normal's inverse covariance

    keeps_start: ClassVar[bool] = False
    given: ClassVar[bool] = False

    @classmethod
    def of(cls, density: Any, parts: tuple[Block | GivenBlock, ...]) -> JointBlock:
        """The block of a density."""
        return cls(density, parts, getattr(density, "precision_diag", None))

    def log_prior(self, theta: jax.Array, jacobian: bool = True) -> jax.Array:
        """log q(θ); of what θ stands for, that less the log determinant."""
        log_prob = self.prior.log_prob(theta[: self.stop])
        return log_prob if jacobian else log_prob - self.constrain(theta)[1]

    def draw(self, key: jax.Array, draws: int) -> jax.Array:
        """Draws of θ: (draws, stop)."""
        noise = jax.random.normal(key, (draws, self.prior.noise_size), float_dtype())
        return jax.vmap(self.prior.push)(noise)

    def start_draw(self, key: jax.Array, values: jax.Array) -> jax.Array:
        """A draw from q, and not the net's initial weights: q knows better."""
        del values
        return self.draw(key, 1)[0]

    def each(self, theta: jax.Array) -> None:
        """None: it is not one of elements."""

    def normal(self) -> tuple[Any, Any] | None:
        """(mean, sd) where q is independent normals."""
        return self.prior.normal()

    def on_real_line(self, at: int) -> bool:
        """Whether element `at` of θ is the parameter itself."""
        return next(part for part in self.parts if at < part.stop).on_real_line(at)

    def fill(self, values: Mapping[Any, Any]) -> JointBlock:
        """Itself: there is nothing left to be learned."""
        return self


def _refuse_other_net(shapes: Mapping[str, Any], fitted: Mapping[str, Any]) -> None:
    wrong = [
        f"{path!r} is {_shape(shapes.get(path))} in the net and {_shape(fitted.get(path))} in "
        "the posterior"
        for path in dict.fromkeys([*shapes, *fitted])
        if fitted.get(path) != shapes.get(path)
    ]
    if wrong:
        raise ValueError(f"prior: the posterior is of another net: {'; '.join(wrong)}.")


def _same(one: Any, other: Any) -> bool:
    """Whether two NumPyro constraints are one."""
    (leaves, kind), (others, other_kind) = jax.tree.flatten(one), jax.tree.flatten(other)
    same_kind = bool(kind == other_kind)  # type: ignore[operator]  # what is no array in them
    return same_kind and all(np.array_equal(a, b) for a, b in zip(leaves, others))


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {shape}"
