"""Likelihoods: what a net's outputs say about the targets y.

A likelihood maps the outputs of a net to a NumPyro distribution over y, one per row, owns its own
unknowns (such as a noise scale with a prior), and knows which targets it can explain.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.dtypes import float_dtype, largest_magnitude
from posterity.empirical import Slot, fill, is_learned, slot, slots

Unknowns = Mapping[str, jax.Array]
# float | numpyro Distribution | "net"; NumPyro has no type information to say so.
Scale: TypeAlias = Any

# A scale from the net is softplus(raw) plus this, so that no row claims to be known exactly.
SMALLEST_NET_SCALE = 1e-4
LEVELS = 64  # values that stand for heavy-tailed noise


class AbstractLikelihood(eqx.Module):
    """p(y | outputs of the net, unknowns).

    Attributes:
        kind: ``"classification"``, ``"regression"`` or ``"count"``.
    """

    kind: ClassVar[Literal["classification", "regression", "count"]]

    @property
    @abstractmethod
    def outputs_per_target(self) -> int:
        """How many net outputs each target of a row needs."""

    def unknowns(self) -> dict[str, dist.Distribution]:
        """The likelihood's own unknowns: name → prior."""
        return {}

    def slots(self) -> list[Slot]:
        """The numbers to be learned."""
        return []

    def fill(self, values: dict[int, Any]) -> AbstractLikelihood:
        """The likelihood with every number to be learned replaced by its value."""
        del values
        return self

    @abstractmethod
    def check(self, y: np.ndarray) -> None:
        """Raise a ValueError naming the first target outside the support."""

    @abstractmethod
    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """The distribution of y.

        Args:
            outputs: (rows, outputs_per_target, *targets), as the net gave them.
            unknowns: name → value of each unknown.

        Returns:
            A distribution with batch shape (rows, *targets).
        """

    @property
    def target_dtype(self) -> Any:
        """The dtype in which targets are stored."""
        return float_dtype()

    def log_prob(self, outputs: jax.Array, y: jax.Array, unknowns: Unknowns) -> jax.Array:
        """log p(y | outputs, unknowns) of every row, summed over the row's targets: (rows,)."""
        each = self.distribution(outputs, unknowns).log_prob(y)
        return each.reshape(each.shape[0], -1).sum(-1) if each.ndim > 1 else each

    def mean_and_var(self, outputs: jax.Array, unknowns: Unknowns) -> tuple[jax.Array, jax.Array]:
        """E[y | θ] and Var[y | θ]; for classes, of the one-hot y."""
        given = self.distribution(outputs, unknowns)
        return given.mean, given.variance

    def cdf(self, given: dist.Distribution, y: jax.Array) -> jax.Array:
        """P(Y ≤ y) under a `distribution` of this likelihood."""
        return given.cdf(y)

    def expected(self, mean: np.ndarray, var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Targets that stand for all of a given mean and noise in an expected log likelihood.

            E log p(y | θ) = Σⱼ vⱼ log p(yⱼ | θ) + a constant

        Args:
            mean: of y given θ, averaged over θ: (rows,), (rows, targets) or (rows, K).
            var: of y given θ, likewise; not needed where the mean is sufficient.

        Returns:
            y (rows, J, ...) and their shares v (rows, J), which sum to 1.
        """
        del var
        return mean[:, None], np.ones((len(mean), 1))


class AbstractClassLikelihood(AbstractLikelihood):
    """A likelihood over class labels 0 … K − 1."""

    kind: ClassVar[Literal["classification", "regression", "count"]] = "classification"

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes K."""

    @abstractmethod
    def entropy(self, outputs: jax.Array) -> jax.Array:
        """H[y | θ] in nats: (rows,)."""

    def expected(self, mean: np.ndarray, var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every label, with its probability as its share."""
        del var
        shares = np.stack([1 - mean, mean], axis=1) if mean.ndim == 1 else mean
        return np.broadcast_to(np.arange(self.classes), shares.shape), shares

    def check(self, y: np.ndarray) -> None:
        """Labels are whole numbers in 0 … K − 1."""
        _refuse_first(
            y != np.floor(y),
            y,
            "is not a whole number",
            f"class labels are 0 … {self.classes - 1}",
        )
        _refuse_first(
            (y < 0) | (y >= self.classes),
            y,
            f"is outside the labels 0 … {self.classes - 1}",
            "recode the labels (for −1/+1 use (y + 1) / 2) or state the number of classes",
        )


class Bernoulli(AbstractClassLikelihood):
    """Binary labels.

        y ~ Bernoulli(σ(f)),   f = the net's one output, the log-odds of y = 1

    Targets are 0/1 (bool, integer or whole floats), shape (rows,).

    >>> Bernoulli().outputs_per_target
    1
    """

    @property
    def outputs_per_target(self) -> int:
        """One: the log-odds."""
        return 1

    @property
    def classes(self) -> int:
        """Two."""
        return 2

    @property
    def target_dtype(self) -> Any:
        """Labels are stored as floats, as they enter the density."""
        return float_dtype()

    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """Bernoulli with the net's log-odds."""
        return dist.BernoulliLogits(outputs[:, 0], validate_args=False)

    def log_prob(self, outputs: jax.Array, y: jax.Array, unknowns: Unknowns) -> jax.Array:
        """y f − log(1 + eᶠ), the stable form with the fewest operations."""
        logits = outputs[:, 0]
        return y * logits - jax.nn.softplus(logits)

    def entropy(self, outputs: jax.Array) -> jax.Array:
        """log(1 + eᶠ) − σ(f) f, stable for large |f| by its symmetry in f."""
        size = jnp.abs(outputs[:, 0])
        return jax.nn.softplus(-size) + jax.nn.sigmoid(-size) * size


class Categorical(AbstractClassLikelihood):
    """Labels of K classes.

        y ~ Categorical(softmax(f)),   f = the net's K outputs

    Args:
        classes: K ≥ 2. Targets are whole numbers 0 … K − 1, shape (rows,).

    >>> Categorical(10).outputs_per_target
    10
    """

    number: int = eqx.field(static=True)

    def __init__(self, classes: int) -> None:
        if int(classes) != classes or classes < 2:
            raise ValueError(
                f"Categorical: classes must be a whole number from 2, not {classes!r}."
            )
        self.number = int(classes)

    @property
    def outputs_per_target(self) -> int:
        """One logit per class."""
        return self.number

    @property
    def classes(self) -> int:
        """K."""
        return self.number

    @property
    def target_dtype(self) -> Any:
        """Labels are stored as int32, to index with."""
        return np.int32

    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """Categorical with the net's logits."""
        return dist.CategoricalLogits(outputs, validate_args=False)

    def log_prob(self, outputs: jax.Array, y: jax.Array, unknowns: Unknowns) -> jax.Array:
        """f_y − log Σ eᶠ."""
        return jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], axis=1)[:, 0]

    def mean_and_var(self, outputs: jax.Array, unknowns: Unknowns) -> tuple[jax.Array, jax.Array]:
        """Probabilities p (rows, K), and p (1 − p)."""
        p = jax.nn.softmax(outputs)
        return p, p * (1 - p)

    def entropy(self, outputs: jax.Array) -> jax.Array:
        """−Σ p log p."""
        log_p = jax.nn.log_softmax(outputs)
        return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


