"""Priors over the weights of a net: the contract, and priors chosen by path pattern.

A prior states *latents*: weights, or what weights are made of, and the prior's own unknowns. θ is
the latents, unconstrained, and `weights` maps latents to the net's weights. Everything else has a
default, so that a prior of your own is one class with one or two methods.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Self, TypeAlias, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from posterity.copying import Frozen
from posterity.dtypes import float_dtype
from posterity.layout import PRIOR, UNKNOWN, DensityBlock, fit_shape
from posterity.learnable import Slot, fill, is_learned, slots
from posterity.storable import stored

MOST_LETTERS = 1_000  # of a pattern in a file: long ones take long to prepare

Shapes = Mapping[str, tuple[int, ...]]
Latents = Mapping[str, jax.Array]
# What a latent follows: a distribution, or one that depends on unknowns stated before it.
# A NumPyro distribution, or Callable[[Latents], one]; NumPyro has no type information to say so.
Latent: TypeAlias = Any


class AbstractPrior(Frozen):
    """A prior over the weights of a net, with unknowns of its own where it has any.

        z ~ p(z),   w = weights(z)

    Only `latents` must be given. A latent named as a weight *is* that weight; the name of any other
    begins with ``prior.``. A latent's distribution may be a function of the ``prior.`` latents that
    are stated before it: ``lambda z: dist.Normal(0, z["prior.scale"])``. Its support must then be
    the same for all their values.

    Attributes:
        columns: the columns of x that the prior reads, by position or name. The net does not see
            them.

    >>> import numpyro.distributions as dist, posterity as po
    >>> class Spread(po.priors.AbstractPrior):
    ...     def latents(self, shapes):
    ...         normal = lambda z: dist.Normal(0, z["prior.scale"])
    ...         return {"prior.scale": dist.HalfNormal(1.0)} | {path: normal for path in shapes}
    >>> model = po.Model(po.nets.MLP(1, [], 1), Spread(), po.likelihoods.Normal(0.1))
    >>> po.prior_predictive(model, [[1.0], [2.0]], draws=7).shape
    (7, 2)
    """

    # Not annotated: dataclasses would put it before the fields of a prior that has it as a field.
    columns = cast("tuple[int | str, ...]", ())

    @abstractmethod
    def latents(self, shapes: Shapes) -> Mapping[str, Latent]:
        """What the weights are made of.

        Args:
            shapes: path → shape of each weight that this prior is for.

        Returns:
            name → distribution. That of a weight is expanded to the weight's shape; any other has
            the shape of its latent.
        """

    def weights(
        self, latents: Latents, columns: jax.Array | None = None, key: Any = None
    ) -> Mapping[str, jax.Array]:
        """The weights that latents stand for; by default the latents themselves.

        Args:
            latents: name → constrained value.
            columns: of a prior that reads columns, those of *one* row of x, in the order of
                `columns`: (number of columns,). `Target` maps over rows.
            key: of a posterior draw, the key of what it draws anew, such as the weights of a group
                without data: the same for all rows; None in training.

        Returns:
            path → weight; further names are ignored.
        """
        del columns, key
        return latents

    def log_density(self, latents: Latents) -> jax.Array | None:
        """log p of all latents at once; None, the default: the sum over latents."""
        del latents
        return None

    def start(self, weights: Latents, key: jax.Array) -> Mapping[str, jax.Array]:
        """Latents at which a run starts from given weights; by default the weights themselves.

        A latent that is left out starts at its prior's median.
        """
        del key
        return weights

    def derived(self, latents: Latents) -> Mapping[str, jax.Array]:
        """Further quantities that follow from the latents; their names begin with ``prior.``."""
        del latents
        return {}

    def no_mode(self) -> str | None:
        """Why a posterior mode would be misleading, as a sentence; None where it is not.

        Give one where the mode is at infinity, or depends on how the latents are parametrised.
        """
        return None

    def slots(self) -> list[Slot]:
        """The numbers to be learned: by default those in fields that are distributions."""
        found: list[Slot] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if is_learned(value):
                raise ValueError(
                    f"learned: {type(self).__name__} does not say where {field.name} may be; give "
                    "the prior `slots` and `fill`, or put the number into a distribution."
                )
            found += slots(value, PRIOR + field.name)
        return found

    def fill(self, values: dict[Any, Any]) -> Self:
        """The prior with every number to be learned replaced by its value (token → value)."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: fill(v, values) for name, v in fields.items()})

    # -- what a posterior that is a prior answers otherwise ---------------------------------------

    def covers(self, path: str) -> bool:
        """Whether it is the prior of a likelihood's unknown, too; see `Posterior.as_prior`."""
        del path
        return False

    def join(self, parameters: tuple[Any, ...], blocks: tuple[Any, ...]) -> tuple[Any, ...]:
        """The blocks of θ, as `log_density` has it.

        Args:
            parameters: where latents, and after them the likelihood's unknowns, lie in θ.
            blocks: the same as if latents had nothing but their own distributions.
        """
        latents = tuple(p for p in parameters if not p.path.startswith(UNKNOWN))
        like = {p.path: jax.ShapeDtypeStruct(p.shape, float_dtype()) for p in latents}
        if jax.eval_shape(self.log_density, like) is None:
            return blocks
        inside = tuple(block for block in blocks if block.stop <= latents[-1].stop)
        return (DensityBlock(self, inside, latents), *blocks[len(inside) :])

    def term(self, target: Any) -> Any:
        """What of log p(θ) depends on the net's outputs, as a block without elements of θ."""
        del target
        return None

    def check(self, likelihood: Any, inputs: Any, y_shape: tuple[int, ...]) -> None:
        """Raise a ValueError where the prior does not apply to such data or such a likelihood."""
        del likelihood, inputs, y_shape

    @property
    def fitted_to(self) -> tuple[Any, tuple[str, ...] | None]:
        """Of a posterior that is a prior, the inputs and the names of targets of its fit."""
        return None, None

    def as_distribution(self) -> Any:
        """The distribution over θ that this prior is; None where it is none."""
        return None

    @property
    def form(self) -> AbstractPrior:
        """The prior that says what latents there are, whatever their density has become."""
        return self

    @property
    def first(self) -> AbstractPrior:
        """The prior without what it remembers of predictions."""
        return self

    @property
    def first_weight(self) -> float:
        """The weight of the first prior beside the predictions that are remembered."""
        return 1.0

    @property
    def rows_seen(self) -> float:
        """How many rows the predictions that it remembers stand for."""
        return 0


