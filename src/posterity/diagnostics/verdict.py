"""Whether a point or a density has learned anything, by evidence that costs next to nothing."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posterity.cpu.compile import quick_jit
from posterity.diagnostics.khat import pareto_khat
from posterity.inputs import on_device
from posterity.model.net_target import Batch, Target
from posterity.model.target import AbstractTarget

ROWS = 1_000  # training rows that are predicted,
SHARE = 0.01  # or as many as take this part of the work of the fit,
FEWEST_ROWS = 64  # but not fewer
FEW = 8  # rows below which their variance says nothing
MODES = 4  # of several, how many are looked at
SKILL = 0.01  # share of the variance of y, up to which predictions explain nothing
GAIN = 0.01  # nats per row, up to which they say no more than a constant
MISS = 4.0  # mean squared error over predicted variance, from which on a fit misses the data
RISING = 0.25  # nats per row that the second half of a run may gain
PACE = 0.05  # part of its whole rise that an objective may make in the last tenth of a run
LEFT = 0.1  # change of log sd below which a density is as wide as at its start
SMALL = 20  # unknowns of a program up to which k-hat judges: with more it mostly fails
KHAT_DRAWS = 1_000
POOR = 0.7  # k-hat, above which an approximation is poor


def on_steps(steps: int, fewest: int) -> list[str]:
    """The sentence where there were too few steps for anything to be said."""
    if steps >= fewest:
        return []
    made = "one step is" if steps == 1 else f"{steps} steps are"
    return [
        f"Cannot judge: {made} too little to tell what was learned; {fewest} are the least. Raise "
        "steps."
    ]


def on_rise(values: np.ndarray, rows: int, steps: int) -> list[str]:
    """The sentence where an objective still rose by much in the second half of a run.

    Args:
        values: of the steps of each chain (chain, step), in nats. rows: N. steps: all of them.
    """
    tenth = values.shape[-1] // 10
    if tenth < 5:
        return []
    middle = values[..., 5 * tenth : 6 * tenth].astype(np.float64)
    end = values[..., -tenth:].astype(np.float64)
    gain = end.mean(-1) - middle.mean(-1)
    doubt = 2 * np.hypot(end.std(-1), middle.std(-1)) / np.sqrt(min(20, tenth))
    clear = float(np.min(gain - doubt))
    if not clear > max(1.0, RISING * rows):
        return []
    return [
        f"The objective rose by {clear:.3g} nats in the second half of the run, so it has not "
        f"converged. Raise steps above {steps:,}."
    ]


def on_pace(values: np.ndarray, steps: int) -> list[str]:
    """The sentence where an objective rose at the end nearly as fast as in the whole run.

    For step sizes of a user's own, that do not fall: at a steady pace a tenth of the steps makes a
    ninth of the way between the first tenth and the last.

    Args:
        values: of the steps of each chain (chain, step), in nats. steps: all of them.
    """
    tenth = values.shape[-1] // 10
    if tenth < 5:
        return []
    parts = values[..., : 10 * tenth].astype(np.float64).reshape(*values.shape[:-1], 10, tenth)
    means = parts.mean(-1)
    doubt = 2 * parts.std(-1)[..., -2:].sum(-1) / np.sqrt(min(20, tenth))
    last, whole = means[..., -1] - means[..., -2], means[..., -1] - means[..., 0]
    if not np.any((last > doubt) & (last > PACE * whole) & (whole > 0)):
        return []
    return [
        f"The objective rose at the end as it did at the beginning ({float(np.max(last)):.2g} nats "
        f"in the last tenth of the run), so it has not converged. Raise steps above {steps:,}, or "
        "the step size."
    ]


def on_width(sd: np.ndarray, init_scale: float) -> list[str]:
    """The sentence where every sd of a density is still the one that it began with.

    Args:
        sd: of q, (D,); of few elements all may be so by chance. init_scale: the sd at the start.
    """
    if len(sd) <= SMALL or np.abs(np.log(np.maximum(sd, 1e-30) / init_scale)).max() > LEFT:
        return []
    return [
        f"q has hardly left its start: all its sds are still about the {init_scale:g} that it "
        "began with. Raise steps or the step size."
    ]


def on_predictions(target: Target, thetas: Any, batch: Batch) -> list[str]:
    """Sentences where predictions at training rows explain nothing, or miss y by far.

    Args:
        target: the target. thetas: the point, or several (n, D). batch: training rows.
    """
    y = np.asarray(batch.y, np.float64)
    mean, var = _predicted(target, jnp.asarray(thetas), on_device(batch.x))
    mean, var = np.asarray(mean, np.float64), np.asarray(var, np.float64)
    if not np.isfinite(mean).all():
        return ["Cannot judge: predictive means at training rows are not finite."]
    if len(y) < FEW:
        return [f"Cannot judge: {len(y)} rows are too few to tell what was learned from them."]
    if target.likelihood.classes:
        return _on_classes(mean, y)
    return _on_numbers(mean, var, y)


def _on_numbers(mean: np.ndarray, var: np.ndarray, y: np.ndarray) -> list[str]:
    error, spread = np.mean((y - mean) ** 2, axis=0), np.var(y, axis=0)
    moving = np.where(spread > 0, spread, 1)
    skill = np.where(spread > 0, 1 - error / moving, 1.0)
    idle = skill <= SKILL
    known = np.isfinite(var) & (var > 0)
    if not known.all():
        return _nothing(skill, idle)
    constant = 0.5 * np.log(moving) + 0.5
    own = np.mean(0.5 * np.log(var) + 0.5 * (y - mean) ** 2 / var, axis=0)
    if said := _nothing(skill, idle & (constant - own <= GAIN)):
        return said
    missed = float(np.max(np.mean((y - mean) ** 2 / var, axis=0)))
    if missed <= MISS:
        return []
    return [
        f"Predictions miss the training targets by {missed**0.5:.2g} times the sd that they state: "
        "the fit is not finished, or the noise is larger than the likelihood says. Raise steps, "
        "or let the likelihood learn its scale."
    ]


def _nothing(skill: np.ndarray, idle: np.ndarray) -> list[str]:
    """The sentence where targets are `idle`: of several, which columns of y."""
    if not idle.any():
        return []
    which = "the training targets"
    if not idle.all():
        which = f"y[:, {', '.join(map(str, np.flatnonzero(idle)))}] at training rows"
    most = 100 * max(float(np.max(skill[idle])), 0.0)
    return [
        f"Nothing was learned: predictions explain {most:.1f} % of the variance "
        f"of {which}, no more than a constant does. Raise steps or the step size, "
        "standardise x and y, and check that the priors allow such functions; or x says nothing "
        "about y."
    ]


def _on_classes(probs: np.ndarray, y: np.ndarray) -> list[str]:
    if probs.ndim == 1:
        probs = np.stack([1 - probs, probs], axis=1)
    truth = np.eye(probs.shape[1])[y.astype(int)]
    constant = np.sum((truth - truth.mean(0)) ** 2)
    skill = 1 - float(np.sum((truth - probs) ** 2)) / float(constant) if constant > 0 else 1.0
    if skill > SKILL:
        return []
    return [
        "Nothing was learned: at training rows the predicted probabilities are no better than the "
        f"shares of the classes (Brier skill {skill:.2f}). Raise steps or the step size, "
        "standardise x, and check that the priors allow such functions; or x says nothing about y."
    ]


def on_density(target: AbstractTarget, distribution: Any, data: Any) -> list[str]:
    """The sentence where k-hat finds a density of few parameters poor."""
    if target.size > SMALL or distribution.stored is not None:
        return []
    try:
        found = pareto_khat(target, distribution, data, KHAT_DRAWS, 0)
    except ValueError:
        return ["Cannot judge: the log density is NaN at draws of q. Tighten the priors."]
    return [found.message] if found.value > POOR else []


def rows_for(steps: int, batch_rows: int, evaluations: float, rows: int) -> int:
    """How many training rows to predict: a hundredth of the work of the fit."""
    work = SHARE * steps * batch_rows * min(evaluations, 100.0)
    return int(min(rows, ROWS, max(FEWEST_ROWS, work / MODES)))


@quick_jit
def _predicted(target: Target, thetas: jax.Array, x: Any) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of y over several θ, equally weighted."""

    def one(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean, var = target.likelihood.mean_and_var(*target.outputs(theta, x))
        return mean, jnp.broadcast_to(var, mean.shape)

    if len(thetas) == 1:  # without a loop, which takes as long to compile as the net
        return one(thetas[0])
    means, variances = jax.lax.map(one, thetas)
    return jnp.mean(means, 0), jnp.mean(variances, 0) + jnp.var(means, 0)