class AbstractRegressionLikelihood(AbstractLikelihood):
    """A likelihood over real targets with a scale that is known, unknown or given by the net."""

    kind: ClassVar[Literal["classification", "regression", "count"]] = "regression"
    scale: eqx.AbstractVar[Scale]

    @property
    def outputs_per_target(self) -> int:
        """One location; and one raw scale where the net gives it."""
        return 2 if self.scale == "net" else 1

    def unknowns(self) -> dict[str, dist.Distribution]:
        """The scale, where it has a prior."""
        return {"scale": self.scale} if isinstance(self.scale, dist.Distribution) else {}

    def slots(self) -> list[Slot]:
        """The scale itself, or a number in its prior."""
        if is_learned(self.scale):
            return [slot(self.scale, dist.constraints.positive, "likelihood.scale")]
        return slots(self.scale, "likelihood.scale")

    def fill(self, values: dict[int, Any]) -> AbstractLikelihood:
        """The same with its scale known."""
        return eqx.tree_at(
            lambda given: given.scale,
            self,
            fill(self.scale, values),
            is_leaf=lambda part: part is self.scale,
        )

    def check(self, y: np.ndarray) -> None:
        """Any finite number is a target."""

    @abstractmethod
    def noise_levels(self) -> np.ndarray:
        """Equally probable values of noise of mean 0 and variance 1."""

    def expected(self, mean: np.ndarray, var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean with noise of that variance at each of `noise_levels`."""
        levels = self.noise_levels()
        y = np.stack([mean + np.sqrt(var) * level for level in levels], axis=1)
        return y, np.full(y.shape[:2], 1 / len(levels))

    def _loc_and_scale(self, outputs: jax.Array, unknowns: Unknowns) -> tuple[Any, Any]:
        if self.scale == "net":
            return outputs[:, 0], jax.nn.softplus(outputs[:, 1]) + SMALLEST_NET_SCALE
        return outputs[:, 0], unknowns.get("scale", self.scale)


class Normal(AbstractRegressionLikelihood):
    """Real targets with normal noise.

        y ~ N(f, scale²),   f = the net's output

    Args:
        scale: the noise sd, in the units of y. A positive number: known. A NumPyro distribution
            over positive numbers: unknown, with that prior, one value for all rows.
            `po.learned`: one value, optimised. ``"net"``:
            input-dependent, scale(x) = softplus(second half of the net's outputs); the net then
            needs two outputs per target, locations first.

    Targets are finite numbers, shape (rows,) or (rows, targets).

    >>> Normal(scale="net").outputs_per_target
    2
    """

    scale: Scale

    def __init__(self, scale: Scale = 1.0) -> None:
        self.scale = _checked_positive(scale, "likelihoods.Normal: scale")

    def noise_levels(self) -> np.ndarray:
        """−1 and 1: a normal's log density is quadratic, and knows no more than the variance."""
        return np.array([-1.0, 1.0])

    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """Normal around the net's outputs."""
        return dist.Normal(*self._loc_and_scale(outputs, unknowns), validate_args=False)


class StudentT(AbstractRegressionLikelihood):
    """Real targets with heavy-tailed noise, for data with outliers.

        y ~ f + scale · t(df),   Var[y | θ] = scale² df / (df − 2)

    Args:
        df: degrees of freedom, above 2 so that the predictive variance exists.
        scale: as in `Normal`; the scale of the t distribution, not its sd.

    Targets are finite numbers, shape (rows,) or (rows, targets).

    >>> StudentT(df=4.0, scale=0.5).outputs_per_target
    1
    """

    scale: Scale
    df: float

    def __init__(self, df: float = 4.0, scale: Scale = 1.0) -> None:
        self.df = float(df)
        if not 2 < self.df < float("inf"):
            raise ValueError(
                f"likelihoods.StudentT: df must be above 2, where the variance exists, not {df}."
            )
        self.scale = _checked_positive(scale, "likelihoods.StudentT: scale")

    def noise_levels(self) -> np.ndarray:
        """The medians of 64 equally probable parts of the t distribution."""
        from scipy import stats

        at = (np.arange(LEVELS) + 0.5) / LEVELS
        return stats.t.ppf(at, self.df) * np.sqrt((self.df - 2) / self.df)

    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """Student's t around the net's outputs."""
        loc, scale = self._loc_and_scale(outputs, unknowns)
        return dist.StudentT(self.df, loc, scale, validate_args=False)

    def cdf(self, given: dist.Distribution, y: jax.Array) -> jax.Array:
        """½ + ½ sign(t) I(t² / (df + t²); ½, df/2), which is exact near t = 0 in float32 too."""
        t = (y - given.loc) / given.scale
        share = jax.scipy.special.betainc(0.5, 0.5 * self.df, t**2 / (self.df + t**2))
        return 0.5 + 0.5 * jnp.sign(t) * share


class Poisson(AbstractLikelihood):
    """Counts.

        y ~ Poisson(eᶠ),   f = the net's output, the log rate

    Targets are whole numbers from 0, shape (rows,) or (rows, targets).

    >>> Poisson().outputs_per_target
    1
    """

    kind: ClassVar[Literal["classification", "regression", "count"]] = "count"

    @property
    def outputs_per_target(self) -> int:
        """One: the log rate."""
        return 1

    def check(self, y: np.ndarray) -> None:
        """Counts are whole numbers from 0."""
        _refuse_first(y < 0, y, "is negative", "counts start at 0")
        _refuse_first(
            y != np.floor(y), y, "is not a whole number", "use likelihoods.Normal for real targets"
        )
        largest = 1e7 if float_dtype() is np.float32 else 1e15
        _refuse_first(
            y > largest, y, f"is above {largest:g}", "counts this large are not exact: rescale them"
        )

    def distribution(self, outputs: jax.Array, unknowns: Unknowns) -> dist.Distribution:
        """Poisson with the exponential of the net's outputs as rate."""
        return dist.Poisson(jnp.exp(outputs[:, 0]), validate_args=False)

    def log_prob(self, outputs: jax.Array, y: jax.Array, unknowns: Unknowns) -> jax.Array:
        """y f − eᶠ − log y!, without the logarithm of a rate that may have underflowed."""
        f = outputs[:, 0]
        each = y * f - jnp.exp(f) - jax.lax.lgamma(y + 1.0)
        return each.reshape(each.shape[0], -1).sum(-1)

    def cdf(self, given: dist.Distribution, y: jax.Array) -> jax.Array:
        """P(Y ≤ y) = Q(⌊y⌋ + 1, rate), the regularised upper incomplete gamma function."""
        whole = jnp.floor(y)
        q = jax.scipy.special.gammaincc(jnp.maximum(whole, 0) + 1, given.rate)
        return jnp.where(whole < 0, 0.0, q)


def _refuse_first(bad: np.ndarray, y: np.ndarray, what: str, remedy: str) -> None:
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        where = ", ".join(map(str, first))
        raise ValueError(f"y[{where}] = {y[first]:g} {what}: {remedy}. ({bad.sum()} such targets.)")


def _checked_positive(scale: Any, name: str) -> Scale:
    if isinstance(scale, str):
        if scale != "net":
            raise ValueError(f'{name} as a word can only be "net", not {scale!r}.')
        return "net"
    if isinstance(scale, dist.Distribution):
        if scale.shape():
            raise ValueError(f"{name}'s prior must be of one number, not of shape {scale.shape()}.")
        if scale.support.is_discrete or bool(np.any(scale.support(-np.logspace(-6, 6, 13)))):
            raise ValueError(
                f"{name}'s prior {type(scale).__name__} allows numbers that are not positive; use "
                "HalfNormal, LogNormal, Gamma, …"
            )
        return scale
    if is_learned(scale):
        return scale
    number = float(scale)
    if not 0 < number < largest_magnitude():
        raise ValueError(f"{name} must be positive and finite, not {scale}.")
    return number
