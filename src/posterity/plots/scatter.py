"""The data themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from posterity.frames import joined
from posterity.inputs import as_table, read
from posterity.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 20  # more distinct whole numbers than this are a quantity, not classes


def data(
    x: Any,
    y: Any,
    *,
    x_names: Sequence[str] | None = None,
    y_name: str = "y",
    class_names: Sequence[str] | None = None,
    rescale_x: style.Rescale | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The data: y over one input, or two inputs with y as class markers or as colour.

    Args:
        x: inputs (rows, 1) or (rows, 2).
        y: targets (rows,). With two inputs, whole numbers of up to 20 values are classes.
        x_names: names of the inputs; None for those of a data frame, or x₁, x₂.
        y_name: name of the target, with its unit.
        class_names: names of the classes 0 … K − 1.
        rescale_x: ``(loc, scale)`` where x was standardised: the axes show loc + scale · x.
        ax: where to draw; None for a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: there are more than two inputs, or x and y have different lengths.

    >>> import numpy as np, posterity as po
    >>> ax = po.plots.data(np.ones((3, 2)), np.array([0, 1, 1]), x_names=["width", "height"])
    >>> ax.get_ylabel()
    'height'
    """
    given = read(x)
    inputs, targets = as_table(given), np.asarray(joined(y, given.labels))
    check_rows(inputs, targets, most_inputs=2)
    names = style.input_names(given, x_names, inputs.shape[1])
    shown = style.original(inputs, rescale_x)
    if shown.shape[1] == 1:
        ax = style.axes(ax)
        rows(ax, shown[:, 0], targets)
        style.label(ax, names[0], y_name)
        return ax
    ax = style.axes(ax, grid=False)
    if is_classes(targets):
        classes(ax, shown, targets, class_names)
        style.legend(ax)
    else:
        found = ax.scatter(shown[:, 0], shown[:, 1], c=targets, s=18, cmap="viridis")
        style.colorbar(ax, found, y_name)
    style.label(ax, names[0], names[1])
    return ax


def check_rows(x: np.ndarray, y: np.ndarray | None, most_inputs: int) -> None:
    """Refuse inputs that do not fit on paper, and targets of other rows."""
    if x.ndim != 2 or x.shape[1] > most_inputs:
        raise ValueError(
            f"x: a figure shows {'one input' if most_inputs == 1 else 'one or two inputs'}, but "
            f"its rows have shape {x.shape[1:]}."
        )
    if y is not None and y.shape != x.shape[:1]:
        raise ValueError(f"y: expected shape {x.shape[:1]}, one target per row, got {y.shape}.")


def is_classes(y: np.ndarray) -> bool:
    """Whether targets look like class labels: few whole numbers from 0."""
    y = y.astype(float)
    few = np.unique(y).size <= MOST_CLASSES
    return bool(few and (y == np.floor(y)).all() and y.min() >= 0)


def rows(ax: Axes, x: np.ndarray, y: np.ndarray, name: str = "data") -> None:
    """One dot per row."""
    ax.scatter(
        x, y, s=14, color=style.INK, alpha=style.see_through(x.size), linewidths=0, label=name
    )


def classes(ax: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str] | None) -> None:
    """One marker and colour per class, edged in white."""
    size = float(np.clip(600 / len(y) ** 0.5, 10, 32))
    for index in map(int, np.unique(y)):
        at = x[y == index]
        ax.scatter(
            at[:, 0],
            at[:, 1],
            s=size,
            marker=style.marker(index),
            color=style.colour(index),
            edgecolors="white",
            linewidths=0.5,
            label=style.plain(style.class_name(index, names)),
        )
