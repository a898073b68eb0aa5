"""The no-U-turn sampler."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posterity.inference.checks import check_counts
from posterity.inference.method import AbstractMethod
from posterity.posterior.distributions import Draws
from posterity.target import Batch, Target


@dataclasses.dataclass(frozen=True)
class NUTS(AbstractMethod):
    """The no-U-turn sampler with Stan's windowed warm-up, on all data.

    *Target density.* p(θ | data) exactly, in the limit of many draws. Each step draws a momentum
    from N(0, M), follows the Hamiltonian flow of −log p(θ, data) + ½ pᵀM⁻¹p by leapfrog steps ε in
    both directions of time until the path turns back on itself, and draws the next θ from the path.

    In the warm-up, ε is tuned by dual averaging and the diagonal M⁻¹ is set to the variances of θ,
    in windows that double in length; both then stay fixed.

    Args:
        chains: independent chains. On a CPU they run one after the other, because chains in step
            would all wait for the longest path.
        warmup: steps of warm-up per chain, not kept; 20 at least for the metric to be adapted.
        draws: kept draws per chain.
        thin: steps per kept draw.
        target_acceptance: what ε is tuned for, in (0, 1); nearer to 1 means smaller steps.
        max_depth: paths have at most 2^max_depth − 1 leapfrog steps.

    Returns from `fit` a posterior of `Draws`; `history` has ``log_joint``, ``acceptance_rate``,
    ``divergent``, ``depth``, ``leapfrogs``, ``energy`` and ``step_size`` of every kept step.

    Raises:
        ValueError: a number out of range.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> posterior = po.fit(
    ...     model, (x, 2 * x[:, 0]), po.NUTS(chains=2, warmup=200, draws=100), progress=False
    ... )
    >>> posterior.sample(0, 200).shape
    (2, 100, 2)

    Hoffman & Gelman 2014, with the multinomial draw of Betancourt 2017. The kernel, the step-size
    and the metric adaptation are BlackJAX's.
    """

    chains: int = 4
    warmup: int = 1_000
    draws: int = 1_000
    thin: int = 1
    target_acceptance: float = 0.8
    max_depth: int = 10

    figure = "acceptance_rate"
    collects = True
    uneven = True
    sure = True
    batch_size = None

    def __post_init__(self) -> None:
        check_counts(
            "NUTS",
            chains=self.chains,
            warmup=self.warmup,
            draws=self.draws,
            thin=self.thin,
            max_depth=self.max_depth,
        )
        if not 0 < self.target_acceptance < 1:
            raise ValueError(
                f"NUTS: target_acceptance must lie between 0 and 1, not {self.target_acceptance}."
            )

    @property
    def total_steps(self) -> int:
        """Warm-up and kept steps of each chain."""
        return self.warmup + self.draws * self.thin

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> NUTSState:
        """θ before the first step, with the identity metric."""
        step_size, metric = self._adaptation()
        return NUTSState(
            position=theta,
            # Filled by the first step: `init` does not see the data.
            log_joint=jnp.full((), jnp.nan, theta.dtype),
            gradient=jnp.full_like(theta, jnp.nan),
            at=jnp.zeros((), jnp.int32),
            step_size=_arrays(step_size[0](jnp.ones((), theta.dtype))),
            metric=_arrays(metric[0](theta.shape[0])),
            inverse_mass=jnp.ones_like(theta),
        )

    def step(
        self, key: jax.Array, target: Target, state: NUTSState, batch: Batch
    ) -> tuple[NUTSState, NUTSInfo]:
        """One NUTS transition; in the warm-up, also one of the adaptation."""
        from blackjax.mcmc import hmc, nuts

        def log_joint(theta: jax.Array) -> jax.Array:
            return target.log_joint(theta, batch)

        value, gradient = jax.lax.cond(
            state.at == 0,
            lambda: jax.value_and_grad(log_joint)(state.position),
            lambda: (state.log_joint, state.gradient),
        )
        warm = state.at < self.warmup
        size = jnp.exp(
            jnp.where(warm, state.step_size.log_step_size, state.step_size.log_step_size_avg)
        )
        new, info = nuts.build_kernel()(
            key,
            hmc.HMCState(state.position, value, gradient),
            log_joint,
            size,
            state.inverse_mass,
            self.max_depth,
        )
        adapted = self._adapt(state, new.position, info.acceptance_rate)
        next_state = NUTSState(
            new.position, new.logdensity, new.logdensity_grad, state.at + 1, *adapted
        )
        return next_state, NUTSInfo(
            log_joint=new.logdensity,
            acceptance_rate=info.acceptance_rate,
            divergent=info.is_divergent,
            depth=info.num_trajectory_expansions.astype(jnp.int32),
            leapfrogs=info.num_integration_steps.astype(jnp.int32),
            energy=info.energy,
            step_size=size,
            ok=jnp.isfinite(value + new.logdensity + jnp.sum(new.position)),
        )

    def theta(self, state: NUTSState) -> jax.Array:
        """The current draw."""
        return state.position

    def finish(self, target: Target, state: Any, draws: np.ndarray | None, memory: Any) -> Draws:
        """The kept draws; of a run that was stopped before the first, the current θ."""
        return Draws(jnp.asarray(state.position[:, None] if draws is None else draws))

    def advice(self, target: Target, info: dict[str, np.ndarray], memory: Any) -> list[str]:
        """Warnings about divergences, tree depth and acceptance."""
        advice: list[str] = []
        if not (steps := info["divergent"].size):
            return advice
        if diverged := int(info["divergent"].sum()):
            advice.append(
                f"{diverged} of {steps} kept steps diverged: parts of the posterior may be missed. "
                f"Raise target_acceptance above {self.target_acceptance}, or tighten the priors."
            )
        if deep := int((info["depth"] >= self.max_depth).sum()):
            advice.append(
                f"{deep} of {steps} kept steps reached max_depth={self.max_depth}: the draws are "
                "valid but slow to mix. Warm up longer, or raise max_depth."
            )
        if (low := float(info["acceptance_rate"].mean())) < self.target_acceptance - 0.15:
            advice.append(
                f"The mean acceptance is {low:.2f}, far below the {self.target_acceptance} that "
                "was aimed at: the warm-up was too short."
            )
        return advice

    # -- warm-up ----------------------------------------------------------------------------------

    def _adaptation(self) -> tuple[Any, Any]:
        from blackjax.adaptation.mass_matrix import mass_matrix_adaptation
        from blackjax.adaptation.step_size import dual_averaging_adaptation

        return dual_averaging_adaptation(self.target_acceptance), mass_matrix_adaptation(True)

    def _adapt(
        self, state: NUTSState, position: jax.Array, acceptance: jax.Array
    ) -> tuple[Any, Any, jax.Array]:
        """Step-size state, metric state and inverse mass after one step of Stan's schedule."""
        step_size, metric = self._adaptation()
        slow, window_ends = (jnp.asarray(column) for column in _schedule(self.warmup))
        at = jnp.minimum(state.at, self.warmup - 1)
        tuned = step_size[1](state.step_size, acceptance)
        seen = _where(slow[at], metric[1](state.metric, position), state.metric)
        closed = metric[2](seen)
        restarted = step_size[0](step_size[2](tuned))
        new = _where(
            window_ends[at],
            (restarted, closed, closed.inverse_mass_matrix),
            (tuned, seen, state.inverse_mass),
        )
        old = (state.step_size, state.metric, state.inverse_mass)
        return _where(state.at < self.warmup, new, old)


@functools.cache
def _schedule(warmup: int) -> tuple[np.ndarray, np.ndarray]:
    """Per warm-up step: whether the metric sees it, and whether it ends a window."""
    from blackjax.adaptation.window_adaptation import build_schedule

    with jax.ensure_compile_time_eval():  # it makes JAX arrays of constants
        schedule = np.asarray(build_schedule(warmup)).astype(int)
    return schedule[:, 0] == 1, schedule[:, 1] == 1


def _arrays(tree: Any) -> Any:
    """BlackJAX's states begin with Python numbers, which are of another type one step later."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), tree)


def _where(condition: jax.Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b).astype(jnp.result_type(b)), yes, no)


class NUTSState(NamedTuple):
    """θ with its log joint and gradient, the clock, and what the warm-up has learned."""

    position: jax.Array
    log_joint: jax.Array
    gradient: jax.Array
    at: jax.Array
    step_size: Any
    metric: Any
    inverse_mass: jax.Array


class NUTSInfo(NamedTuple):
    """What a step reports."""

    log_joint: jax.Array
    acceptance_rate: jax.Array
    divergent: jax.Array
    depth: jax.Array
    leapfrogs: jax.Array
    energy: jax.Array
    step_size: jax.Array
    ok: jax.Array