@stored("priors.ByPath")
class Prior(AbstractPrior):
    """Independent priors over named parameters, chosen by path pattern.

        p(w) = ∏ₚ pᵣ₍ₚ₎(wₚ),   r(p) = the first rule whose pattern matches the path p

    Args:
        rules: patterns with their distributions or priors, in order. A pattern is a path such as
            ``layers.0.weight`` where ``*`` stands for anything, dots included; the first pattern
            that matches a parameter gives its prior. A prior with unknowns of its own is asked for
            the parameters of its pattern alone; its unknowns are named ``prior.<pattern>.<name>``.

    Built by `Normal`, `by_path` and `as_prior`; users rarely call it.
    """

    rules: tuple[tuple[str, dist.Distribution | AbstractPrior], ...]

    def check_stored(self) -> None:
        """No rule of a discrete distribution, no pattern longer than a path can be."""
        if len(dict(self.rules)) < len(self.rules):
            raise ValueError("a pattern of the prior is there twice.")
        for pattern, rule in self.rules:
            if len(pattern) > MOST_LETTERS:
                raise ValueError(f"a pattern of the prior has {len(pattern):,} letters.")
            if _is_plain(rule) and rule.support.is_discrete:  # type: ignore[union-attr]
                raise ValueError(f"the prior of {pattern!r} is discrete.")

    @property
    def columns(self) -> tuple[int | str, ...]:  # type: ignore[override]
        """The columns that any of the parts reads."""
        return tuple(dict.fromkeys(name for _, part in self._parts for name in part.columns))

    def latents(self, shapes: Shapes) -> dict[str, Latent]:
        """The distribution of every parameter.

        Args:
            shapes: path → shape of each parameter.

        Returns:
            path → distribution. That of a scalar rule is the rule's own object, not expanded, so
            that `Target` can evaluate all its parameters as one block; any other has the
            parameter's shape.

        Raises:
            ValueError: a pattern that gives no parameter its prior, a parameter without a prior, or
                a distribution that does not fit a parameter's shape. The paths there are are
                listed.
        """
        owner = {path: self._owner(path) for path in shapes}
        self._refuse_idle_patterns({p for p in owner.values() if p is not None}, shapes)
        missing = [path for path in shapes if owner[path] is None]
        if missing:
            raise ValueError(
                f"prior: no pattern matches {_listed(missing)}. Every parameter needs a prior: add "
                f'a pattern for it, or a last pattern "*" for all that is left.'
            )
        rules, found = dict(reversed(self.rules)), {}
        for path, shape in shapes.items():
            pattern = str(owner[path])
            rule = rules[pattern]
            if _is_plain(rule):
                found[path] = fit_shape(rule, shape, path)
            elif path == next(p for p in shapes if owner[p] == pattern):
                own = {p: shapes[p] for p in shapes if owner[p] == pattern}
                found |= self._latents_of(pattern, rule, own)
        return found

    def weights(
        self, latents: Latents, columns: jax.Array | None = None, key: Any = None
    ) -> Mapping[str, jax.Array]:
        """The latents themselves, and what the parts make of theirs."""
        if not self._parts:
            return latents
        found = dict(latents)
        for number, (pattern, part) in enumerate(self._parts):
            its = None
            if part.columns and columns is not None:
                its = jnp.stack([columns[self.columns.index(name)] for name in part.columns])
            own_key = None if key is None else jax.random.fold_in(key, number)
            found |= part.weights(self._inside(pattern, latents), its, own_key)
        return found

    def log_density(self, latents: Latents) -> None:
        """None: the sum over latents.

        Raises:
            TypeError: a part has a joint density.
        """
        for pattern, part in self._parts:
            if part.log_density(self._inside(pattern, latents)) is not None:
                raise TypeError(
                    f"prior: {type(part).__name__} of pattern {pattern!r} has a joint density, "
                    "which only the prior of all parameters may have. Give its latents "
                    "distributions that depend on others, or use it as the prior of the whole net."
                )

    def start(self, weights: Latents, key: jax.Array) -> Mapping[str, jax.Array]:
        """The weights themselves, and where the parts start from theirs."""
        if not self._parts:
            return weights
        patterns = {pattern for pattern, _ in self._parts}
        found = {p: value for p, value in weights.items() if self._owner(p) not in patterns}
        for number, (pattern, part) in enumerate(self._parts):
            started = part.start(self._inside(pattern, weights), jax.random.fold_in(key, number))
            found |= {_outward(pattern, name): value for name, value in started.items()}
        return found

    def derived(self, latents: Latents) -> dict[str, jax.Array]:
        return {
            _outward(pattern, name): value
            for pattern, part in self._parts
            for name, value in part.derived(self._inside(pattern, latents)).items()
        }

    def no_mode(self) -> str | None:
        """The first sentence that a part has."""
        return next(filter(None, (part.no_mode() for _, part in self._parts)), None)

    def slots(self) -> list[Slot]:
        """The numbers to be learned."""
        found: list[Slot] = []
        for pattern, rule in self.rules:
            if _is_plain(rule):
                found += slots(rule, PRIOR + pattern)
            else:
                found += [
                    dataclasses.replace(slot, name=_outward(pattern, slot.name))
                    for slot in rule.slots()
                ]
        return found

    def fill(self, values: dict[Any, Any]) -> Prior:
        """The prior with every number to be learned replaced by its value (token → value)."""
        return Prior(
            tuple(
                (
                    pattern,
                    fill(rule, values)
                    if isinstance(rule, dist.Distribution)
                    else rule.fill(values),
                )
                for pattern, rule in self.rules
            )
        )

    # -- parts with unknowns of their own ---------------------------------------------------------

    @property
    def _parts(self) -> list[tuple[str, AbstractPrior]]:
        return [(p, rule) for p, rule in self.rules if not _is_plain(rule)]

    def _owner(self, path: str) -> str | None:
        """The pattern that a weight gets its prior from."""
        return next((pattern for pattern, _ in self.rules if fnmatchcase(path, pattern)), None)

    def _latents_of(self, pattern: str, part: AbstractPrior, own: Shapes) -> dict[str, Latent]:
        found: dict[str, Latent] = {}
        for name, given in part.latents(own).items():
            outer = _outward(pattern, name)
            if name.startswith(PRIOR) and self._part_of(outer) != pattern:
                raise ValueError(
                    f"prior: {type(part).__name__} of pattern {pattern!r} has an unknown {name!r}, "
                    f"which reads like one of pattern {self._part_of(outer)!r}; rename it."
                )
            found[outer] = (
                given if isinstance(given, dist.Distribution) else _Within(pattern, given)
            )
        return found

    def _inside(self, pattern: str, latents: Latents) -> dict[str, Any]:
        """A part's latents, under the names that it gave them."""
        begin = f"{PRIOR}{pattern}."
        return {
            PRIOR + name.removeprefix(begin) if name.startswith(PRIOR) else name: value
            for name, value in latents.items()
            if (self._part_of(name) if name.startswith(PRIOR) else self._owner(name)) == pattern
        }

    def _part_of(self, name: str) -> str:
        """The pattern that an unknown belongs to: the longest that its name begins with."""
        fits = [pattern for pattern, _ in self._parts if name.startswith(f"{PRIOR}{pattern}.")]
        return max(fits, key=len, default="")

    def _refuse_idle_patterns(self, used: set[str], shapes: Shapes) -> None:
        for pattern, _ in self.rules:
            if pattern in used:
                continue
            if any(fnmatchcase(path, pattern) for path in shapes):
                raise ValueError(
                    f"prior: pattern {pattern!r} applies to nothing, because earlier patterns "
                    "match all of its parameters already; the first match counts, so put the "
                    "more specific pattern first."
                )
            raise ValueError(
                f"prior: pattern {pattern!r} matches no parameter. The parameters are "
                f"{_listed(list(shapes))}."
            )


