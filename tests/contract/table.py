"""The contract table: one row buys a method the whole suite.

A row names the method's settings for a conjugate regression (short, for the mechanics; long, for
exactness), and what the long run may be off by for reasons of its own.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import optax

import posterity as po
from oracles import Conjugate
from posterity.methods.method import AbstractMethod
from posterity.methods.vi import families


def exact(oracle: Conjugate) -> tuple[np.ndarray, np.ndarray]:
    """The exact posterior's mean and sd."""
    return oracle.mean, np.sqrt(np.diag(oracle.cov))


def mean_field(oracle: Conjugate) -> tuple[np.ndarray, np.ndarray]:
    """What the best independent normal has."""
    return oracle.mean, oracle.mean_field_sd


def mode(oracle: Conjugate) -> tuple[np.ndarray, np.ndarray]:
    """The mode, of no width."""
    return oracle.mean, np.zeros_like(oracle.mean)


def langevin(step_size: float) -> Callable[[Conjugate], tuple[np.ndarray, np.ndarray]]:
    """The stationary law of Langevin steps on a normal posterior: Λ⁻¹ (I − ε Λ / 2)⁻¹."""

    def answer(oracle: Conjugate) -> tuple[np.ndarray, np.ndarray]:
        widened = oracle.precision @ (np.eye(len(oracle.mean)) - step_size * oracle.precision / 2)
        return oracle.mean, np.sqrt(np.diag(np.linalg.inv(widened)))

    return answer


@dataclasses.dataclass(frozen=True)
class Row:
    """One method of the contract suite.

    Attributes:
        short: settings of a run of some dozens of steps.
        long: settings of a run that meets the exact answer.
        answer: mean and sd of θ that the long run has in the limit.
        optimises: whether the long run's error is of optimisation (relative, 1e-3 of a posterior sd
            is asked for twenty times over) and not of sampling (its own Monte Carlo error).
        minibatch: settings of a short run in minibatches, or None where there are none.
    """

    name: str
    short: AbstractMethod
    long: AbstractMethod
    answer: Callable[[Conjugate], tuple[np.ndarray, np.ndarray]]
    optimises: bool
    minibatch: AbstractMethod | None

    @property
    def other(self) -> AbstractMethod:
        """`short` with another value of every traced setting that has one."""
        method: Any = self.short
        changed = {name: OTHER[name] for name in method.traced if name in OTHER}
        if getattr(method, "step_size", None) is not None:
            changed["step_size"] = 0.8 * method.step_size
        if isinstance(method, po.DADVI):
            changed["steps"] = 3
        return dataclasses.replace(method, **changed)


OTHER: dict[str, Any] = {
    "steps": 60,
    "draws": 24,
    "kl_weight": 0.7,
    "temperature": 1.2,
    "friction": 0.15,
    "target_acceptance": 0.75,
    "bias": 0.05,
    "length": 1.5,
    "energy_var": 1e-3,
    "leapfrogs": 3,
    "tolerance": 1e-2,
    "init_scale": 0.05,
    "beta_1": 0.8,
    "warmup": 22,
}
STEP = 3e-4

