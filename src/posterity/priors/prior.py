"""Priors: NumPyro distributions attached to parameters by path pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import equinox as eqx
import numpyro.distributions as dist

from posterity.layout import fit_shape
from posterity.learnable import Slot, fill, slots
from posterity.storable import stored

Shapes = Mapping[str, tuple[int, ...]]


@stored("priors.ByPath")
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

    def check_stored(self) -> None:
        """No rule of a discrete distribution."""
        for pattern, rule in self.rules:
            if rule.support.is_discrete:
                raise ValueError(f"the prior of {pattern!r} is discrete.")

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
