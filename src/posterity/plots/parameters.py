"""Weights: their draws and their densities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from posterity.plots import style
from posterity.posterior import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NUMBERS = 20_000_000  # of drawn θ held at once where draws are made on demand
LINES = ("-", "--", ":", "-.")


def trace(posterior: Posterior, path: str, *, most: int = 3, ax: Axes | None = None) -> Axes:
    """The stored draws of one parameter in the order they were made, a line per chain.

    Chains that stay apart have not mixed. Weights of a network are label-symmetric, so chains may
    lie apart and yet predict alike: look at predictions first.

    Args:
        posterior: of a sampler; where draws have no order (variational inference) the density is
            shown instead.
        path: a parameter, such as ``layers.0.weight``.
        most: how many of its elements are shown.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes.

    Raises:
        KeyError: there is no such parameter.
    """
    shown = _Shown.of(posterior, path, most)
    if not _has_order(posterior):
        return _density(shown, style.axes(ax))
    return _trace(shown, style.axes(ax))


def density(posterior: Posterior, path: str, *, most: int = 6, ax: Axes | None = None) -> Axes:
    """The posterior density of the elements of one parameter, smoothed from draws.

    Args:
        posterior, path, most, ax: as in `trace`. A point is shown as a line.

    Returns:
        The Axes.

    Raises:
        KeyError: there is no such parameter.

    >>> import numpy as np, posterity as po
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    >>> posterior = po.fit(model, (x, x[:, 0]), po.ADVI(steps=200), progress=False)
    >>> po.plots.density(posterior, "layers.0.weight").get_ylabel()
    'density'
    """
    return _density(_Shown.of(posterior, path, most), style.axes(ax))


def weights(
    posterior: Posterior,
    paths: Sequence[str] | None = None,
    *,
    most: int = 6,
    most_paths: int = 8,
) -> Figure:
    """Trace and density of every parameter; the densities alone where draws have no order.

    Args:
        posterior: of any method.
        paths: the parameters to show; None for the first `most_paths` of the model.
        most: how many elements of each are shown; traces show 3 at most.
        most_paths: how many parameters are shown where `paths` is None.

    Returns:
        The Figure; its title says what was left out.

    Raises:
        KeyError: there is no such parameter.
    """
    known = posterior.target.paths
    chosen = list(known[:most_paths] if paths is None else paths)
    ordered = _has_order(posterior)
    lines = len(chosen) if ordered else math.ceil(len(chosen) / 2)
    columns = 2 if ordered or len(chosen) > 1 else 1
    figure = style.new_figure((5.0 * columns, 2.4 * lines + 0.3))
    grid = figure.subplots(lines, columns, squeeze=False)
    for number, path in enumerate(chosen):
        shown = _Shown.of(posterior, path, most)
        if ordered:
            few = _Shown.of(posterior, path, min(most, 3))
            _trace(few, style.axes(grid[number, 0]), key=False)
            _density(shown, style.axes(grid[number, 1]))
        else:
            _density(shown, style.axes(grid[divmod(number, columns)]))
    if not ordered and len(chosen) % 2 and columns == 2:
        grid[-1, -1].set_axis_off()
    if paths is None and len(known) > len(chosen):
        figure.suptitle(f"{len(chosen)} of {len(known)} parameters", fontsize=9, color=style.QUIET)
    return figure


class _Shown(NamedTuple):
    """Draws of the elements of a parameter that a figure shows.

    Attributes:
        title: the path, and how much of it is shown. names: of the elements, such as ``[0, 1]``.
        draws: (chain, draw, element).
    """

    title: str
    names: list[str]
    draws: np.ndarray

    @classmethod
    def of(cls, posterior: Posterior, path: str, most: int) -> _Shown:
        """The first `most` elements of a parameter."""
        n = int(np.clip(MOST_NUMBERS // posterior.target.size, 50, 4_000))
        stored = posterior.distribution.stored is not None  # then all draws, by chain
        drawn = posterior.weights(path, draws=None if stored else n)
        shape = drawn.shape[2:]
        size = int(np.prod(shape))
        flat = drawn.reshape(*drawn.shape[:2], size)[..., : max(1, most)]
        shown = flat.shape[-1]
        names = [str(list(map(int, np.unravel_index(i, shape)))) for i in range(shown)]
        more = "" if shown == size else f" ({shown} of {size} elements)"
        return cls(path + more, names if shape else [""], flat)

    def lines(self) -> Iterator[tuple[np.ndarray, str, str, str | None]]:
        """What gets a line of its own: (draws, colour, line style, name).

        Colours are chains where one element is shown, and elements where there are several.
        """
        chains, _, elements = self.draws.shape
        for element in range(elements):
            for chain in range(chains):
                name = self.names[element] if elements > 1 and chain == 0 else None
                if elements == 1 and chains > 1:
                    name = f"chain {chain + 1}"
                hue = style.colour(element if elements > 1 else chain)
                dash = LINES[chain % len(LINES)] if elements > 1 else "-"
                yield self.draws[chain, :, element], hue, dash, name


def _has_order(posterior: Posterior) -> bool:
    return (posterior.distribution.stored or 0) > 1


def _trace(shown: _Shown, ax: Axes, *, key: bool = True) -> Axes:
    for values, hue, _, name in shown.lines():
        index = np.arange(1, values.size + 1)
        ax.plot(index, values, color=hue, linewidth=0.5, alpha=0.75, label=name)
    style.label(ax, "draw", "value")
    ax.set_xlim(1, max(2, shown.draws.shape[1]))
    style.title(ax, shown.title)
    if key:
        style.key(ax)
    return ax


def _density(shown: _Shown, ax: Axes) -> Axes:
    for values, hue, dash, name in shown.lines():
        finite = values[np.isfinite(values)].astype(float)
        if finite.size > 1 and np.ptp(finite) > 0:
            ax.plot(*_smooth(finite), color=hue, linestyle=dash, linewidth=1.3, label=name)
        elif finite.size:
            ax.axvline(finite[0], color=hue, linestyle=dash, linewidth=1.3, label=name)
    point = shown.draws.shape[0] * shown.draws.shape[1] == 1
    style.label(ax, "value", "point" if point else "density")
    ax.locator_params(axis="x", nbins=6)
    if point:
        ax.set_yticks([])
    else:
        ax.set_ylim(bottom=0)
    style.title(ax, shown.title)
    style.key(ax)
    return ax


def _smooth(values: np.ndarray, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A normal kernel estimate of a density within the range of the draws: (value, density).

    The bandwidth is Silverman's, 0.9 min(sd, IQR / 1.34) n^(−1/5).
    """
    quarter, three = np.quantile(values, [0.25, 0.75])
    spread = min(values.std(), (three - quarter) / 1.34) or values.std()
    width = 0.9 * spread * values.size**-0.2
    low, high = values.min(), values.max()
    at = np.linspace(low, high, points)
    # Draws are counted in fine bins first, so that the cost does not grow with their number.
    counts, edges = np.histogram(values, bins=1_000, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    kernel = np.exp(-0.5 * ((at[:, None] - centres) / width) ** 2)
    return at, kernel @ counts / (values.size * width * math.sqrt(2 * math.pi))