TABLE = [
    Row(
        "ADVI",
        short=po.ADVI(steps=40, stop=False),
        long=po.ADVI(steps=20_000, draws=64, stop=False),
        answer=mean_field,
        optimises=True,
        minibatch=po.ADVI(steps=40, batch_size=7, stop=False),
    ),
    Row(
        "MAP",
        short=po.MAP(steps=40),
        long=po.MAP(steps=5_000),
        answer=mode,
        optimises=True,
        minibatch=po.MAP(steps=40, batch_size=7),
    ),
    Row(
        "NUTS",
        short=po.NUTS(chains=2, warmup=20, draws=20),
        long=po.NUTS(chains=4, warmup=500, draws=2_500),
        answer=exact,
        optimises=False,
        minibatch=None,
    ),
    Row(
        "NUTS, dense metric",
        short=po.NUTS(chains=2, warmup=20, draws=20, metric="dense"),
        long=po.NUTS(chains=4, warmup=500, draws=2_500, metric="dense"),
        answer=exact,
        optimises=False,
        minibatch=None,
    ),
    Row(
        "NUTS, low-rank metric",
        short=po.NUTS(chains=2, warmup=20, draws=20, metric="low-rank"),
        long=po.NUTS(chains=4, warmup=500, draws=2_500, metric="low-rank"),
        answer=exact,
        optimises=False,
        minibatch=None,
    ),
    Row(
        "HMC",
        short=po.HMC(leapfrogs=4, chains=2, warmup=20, draws=20),
        long=po.HMC(leapfrogs=16, chains=4, warmup=500, draws=2_500),
        answer=exact,
        optimises=False,
        minibatch=None,
    ),
    Row(
        "MCLMC",
        short=po.MCLMC(chains=2, warmup=20, draws=20, thin=2),
        long=po.MCLMC(chains=4, warmup=5_000, draws=2_500, thin=8, energy_var=1e-7),
        answer=exact,
        optimises=False,
        minibatch=None,
    ),
    Row(
        "MAMCLMC",
        short=po.MAMCLMC(chains=2, warmup=20, draws=20),
        long=po.MAMCLMC(chains=4, warmup=500, draws=2_500),
        answer=exact,
        optimises=False,
        minibatch=None,
    ),
    Row(
        "ParallelTempering",
        short=po.ParallelTempering(
            temperatures=4, leapfrogs=2, chains=2, warmup=20, draws=20, thin=1
        ),
        long=po.ParallelTempering(temperatures=10, chains=4, warmup=1_500, draws=2_500, thin=4),
        answer=exact,
        optimises=False,
        minibatch=None,
    ),
    Row(
        "SGLD",
        short=po.SGLD(draws=20, step_size=STEP, chains=2, thin=2),
        long=po.SGLD(draws=10_000, step_size=STEP, chains=4, thin=4),
        answer=langevin(STEP),
        optimises=False,
        minibatch=po.SGLD(draws=20, step_size=STEP, batch_size=7),
    ),
    Row(
        "SGLD, RMSprop and chosen step size",
        short=po.SGLD(draws=20, preconditioner="rmsprop", chains=2),
        long=po.SGLD(draws=5_000, bias=0.01, preconditioner="rmsprop", chains=4, thin=10),
        answer=exact,
        optimises=False,
        minibatch=po.SGLD(draws=20, batch_size=7, control_variates="svrg"),
    ),
    Row(
        "SGHMC",
        short=po.SGHMC(draws=20, step_size=0.02, chains=2, thin=2),
        long=po.SGHMC(draws=5_000, step_size=0.04, friction=0.1, chains=4, thin=4),
        answer=exact,
        optimises=False,
        minibatch=po.SGHMC(draws=20, batch_size=7, noise_estimate=True),
    ),
    Row(
        "SGNHT",
        short=po.SGNHT(draws=20, step_size=0.02, chains=2, thin=2),
        long=po.SGNHT(draws=5_000, step_size=0.005, friction=0.02, chains=4, thin=10),
        answer=exact,
        optimises=False,
        minibatch=po.SGNHT(draws=20, batch_size=7),
    ),
    Row(
        "SGFS",
        short=po.SGFS(draws=20, batch_size=10, chains=2, thin=2),
        long=po.SGFS(draws=2_500, batch_size=10, step_size=4e-4, chains=4, thin=40),
        answer=exact,
        optimises=False,
        minibatch=po.SGFS(draws=20, batch_size=7, preconditioner="fisher"),
    ),
    Row(
        "IVON",
        short=po.IVON(steps=40),
        long=po.IVON(steps=20_000, draws=64),
        answer=mean_field,
        optimises=True,
        minibatch=po.IVON(steps=40, batch_size=7),
    ),
    Row(
        "DADVI",
        short=po.DADVI(steps=2),
        long=po.DADVI(),
        answer=mean_field,
        optimises=True,
        minibatch=None,
    ),
    Row(
        "DADVI with linear response",
        short=po.DADVI(steps=2, linear_response=True),
        long=po.DADVI(linear_response=True),
        answer=exact,
        optimises=True,
        minibatch=None,
    ),
]

