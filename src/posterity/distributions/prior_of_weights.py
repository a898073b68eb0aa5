"""One prior over all of θ at once: what a posterior becomes when it is the next prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.dtypes import float_dtype
from posterity.layout import UNKNOWN, Block, Parameter
from posterity.priors.prior import Prior, Shapes
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
class JointPrior(Prior):
    """A density over a net's weights and a likelihood's unknowns together.

        p(θ) = q(θ)   over flat unconstrained θ

    Made by `Posterior.as_prior`. The rules, and the distributions of the unknowns, are those of the
    model that was fitted; here they only say where each parameter may lie, that is how θ maps to
    it. Their densities are no longer used: they are in q.

    Attributes:
        density: q, such as `FullRank` or `Mixture`.
        parameters: where each parameter lies in the θ of q.
        unknowns: the distributions that the likelihood's unknowns once had, by path.
    """

    density: Any
    parameters: tuple[Parameter, ...] = eqx.field(static=True)
    unknowns: dict[str, dist.Distribution]

    def check_stored(self) -> None:
        """The parameters follow each other and end where the density does."""
        starts = [0, *(parameter.stop for parameter in self.parameters)]
        follow = all(p.start == at and p.stop > at for p, at in zip(self.parameters, starts))
        if not follow or len(starts) < 2 or getattr(self.density, "size", None) != starts[-1]:
            raise ValueError("the parameters of a joint prior are not those of its density.")

    def attach(self, shapes: Shapes) -> dict[str, dist.Distribution]:
        """As `Prior.attach`, of exactly the net that was fitted.

        Raises:
            ValueError: the net has other parameters; the paths that differ are listed.
        """
        here = {p.path: p.shape for p in self.parameters if not p.path.startswith(UNKNOWN)}
        wrong = [
            f"{path!r} is {_shape(shapes.get(path))} in the net and {_shape(here.get(path))} in "
            "the posterior"
            for path in dict.fromkeys([*shapes, *here])
            if here.get(path) != shapes.get(path)
        ]
        if wrong:
            raise ValueError(f"prior: the posterior is of another net: {'; '.join(wrong)}.")
        return super().attach(shapes)

    def covers(self, path: str) -> bool:
        """Whether q has an unknown of that path."""
        return path in self.unknowns

    def fill(self, values: dict[int, Any]) -> JointPrior:
        """Itself: what was learned is frozen in q."""
        return self

    def join(
        self, parameters: tuple[Parameter, ...], blocks: tuple[Block, ...]
    ) -> tuple[JointBlock | Block, ...]:
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


class JointBlock(eqx.Module):
    """A run of θ, from its beginning, under one density; as `Block`, which see.

    `parts` say how θ maps to parameters. The density is one of unconstrained θ already, so that
    their Jacobian is not counted with it.
    """

    prior: Any
    parts: tuple[Block, ...]
    precision_diag: jax.Array | None  # of a correlated normal's inverse covariance

    @classmethod
    def of(cls, density: Any, parts: tuple[Block, ...]) -> JointBlock:
        """The block of a density."""
        return cls(density, parts, getattr(density, "precision_diag", None))

    @property
    def start(self) -> int:
        """0."""
        return 0

    @property
    def stop(self) -> int:
        """Where the parts end."""
        return self.parts[-1].stop

    @property
    def count(self) -> int:
        """How many constrained numbers it stands for."""
        return sum(part.count for part in self.parts)

    def constrain(self, theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The constrained values, flat, and the log determinant."""
        values, log_dets = zip(*(part.constrain(theta) for part in self.parts))
        return jnp.concatenate([value.ravel() for value in values]), sum(log_dets)

    def unconstrain(self, values: jax.Array) -> jax.Array:
        """The inverse of `constrain`, flat to flat."""
        ends = np.cumsum([part.count for part in self.parts])[:-1]
        pieces = jnp.split(values, ends)
        return jnp.concatenate([part.unconstrain(piece) for part, piece in zip(self.parts, pieces)])

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

    def normal(self) -> tuple[Any, Any] | None:
        """(mean, sd) where q is independent normals."""
        return self.prior.normal()

    def on_real_line(self, at: int) -> bool:
        """Whether element `at` of θ is the parameter itself."""
        return next(part for part in self.parts if at < part.stop).on_real_line(at)

    def fill(self, values: Mapping[int, Any]) -> JointBlock:
        """Itself: there is nothing left to be learned."""
        return self


def _same(one: Any, other: Any) -> bool:
    """Whether two NumPyro constraints are one."""
    (leaves, kind), (others, other_kind) = jax.tree.flatten(one), jax.tree.flatten(other)
    same_kind = bool(kind == other_kind)  # type: ignore[operator]  # what is no array in them
    return same_kind and all(np.array_equal(a, b) for a, b in zip(leaves, others))


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {shape}"
