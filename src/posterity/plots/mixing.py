"""Chains: whether they agree in what they predict, and how fast they move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from posterity.diagnostics import convergence as figures
from posterity.diagnostics.monitored import Quantities, monitor
from posterity.distributions.draws import Draws
from posterity.inputs import as_inputs, row_count, take
from posterity.plots import style
from posterity.plots.style import Rescale
from posterity.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 100  # of x, among which the one with the largest r-hat is looked for
MOST_BINS = 20
SMALL = 0.05  # autocorrelation from which on a curve has nothing more to say


def traces(
    posterior: Posterior,
    x: Any = None,
    *,
    most: int = 3,
    y_name: str = "y",
    rescale: Rescale | None = None,
) -> Figure:
    """Predictions at a few inputs and named numbers in the order they were drawn, and their spread.

    Chains that agree overlie each other on the left and have one histogram on the right.

    Args:
        posterior: of a sampler.
        x: inputs (rows, ...), as in `fit`: predictions are shown at the row where chains agree
            least, and at others evenly between the first and the last. None for named numbers only.
        most: how many predictions, and how many named numbers, are shown.
        y_name: name of the target, with its unit.
        rescale: ``(loc, scale)`` where the model was fitted to (y − loc) / scale.

    Returns:
        The Figure.

    Raises:
        ValueError: the posterior holds no chains, or there is nothing to show; `x` as in `fit`.
    """
    panels = _panels(posterior, x, most, y_name, rescale)
    figure = style.new_figure((10.0, 1.75 * len(panels) + 0.4))
    grid = figure.subplots(len(panels), 2, squeeze=False, width_ratios=(4, 1), sharey="row")
    for panel, (left, right) in zip(panels, grid):
        style.axes(left)
        style.axes(right)
        edges = np.histogram_bin_edges(panel.values, bins=24)
        for number, chain in enumerate(panel.values):
            at = 1 + panel.step * np.arange(chain.size)
            name, hue = f"chain {number + 1}", style.colour(number)
            left.plot(at, chain, color=hue, linewidth=0.6, alpha=0.75, label=name)
            counts, _ = np.histogram(chain, edges)
            right.stairs(counts, edges, orientation="horizontal", color=hue, linewidth=1.1)
        style.title(left, f"{panel.title}   {panel.figures}")
        style.label(left, "draw" if panel is panels[-1] else "", panel.unit)
        style.label(right, "draws" if panel is panels[-1] else "", "")
        left.set_xlim(1, 1 + panel.step * (panel.values.shape[1] - 1))
        right.set_xlim(left=0)
        right.tick_params(axis="y", labelleft=False)
        for ax in (left, right):
            ax.tick_params(axis="x", labelbottom=panel is panels[-1])
        style.thousands(left.xaxis)
    _legend(figure, grid[0, 0])
    return figure


def ranks(
    posterior: Posterior,
    x: Any = None,
    *,
    most: int = 3,
    y_name: str = "y",
    rescale: Rescale | None = None,
) -> Figure:
    """Where the draws of each chain rank among those of all: histograms, which should be flat.

    A slope is a chain in another place, a valley or a hill one of another width. Bars end at twice
    what is expected. The shade is what 8 in 10 bars keep to by chance, for as many independent
    draws as the chains hold.

    Args, Returns, Raises: as `traces`.

    Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021.
    """
    panels = _panels(posterior, x, most, y_name, rescale)
    chains = panels[0].values.shape[0]
    unit = 0.45  # height of the expected line above the base of its chain, which are 1 apart
    figure, grid = _grid(len(panels), 0.42 * chains + 1.0)
    for panel, ax in zip(panels, grid):
        style.axes(ax, grid=False)
        counts, expected = _rank_counts(panel.values)
        spread = 1.28 * math.sqrt(_noise(panel.values) / expected)
        edges = np.linspace(0, 100, counts.shape[1] + 1)
        for chain, heights in enumerate(counts):
            base, hue = chains - 1 - chain, style.colour(chain)
            levels = base + unit * np.minimum(heights / expected, 2.1)
            ax.stairs(levels, edges, baseline=base, fill=True, color=style.tint(hue, 0.65))
            ax.fill_between(
                [0, 100],
                base + unit * max(0.0, 1 - spread),
                base + unit * min(2.0, 1 + spread),
                color=style.INK,
                alpha=0.10,
                linewidth=0,
                label="by chance (8 in 10)" if chain == 0 else None,
            )
            ax.plot(
                [0, 100],
                [base + unit] * 2,
                color=style.INK,
                linewidth=0.9,
                linestyle="--",
                label="expected" if chain == 0 else None,
            )
        names = [f"chain {chain + 1}" for chain in reversed(range(chains))]
        ax.set_yticks(np.arange(chains) + unit, names if _first(ax) else [""] * chains)
        ax.tick_params(axis="y", length=0)
        ax.set(xlim=(0, 100), ylim=(-0.04, chains))
        style.title(ax, f"{panel.title}\nr-hat {_said(panel.rhat, '.3f')}")
        style.label(ax, "rank among all draws (%)", "")
    _legend(figure, grid[0])
    return figure


def autocorrelation(
    posterior: Posterior,
    x: Any = None,
    *,
    most: int = 3,
    y_name: str = "y",
    rescale: Rescale | None = None,
) -> Figure:
    """How much draws have in common with later ones of their chain, by how much later.

    The sooner it falls to zero, the more draws are worth; the shade holds 95 % of what independent
    draws would show.

    Args, Returns, Raises: as `traces`.
    """
    panels = _panels(posterior, x, most, y_name, rescale)
    figure, grid = _grid(len(panels), 2.5)
    curves = [np.nan_to_num(figures.autocorrelation(panel.values)) for panel in panels]
    lags = _lags(curves)
    for panel, curve, ax in zip(panels, curves, grid):
        style.axes(ax)
        chance = 1.96 / math.sqrt(panel.values.shape[1])
        ax.axhspan(-chance, chance, color=style.FAINT, alpha=0.7, linewidth=0)
        ax.axhline(0, color=style.QUIET, linewidth=0.8)
        for chain, values in enumerate(curve[:, :lags]):
            name, hue = f"chain {chain + 1}", style.colour(chain)
            lag = panel.step * np.arange(values.size)
            ax.plot(lag, values, color=hue, linewidth=1.2, label=name)
        ax.set(xlim=(0, panel.step * (lags - 1)), ylim=(min(-0.15, curve[:, :lags].min()), 1.02))
        style.title(ax, f"{panel.title}\nbulk ESS {_said(panel.ess)} of {panel.values.size:,}")
        style.label(ax, "lag (draws)", "autocorrelation" if _first(ax) else "")
    _legend(figure, grid[0])
    return figure


def energy(posterior: Posterior, *, ax: Axes | None = None) -> Axes:
    """The energies a Hamiltonian sampler visits, and the steps between them.

    Drawing the momentum anew must be able to change the energy by about as much as energies vary:
    where the steps are much narrower than the marginal (E-BFMI below 0.3), tails are hardly
    visited.

    Args:
        posterior: of `NUTS` or another Hamiltonian sampler.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: the run reported no energy.

    Betancourt 2016, "Diagnosing suboptimal cotangent disintegrations".
    """
    values = posterior.history.fields.get("energy")
    if values is None or values.ndim != 2 or not np.isfinite(values[:, 1:]).any():
        raise ValueError("posterior: its run reported no energies; a Hamiltonian sampler does.")
    values = np.where(np.isfinite(values), np.asarray(values, float), np.nan)
    ax = style.axes(ax)
    shown = {
        "energy − its mean": values - np.nanmean(values, axis=1, keepdims=True),
        "change from draw to draw": np.diff(values, axis=1),
    }
    joined = np.concatenate([part.ravel() for part in shown.values()])
    joined = joined[np.isfinite(joined)]
    low, high = np.quantile(joined, [0.001, 0.999])
    edges = np.histogram_bin_edges(joined, 31, (low, high))
    for number, (name, part) in enumerate(shown.items()):
        heights, _ = np.histogram(part[np.isfinite(part)], edges, density=True)
        hue = style.colour(number)
        ax.stairs(heights, edges, fill=True, color=hue, alpha=0.25)
        ax.stairs(heights, edges, color=hue, linewidth=1.3, label=name)
    said = [f"chain {n + 1}: {_said(value, '.2f')}" for n, value in enumerate(figures.bfmi(values))]
    more = f"\n… and {len(said) - 8} more" if len(said) > 8 else ""
    words: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 8.5, "color": style.INK}
    ax.text(0.98, 0.97, "\n".join(["E-BFMI", *said[:8]]) + more, transform=ax.transAxes, **words)
    ax.set_ylim(bottom=0)
    style.label(ax, "energy (nats)", "density")
    style.legend(ax)
    return ax


def has_chains(posterior: Posterior) -> bool:
    """Whether there are chains with enough draws for a figure."""
    kept = posterior.distribution
    return kept.stored is not None and cast(Draws, kept).shape[1] >= figures.FEWEST


# -- what is shown --------------------------------------------------------------------------------


class _Panel(NamedTuple):
    """Draws of one quantity (chain, draw), in the units that are shown, with its figures.

    Every `step`-th draw of a chain is looked at, where there are very many.
    """

    title: str
    unit: str
    step: int
    values: np.ndarray
    rhat: float
    ess: float
    tail: float

    @property
    def figures(self) -> str:
        rhat = _said(self.rhat, ".3f")
        return f"r-hat {rhat}, ESS {_said(self.ess)} bulk, {_said(self.tail)} tail"


def _said(value: float, digits: str = ",.0f") -> str:
    return "–" if math.isnan(value) else f"{value:{digits}}"


def _panels(
    posterior: Posterior, x: Any, most: int, y_name: str, rescale: Rescale | None
) -> list[_Panel]:
    if not has_chains(posterior):
        raise ValueError("posterior: it holds no chains of four draws or more.")
    rows = np.zeros(0, int)
    if x is not None:
        x = as_inputs(x, posterior.target.inputs)
        rows = np.linspace(0, row_count(x) - 1, min(ROWS, row_count(x))).astype(int)
        x = take(x, rows)
    monitored = monitor(posterior.target, cast(Draws, posterior.distribution), x, rows)
    panels, step = [], monitored.step
    if monitored.predictions is not None:
        of_classes = posterior.target.likelihood.classes > 0
        loc, scale = (0.0, 1.0) if of_classes or rescale is None else rescale
        unit = "probability" if of_classes else y_name
        if of_classes and monitored.predictions.values.shape[2] == len(rows):
            unit = "probability of 1"
        for label, values, found in _chosen(monitored.predictions, most):
            panels.append(_Panel(f"prediction, {label}", unit, step, loc + scale * values, *found))
    if monitored.named is not None:
        for label, values, found in _chosen(monitored.named, most):
            panels.append(_Panel(label, "value", step, values, *found))
    if not panels:
        raise ValueError("x: give inputs to predict at; the model has no named numbers to show.")
    return panels


def _chosen(quantities: Quantities, most: int) -> list[tuple[str, np.ndarray, Any]]:
    """The quantity with the largest r-hat, and others evenly spaced: in their order."""
    found = figures.mixing(quantities.values)
    count = len(quantities.labels)
    worst = int(np.argmax(np.nan_to_num(found.rhat, nan=0.0)))
    even = np.linspace(0, count - 1, min(most, count)).astype(int)
    if worst not in even:
        even[np.argmin(np.abs(even - worst))] = worst
    return [
        (quantities.labels[at], quantities.values[..., at], [float(part[at]) for part in found])
        for at in even
    ]


def _rank_counts(values: np.ndarray) -> tuple[np.ndarray, float]:
    """How many draws of each chain are in each bin of the ranks, and how many are expected."""
    chains, draws = values.shape
    # What is equal has the mean of its ranks: chains that stand at one place are in one bin.
    _, which, ties = np.unique(values, return_inverse=True, return_counts=True)
    place = ((np.cumsum(ties) - ties / 2) / values.size)[which]
    bins = int(np.clip(draws // 10, 4, MOST_BINS))
    counts = [np.histogram(chain, bins, (0, 1))[0] for chain in place.reshape(chains, draws)]
    return np.array(counts), draws / bins


def _noise(values: np.ndarray) -> float:
    """Draws per independent draw, within chains."""
    ess = float(figures.ess_within(values))
    return max(1.0, values.size / ess) if ess > 0 else 1.0


def _lags(curves: Sequence[np.ndarray]) -> int:
    """How many lags are worth showing: until all curves have been small for a while."""
    longest = curves[0].shape[1]
    slowest = np.max(np.abs([curve.mean(axis=0) for curve in curves]), axis=0)
    last = int(np.argmax(slowest < SMALL)) or longest
    return int(np.clip(2 * last, min(21, longest), max(2, longest // 2)))


def _grid(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """Panels in lines of three or four; those left over are empty."""
    columns = 4 if count in (4, 7, 8) else min(3, count)
    lines = math.ceil(count / columns)
    figure = style.new_figure((10.0 if columns > 2 else 4.8 * columns, height * lines + 0.4))
    grid = list(figure.subplots(lines, columns, squeeze=False).ravel())
    for ax in grid[count:]:
        ax.set_axis_off()
    return figure, grid[:count]


def _first(ax: Axes) -> bool:
    """Whether an Axes is the first of its line."""
    place = ax.get_subplotspec()
    return place is None or place.is_first_col()


def _legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    legend = figure.legend(
        handles,
        labels,
        loc="outside upper right",
        ncols=min(len(labels), 8),
        frameon=False,
        fontsize=9,
    )
    for line in legend.get_lines():
        line.set(linewidth=max(line.get_linewidth(), 1.4), alpha=1.0)