# Every setting that a method accepts, once at least: what it makes is saved and loaded, and the
# file says the setting. All runs are of a few steps.
SPD = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 3.0]])
VARIANCES = np.array([0.5, 1.0, 2.0])
ADVI = functools.partial(po.ADVI, steps=8, stop=False, starts=1)
NUTS = functools.partial(po.NUTS, chains=2, warmup=20, draws=4)
SGLD = functools.partial(po.SGLD, draws=6, step_size=STEP, warmup=0)
SETTINGS: dict[str, AbstractMethod] = {
    **{f"ADVI, {family}": ADVI(family=family) for family in families.NAMES},
    "ADVI, rank": ADVI(family=families.LowRank(rank=2)),
    "ADVI, flow of a size": ADVI(family=families.Flow(layers=1, width=3)),
    "ADVI, full rank": ADVI(family=families.FullRank()),
    "ADVI, mean field": ADVI(family=families.MeanField()),
    **{
        f"ADVI, {estimator}": ADVI(estimator=estimator)
        for estimator in ("local", "flipout", "local-per-position")
    },
    "ADVI, sampled": ADVI(kl="sampled", draws=2, antithetic=True, kl_warmup=0.5, batch_size=5),
    "ADVI, sticking": ADVI(kl="sticking", kl_weight=0.5, init_scale=0.1, step_size=0.02),
    "ADVI, chains": ADVI(chains=2),
    "ADVI, stops": po.ADVI(steps=8, starts=2),
    "ADVI, an optimiser": ADVI(optimizer=optax.sgd(1e-3), starts=None),
    "MAP": po.MAP(steps=8, chains=2),
    "MAP, an optimiser": po.MAP(steps=8, batch_size=5, optimizer=optax.sgd(1e-3)),
    "IVON": po.IVON(
        steps=8, step_size=0.01, draws=1, hess_init=1.0, beta_1=0.8, beta_2=0.99, starts=1
    ),
    "IVON, chains": po.IVON(steps=8, chains=2, kl_weight=0.5, batch_size=5),
    "DADVI": po.DADVI(steps=2, draws=4, tolerance=0.1, init_scale=0.1, kl_weight=0.5),
    "DADVI, linear response": po.DADVI(steps=2, linear_response=True),
    "DADVI, chains": po.DADVI(steps=2, chains=2),
    **{f"NUTS, {metric}": NUTS(metric=metric) for metric in ("diagonal", "dense", "low-rank")},
    "NUTS, thin": NUTS(thin=2, target_acceptance=0.7, max_depth=3, chains=1),
    "HMC": po.HMC(
        leapfrogs=2, chains=2, warmup=20, draws=4, thin=2, target_acceptance=0.7, metric="dense"
    ),
    "MCLMC": po.MCLMC(chains=2, warmup=20, draws=4, thin=3, energy_var=1e-3),
    "MAMCLMC": po.MAMCLMC(
        length=0.5,
        chains=2,
        warmup=20,
        draws=4,
        thin=2,
        target_acceptance=0.8,
        max_steps=8,
        metric="dense",
    ),
    "ParallelTempering": po.ParallelTempering(
        temperatures=3, leapfrogs=2, chains=2, warmup=20, draws=4, thin=2, target_acceptance=0.7
    ),
    **{
        f"SGLD, {type(schedule).__name__}": SGLD(schedule=schedule)
        for schedule in (
            po.schedules.Constant(),
            po.schedules.Halving(100),
            po.schedules.Polynomial(10, power=0.5),
            po.schedules.Cyclical(4, 2),
        )
    },
    "SGLD, variances": SGLD(preconditioner=VARIANCES, temperature=0.5, thin=2),
    "SGLD, RMSprop": SGLD(preconditioner="rmsprop", warmup=4),
    "SGLD, SVRG": SGLD(batch_size=5, control_variates="svrg", chains=2),
    "SGLD, chosen step size": po.SGLD(draws=6, bias=0.2),
    "SGHMC": po.SGHMC(draws=6, step_size=0.02, friction=0.2, chains=2, temperature=0.5),
    "SGHMC, noise": po.SGHMC(draws=6, batch_size=5, noise_estimate=True, bias=0.2),
    "SGHMC, SVRG": po.SGHMC(
        draws=6, batch_size=5, thin=2, control_variates="svrg", schedule=po.schedules.Halving(50)
    ),
    "SGNHT": po.SGNHT(
        draws=6, step_size=0.02, friction=0.2, batch_size=5, thin=2, chains=2, temperature=0.5
    ),
    "SGNHT, falling": po.SGNHT(
        draws=6,
        batch_size=5,
        bias=0.2,
        schedule=po.schedules.Polynomial(10),
        control_variates="start",
    ),
    "SGFS": po.SGFS(draws=6, batch_size=7, control_variates="svrg", temperature=0.5),
    **{
        f"SGFS, {information}": po.SGFS(draws=6, batch_size=7, information=information)
        for information in ("full", "low-rank", "diagonal")
    },
    "SGFS, matrix": po.SGFS(draws=6, batch_size=7, preconditioner=SPD, information="full"),
    "SGFS, variances": po.SGFS(draws=6, batch_size=7, preconditioner=VARIANCES, with_prior=False),
    "SGFS, Fisher": po.SGFS(draws=6, batch_size=7, preconditioner="fisher", chains=2, thin=2),
    "SGFS, falling": po.SGFS(draws=6, batch_size=7, step_size=1e-4, step_size_decay=100.0),
    "numbers of NumPy": po.SGLD(
        draws=np.int64(6), step_size=np.float32(STEP), temperature=np.float64(0.5), warmup=0
    ),
}
