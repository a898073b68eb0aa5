"""Parallel tempering."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posterity.checks import MOST_SIDE_BY_SIDE
from posterity.methods.mcmc.descent import Descent, descended
from posterity.methods.mcmc.ladder import LEAST, Heat, Heating, bridges, swapped
from posterity.methods.mcmc.replicas import Place, look, looked, moved
from posterity.methods.method import Review, Stretch
from posterity.methods.sampler import AbstractSampler
from posterity.model.net_target import Batch, Target

FEW = 10  # restarts of a chain, below which its modes are a matter of luck


@dataclasses.dataclass(frozen=True)
class ParallelTempering(AbstractSampler):
    """Replicas at a ladder of temperatures that swap places, on all data: for several modes.

        p_β(θ) ∝ p(θ) p(data | θ)^β,   0 = β₀ < β₁ < … < β_K = 1

    *Target density.* p(θ | data) exactly, in the limit of many draws: the states at β = 1. Each
    step draws the state at β₀ from the prior, moves each of the others along a Hamiltonian path,
    and then offers swaps to the even or, the next time, to the odd pairs of neighbours. So
    independent draws of the prior climb the ladder and end, where the data want them, in any of
    the modes in proportion to its weight, which no path at β = 1 would find.

    The first fifth of the warm-up is a descent of every replica to a mode, as by `MAP`, each from a
    start of its own; the best is the coldest. A ladder melts what it does not want much faster than
    it finds what it wants. The rest tunes step sizes for the acceptance and, in windows that double
    in length, each replica's metric, and the β such that all neighbours refuse equally often.

    *Is it done?* Chains that agree have visited the same modes; ``restarts`` bounds how often a
    chain has chosen a mode anew. Weights of modes ask for both. See docs/methods.md.

    Args:
        temperatures: K. Twice the barrier, which is the sum of all refusals, is right: 20 to 40 for
            small nets. More rows and parameters ask for more.
        leapfrogs: mean length of paths. Short ones with many swaps do best where temperature and
            not the path brings change.
        chains: independent ladders. On a CPU they run side by side, one per core at a time.
        warmup: steps of warm-up per ladder, not kept.
        draws: kept draws per ladder. thin: steps per kept draw.
        target_acceptance: what step sizes are tuned for, in (0, 1).

    Returns from `fit` a posterior of `Draws`; `history` has, of every kept step, ``log_joint``,
    ``acceptance_rate`` (over all paths), ``swap_rate``, ``restarts`` (states at β = 1 so far that
    had come all the way from the prior), ``log_evidence`` (log p(data) from the steps so far; its
    last value counts), ``step_size``, ``leapfrogs`` (of all paths) and ``divergent``.

    Raises:
        ValueError: a number out of range, or a prior that cannot be drawn from.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> method = po.ParallelTempering(temperatures=8, chains=2, warmup=300, draws=100, thin=2)
    >>> po.fit(model, (x, 2 * x[:, 0]), method, progress=False).sample().shape
    (2, 100, 2)

    Geyer 1991; Hukushima & Nemoto 1996; alternating pairs and equal refusals as in Syed,
    Bouchard-Côté, Deligiannidis & Doucet 2022, "Non-reversible parallel tempering: a scalable
    highly parallel MCMC scheme". We add the descent.
    """

    temperatures: int = 32
    leapfrogs: int = 5
    chains: int = 4
    warmup: int = 5_000
    draws: int = 1_000
    thin: int = 20
    target_acceptance: float = 0.8

    traced = ("leapfrogs", "warmup", "draws", "target_acceptance")
    figure = "log_joint"
    also = ("restarts", "swap_rate", "acceptance_rate")
    apart = True
    sure = True

    def __post_init__(self) -> None:
        wrong = self._run_settings()
        wrong.counts(most=MOST_SIDE_BY_SIDE, temperatures=self.temperatures)
        wrong.counts(most=MOST_SIDE_BY_SIDE, leapfrogs=self.leapfrogs)
        wrong.fractions(target_acceptance=self.target_acceptance)
        wrong.refuse()

    def start_count(self, target: Target) -> int:
        """One start for every temperature."""
        return self.temperatures

    def init(self, key: jax.Array, target: Target, theta: jax.Array) -> TemperingState:
        """All replicas at θ; the one at β₀ is drawn anew in every step."""
        improper = getattr(target, "improper", ())  # of a program
        if improper:
            raise ValueError(
                f"ParallelTempering: the prior of site {improper[0]!r} is improper, and the ladder "
                "begins at the prior. Give the site a proper prior, or use po.NUTS."
            )
        count = self.temperatures + 1
        many = jnp.broadcast_to(theta, (count, *theta.shape))
        # Filled by the first step: `init` does not see the data.
        nothing = jnp.full((count,), jnp.nan, theta.dtype)
        return TemperingState(
            place=Place(many, nothing, nothing, jnp.full_like(many, jnp.nan), many),
            fresh=jnp.zeros(count, bool),
            restarts=jnp.zeros((), jnp.int32),
            bridges=jnp.full((2, self.temperatures), -jnp.inf, theta.dtype),
            at=jnp.zeros((), jnp.int32),
            heat=self._heating.init(theta),
            descent=Descent.start(many),
        )

    def review(self, target: Target, states: list[Any], done: list[Stretch], memory: Any) -> Review:
        """Before the first step: every replica at a start of its own, the coldest at the first."""
        state = states[0]
        if not done:
            starts = [states[number % len(states)] for number in range(self.temperatures)]
            ordered = [start.place.theta[:, -1] for start in (starts[-1], *starts[::-1])]
            theta = np.stack(ordered, axis=1)
            state = state._replace(
                place=state.place._replace(theta=theta), descent=state.descent._replace(theta=theta)
            )
        return Review(state, 0 if done else self.total_steps)

    def step(
        self, key: jax.Array, target: Target, state: TemperingState, batch: Batch
    ) -> tuple[TemperingState, TemperingInfo]:
        """First the replicas descend to modes; then all move, and neighbours may swap."""
        return jax.lax.cond(
            state.at < self._descents,
            lambda: self._descend(target, state, batch),
            lambda: self._temper(key, target, state, batch),
        )

    def _descend(
        self, target: Target, state: TemperingState, batch: Batch
    ) -> tuple[TemperingState, TemperingInfo]:
        """Some steps of every replica towards a mode of the posterior."""

        def density(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jax.value_and_grad(lambda theta: target.log_joint(theta, batch))(theta)

        share = state.at / jnp.maximum(self._descents, 1)
        found, log_joint = descended(density, state.descent, share, self.leapfrogs)
        place = state.place._replace(theta=found.theta)
        zero, none = jnp.zeros((), log_joint.dtype), jnp.zeros((), jnp.int32)
        info = TemperingInfo(
            log_joint=log_joint[-1],
            acceptance_rate=zero,
            swap_rate=zero,
            restarts=none,
            log_evidence=zero,
            step_size=zero,
            leapfrogs=none,
            divergent=jnp.zeros((), bool),
            ok=jnp.isfinite(log_joint[-1]),
        )
        return state._replace(place=place, at=state.at + 1, descent=found), info

    def _temper(
        self, key: jax.Array, target: Target, state: TemperingState, batch: Batch
    ) -> tuple[TemperingState, TemperingInfo]:
        """One path of every replica, and swaps; in the warm-up, also the adaptation."""
        prior_key, path_key, swap_key = jax.random.split(key, 3)
        heat, at = state.heat, state.at - self._descents
        sizes = self._heating.sizes(heat, at)
        place = jax.lax.cond(
            at == 0, lambda: looked(target, batch, state.place.theta), lambda: state.place
        )
        length_key, path_key = jax.random.split(path_key)
        leapfrogs = jax.random.randint(length_key, (), 1, 2 * self.leapfrogs, jnp.int32)
        above = jax.tree.map(lambda leaf: leaf[1:], place)
        rungs = heat.betas[1:], heat.var, sizes
        above, paths = moved(path_key, target, batch, above, rungs, leapfrogs)
        drawn = look(target, batch, target.prior_draw(prior_key))
        place = jax.tree.map(lambda one, rest: jnp.concatenate([one[None], rest]), drawn, above)
        # What has no likelihood goes down to the prior by every swap, and is drawn anew there.
        known = jnp.where(jnp.isfinite(place.log_likelihood), place.log_likelihood, LEAST)
        weights = bridges(heat.betas, known)
        order, refused = swapped(swap_key, heat.betas, known, at % 2 == 0)
        new = jax.tree.map(lambda leaf: leaf[order], place)
        fresh = state.fresh.at[0].set(True)[order]
        kept = state.at >= self.warmup
        summed = jnp.logaddexp(state.bridges, weights)
        seen = jnp.stack([paths.theta, paths.gradient], axis=1)
        state = TemperingState(
            place=new,
            fresh=fresh.at[-1].set(False),
            restarts=state.restarts + (fresh[-1] & kept),
            bridges=jnp.where(state.at > self.warmup, summed, weights),
            at=state.at + 1,
            heat=self._heating.update(heat, at, seen, paths.acceptance, refused),
            descent=state.descent,
        )
        log_joint = new.log_prior[-1] + new.log_likelihood[-1]
        return state, TemperingInfo(
            log_joint=log_joint,
            acceptance_rate=jnp.mean(paths.acceptance),
            swap_rate=1 - jnp.mean(refused),
            restarts=state.restarts,
            log_evidence=jnp.sum(state.bridges[0] - state.bridges[1]),
            step_size=sizes[-1],
            leapfrogs=leapfrogs * self.temperatures,
            divergent=paths.divergent[-1],
            ok=jnp.isfinite(log_joint + jnp.sum(new.theta[-1])),
        )

    def theta(self, state: TemperingState) -> jax.Array:
        """The state at β = 1."""
        return state.place.theta[-1]

    def facts(self, state: TemperingState) -> dict[str, Any]:
        """The log evidence, of all chains together, and each one's inverse temperatures.

        log Z = Σ over pairs of log Σ_chains of the one weights − log Σ_chains of the others
        """
        summed = np.logaddexp.reduce(state.bridges.astype(np.float64), axis=0)
        with np.errstate(invalid="ignore"):  # before any pair has met, it is not known
            evidence = np.sum(summed[0] - summed[1])
        return {"log_evidence": evidence, "betas": state.heat.betas}

    def advice(self, target: Target, info: dict[str, np.ndarray], memory: Any) -> list[str]:
        """A sentence where too few states have come all the way from the prior."""
        restarts = info["restarts"][:, -1] if info["restarts"].size else np.zeros(1)
        if restarts.min() >= FEW:
            return []
        return [
            f"Only {int(restarts.min())} states of a chain came all the way from the prior: modes "
            "may be missed or have the wrong weight, even where chains agree. Draw longer (draws, "
            f"thin), or raise temperatures above {self.temperatures}; neighbours swapped in "
            f"{info['swap_rate'].mean():.0%} of cases."
        ]

    @property
    def _descents(self) -> int:
        """How many steps of the warm-up are descents."""
        return self.warmup // 5

    @property
    def _heating(self) -> Heating:
        return Heating(self.warmup - self._descents, self.target_acceptance, self.temperatures)


class TemperingState(NamedTuple):
    """What the next step needs; rows go from the prior (β = 0) to the posterior (β = 1).

    Attributes:
        place: where the replicas are (K + 1 rows). fresh: which of them have come from the prior
            since they were last at β = 1. restarts: how many of these have got there.
        bridges: log sums of the weights between neighbours, of which the evidence is made (2, K).
        at: steps made. heat: what the warm-up knows. descent: its first part.
    """

    place: Place
    fresh: jax.Array
    restarts: jax.Array
    bridges: jax.Array
    at: jax.Array
    heat: Heat
    descent: Descent


class TemperingInfo(NamedTuple):
    """What a step reports."""

    log_joint: jax.Array
    acceptance_rate: jax.Array
    swap_rate: jax.Array
    restarts: jax.Array
    log_evidence: jax.Array
    step_size: jax.Array
    leapfrogs: jax.Array
    divergent: jax.Array
    ok: jax.Array
