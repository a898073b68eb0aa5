"""Priors: NumPyro distributions attached to parameters by path pattern."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import constraints

from posterity.dtypes import float_dtype
from posterity.empirical import Slot, fill, is_learned, slots

Shapes = Mapping[str, tuple[int, ...]]


class Prior(eqx.Module):
    """Independent priors over named parameters, chosen by path pattern.

        p(w) = ∏ₚ pᵣ₍ₚ₎(wₚ),   r(p) = the first rule whose pattern matches the path p

    Args:
        rules: patterns with their distributions, in order. A pattern is a path such as
            ``layers.0.weight`` where ``*`` stands for anything, dots included; the first pattern
            that matches a parameter gives its prior.

    Built by `Normal`, `by_path` and `as_prior`; users rarely call it.
    """

    rules: tuple[tuple[str, dist.Distribution], ...]

    def attach(self, shapes: Shapes) -> dict[str, dist.Distribution]:
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
        chosen: dict[str, dist.Distribution] = {}
        used: set[str] = set()
        for path, shape in shapes.items():
            for pattern, distribution in self.rules:
                if fnmatchcase(path, pattern):
                    chosen[path] = fit_shape(distribution, shape, path)
                    used.add(pattern)
                    break
        self._refuse_idle_patterns(used, shapes)
        missing = [path for path in shapes if path not in chosen]
        if missing:
            raise ValueError(
                f"prior: no pattern matches {_listed(missing)}. Every parameter needs a prior: add "
                f'a pattern for it, or a last pattern "*" for all that is left.'
            )
        return chosen

    def slots(self) -> list[Slot]:
        """The numbers to be learned."""
        return [slot for pattern, rule in self.rules for slot in slots(rule, f"prior.{pattern}")]

    def covers(self, path: str) -> bool:
        """Whether it is the prior of a likelihood's unknown, too; see `Posterior.as_prior`."""
        return False

    def fill(self, values: dict[int, Any]) -> Prior:
        """The prior with every number to be learned replaced by its value (token → value)."""
        return Prior(tuple((pattern, fill(rule, values)) for pattern, rule in self.rules))

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


def fit_shape(
    distribution: dist.Distribution, shape: tuple[int, ...], path: str
) -> dist.Distribution:
    """`distribution` expanded so that one draw of it has `shape`."""
    event = distribution.event_shape
    batch = shape[: len(shape) - len(event)]
    if event != shape[len(batch) :]:
        raise ValueError(
            f"prior: {type(distribution).__name__} has event shape {event}, which does not end the "
            f"shape {shape} of parameter {path!r}."
        )
    if distribution.batch_shape in ((), batch):
        # Scalar rules stay shared objects: Target evaluates their parameters as one flat block.
        return distribution
    try:
        return distribution.expand(batch)
    except ValueError as error:
        raise ValueError(
            f"prior: {type(distribution).__name__} has batch shape {distribution.batch_shape}, "
            f"which does not broadcast to the shape {shape} of parameter {path!r}."
        ) from error


SPIKE = math.exp(-6)  # the narrow scale of a mixture, unless said otherwise


def Normal(loc: Any = 0.0, sd: Any = 1.0) -> Prior:
    """Independent normal priors on every parameter of the net.

        w ~ N(loc, sd²)

    Args:
        loc: mean; a number, or `po.learned`.
        sd: standard deviation; a positive number, or `po.learned`.

    Returns:
        A `Prior` for all parameters. For different priors on different parameters give `Model` a
        dictionary of patterns instead.

    Raises:
        ValueError: `sd` is not positive and finite, or `loc` is not finite.

    >>> Normal(0, 1).attach({"layers.0.weight": (5, 2)})["layers.0.weight"].scale
    1.0
    """
    loc = _number("priors.Normal: loc", loc)
    sd = _positive("priors.Normal: sd", sd)
    return Prior((("*", dist.Normal(loc, sd)),))


