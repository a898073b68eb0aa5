"""One look for all figures, and the only place that imports matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from posterity.frames import default_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any common colour vision tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#333333")
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
PALE, DEEP = "#FAF9FC", "#3B1F6B"  # the ends of the scale of standard deviations
INK, QUIET, FAINT = "#222222", "#666666", "#DDDDDD"
DPI = 120
SIZE = (5.6, 4.2)

Rescale = tuple[Any, Any]


def new_figure(size: tuple[float, float]) -> Figure:
    """An empty figure that belongs to no window and to no global list."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots: matplotlib is needed; pip install "posterity[plots]".') from error
    return Figure(figsize=size, dpi=DPI, layout="constrained")


def axes(ax: Axes | None = None, *, grid: bool = True) -> Axes:
    """`ax`, or the Axes of a new figure, in the library's look."""
    found = new_figure(SIZE).add_subplot() if ax is None else ax
    found.spines[["top", "right"]].set_visible(False)
    found.spines[["left", "bottom"]].set_color(QUIET)
    found.tick_params(colors=QUIET, labelcolor=INK, labelsize=9)
    if grid:
        found.grid(True, color=FAINT, linewidth=0.6)
    else:
        found.grid(False)
    found.set_axisbelow(True)
    return found


def label(ax: Axes, x: str, y: str) -> None:
    """Name both axes."""
    ax.set_xlabel(plain(x), fontsize=10, color=INK)
    ax.set_ylabel(plain(y), fontsize=10, color=INK)


def title(ax: Axes, text: str) -> None:
    """A title at the left."""
    ax.set_title(plain(text), fontsize=10, color=INK, loc="left")


def legend(ax: Axes) -> None:
    """A legend above the Axes, where it covers no data; none where nothing is labelled."""
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    # About how many inches the labels take in 9 points, and how many there are.
    needed = sum(0.068 * (len(text) + 6) for text in labels)
    lines = math.ceil(needed / (0.86 * ax.get_position().width / 0.775 * _inches(ax)))
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=math.ceil(len(handles) / lines),
        frameon=False,
        fontsize=9,
        borderaxespad=0.2,
        handletextpad=0.5,
        columnspacing=1.4,
    )


def key(ax: Axes) -> None:
    """A small legend at the right of the Axes; none where nothing is labelled."""
    handles, _ = ax.get_legend_handles_labels()
    if handles:
        ax.legend(
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
            fontsize=8,
            borderaxespad=0.2,
            handlelength=1.2,
        )


def _inches(ax: Axes) -> float:
    return float(ax.get_figure(root=True).get_figwidth())  # type: ignore[union-attr]


def colorbar(ax: Axes, artist: Any, text: str) -> None:
    """A colour scale beside the Axes, named."""
    bar = ax.figure.colorbar(artist, ax=ax, fraction=0.05, pad=0.02)
    bar.set_label(plain(text), fontsize=10, color=INK)
    bar.ax.tick_params(colors=QUIET, labelcolor=INK, labelsize=9)
    bar.outline.set_visible(False)


def thousands(axis: Any) -> None:
    """Ticks of an axis as 10,000 rather than 10000."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}".replace("-", "−")))


def between(*colours: str) -> Colormap:
    """A colour scale that runs through `colours`."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("posterity", list(colours))


def tint(colour: str, share: float) -> str:
    """A share of `colour` mixed with white."""
    parts = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(255 + share * (part - 255)):02X}" for part in parts)


def colour(index: int) -> str:
    """The colour of class, chain or element number `index`."""
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    """The marker of class `index`; with its colour distinct for 49 classes."""
    return MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def plain(text: str) -> str:
    """`text` to be shown as it is: a dollar sign does not begin mathematics."""
    return str(text).replace("$", r"\$")


def input_names(x: Any, names: Sequence[str] | None, columns: int) -> list[str]:
    """Names of the input columns: those given, those of a data frame, or x, or x₁, x₂, …

    Raises:
        ValueError: `names` has another length than there are columns.
    """
    found = getattr(x, "columns", None)
    if names is None and found is not None and not default_names(given := [*map(str, found)]):
        names = given
    if names is None:
        return ["x"] if columns == 1 else [f"x{_below(index + 1)}" for index in range(columns)]
    if isinstance(names, str) or len(names) != columns:
        raise ValueError(f"x_names: {columns} names are needed, got {names!r}.")
    return [str(name) for name in names]


def class_name(index: int, names: Sequence[str] | None) -> str:
    """``class 1``, or the name given for it.

    Raises:
        ValueError: `names` has no such class.
    """
    if names is None:
        return f"class {index}"
    if not 0 <= index < len(names):
        raise ValueError(f"class_names: no name for class {index} among {list(names)!r}.")
    return str(names[index])


def original(x: np.ndarray, rescale_x: Rescale | None) -> np.ndarray:
    """Inputs in the units that are shown: loc + scale · x."""
    if rescale_x is None:
        return x
    loc, scale = (np.asarray(part, float) for part in rescale_x)
    return loc + scale * x


def span(values: np.ndarray, margin: float) -> tuple[float, float]:
    """The range of `values` with a margin on both sides; never empty."""
    low, high = float(values.min()), float(values.max())
    extra = margin * (high - low) or 1.0
    return low - extra, high + extra


def see_through(rows: int) -> float:
    """Opacity of one of `rows` points: the more, the fainter."""
    return float(np.clip(25 / max(rows, 1) ** 0.5, 0.08, 0.85))


def _below(number: int) -> str:
    return "".join(chr(ord("₀") + int(digit)) for digit in str(number))
