"""Stochastic gradient Fisher scoring."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posterity.curvature import SIZES
from posterity.curvature.fisher import AbstractFisher
from posterity.curvature.row_gradients import row_gradients
from posterity.methods.normal_prior import NormalPrior
from posterity.methods.sgmcmc.preconditioners import Variances, as_base
from posterity.methods.sgmcmc.schedules import CONSTANT, AbstractSchedule, Halving
from posterity.methods.sgmcmc.stochastic import AbstractStochastic, Going, StochasticInfo
from posterity.model.net_target import Batch, Target

WINDOW = 100  # batches that the Fisher estimate looks back on in the warm-up
SHARE = 0.1  # a factorisation serves until its estimate has so many more batches, relative,
LEARNING_SHARE = 0.5  # or so many in the warm-up, whose draws are not kept
LEAST = 1e-30  # a step size below which nothing moves, and 4 / ε would not be a number
PURE = 0.3  # ε for B = γ N Î: 13 parts of injected noise to one that γ accounts for
FULL = 512  # parameters up to which all of the matrix is kept


@dataclasses.dataclass(frozen=True)
class SGFS(AbstractStochastic):
    """Stochastic gradient Fisher scoring: the noise of batches is the noise that is wanted.

        θ ← θ + 2 (γ N Î + 4 B / ε)⁻¹ (∇ log p(θ) + N ḡ + ζ),   ζ ~ N(0, 4 B / ε)

    with n rows in a batch, ḡ the mean of their gradients ∇ log p(yᵢ | xᵢ, θ), Î the running average
    of their covariance, which estimates the Fisher information of one row, and γ = (n + N) / n.

    *Target density.* p(θ | data) for small ε, where it is SGLD with preconditioner B⁻¹ and step
    size ε / 2. For large ε the noise of the gradients alone moves θ, and the draws are those of the
    normal approximation N(θ*, (N Î)⁻¹). On a normal posterior it is right for any ε, as far as N Î
    is the precision.

    Args:
        draws: kept draws per chain.
        step_size: ε > 0, in units of B over precision; for ``preconditioner="fisher"`` a pure
            number, of which None chooses 0.3. Otherwise None chooses 4 over the largest eigenvalue
            of B⁻¹ γ N Î: the longest step that is small in all directions but the steepest.
        step_size_decay: ε_t = step_size · 2^(−t / step_size_decay), t counting steps after the
            warm-up; short for ``schedule=po.schedules.Halving(step_size_decay)``.
        batch_size: n ≥ 2, rows per step. They are drawn with replacement, as γ supposes.
        preconditioner: B: None for I, variances (D,), a matrix (D, D), or ``"fisher"`` for
            γ N Î itself, which leaves no scale to be chosen.
        information: how Î is kept: ``"full"``, ``"low-rank"`` (16 directions and the diagonal),
            ``"diagonal"``; None for full up to 512 parameters, else diagonal.
        with_prior: whether the precision of normal priors is added to γ N Î. The paper leaves it
            out, for much data; with it the draws are right, on a normal posterior, also where the
            prior says more than the data do.
        warmup, thin, chains, schedule, temperature: as in `SGLD`. In the warm-up Î looks back on
            the last 100 batches; from then on it is the average of them and of all later ones.
        control_variates: as in `SGLD`; the gradients then have the noise of differences, whose
            covariance takes the place of (N / n) N Î in γ N Î, and passes go over all rows.

    Returns from `fit` what `SGLD` returns.

    Raises:
        TypeError, ValueError: a setting out of range; a NumPyro program, whose rows are not known.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> sgfs = po.SGFS(draws=500, batch_size=10, preconditioner="fisher", chains=2)
    >>> po.fit(model, (x, 2 * x[:, 0]), sgfs, progress=False).sample().shape
    (2, 500, 2)

    Ahn, Korattikara & Welling 2012, "Bayesian posterior sampling via stochastic gradient Fisher
    scoring", whose Î averages over all batches from the first. The factorisation of the full matrix
    is renewed each time Î has seen a tenth more batches, in the warm-up half as many again, and
    not in every step.
    """

    draws: int = 1_000
    step_size: float | None = None
    step_size_decay: float | None = None
    batch_size: int | None = None
    preconditioner: Any = None
    information: str | None = None
    with_prior: bool = True
    warmup: int = None  # type: ignore[assignment]  # set to draws × thin by the check
    thin: int = 1
    chains: int = 1
    schedule: AbstractSchedule = CONSTANT
    control_variates: str | None = None
    temperature: float = 1.0

    traced = ("draws", "step_size", "warmup", "temperature")

    def __post_init__(self) -> None:
        wrong = self._settings()
        if "batch_size" not in wrong.named and (self.batch_size is None or self.batch_size < 2):
            wrong.add(
                "batch_size",
                f"must be 2 or more, not {self.batch_size!r}: the covariance of the gradients in a "
                "batch is what it scales its steps by",
            )
        wrong.positive(temperature=self.temperature)
        wrong.among(tuple(SIZES), none=True, information=self.information)
        wrong.flags(with_prior=self.with_prior)
        given = self.preconditioner
        base = wrong.attempt("preconditioner", lambda: as_base("SGFS", given))
        object.__setattr__(self, "preconditioner", base)
        wrong.positive(none=True, step_size_decay=self.step_size_decay)
        if self.step_size_decay is not None and "step_size_decay" not in wrong.named:
            halving = Halving(self.step_size_decay)
            if self.schedule not in (CONSTANT, halving):
                wrong.say("step_size_decay is a schedule; leave one of them out", "schedule")
            object.__setattr__(self, "schedule", halving)
        self._check(wrong)
        object.__setattr__(self, "replacement", self.control_variates is None)

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> SGFSState:
        """θ before the first step; nothing known of the gradients."""
        fisher, nothing = self._fisher(target, theta), jnp.zeros((1, *theta.shape), theta.dtype)
        spread = fisher.spread(nothing)
        noise = spread if self.control_variates else None
        seen = Seen(jnp.zeros((), theta.dtype), spread, noise)
        factor = fisher.factor(spread, jnp.ones_like(theta))
        return SGFSState(theta, self._begin(theta), seen, factor, jnp.zeros((), jnp.int32))

    def step(
        self, key: jax.Array, target: Target, state: SGFSState, batch: Batch
    ) -> tuple[SGFSState, StochasticInfo]:
        """The Fisher information of the batch, and a step that it scales."""
        theta, going = state.position, state.going
        now, fisher = self._now(going), self._fisher(target, theta)
        value, gradient, anchor, seen = self._gradient(target, state, batch, fisher, now)
        renew = (going.at >= state.renew) | (going.at == self.warmup)
        factor = jax.lax.cond(
            renew, lambda: self._factor(target, theta, fisher, seen, batch), lambda: state.factor
        )
        share = jnp.where(now.learns, LEARNING_SHARE, SHARE)
        again = going.at + 1 + (share * seen.batches).astype(jnp.int32)
        step_size = now.factor * self._step_size(fisher, factor)
        inverse = 4 / jnp.maximum(step_size, LEAST)
        heat = jnp.where(now.heat > 0, 1.0, 0.0).astype(theta.dtype)
        moved = theta + fisher.move(factor, key, gradient / self.temperature, inverse, heat)
        ok = jnp.isfinite(value + jnp.sum(moved))
        renewed = jnp.where(renew, again, state.renew)
        going = going._replace(at=going.at + 1, anchor=anchor)
        new = SGFSState(moved, going, seen, factor, renewed)
        return new, StochasticInfo(value, step_size, ok)

    def theta(self, state: SGFSState) -> jax.Array:
        return state.position

    def _step_size(self, fisher: AbstractFisher, factor: Any) -> Any:
        if self.step_size is not None:
            return self.step_size
        return PURE if self.preconditioner == "fisher" else 4 / fisher.largest(factor)

    def _fisher(self, target: Target, theta: jax.Array) -> AbstractFisher:
        size = self.information or ("full" if theta.shape[0] <= FULL else "diagonal")
        base = self.preconditioner
        if isinstance(base, Variances):
            base = base.of(target, theta)
            if base.ndim == 2 and size != "full":
                raise ValueError(
                    f'SGFS: a matrix as preconditioner goes with information="full", not "{size}".'
                )
        return SIZES[size](base)

    def _gradient(
        self, target: Target, state: SGFSState, batch: Batch, fisher: AbstractFisher, now: Any
    ) -> tuple[jax.Array, jax.Array, Any, Seen]:
        """Log joint, gradient, anchor of control variates, and what is known of gradients."""
        theta, anchor = state.position, state.going.anchor
        row = jax.value_and_grad(lambda at, one: _one(target, at, one))
        prior, slope = jax.value_and_grad(target.log_prior)(theta)
        size = theta.shape[0]
        each, mean, spread = row_gradients(lambda one: row(theta, one), batch, size, fisher)
        gradient, noise = slope + target.summed(mean), None
        if self.control_variates:
            gradient = gradient + self._variates.correction(target, anchor, batch)

            def difference(one: Batch) -> tuple[jax.Array, jax.Array]:
                value, here = row(theta, one)
                return value, here - jnp.where(anchor.ready, row(anchor.theta, one)[1], 0.0)

            noise = row_gradients(difference, batch, size, fisher)[2]
            anchor = self._variates.seen(target, anchor, theta, batch)
        seen = state.seen.joined(fisher, spread, noise, now.learns)
        return prior + target.scaled(each, batch), gradient, anchor, seen

    def _factor(
        self, target: Target, theta: jax.Array, fisher: AbstractFisher, seen: Seen, batch: Batch
    ) -> Any:
        """Of N Î and the covariance of the gradient, and of the prior's precision."""
        heat = self.temperature
        information = target.summed(jnp.ones((), theta.dtype)) / heat
        noise = target.batch_noise(jnp.ones((), theta.dtype), batch.y.shape[0]) / heat**2
        if seen.noise is None:
            both = fisher.scaled(information + noise, seen.information)
        else:
            both = fisher.sum(information, seen.information, noise, seen.noise)
        precision = jnp.zeros_like(theta)
        if self.with_prior:
            precision = NormalPrior.of(target, theta).precision / heat
        return fisher.factor(both, precision)


class Seen(NamedTuple):
    """What is known of the gradients of single rows.

    Attributes:
        batches: how many the averages stand for. information: Î, as a spread. noise: the same of
        the differences that control variates leave; None without them.
    """

    batches: jax.Array
    information: Any
    noise: Any

    def joined(
        self, fisher: AbstractFisher, information: Any, noise: Any, learns: jax.Array
    ) -> Seen:
        """With another batch; in the warm-up over the last `WINDOW` ones."""
        batches = self.batches + 1
        batches = jnp.where(learns, jnp.minimum(batches, WINDOW), batches)
        rate = 1 / batches
        return Seen(
            batches,
            fisher.sum(1 - rate, self.information, rate, information),
            None if noise is None else fisher.sum(1 - rate, self.noise, rate, noise),
        )


class SGFSState(NamedTuple):
    """θ, what every run carries, the gradients' covariance, its factor and when to renew it."""

    position: jax.Array
    going: Going
    seen: Seen
    factor: Any
    renew: jax.Array


def _one(target: Target, theta: jax.Array, row: Batch) -> jax.Array:
    """The log likelihood of one row."""
    return target.log_likelihood(theta, jax.tree.map(lambda a: a[None], row))[0]
