"""Predictions over one input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from posterity.frames import joined
from posterity.inputs import as_table, read
from posterity.plots import scatter, style
from posterity.plots.predictions import draws_of, in_units
from posterity.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARGIN = 0.15  # of the range of the data, shown on both sides
WIDE, NARROW = "#BFDDF0", "#6BAED6"  # the predictive interval, and that of the mean


def band(
    posterior: Posterior,
    x: Any,
    y: Any = None,
    *,
    interval: float = 0.9,
    grid: int = 200,
    draws: int = 500,
    x_names: Sequence[str] | None = None,
    y_name: str = "y",
    class_names: Sequence[str] | None = None,
    rescale: style.Rescale | None = None,
    rescale_x: style.Rescale | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The prediction over one input: its mean, and two central intervals of one probability.

    The wide one is of y: where a new observation falls. The narrow one is of E[y | x, θ] over
    draws: how well the curve itself is known. For two classes there is only the latter, of the
    probability of class 1.

    Args:
        posterior: of a model with one input and one target.
        x: inputs (rows, 1), as in `fit`; they give the range, with a margin on both sides.
        y: targets (rows,), in the units shown; None to show no data.
        interval: probability of the intervals, in (0, 1).
        grid: points along x.
        draws: posterior draws to average over; all stored ones where those are fewer.
        x_names: a list of one name.
        y_name: name of the target, with its unit.
        class_names: names of the two classes.
        rescale: ``(loc, scale)`` where the model was fitted to (y − loc) / scale.
        rescale_x: the same for x; x itself is given as in `fit`.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: the model has several inputs, several targets or more than two classes.
    """
    given = read(x)
    inputs = as_table(given)
    targets = None if y is None else np.asarray(joined(y, given.labels))
    scatter.check_rows(inputs, targets, most_inputs=1)
    points = np.linspace(*style.span(inputs, MARGIN), grid)[:, None]
    pred = posterior.predict(points, draws=draws_of(posterior, draws))
    if pred.mean.ndim > 1:
        raise ValueError("posterior: a band shows one target, and the model has several.")
    pred = in_units(pred, rescale)
    at = style.original(points, rescale_x)[:, 0]
    ax = style.axes(ax)
    percent = f"{100 * interval:.4g} %"
    classes = pred.classes > 0
    if not classes:
        wide = pred.interval(interval, of="y")
        name = style.plain(f"{percent} interval of {y_name}")
        ax.fill_between(at, *wide, color=WIDE, linewidth=0, label=name)
    if posterior.distribution.stored != 1:  # a point has no doubts about the mean
        narrow = pred.interval(interval, of="mean")
        what = "the probability" if classes else "the mean"
        name = f"{percent} interval of {what}"
        ax.fill_between(at, *narrow, color=NARROW, linewidth=0, label=name)
    ax.plot(at, pred.mean, color=style.COLOURS[0], linewidth=1.8, label="mean")
    if targets is not None:
        scatter.rows(ax, style.original(inputs, rescale_x)[:, 0], targets)
    ax.set_xlim(at[0], at[-1])
    named = f"probability of {style.class_name(1, class_names)}" if classes else y_name
    style.label(ax, style.input_names(given, x_names, 1)[0], named)
    style.legend(ax)
    return ax
