"""Checks for what users write themselves: a likelihood against its own draws and density."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from posterity.likelihoods.likelihood import AbstractLikelihood

# A check fails by chance where one of some hundred figures is off by this many standard errors: in
# about one of 10,000 checks.
ERRORS = 5.0


def check_likelihood(
    likelihood: AbstractLikelihood,
    outputs: Any,
    unknowns: Mapping[str, Any] | None = None,
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> None:
    """Compare every figure that a likelihood derives with draws of y and with the density.

    Args:
        likelihood: yours. Numbers to be learned must have their values.
        outputs: what a net may give, (rows, outputs_per_target, *targets). A few rows suffice.
        unknowns: name → value; None for none.
        draws: draws of y for every row; the more, the finer the comparison.
        seed: random seed.

    Raises:
        AssertionError: a figure that disagrees, by name, row, value and standard error.

    >>> import numpy as np, posterity as po
    >>> po.testing.check_likelihood(po.likelihoods.Poisson(), np.array([[0.0], [1.5]]), draws=1_000)
    """
    outputs = jnp.asarray(outputs, jnp.result_type(float))
    unknowns = {name: jnp.asarray(value) for name, value in (unknowns or {}).items()}
    _Check(likelihood, outputs, unknowns, draws, seed).all()


@eqx.filter_jit
def _log_prob(likelihood: AbstractLikelihood, outputs: Any, y: Any, unknowns: Any) -> jax.Array:
    """log p of all draws: (draws, rows)."""
    return jax.vmap(lambda y: likelihood.log_prob(outputs, y, unknowns))(y)


@eqx.filter_jit
def _density(likelihood: AbstractLikelihood, outputs: Any, y: Any, unknowns: Any) -> jax.Array:
    """log p of all draws by the distribution: (draws, rows, *targets)."""
    return likelihood.distribution(outputs, unknowns).log_prob(y)


@eqx.filter_jit
def _derived(likelihood: AbstractLikelihood, outputs: Any, unknowns: Any) -> tuple[Any, ...]:
    """Mean, variance, entropy and curvature."""
    return (
        *likelihood.mean_and_var(outputs, unknowns),
        likelihood.entropy(outputs, unknowns),
        likelihood.curvature(outputs, unknowns),
    )


@eqx.filter_jit
def _cdf(likelihood: AbstractLikelihood, outputs: Any, y: Any, unknowns: Any) -> jax.Array:
    return likelihood.cdf(likelihood.distribution(outputs, unknowns), y)


@eqx.filter_jit
def _scores(likelihood: AbstractLikelihood, outputs: Any, y: Any, unknowns: Any) -> jax.Array:
    """The gradient of log p in the outputs, of all draws: (draws, *outputs)."""

    def of(y: jax.Array) -> jax.Array:
        return jax.grad(lambda at: jnp.sum(likelihood.log_prob(at, y, unknowns)))(outputs)

    return jax.vmap(of)(y)


class _Check:
    def __init__(
        self,
        likelihood: AbstractLikelihood,
        outputs: jax.Array,
        unknowns: dict[str, jax.Array],
        draws: int,
        seed: int,
    ) -> None:
        self.likelihood, self.outputs, self.unknowns = likelihood, outputs, unknowns
        self.name = type(likelihood).__name__
        self.rows = len(outputs)
        given = likelihood.distribution(outputs, unknowns)
        self._shapes(given)
        sample = eqx.filter_jit(lambda key, given: given.sample(key, (draws,)))
        self.y = np.asarray(sample(jax.random.key(seed), given), np.float64)
        self.stored = jnp.asarray(self.y, likelihood.target_dtype)
        self.log_prob = np.asarray(_log_prob(likelihood, self.outputs, self.stored, unknowns))
        found = [np.asarray(part, float) for part in _derived(likelihood, outputs, unknowns)]
        self.mean, var, self.entropy, self.curvature = found
        self.var = np.broadcast_to(var, self.mean.shape)

    def all(self) -> None:
        """Every comparison, those first that others rest on."""
        self._support()
        self._density()
        self._moments()
        self._entropy()
        if self.likelihood.ordered:
            self._cdf()
        self._expected()
        self._curvature()

    def _shapes(self, given: dist.Distribution) -> None:
        per_target = self.likelihood.outputs_per_target
        assert self.outputs.shape[1:2] == (per_target,), (
            f"outputs: expected shape (rows, {per_target}, *targets), got {self.outputs.shape}."
        )
        batch = (self.rows, *self.outputs.shape[2:])
        assert (given.batch_shape, given.event_shape) == (batch, ()), (
            f"{self.name}.distribution: its batch shape is {given.batch_shape} and its event shape "
            f"{given.event_shape}; expected {batch} and ()."
        )
        whole = self.likelihood.whole
        assert given.support.is_discrete == whole, (
            f'{self.name}.kind: it is "{self.likelihood.kind}", but the support of '
            f"{type(given).__name__} is {'not ' * whole}discrete."
        )

    def _support(self) -> None:
        try:
            self.likelihood.check(self.y[:100].reshape(-1, *self.y.shape[2:]))
        except ValueError as error:
            raise AssertionError(f"{self.name}.check refuses a draw: {error}") from error
        low, high = self.likelihood.bounds
        outside = (self.y < low) | (self.y > high)
        assert not outside.any(), (
            f"{self.name}.bounds: they are {low:g} … {high:g}; {self.y[outside][0]:g} was drawn."
        )

    def _density(self) -> None:
        found = self.log_prob
        each = np.asarray(_density(self.likelihood, self.outputs, self.stored, self.unknowns))
        each = each.reshape(*found.shape, -1).sum(-1)
        worst = np.argmax(np.abs(found - each).max(0))
        assert np.allclose(found, each, rtol=1e-3, atol=1e-4), (
            f"{self.name}.log_prob: row {worst}: it differs by up to "
            f"{np.abs(found - each)[:, worst].max():.3g} from the density of `distribution`."
        )

    def _moments(self) -> None:
        mean, var = self.mean, self.var
        drawn = self.y
        if (classes := self.likelihood.classes) > 2:
            drawn = (self.y[..., None] == np.arange(classes)).astype(float)
        assert mean.shape == drawn.shape[1:], (
            f"{self.name}.mean_and_var: the mean has shape {mean.shape}, not {drawn.shape[1:]}."
        )
        self._close("mean_and_var: mean", mean, drawn)
        if np.isfinite(var).all():
            self._close("mean_and_var: variance", var, (drawn - mean) ** 2)

    def _entropy(self) -> None:
        self._close("entropy", self.entropy, -self.log_prob.astype(float))

    def _cdf(self) -> None:
        at = np.quantile(self.y, [0.02, 0.2, 0.5, 0.7, 0.95], axis=0, method="lower")
        low, high = self.likelihood.bounds
        far = 1e3 * (1 + np.abs(self.y).max())
        below, above = (np.full((1, *self.y.shape[1:]), end) for end in (-far, far))
        inner = [np.full_like(below, end) for end in (low, high) if np.isfinite(end)]
        points = np.sort(np.concatenate([below, *inner, at, at + 0.5, above]), axis=0)
        points = points.astype(np.dtype(jnp.result_type(float)))
        answer = _cdf(self.likelihood, self.outputs, jnp.asarray(points), self.unknowns)
        found = np.asarray(answer, float)
        self._first(np.isnan(found), "cdf is NaN", points)
        self._first((found < 0) | (found > 1), "cdf is no probability", points)
        self._first(np.diff(found, axis=0, prepend=0) < -1e-6, "cdf falls", points)
        self._first((points < low) & (found > 0), "cdf is above 0 below the support", points)
        self._first((points >= high) & (found < 1), "cdf is below 1 above the support", points)
        for point, share in zip(points, found):
            self._close(f"cdf at {point.ravel()[0]:g}, …", share, self.y <= point)

    def _expected(self) -> None:
        mean, var = self.mean, self.var
        if not np.isfinite(var).all():
            return
        y, shares = self.likelihood.expected(mean, var)
        assert np.allclose(shares.sum(1), 1, atol=1e-4), f"{self.name}.expected: shares of sum ≠ 1."
        low, high = self.likelihood.bounds
        assert ((y >= low) & (y <= high)).all(), f"{self.name}.expected: y outside the support."
        if self.likelihood.classes:
            return
        spread = np.sqrt(var)
        weights = np.expand_dims(shares, tuple(range(2, y.ndim)))
        off = np.abs((weights * y).sum(1) - mean) / (spread + 1e-12)
        assert (off < 0.1).all(), (
            f"{self.name}.expected: row {int(np.argmax(off.reshape(self.rows, -1).max(1)))}: the "
            f"mean of y is off by {off.max():.3g} of its sd."
        )

    def _curvature(self) -> None:
        found = self.curvature
        size = int(np.prod(self.outputs.shape[1:]))
        shape = (self.rows, size, size)
        assert found.shape == shape, (
            f"{self.name}.curvature: its shape is {found.shape}; expected {shape}."
        )
        each = _scores(self.likelihood, self.outputs, self.stored, self.unknowns)
        scores = np.asarray(each, float).reshape(*self.log_prob.shape, size)
        self._close("curvature", found, scores[..., :, None] * scores[..., None, :])

    def _close(self, what: str, found: np.ndarray, drawn: np.ndarray) -> None:
        """Refuse a figure that is off from the mean of draws by more than chance and rounding."""
        mean = drawn.mean(0)
        error = drawn.std(0) / np.sqrt(len(drawn))
        # Rounding; and events so rare that none or few were drawn.
        slack = 2e-4 * (1e-2 + np.abs(mean)) + 10 / len(drawn) * (drawn.std(0) == 0)
        off = np.abs(found - mean) - ERRORS * error - slack
        bad = ~(off <= 0)
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise AssertionError(
                f"{self.name}.{what}: row {', '.join(map(str, at))}: it is {found[at]:.6g}, but "
                f"draws of y give {mean[at]:.6g} ± {error[at]:.2g}."
            )

    def _first(self, bad: np.ndarray, what: str, points: np.ndarray) -> None:
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise AssertionError(f"{self.name}: {what}: row {at[1]}, y = {points[at]:g}.")
