"""Weights layer by layer: where their posterior lies and how wide it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from posterity.layout import UNKNOWN
from posterity.plots import style
from posterity.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 60
TAIL = 0.001  # share of the means left out at either end of the axis


def layers(posterior: Posterior, paths: Sequence[str] | None = None) -> Figure:
    """Posterior means and standard deviations of the weights, a line per layer.

    A layer whose means are all near the prior's and whose standard deviations are all the prior's
    has learned nothing. Each line is a histogram: the share of the layer's weights in each of 60
    bins that all layers share, so that layers of any size can be compared. The axis of the standard
    deviations is logarithmic.

    Args:
        posterior: of any method; of a point there are no standard deviations.
        paths: parameters such as ``layers.0.weight``; None for all of the net that have two axes or
            more (its weights, not its biases), or all where none has.

    Returns:
        The Figure: means at the left, standard deviations at the right, both of the unconstrained
        parameters, as in `Posterior.summary`.

    Raises:
        KeyError: there is no such parameter; the message lists those there are.
        ValueError: no parameter is named.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [4], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> posterior = po.fit(model, (x, x[:, 0]), po.ADVI(steps=200), progress=False)
    >>> [ax.get_xlabel() for ax in po.plots.layers(posterior).axes]
    ['posterior mean of a weight', 'posterior sd of a weight']
    """
    shown = _moments(posterior, paths)
    spread = {path: sd[sd > 0] for path, (_, sd) in shown.items()}
    some = any(sd.size for sd in spread.values())
    hues = _hues(len(shown))
    figure = style.new_figure((9.6 if some else 5.6, max(3.4, 0.19 * len(shown) + 0.6)))
    grid = figure.subplots(1, 2 if some else 1, squeeze=False)[0]
    means = {path: mean for path, (mean, _) in shown.items()}
    _histograms(style.axes(grid[0]), means, hues, _bins(means), "posterior mean of a weight")
    if some:
        ax = style.axes(grid[1])
        _histograms(ax, spread, hues, _log_bins(spread), "posterior sd of a weight")
        _log_axis(ax)
    style.key(grid[-1])
    return figure


def _moments(
    posterior: Posterior, paths: Sequence[str] | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Path → means and standard deviations of the parameter's elements."""
    target = posterior.target
    if paths is None:
        net = [p for p in target.parameters if not p.path.startswith(UNKNOWN)]
        paths = [p.path for p in net if len(p.shape) > 1] or [p.path for p in net]
    if isinstance(paths, str) or not len(paths):
        raise ValueError(f"paths: expected names of parameters, got {paths!r}.")
    for path in paths:
        if path not in target.paths:
            raise KeyError(f"no parameter {path!r}; there are {', '.join(target.paths)}.")
    mean, sd = (np.asarray(moment, float) for moment in posterior.distribution.mean_and_sd())
    found = {p.path: (mean[p.start : p.stop], sd[p.start : p.stop]) for p in target.parameters}
    return {path: found[path] for path in paths}


def _hues(count: int) -> list[str]:
    """Colours that tell a few layers apart; a scale from first to last where there are many."""
    if count <= len(style.COLOURS):
        return [style.colour(index) for index in range(count)]
    from matplotlib.colors import to_hex

    scale = style.between(style.COLOURS[5], style.COLOURS[1], style.DEEP)
    return [to_hex(scale(share)) for share in np.linspace(0, 1, count)]


def _bins(values: dict[str, np.ndarray]) -> np.ndarray:
    """Bins of one width over all but the outermost values of every layer."""
    ends = [np.quantile(each, [TAIL, 1 - TAIL]) for each in values.values()]
    low, high = style.span(np.concatenate(ends), 0.02)
    return np.linspace(low, high, BINS + 1)


def _log_bins(values: dict[str, np.ndarray]) -> np.ndarray:
    logs = {path: np.log10(each) for path, each in values.items() if each.size}
    low, high = style.span(np.concatenate(list(logs.values())), 0.02)
    if high - low < 0.2:  # not to make mountains of what is one number
        low, high = (low + high) / 2 - 0.1, (low + high) / 2 + 0.1
    return np.logspace(low, high, BINS + 1)


def _histograms(
    ax: Axes, values: dict[str, np.ndarray], hues: list[str], bins: np.ndarray, name: str
) -> None:
    """The share of every layer's values in each bin."""
    for (path, each), hue in zip(values.items(), hues):
        share = np.histogram(each, bins)[0] / max(each.size, 1)
        ax.stairs(100 * share, bins, color=hue, linewidth=1.4, label=path)
    style.label(ax, name, "weights of the layer (%)")
    ax.set_xlim(bins[0], bins[-1])
    ax.set_ylim(bottom=0)


def _log_axis(ax: Axes) -> None:
    """A logarithmic x axis with few ticks, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = ax.get_xlim()
    decades = np.log10(high / low)
    ax.set_xscale("log")
    subs = [1.0] if decades > 4 else [1.0, 2.0, 5.0]
    subs = np.arange(1.0, 10, 0.5).tolist() if decades < 0.7 else subs
    ax.xaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
