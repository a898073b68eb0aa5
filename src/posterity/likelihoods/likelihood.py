"""Likelihoods: what a net's outputs say about the targets y.

A likelihood maps the outputs of a net to a NumPyro distribution over y, one per row, owns its own
unknowns (such as a noise scale with a prior), and knows which targets it can explain.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.dtypes import float_dtype
from posterity.learnable import Slot, fill, is_learned, slot, slots
from posterity.likelihoods import defaults

Unknowns = Mapping[str, jax.Array]
Kind = Literal["classification", "ordinal", "count", "regression"]

PROBES = 0.0, -10.0, 10.0  # outputs at which a likelihood is asked for its support


class AbstractLikelihood(eqx.Module):
    """p(y | outputs of the net, unknowns): what a user subclasses.

    A subclass gives `kind`, `outputs_per_target` and `distribution`. All else has a default, by
    NumPyro's closed form where it has one, else by enumeration, quadrature or automatic
    differentiation of the density; override what is known better, and let
    `po.testing.check_likelihood` compare every figure with draws. docs/likelihoods.md lists all.
    Fields that are NumPyro distributions are unknowns with these priors. Fields that are
    `po.learned` are learned.

    Attributes:
        kind: what the targets are. ``"classification"``: labels 0 … K − 1. ``"ordinal"``: ordered
            labels 0 … K − 1. ``"count"``: whole numbers from 0. ``"regression"``: real numbers.
        constraints: where a field that is `po.learned` may lie, by field; else it is positive.

    >>> import jax.numpy as jnp
    >>> import numpyro.distributions as dist
    >>> import posterity as po
    >>> class Gamma(po.likelihoods.AbstractLikelihood):
    ...     concentration: dist.Distribution  # a prior: one number for all rows, unknown
    ...     kind = "regression"
    ...     outputs_per_target = 1
    ...
    ...     def distribution(self, outputs, unknowns):
    ...         concentration = unknowns["concentration"]
    ...         return dist.Gamma(concentration, concentration / jnp.exp(outputs[:, 0]))
    >>> gamma = Gamma(dist.LogNormal(0.0, 1.0))
    >>> gamma.unknowns().keys(), gamma.bounds
    (dict_keys(['concentration']), (0.0, inf))
    """

    kind: ClassVar[Kind]
    constraints: ClassVar[Mapping[str, Any]] = {}

    # -- to be given ------------------------------------------------------------------------------

    @property
    @abstractmethod
    def outputs_per_target(self) -> int:
        """How many net outputs each target of a row needs."""

    @abstractmethod
    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """The distribution of y: targets of a row are independent given these arguments.

        Args:
            outputs: (rows, outputs_per_target, *targets), as the net gave them: of two targets
                with a location and a scale each, both locations come first.
            unknowns: name → value of each unknown.

        Returns:
            A distribution of single numbers with batch shape (rows, *targets).
        """

    # -- unknowns and numbers to be learned -------------------------------------------------------

    def unknowns(self) -> dict[str, dist.Distribution]:
        """The likelihood's own unknowns: field → prior."""
        return {
            name: given for name, given in self._fields() if isinstance(given, dist.Distribution)
        }

    def slots(self) -> list[Slot]:
        """The numbers to be learned: fields, and parameters of the priors of unknowns."""
        found: list[Slot] = []
        for name, given in self._fields():
            path = f"likelihood.{name}"
            if is_learned(given):
                allowed = self.constraints.get(name, dist.constraints.positive)
                found.append(slot(given, allowed, path))
            else:
                found += slots(given, path)
        return found

    def fill(self, values: dict[Any, Any]) -> Self:
        """The likelihood with every number to be learned replaced by its value."""
        filled = {name: fill(given, values) for name, given in self._fields()}
        changed = [name for name, given in self._fields() if filled[name] is not given]
        if not changed:
            return self
        old = [getattr(self, name) for name in changed]
        return eqx.tree_at(
            lambda given: [getattr(given, name) for name in changed],
            self,
            [filled[name] for name in changed],
            is_leaf=lambda part: any(part is one for one in old),
        )

    def _fields(self) -> Iterator[tuple[str, Any]]:
        for field in dataclasses.fields(self):
            if not field.metadata.get("static", False):
                yield field.name, getattr(self, field.name)

    # -- the targets ------------------------------------------------------------------------------

    @property
    def classes(self) -> int:
        """The number of classes K; 0 where the targets are no labels."""
        if self.kind not in ("classification", "ordinal"):
            return 0
        return int(defaults.edges(self._probed()[0].support)[1]) + 1

    @property
    def ordered(self) -> bool:
        """Whether the targets have an order, and so quantiles."""
        return self.kind != "classification"

    @property
    def whole(self) -> bool:
        """Whether the targets are whole numbers."""
        return self.kind != "regression"

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and highest possible target; ∓∞ where there is none, or it varies."""
        if self.classes:
            return 0.0, float(self.classes - 1)
        found = [defaults.edges(given.support) for given in self._probed()]
        lows, highs = (np.array([np.ravel(side)[0] for side in sides]) for sides in zip(*found))
        low = float(lows[0]) if (lows == lows[0]).all() else -np.inf
        high = float(highs[0]) if (highs == highs[0]).all() else np.inf
        return low, high

    def check(self, y: np.ndarray) -> None:
        """Raise a ValueError naming the first target outside the support.

        A support that depends on outputs or unknowns is looked at in a few places; a target is
        refused where none of them allows it.
        """
        if self.classes:
            _check_labels(y, self.classes)
            return
        if self.kind == "count":
            _check_counts(y)
        supports = [given.support for given in self._probed(y.ndim - 1)]
        allowed = np.any([np.asarray(support(y)) for support in supports], axis=0)
        if allowed.all():
            return
        low, high = self.bounds
        refuse_first(
            ~allowed,
            y,
            f"is outside the support of {type(self).__name__}, which is {low:g} … {high:g}",
            "drop such rows, rescale y, or use a likelihood that allows them",
        )

    @property
    def target_dtype(self) -> Any:
        """The dtype in which targets are stored: int32 of labels, else that of θ."""
        return np.int32 if self.kind in ("classification", "ordinal") else float_dtype()

    def _probed(self, targets: int = 0) -> list[dist.Distribution]:
        """The distribution at a few outputs and possible values of the unknowns.

        Args:
            targets: axes of a row's targets.
        """
        with jax.ensure_compile_time_eval():
            starts = {one.token: one.constrain(jnp.asarray(one.start)) for one in self.slots()}
            ready = self.fill(starts)
            unknowns = {name: _possible(prior) for name, prior in ready.unknowns().items()}
            shape = (1, self.outputs_per_target, *[1] * targets)
            return [ready.distribution(jnp.full(shape, at), unknowns) for at in PROBES]

    # -- what follows from the density ------------------------------------------------------------

    def log_prob(self, outputs: jax.Array, y: jax.Array, unknowns: Unknowns) -> jax.Array:
        """log p(y | outputs, unknowns) of every row, summed over the row's targets: (rows,)."""
        return _by_row(self.distribution(outputs, unknowns).log_prob(y))

    def mean_and_var(self, outputs: jax.Array, unknowns: Unknowns) -> tuple[jax.Array, jax.Array]:
        """E[y | θ] and Var[y | θ], by element.

        Returns:
            (rows, *targets) each; for labels those of the one-hot y, (rows, K), and of two classes
            those of y itself, (rows,).
        """
        given = self.distribution(outputs, unknowns)
        if classes := self.classes:
            p = jnp.exp(defaults.label_log_probs(given, classes, self.target_dtype))
            p = p[:, 1] if classes == 2 else p
            return p, p * (1 - p)
        found = defaults.moments(given)
        return found or defaults.mean_and_var(self._nodes(given))

    @property
    def has_moments(self) -> bool:
        """Whether y has a finite mean and variance, at any of a few outputs."""
        with jax.ensure_compile_time_eval():
            for given in self._probed():
                found = defaults.moments(given)
                if found is None or bool(np.all([np.isfinite(part).all() for part in found])):
                    return True  # where NumPyro has no answer, it is found by quadrature
        return False

    def sample(self, given: dist.Distribution, key: jax.Array) -> jax.Array:
        """One y from a `distribution` of this likelihood: of its batch shape."""
        return given.sample(key)

    def entropy(self, outputs: jax.Array, unknowns: Unknowns) -> jax.Array:
        """H[y | θ] = −E log p(y | θ) in nats, summed over the row's targets: (rows,)."""
        given = self.distribution(outputs, unknowns)
        found = None if self.classes else defaults.known(given.entropy)
        if found is None:
            found = defaults.entropy(given, self._nodes(given))
        return _by_row(jnp.broadcast_to(found, given.batch_shape))

    def cdf(self, given: dist.Distribution, y: jax.Array) -> jax.Array:
        """P(Y ≤ y), of ordered labels too: monotone in y, 0 or 1 outside the support.

        NaN where it would be integrated from a density that does not integrate to one.

        Args:
            given: a `distribution` of this likelihood. y: of its batch shape, with axes in front.
        """
        if classes := self.classes:
            return defaults.cdf_of_labels(given, y, classes, self.target_dtype)
        return defaults.cdf(given, y)

    def curvature(self, outputs: jax.Array, unknowns: Unknowns) -> jax.Array:
        """The expected negative Hessian of log p(y | θ) in the outputs of a row.

            E_y[−∇² log p(y | f)] = E_y[∇ log p(y | f) ∇ log p(y | f)ᵀ]

        Returns:
            (rows, outputs, outputs), where the outputs of a row are (outputs_per_target, *targets)
            in C order.
        """
        return defaults.curvature(
            lambda outputs: self.distribution(outputs, unknowns), outputs, self._nodes
        )

    def expected(self, mean: np.ndarray, var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Targets that stand for all of a given mean and noise in an expected log likelihood.

            E log p(y | θ) = Σⱼ vⱼ log p(yⱼ | θ) + a constant

        By default every label with its probability; else quantiles of a generic shape with these
        moments inside `bounds`.

        Args:
            mean: of y given θ, averaged over θ: (rows,), (rows, targets) or (rows, K).
            var: of y given θ, likewise; not needed where the mean is sufficient.

        Returns:
            y (rows, J, ...) and their shares v (rows, J), which sum to 1.
        """
        if classes := self.classes:
            shares = np.stack([1 - mean, mean], axis=1) if mean.ndim == 1 else mean
            return np.broadcast_to(np.arange(classes), shares.shape), shares
        return defaults.targets_of(mean, var, *self.bounds, whole=self.whole)

    def _nodes(self, given: dist.Distribution) -> tuple[jax.Array, jax.Array]:
        return defaults.nodes(given, self.classes, self.target_dtype)


def refuse_first(bad: np.ndarray, y: np.ndarray, what: str, remedy: str) -> None:
    """Raise a ValueError that names the first bad target; nothing where none is bad."""
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        where = ", ".join(map(str, first))
        raise ValueError(f"y[{where}] = {y[first]:g} {what}: {remedy}. ({bad.sum()} such targets.)")


def _check_labels(y: np.ndarray, classes: int) -> None:
    """Labels are whole numbers in 0 … K − 1."""
    last = classes - 1
    refuse_first(y != np.floor(y), y, "is not a whole number", f"class labels are 0 … {last}")
    refuse_first(
        (y < 0) | (y > last),
        y,
        f"is outside the labels 0 … {last}",
        "recode the labels (for −1/+1 use (y + 1) / 2) or state the number of classes",
    )


def _check_counts(y: np.ndarray) -> None:
    """Counts are whole numbers from 0."""
    refuse_first(y < 0, y, "is negative", "counts start at 0")
    refuse_first(
        y != np.floor(y), y, "is not a whole number", "use likelihoods.Normal for real targets"
    )
    largest = 1e7 if float_dtype() is np.float32 else 1e15
    refuse_first(
        y > largest, y, f"is above {largest:g}", "counts this large are not exact: rescale them"
    )


def _possible(prior: dist.Distribution) -> jax.Array:
    """A value that a prior allows."""
    transform = dist.biject_to(prior.support)
    return transform(jnp.zeros(transform.inverse_shape(prior.shape())))


def _by_row(each: jax.Array) -> jax.Array:
    return each.reshape(each.shape[0], -1).sum(-1) if each.ndim > 1 else each


def as_likelihood(given: Any) -> AbstractLikelihood:
    """`given`, which must be a likelihood.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(given, AbstractLikelihood):
        raise TypeError(f"likelihood: expected one of po.likelihoods, got {type(given).__name__}.")
    return given