class _Within(eqx.Module):
    """A latent's distribution given others, of a part that knows them by its own names."""

    pattern: str = eqx.field(static=True)
    given: Callable[[Latents], dist.Distribution]

    def __call__(self, latents: Latents) -> dist.Distribution:
        """The distribution, given latents by their outer names."""
        begin = f"{PRIOR}{self.pattern}."
        inner = {
            PRIOR + name.removeprefix(begin): v
            for name, v in latents.items()
            if name.startswith(begin)
        }
        return self.given(inner)


def by_path(rules: Mapping[str, Any]) -> Prior:
    """A prior from a dictionary of patterns; a dictionary given to `Model` goes through here.

    Args:
        rules: pattern → NumPyro distribution, or prior. The first pattern that matches a parameter
            counts, so the more specific come first.

    >>> import numpyro.distributions as dist, posterity as po
    >>> prior = by_path({"*.bias": dist.Normal(0.0, 10.0), "*": po.priors.Normal(0, 1)})
    >>> sorted(prior.latents({"a.bias": (3,), "a.weight": (3, 2)}))
    ['a.bias', 'a.weight']
    """
    return Prior(tuple((str(pattern), _rule(given)) for pattern, given in rules.items()))


def as_prior(given: Any) -> AbstractPrior:
    """`given` as a prior: a prior, a NumPyro distribution, or a dictionary of patterns."""
    if isinstance(given, AbstractPrior):
        return given
    if isinstance(given, Mapping):
        return by_path(given)
    return Prior((("*", _rule(given)),))


def _rule(given: Any) -> dist.Distribution | AbstractPrior:
    if isinstance(given, Prior) and len(given.rules) == 1:
        return given.rules[0][1]
    if isinstance(given, AbstractPrior) and not isinstance(given, Prior):
        return given
    if not isinstance(given, dist.Distribution):
        raise TypeError(
            f"prior: expected po.priors.Normal(...), a NumPyro distribution or a dictionary of "
            f"path patterns, got {type(given).__name__}."
        )
    if given.support.is_discrete:
        raise TypeError(
            f"prior: {type(given).__name__} is discrete; weights need a continuous distribution."
        )
    return given


def _is_plain(given: Any) -> bool:
    """Whether it is a distribution, which depends on nothing."""
    return isinstance(given, dist.Distribution)


def _outward(pattern: str, name: str) -> str:
    """A part's name for a latent, as it is known outside."""
    return f"{PRIOR}{pattern}.{name.removeprefix(PRIOR)}" if name.startswith(PRIOR) else name


def _listed(paths: Sequence[str], most: int = 20) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(paths[:most]) + more