def ScaleMixture(pi: Any = 0.5, scale_1: Any = 1.0, scale_2: Any = SPIKE) -> Prior:
    """A mixture of two normals of different width on every weight: a slab and a spike.

        w ~ π N(0, scale_1²) + (1 − π) N(0, scale_2²)

    Args:
        pi: share of the first; between 0 and 1, or `po.learned`.
        scale_1, scale_2: standard deviations; positive numbers, or `po.learned`. The defaults,
            1 and e⁻⁶, are among those the paper tries (−log of 0, 1, 2 and of 6, 7, 8).

    Returns:
        A `Prior` for all parameters; learned numbers are shared by all layers.

    Raises:
        ValueError: a number out of its range.

    Blundell et al. 2015, "Weight uncertainty in neural networks", who keep π and the scales fixed,
    as they found learning them worse for their nets; with `po.learned` they are learned.

    >>> prior = ScaleMixture(0.25, 1.0, 0.1)
    >>> float(prior.attach({"w": (2,)})["w"].variance) == 0.25 + 0.75 * 0.1**2
    True
    """
    if not is_learned(pi) and not 0 < float(pi) < 1:
        raise ValueError(f"priors.ScaleMixture: pi must be between 0 and 1, not {pi}.")
    scale_1 = _positive("priors.ScaleMixture: scale_1", scale_1)
    scale_2 = _positive("priors.ScaleMixture: scale_2", scale_2)
    pi = pi if is_learned(pi) else float(pi)
    return Prior((("*", ScaleMixtureDistribution(pi, scale_1, scale_2)),))


class ScaleMixtureDistribution(dist.Distribution):
    """π N(0, scale_1²) + (1 − π) N(0, scale_2²), as a NumPyro distribution."""

    arg_constraints: ClassVar[dict[str, Any]] = {
        "pi": constraints.unit_interval,
        "scale_1": constraints.positive,
        "scale_2": constraints.positive,
    }
    support = constraints.real
    pytree_data_fields = ("pi", "scale_1", "scale_2")

    def __init__(self, pi: Any, scale_1: Any, scale_2: Any, *, validate_args: Any = None) -> None:
        self.pi, self.scale_1, self.scale_2 = pi, scale_1, scale_2
        super().__init__(batch_shape=(), event_shape=(), validate_args=validate_args)

    def log_prob(self, value: Any, intermediates: Any = None) -> jax.Array:
        """The logarithm of the sum of both densities, stable where either underflows."""
        slab = jnp.log(self.pi) + dist.Normal(0.0, self.scale_1).log_prob(value)
        spike = jnp.log1p(-jnp.asarray(self.pi)) + dist.Normal(0.0, self.scale_2).log_prob(value)
        return jnp.logaddexp(slab, spike)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Which of the two, then a normal of its width."""
        first, second = jax.random.split(key)
        slab = jax.random.bernoulli(first, self.pi, sample_shape)
        scale = jnp.where(slab, self.scale_1, self.scale_2)
        return scale * jax.random.normal(second, sample_shape, float_dtype())

    @property
    def mean(self) -> float:
        """Zero."""
        return 0.0

    @property
    def variance(self) -> Any:
        """π scale_1² + (1 − π) scale_2²."""
        return self.pi * self.scale_1**2 + (1 - self.pi) * self.scale_2**2


def _positive(name: str, given: Any) -> Any:
    if not is_learned(given) and not 0 < float(given) < math.inf:
        raise ValueError(f"{name} must be positive and finite, not {float(given)}.")
    return _number(name, given)


def _number(name: str, given: Any) -> Any:
    if is_learned(given):
        return given
    if not math.isfinite(given):
        raise ValueError(f"{name} must be finite, not {float(given)}.")
    return float(given)


def by_path(rules: Mapping[str, Any]) -> Prior:
    """A prior from a dictionary of patterns; a dictionary given to `Model` goes through here.

    Args:
        rules: pattern → NumPyro distribution or `Prior` of one distribution. The first pattern that
            matches a parameter counts, so the more specific come first.

    >>> import numpyro.distributions as dist
    >>> prior = by_path({"*.bias": dist.Normal(0.0, 10.0), "*": Normal(0, 1)})
    >>> sorted(prior.attach({"a.bias": (3,), "a.weight": (3, 2)}))
    ['a.bias', 'a.weight']
    """
    return Prior(tuple((str(pattern), _distribution(given)) for pattern, given in rules.items()))


def as_prior(given: Any) -> Prior:
    """`given` as a `Prior`: a prior, a NumPyro distribution, or a dictionary of patterns."""
    if isinstance(given, Prior):
        return given
    if isinstance(given, Mapping):
        return by_path(given)
    return Prior((("*", _distribution(given)),))


def _distribution(given: Any) -> dist.Distribution:
    if isinstance(given, Prior) and len(given.rules) == 1:
        return given.rules[0][1]
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


def _listed(paths: Sequence[str], most: int = 20) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(paths[:most]) + more
