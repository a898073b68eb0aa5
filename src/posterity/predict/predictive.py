"""The predictive distribution, and where its uncertainty comes from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from posterity import memory
from posterity.checks import Settings, is_real, said
from posterity.counts import checked_draws
from posterity.cpu.compile import use_compilation_cache
from posterity.data.batches import as_targets
from posterity.distributions.distribution import AbstractDistribution
from posterity.frames import joined
from posterity.inputs import read, row_count, take
from posterity.likelihoods.likelihood import AbstractLikelihood
from posterity.model.net_target import Target
from posterity.predict import precision, quantiles, refusal, stream
from posterity.predict.quantiles import Of
from posterity.predict.refusal import Rule
from posterity.predict.source import Source, source_of

SMALLEST_PROBABILITY = 1e-30  # that a mean over draws in float32 holds with all its digits


def predict(
    target: Target, distribution: AbstractDistribution, x: Any, draws: int, seed: int
) -> Predictive:
    """The predictive distribution at `x`, of a distribution over θ; see `Posterior.predict`."""
    count = checked_draws(draws)
    given = read(x).matched(target.inputs)
    inputs = given.converted(target.inputs)
    use_compilation_cache()
    source = source_of(target, distribution, seed, count)
    found, double = stream.moments_and_double(source, inputs)
    figures = found.mean, found.var, found.m2, found.entropy
    bad = np.any([~np.isfinite(part).reshape(len(part), -1).all(1) for part in figures], axis=0)
    precision.tell("predict: mean or sd is not finite", bad, _why(target.likelihood), 4)
    return Predictive(
        mean=found.mean,
        aleatoric=_add_classes(found.var, target.likelihood),
        epistemic=_add_classes(found.m2 / draws, target.likelihood),
        draws=int(draws),
        _expected_entropy=found.entropy,
        _source=source,
        _x=inputs,
        _double=double,
        _labels=given.labels,
    )


def _why(likelihood: AbstractLikelihood) -> str:
    """Why figures are not finite, and what to do, as a sentence."""
    if not likelihood.has_moments:
        return (
            f"under {type(likelihood).__name__} y has none. quantile, interval and log_prob need "
            "none."
        )
    return (
        "the outputs of the net are too large there for double precision, or for NumPyro's "
        "formulas. Compare these rows of x with those of the data; take(rows) leaves rows out."
    )


@dataclasses.dataclass(frozen=True)
class Predictive:
    """p(y | x, data) at given inputs, averaged over posterior draws.

    The law of total variance splits the predictive variance,

        total = aleatoric + epistemic,   Var[y] = E_θ Var[y | θ] + Var_θ E[y | θ],

    into noise that more data will not remove and ignorance of θ that they will. For classes y is
    one-hot, and the variances of three classes or more are added up. The entropy of classes splits
    alike: entropy = expected_entropy + mutual_information.

    Quantiles, log probabilities and raw draws are computed when asked for, by going through the
    draws again.

    Attributes:
        mean: E[y]: (rows,) or (rows, targets). Of two classes P(y = 1), (rows,); of K classes, in
            order or not, the probability of each, (rows, K).
        aleatoric: mean variance of y given θ, in squared units of y: (rows,) or (rows, targets).
        epistemic: variance of the mean of y given θ; the same shape.
        draws: how many posterior draws the averages are over.
    """

    mean: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray
    draws: int
    _expected_entropy: np.ndarray = dataclasses.field(repr=False)
    _source: Source = dataclasses.field(repr=False)
    _x: Any = dataclasses.field(repr=False)
    _double: np.ndarray = dataclasses.field(repr=False)  # rows that single precision cannot hold
    _loc: float = dataclasses.field(default=0.0, repr=False)
    _scale: float = dataclasses.field(default=1.0, repr=False)
    _labels: Any = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def kind(self) -> str:
        """``"classification"``, ``"ordinal"``, ``"count"`` or ``"regression"``."""
        return self._likelihood.kind

    @property
    def classes(self) -> int:
        """The number of classes K; 0 where the targets are no labels."""
        return self._likelihood.classes

    @property
    def total(self) -> np.ndarray:
        """The predictive variance: aleatoric + epistemic, exactly."""
        return self.aleatoric + self.epistemic

    @property
    def sd(self) -> np.ndarray:
        """The predictive standard deviation of y, √total."""
        return np.sqrt(self.total)

    # -- classes ----------------------------------------------------------------------------------

    @property
    def probs(self) -> np.ndarray:
        """The probability of every class, two classes included: (rows, K)."""
        self._need_classes("probs")
        return refusal.by_class(self.mean)

    @property
    def label(self) -> np.ndarray:
        """The most probable class of every row: (rows,) integers."""
        self._need_classes("label")
        if self.mean.ndim == 1:
            return (self.mean > 0.5).astype(np.int64)
        return self.mean.argmax(1)

    @property
    def expected_rank(self) -> np.ndarray:
        """Σₖ k P(y = k), of ordered classes 0 … K − 1: (rows,)."""
        self._need_classes("expected_rank")
        if not self._likelihood.ordered:
            raise AttributeError(
                "expected_rank is for ordered classes; these have no order: use probs or label."
            )
        return self.probs @ np.arange(self.classes, dtype=self.mean.dtype)

    @property
    def entropy(self) -> np.ndarray:
        """Entropy of the predictive class distribution, in nats: (rows,)."""
        self._need_classes("entropy")
        return refusal.entropy(self.mean)

    @property
    def expected_entropy(self) -> np.ndarray:
        """Mean entropy given θ, in nats: (rows,); the aleatoric part of `entropy`."""
        self._need_classes("expected_entropy")
        return self._expected_entropy

    @property
    def mutual_information(self) -> np.ndarray:
        """What the label would tell about θ, in nats: entropy − expected_entropy, (rows,)."""
        return self.entropy - self.expected_entropy

    def abstain(
        self, *, below: float | None = None, above: float | None = None, by: Rule = "probability"
    ) -> np.ma.MaskedArray[Any, Any]:
        """Labels, with the rows masked where the model should rather not answer.

        A row is refused when

            "probability":          maxₖ p̄ₖ < below
            "median":               maxₖ medianₛ pₖ(θₛ) < below
            "entropy":              H[p̄] > above
            "mutual_information":   H[p̄] − mean over s of H[p(θₛ)] > above

        with the probabilities p(θₛ) of draw s and their mean p̄. The median asks for more than the
        mean: that half of the draws, or more, agree on a class. Draws that are each sure, but of
        different classes, leave the mean with a favourite and every median near zero. Images
        that are strange in another way (noise out of the range of pixels, letters) are often told
        best by "mutual_information", which looks at the disagreement itself. No cutoff promises an
        error rate: choose it on held-out rows, with `po.metrics.risk_coverage`.

        Args:
            below: the cutoff of "probability" and "median", in (0, 1].
            above: the cutoff of "entropy" and "mutual_information", in nats, from 0.
            by: the rule.

        Returns:
            `label` as a masked array of integers; its `mask` is True where refused, and
            ``.filled()`` gives −1 there.

        Raises:
            AttributeError: the targets are no classes.
            ValueError: an unknown rule, the other kind of cutoff, or one out of range.

        >>> import numpy as np, posterity as po
        >>> x = np.linspace(-1, 1, 20)[:, None]
        >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Bernoulli())
        >>> posterior = po.fit(model, (x, x[:, 0] > 0), po.MAP(steps=200), progress=False)
        >>> posterior.predict([[-1.0], [0.0], [1.0]]).abstain(below=0.6)
        masked_array(data=[0, --, 1],
                     mask=[False,  True, False],
               fill_value=-1)
        """
        self._need_classes("abstain")
        cutoff = refusal.cutoff_of(below, above, by)
        given = self.mean, self._expected_entropy, self._source, self._x, self._double
        mask = refusal.refused(by, cutoff, *given)
        return np.ma.MaskedArray(self.label, mask=mask, fill_value=-1)

    # -- quantiles --------------------------------------------------------------------------------

    def quantile(self, q: float | Any, *, of: Of | None = None) -> np.ndarray:
        """Quantiles of y, or of its mean given θ.

        Args:
            q: a probability in (0, 1), or several.
            of: ``"y"``: of the predictive distribution, the mixture over draws. ``"mean"``: of
                E[y | θ] over draws, which for classes is a probability; this is ignorance only.
                None: ``"mean"`` for classes without an order and ``"y"`` otherwise.

        Returns:
            The shape of `mean`, or (rows,) for ranks of ordered classes, with a leading axis where
            `q` has several. Inside the support of y, and exact for the draws used to a millionth of
            the bracket μ ± sd √((1 − q)/q); where the support has an end, also to a millionth of
            the distance from it. NaN, with a warning, where the distribution function is not known.

        Raises:
            ValueError: a probability out of range, or ``of="y"`` for classes without an order.
        """
        levels = quantiles.levels_of(q)
        of = quantiles.resolve(of, self._likelihood)
        if of == "y" and self.classes:
            ranks = quantiles.ranks(self.probs, levels)
            return ranks if np.ndim(q) else ranks[0]
        mean, sd = self._unscaled(of)
        found = quantiles.solve(self._source, self._x, levels, mean, sd, of, self._double)
        if self._scale != 1.0 or self._loc != 0.0:
            found = precision.fitting(
                self._loc + self._scale * np.asarray(found, float), mean.dtype
            )
        self._tell("quantile", np.moveaxis(found, 0, 1))
        return found if np.ndim(q) else found[0]

    def interval(self, p: float = 0.9, *, of: Of | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The central interval of probability `p`: (lower, upper), each of the shape of `mean`.

        Args:
            p: probability in (0, 1).
            of: as in `quantile`.
        """
        if not is_real(p) or not 0 < p < 1:
            raise ValueError(f"p: must lie between 0 and 1, not {said(p)}.")
        lower, upper = self.quantile([(1 - p) / 2, (1 + p) / 2], of=of)
        return lower, upper

    def _unscaled(self, of: Of) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd by element of `mean`, in the model's own units."""
        if self.classes and self.mean.ndim == 2:
            # Of each class: `epistemic` is their sum.
            found = stream.moments(self._source, self._x)
            return found.mean, np.sqrt(found.m2 / self.draws)
        var = self.total if of == "y" else self.epistemic
        return (self.mean - self._loc) / self._scale, np.sqrt(var / self._scale**2)

    # -- densities and draws ----------------------------------------------------------------------

    def log_prob(self, y: Any) -> np.ndarray:
        """log p(y | x, data) of given targets, in nats: (rows,).

            log (1/S) Σₛ p(y | x, θₛ)

        Args:
            y: targets of the rows of `x`, as in `fit`.
        """
        y = self.matched(y)
        if self._scale != 1.0 or self._loc != 0.0:
            y = (np.asarray(y, float) - self._loc) / self._scale
        targets = as_targets(y, self._likelihood, one_class=True)
        expected = (row_count(self._x), *self._target_shape)
        if targets.shape != expected:
            raise ValueError(f"y: expected shape {expected}, got {targets.shape}.")
        if self.classes and self.mean.ndim == 2:
            # The mean probabilities are this already, but for those that float32 cannot hold.
            labels = np.asarray(targets, np.int64)[:, None]
            each = np.take_along_axis(self.mean, labels, axis=1)[:, 0]
            if (each > SMALLEST_PROBABILITY).all():
                return np.log(each)
        each = stream.log_prob(self._source, self._x, targets)
        bad = np.isnan(each) | (each == np.inf)
        precision.tell("log_prob: it is not a number", bad, _why(self._likelihood))
        return each - np.log(self._scale) * int(np.prod(self._target_shape))

    def raw(self, *, of: Of = "mean") -> np.ndarray:
        """Raw draws: E[y | x, θₛ] of every posterior draw, or one y from each with ``of="y"``.

        Returns:
            (draws, rows), or (draws, rows, targets or classes). This is the one figure that takes
            memory for every draw. Counts are integers, of 64 bits where they are large, and floats
            where no integer holds them.

        Raises:
            ValueError: another word; more draws than memory holds; counts that are larger than any
                that their distribution can draw.
        """
        if of not in ("y", "mean"):
            raise ValueError(f'of: must be "y" or "mean", not {of!r}.')
        shape = int(self._source.draws), *self.mean.shape
        memory.refuse_size("raw", f"{shape[0]:,} draws of {shape[1]:,} rows", shape)
        drawn = stream.raw(self._source, self._x, of == "y", self._double)
        if not self._likelihood.whole:
            drawn = self._loc + self._scale * drawn
        elif of == "y":
            drawn = precision.whole(drawn)
            self._refuse_saturated(drawn)
        self._tell("raw", np.moveaxis(drawn, 0, 1))
        return drawn

    def _refuse_saturated(self, drawn: np.ndarray) -> None:
        by_row = np.moveaxis(precision.saturated(drawn), 0, 1)
        bad = np.asarray(by_row.reshape(drawn.shape[1], -1).any(1))
        if bad.any():
            raise ValueError(
                f"raw: counts drawn at {precision.rows_of(bad)} are larger than any that their "
                "distribution can draw; take(rows) leaves such rows out, quantile and interval "
                "have their range."
            )

    def _tell(self, what: str, by_row: np.ndarray) -> None:
        """Warn of figures, with the rows first, that are not finite."""
        bad = ~np.isfinite(by_row).reshape(len(by_row), -1).all(1)
        precision.tell(f"{what}: it is not finite", bad, _why(self._likelihood), 4)

    def matched(self, y: Any) -> Any:
        """Targets row by row those of the prediction, and in the order of the columns of `fit`.

        Args:
            y: a series or data frame, whose rows are joined by their labels to those of `x`; of
                anything else the order counts, and it is returned as it is.

        Raises:
            ValueError: its labels or columns are others.
        """
        return joined(y, self._labels, self._source.target.y_columns)

    def take(self, rows: Any) -> Predictive:
        """The same prediction at some of its rows.

        Args:
            rows: indices, a slice or a boolean mask.
        """
        kept = np.atleast_1d(np.arange(row_count(self._x))[rows])
        return dataclasses.replace(
            self,
            mean=self.mean[kept],
            aleatoric=self.aleatoric[kept],
            epistemic=self.epistemic[kept],
            _expected_entropy=self._expected_entropy[kept],
            _double=self._double[kept],
            _x=take(self._x, kept),
            _labels=None if self._labels is None else self._labels[kept],
        )

    def rescaled(self, loc: float, scale: float) -> Predictive:
        """The same prediction in other units of y: y ↦ loc + scale · y.

        For models fitted to standardised targets: mean, variances, quantiles, log probabilities and
        draws then refer to the original scale.

        Args:
            loc: what was subtracted from y. scale: what it was divided by, positive.

        Raises:
            ValueError: the targets are classes or counts, or `scale` is not positive.
        """
        if self._likelihood.whole:
            raise ValueError("rescaled: only real targets have a scale.")
        wrong = Settings("rescaled")
        wrong.finite(loc=loc)
        wrong.positive(scale=scale)
        wrong.refuse()
        dtype = self.mean.dtype
        return dataclasses.replace(
            self,
            mean=precision.fitting(loc + scale * np.asarray(self.mean, float), dtype),
            aleatoric=precision.fitting(scale**2 * np.asarray(self.aleatoric, float), dtype),
            epistemic=precision.fitting(scale**2 * np.asarray(self.epistemic, float), dtype),
            _loc=loc + scale * self._loc,
            _scale=scale * self._scale,
        )

    @property
    def _likelihood(self) -> AbstractLikelihood:
        return self._source.target.likelihood

    @property
    def _target_shape(self) -> tuple[int, ...]:
        return self._source.target.y_shape

    def _need_classes(self, name: str) -> None:
        if not self.classes:
            raise AttributeError(
                f"{name} is for class labels; this model's targets are "
                f"{'counts' if self._likelihood.whole else 'real numbers'}: "
                "use mean, sd, quantile or interval."
            )


def _add_classes(var: np.ndarray, likelihood: AbstractLikelihood) -> np.ndarray:
    """Variances of one-hot classes added up; two classes have one number for both."""
    return var.sum(-1) if likelihood.classes and var.ndim > 1 else var
