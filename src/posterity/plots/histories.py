"""What a run reported, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from posterity.diagnostics.history import History
from posterity.plots import style
from posterity.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 200  # points of a curve; longer histories are averaged over stretches of steps
TELLING = {"elbo": 2.0, "log_joint": 2.0}  # nats: smaller differences do not fill the figure
NAMES = {
    "elbo": "ELBO (nats)",
    "log_joint": "log joint (nats)",
    "acceptance_rate": "acceptance rate",
    "step_size": "step size",
    "energy": "energy (nats)",
}


def elbo(posterior: Posterior, *, ax: Axes | None = None) -> Axes:
    """The ELBO along the run, or the log joint of a method that has no ELBO.

    Args:
        posterior: of any method.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes. See `history`.

    Raises:
        ValueError: the run kept no history.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> posterior = po.fit(model, (x, x[:, 0]), po.ADVI(steps=200), progress=False)
    >>> po.plots.elbo(posterior).get_ylabel()
    'ELBO (nats)'
    """
    return history(posterior, ax=ax)


def history(posterior: Posterior, field: str | None = None, *, ax: Axes | None = None) -> Axes:
    """A figure of the run, step by step.

    A long history is averaged over stretches of steps; the shade is where 8 in 10 steps of a
    stretch lie. The steep first steps may lie below the axis, and the figure then says where they
    begin. Dotted lines mark where the method raised its step size again.

    Args:
        posterior: of any method.
        field: one of ``list(posterior.history)``; None for the ELBO, or else the log joint, or else
            the first there is.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: no such field, or nothing finite in it.
    """
    field = field or default_field(posterior.history)
    if field not in posterior.history.fields:
        known = ", ".join(posterior.history) or "nothing"
        raise ValueError(f"field: the run kept no {field!r}; it kept {known}.")
    values = np.asarray(posterior.history.fields[field], np.float64)
    sampler = values.ndim == 2
    curves = [curve for curve in map(_curve, np.atleast_2d(values)) if curve.step.size]
    if not curves:
        raise ValueError(f"field: {field!r} of this run holds no finite number.")
    ax = style.axes(ax)
    for number, curve in enumerate(curves):
        name = f"chain {number + 1}" if len(curves) > 1 else None
        if len(curves) == 1 and curve.binned:
            name = f"mean of {round(values.size / BINS):,} steps"
            ax.fill_between(
                curve.step,
                curve.low,
                curve.high,
                color="#BFDDF0",
                linewidth=0,
                label="8 in 10 steps",
            )
        ax.plot(curve.step, curve.mean, color=style.colour(number), linewidth=1.1, label=name)
    _mark_restarts(ax, posterior.history)
    if not sampler:
        _limit(ax, curves, TELLING.get(field, 0.0))
    style.label(ax, "step after warm-up" if sampler else "step", NAMES.get(field, field))
    for axis in (ax.xaxis, ax.yaxis):
        style.thousands(axis)
    ax.set_xlim(0, values.shape[-1])
    style.legend(ax)
    return ax


def default_field(fields: History) -> str:
    """The field to look at first.

    Raises:
        ValueError: there is none.
    """
    for name in ("elbo", "log_joint", *fields):
        if name in fields.fields and name != "ok" and fields.fields[name].size:
            return name
    raise ValueError("posterior: its run kept no history.")


def drawable(fields: History) -> bool:
    """Whether the field to look at first holds a finite number."""
    try:
        return bool(np.isfinite(fields.fields[default_field(fields)].astype(float)).any())
    except ValueError:
        return False


class _Curve(NamedTuple):
    """A history to draw: of each stretch of steps the middle, the mean and the 10 and 90 %."""

    step: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    first: float
    binned: bool


def _curve(values: np.ndarray) -> _Curve:
    binned = values.size > 2 * BINS
    edges = np.linspace(0, values.size, min(values.size, BINS if binned else 2 * BINS) + 1)
    found = []
    for start, stop in zip(edges[:-1].astype(int), edges[1:].astype(int)):
        part = values[start:stop]
        part = part[np.isfinite(part)]
        if part.size:
            found.append(((start + stop - 1) / 2, part.mean(), *np.quantile(part, [0.1, 0.9])))
    step, mean, low, high = np.array(found).reshape(-1, 4).T
    return _Curve(step, mean, low, high, values[0], binned)


def _limit(ax: Axes, curves: list[_Curve], telling: float) -> None:
    """Leave the steep beginning out of the y-axis where it would flatten all the rest."""
    lowest = min(curve.low.min() for curve in curves)
    top = max(curve.high.max() for curve in curves)
    bottom = min(*(_usual_low(curve) for curve in curves), top - telling)
    height = top - bottom or 1.0
    first = curves[0].first
    if lowest < bottom - 0.3 * height:
        ax.set_ylim(bottom - 0.08 * height, top + 0.08 * height)
        if first < bottom - 0.08 * height:
            text = f"the first steps, from {first:,.0f}, are below".replace("-", "−")
            ax.annotate(
                text,
                (0.985, 0.03),
                xycoords="axes fraction",
                horizontalalignment="right",
                fontsize=8.5,
                color=style.QUIET,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.8},
            )


def _usual_low(curve: _Curve) -> float:
    """What nearly all of a curve lies above once its first twentieth is over."""
    skip = curve.mean.size // 20
    return float(min(np.quantile(curve.mean[skip:], 0.02), np.median(curve.low)))


def _mark_restarts(ax: Axes, fields: History) -> None:
    """Dotted lines where a single run's step size jumps up: its curve dips there, and recovers."""
    size = fields.fields.get("step_size", np.zeros(0))
    if size.ndim != 1 or size.size < 2:
        return
    jumps = np.flatnonzero(size[1:] > 1.5 * np.maximum(size[:-1], size.max() * 1e-6)) + 1
    if len(jumps) <= 20:
        for number, at in enumerate(jumps):
            name = "step size raised" if number == 0 else None
            ax.axvline(float(at), color=style.QUIET, linewidth=0.9, linestyle=":", label=name)
