"""Images beside what is predicted of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from posterity.plots import style
from posterity.predict.predictive import Predictive

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DRAWS = 200  # shown as points, evenly chosen among all


def held_out(
    pred: Predictive,
    images: Any,
    labels: Any = None,
    n: int = 10,
    *,
    answers: Any = None,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Images, the posterior draws of their class probabilities, and the mean of these.

    A row of the figure per image: the image; for every class a point per posterior draw at the
    probability it gives, so that disagreement of the draws shows as scatter; and the predictive
    probabilities, their mean. The true class is outlined, and a wrong or refused prediction says
    so.

    Args:
        pred: class predictions at the rows of `images`.
        images: (rows, height, width), or with 1, 3 or 4 channels at the end; in the units they
            should be shown in.
        labels: true classes (rows,), or None.
        n: how many images are shown: the first `n`.
        answers: what ``pred.abstain(...)`` gave; None where every row is answered.
        class_names: names of the classes.

    Returns:
        The Figure.

    Raises:
        ValueError: the targets are no classes, or images, labels or answers of another shape.

    >>> import numpy as np, posterity as po
    >>> x = np.random.default_rng(0).random((30, 4, 4, 1))
    >>> y = (x[:, 0, 0, 0] > 0.5).astype(int)
    >>> net = po.nets.CNN((4, 4, 1), [2], [], 2)
    >>> model = po.Model(net, po.priors.Normal(), po.likelihoods.Categorical(2))
    >>> posterior = po.fit(model, (x, y), po.MAP(steps=50), progress=False)
    >>> pred = posterior.predict(x)
    >>> figure = po.plots.held_out(pred, x, y, 3, answers=pred.abstain(below=0.6))
    >>> len(figure.axes)
    9
    """
    shown = _checked(pred, images, labels, answers, n)
    few = pred.take(np.arange(len(shown)))
    probs, draws = few.probs, few.raw()
    if draws.ndim == 2:  # of two classes P(y = 1)
        draws = np.stack([1 - draws, draws], axis=-1)
    draws = draws[np.linspace(0, len(draws) - 1, min(len(draws), MOST_DRAWS)).astype(int)]
    classes = probs.shape[1]
    names = [style.class_name(k, class_names) if class_names else str(k) for k in range(classes)]
    refused = np.zeros(len(shown), bool) if answers is None else np.ma.getmaskarray(answers)
    wide = 0.32 * classes + 0.9
    figure = style.new_figure((1.5 + 2 * wide, 1.25 * len(shown) + 0.5))
    grid = figure.subplots(len(shown), 3, squeeze=False, width_ratios=[1.2, wide, wide])
    for row, image in enumerate(shown):
        truth = None if labels is None else int(np.asarray(labels)[row])
        _image(grid[row, 0], image)
        _draws(style.axes(grid[row, 1]), draws[:, row])
        _means(style.axes(grid[row, 2]), probs[row], truth)
        label = int(few.label[row])
        _verdict(grid[row, 2], names, label, truth, bool(refused[row]))
        for ax in grid[row, 1:]:
            _class_axis(ax, names, last=row == len(shown) - 1)
    _heads(grid, len(draws), labels is not None)
    return figure


def _checked(pred: Predictive, images: Any, labels: Any, answers: Any, n: int) -> np.ndarray:
    """The images that are shown."""
    if not pred.classes:
        raise ValueError("pred: its targets are no classes.")
    rows = pred.label.shape
    array = np.asarray(images)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.shape[:1] != rows or array.ndim not in (3, 4):
        raise ValueError(f"images: expected {rows[0]} images, got shape {np.shape(images)}.")
    if array.ndim == 4 and array.shape[-1] not in (3, 4):
        raise ValueError(f"images: they have {array.shape[-1]} channels; 1, 3 or 4 can be shown.")
    for name, given in (("labels", labels), ("answers", answers)):
        if given is not None and np.shape(given) != rows:
            raise ValueError(f"{name}: expected shape {rows}, got {np.shape(given)}.")
    if isinstance(n, bool) or int(n) != n or n < 1:
        raise ValueError(f"n: must be a whole number from 1, not {n!r}.")
    return array[:n]


def _image(ax: Axes, image: np.ndarray) -> None:
    ax.imshow(image, cmap="gray" if image.ndim == 2 else None, interpolation="nearest")
    ax.set_axis_off()


def _draws(ax: Axes, draws: np.ndarray) -> None:
    """A point per draw and class, spread sideways in the order of the draws."""
    count, classes = draws.shape
    aside = np.linspace(-0.28, 0.28, count) if count > 1 else np.zeros(1)
    for index in range(classes):
        ax.plot(
            index + aside,
            draws[:, index],
            ".",
            color=style.colour(0),
            markersize=3,
            markeredgewidth=0,
            alpha=float(np.clip(20 / count, 0.25, 0.9)),
        )


def _means(ax: Axes, probs: np.ndarray, truth: int | None) -> None:
    """A bar per class; that of the true class has a frame that reaches to 1."""
    ax.bar(range(len(probs)), probs, width=0.72, color=style.colour(0))
    if truth is not None:
        ax.bar([truth], [1.0], width=0.86, fill=False, edgecolor=style.colour(2), linewidth=1.3)


def _verdict(ax: Axes, names: list[str], label: int, truth: int | None, refused: bool) -> None:
    """What is predicted, and whether that is right, beside the bars."""
    text, hue = names[label], style.INK
    if refused:
        text, hue = "refused", style.QUIET
    elif truth is not None:
        right = label == truth
        text += "\nright" if right else "\nwrong"
        hue = style.colour(2) if right else style.colour(1)
    ax.text(1.03, 0.5, text, transform=ax.transAxes, va="center", fontsize=9, color=hue)


def _class_axis(ax: Axes, names: list[str], *, last: bool) -> None:
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.set_ylim(0, 1.03)
    ax.set_yticks([0, 0.5, 1])
    long = max(map(len, names)) > 2
    ax.set_xticks(range(len(names)), [style.plain(name) for name in names] if last else [])
    if last and long:
        ax.tick_params(axis="x", labelrotation=90)


def _heads(grid: np.ndarray, draws: int, known: bool) -> None:
    """Titles above the columns and names of the axes."""
    style.title(grid[0, 1], f"{draws} posterior draws" if draws > 1 else "the point")
    style.title(grid[0, 2], "predictive mean" + ", true class outlined" * known)
    for ax in grid[:, 1]:
        ax.set_ylabel("probability", fontsize=9, color=style.INK)
    for ax in grid[-1, 1:]:
        ax.set_xlabel("class", fontsize=10, color=style.INK)
