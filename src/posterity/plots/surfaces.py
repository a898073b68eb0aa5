"""Predictions over the plane of two inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from posterity.frames import joined
from posterity.inputs import as_table, read
from posterity.plots import scatter, style
from posterity.plots.predictions import draws_of, in_units
from posterity.posterior import Posterior
from posterity.predict.predictive import Predictive

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh

MARGIN = 0.2  # of the range of the data, shown around it: what lies outside is telling
TINT = 0.6  # of a class's colour in its surface, on which its markers are still seen


def probability_surface(
    posterior: Posterior,
    x: Any,
    y: Any = None,
    *,
    class_index: int = 1,
    grid: int = 100,
    draws: int = 500,
    x_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    rescale_x: style.Rescale | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The predictive probability of a class over two inputs, with the line where it is one half.

        P(y = k | x, data) = E_θ P(y = k | x, θ)

    Args:
        posterior: of a classifier with two inputs.
        x: inputs (rows, 2), as in `fit`; they give the range, with a fifth of it around.
        y: labels (rows,), shown as markers; None for no markers.
        class_index: k.
        grid: points per axis.
        draws: posterior draws to average over; all stored ones where those are fewer.
        x_names, class_names, rescale_x, ax: as in `data`.

    Returns:
        The Axes.

    Raises:
        ValueError: the model has other than two inputs, no classes, or no such class.
    """
    number = posterior.target.likelihood.classes
    if not number:
        raise ValueError("probability_surface: the targets are no classes; use sd_surface.")
    if not 0 <= class_index < number:
        raise ValueError(f"class_index: must be one of 0 … {number - 1}, not {class_index!r}.")

    def probability(pred: Predictive) -> np.ndarray:
        return pred.probs[:, class_index]

    plane = _Plane(posterior, x, grid, draws, rescale_x)
    ends = [style.tint(style.colour(index), TINT) for index in (1 - class_index, class_index)]
    scale = style.between(*(ends[:1] if number == 2 else []), style.PALE, ends[1])
    values = plane.predict(probability)
    ax = style.axes(ax, grid=False)
    name = style.class_name(class_index, class_names)
    mesh = plane.colour(ax, values, scale, (0.0, 1.0))
    if values.min() < 0.5 < values.max():
        ax.contour(*plane.mesh, values, levels=[0.5], colors=style.INK, linewidths=1.2)
    style.colorbar(ax, mesh, f"probability of {name}")
    return plane.finish(ax, y, x_names, class_names)


def sd_surface(
    posterior: Posterior,
    x: Any,
    y: Any = None,
    *,
    grid: int = 100,
    draws: int = 500,
    x_names: Sequence[str] | None = None,
    y_name: str = "y",
    class_names: Sequence[str] | None = None,
    rescale: style.Rescale | None = None,
    rescale_x: style.Rescale | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The predictive standard deviation of y over two inputs: noise and ignorance together.

        sd[y | x, data] = √(aleatoric + epistemic)

    Args:
        posterior: of a model with two inputs and one target.
        y_name: name of the target, with its unit.
        rescale: ``(loc, scale)`` where y was standardised.
        x, y, grid, draws, x_names, class_names, rescale_x, ax: as in `probability_surface`.

    Returns:
        The Axes.

    Raises:
        ValueError: the model has other than two inputs, or several targets.
    """
    plane = _Plane(posterior, x, grid, draws, rescale_x)
    values = plane.predict(lambda pred: in_units(pred, rescale).sd)
    ax = style.axes(ax, grid=False)
    most, least = float(values.max()), 0.0
    if not posterior.target.likelihood.classes:
        least = min(float(values.min()), 0.8 * most)  # noise everywhere would hide the rest
    mesh = plane.colour(ax, values, _sds(), (least, most))
    style.colorbar(ax, mesh, f"sd of {y_name}")
    return plane.finish(ax, y, x_names, class_names)


def epistemic_surface(
    posterior: Posterior,
    x: Any,
    y: Any = None,
    *,
    grid: int = 100,
    draws: int = 500,
    x_names: Sequence[str] | None = None,
    y_name: str = "y",
    class_names: Sequence[str] | None = None,
    rescale: style.Rescale | None = None,
    rescale_x: style.Rescale | None = None,
    ax: Axes | None = None,
) -> Axes:
    """How unsure the posterior is of E[y] over two inputs: the ignorance that data would cure.

        √epistemic = sd over draws of E[y | x, θ]

    For two classes that is the sd of the probability, for more the root of the classes' variances
    added up.

    Args:
        posterior, x, y, grid, draws, x_names, y_name, class_names, rescale, rescale_x, ax: as in
            `sd_surface`.

    Returns:
        The Axes.

    Raises:
        ValueError: the model has other than two inputs, or several targets.
    """
    plane = _Plane(posterior, x, grid, draws, rescale_x)
    values = plane.predict(lambda pred: np.sqrt(in_units(pred, rescale).epistemic))
    ax = style.axes(ax, grid=False)
    mesh = plane.colour(ax, values, _sds(), (0.0, float(values.max())))
    classes = posterior.target.likelihood.classes
    what = f"the mean of {y_name}"
    if classes:
        what = "the probability" if classes == 2 else "the probabilities"
    style.colorbar(ax, mesh, f"sd of {what} over draws")
    return plane.finish(ax, y, x_names, class_names)


class _Plane:
    """A grid over two inputs, and the prediction there.

    Attributes:
        mesh: the grid's coordinates in the units shown, (grid, grid) each.
    """

    def __init__(
        self,
        posterior: Posterior,
        x: Any,
        grid: int,
        draws: int,
        rescale_x: style.Rescale | None,
    ) -> None:
        given = read(x)
        inputs = as_table(given)
        if inputs.shape[1:] != (2,):
            raise ValueError(
                f"x: a surface needs two inputs, but its rows have shape {inputs.shape[1:]}."
            )
        if given.spec.alike(posterior.target.inputs):  # else `predict` will say what is wrong
            given = given.matched(posterior.target.inputs)
            inputs = as_table(given)
        if len(posterior.target.y_shape):
            raise ValueError("posterior: a surface shows one target, and the model has several.")
        if grid < 2:
            raise ValueError(f"grid: at least 2 points per axis are needed, not {grid!r}.")
        sides = [np.linspace(*style.span(inputs[:, column], MARGIN), grid) for column in (0, 1)]
        self.points = np.stack([side.ravel() for side in np.meshgrid(*sides)], 1)
        shown = style.original(self.points, rescale_x)
        self.mesh = [shown[:, column].reshape(grid, grid) for column in (0, 1)]
        self._posterior, self._draws, self._rescale_x = posterior, draws, rescale_x
        self._given, self._inputs = given, inputs

    def predict(self, of: Callable[[Predictive], np.ndarray]) -> np.ndarray:
        """A figure of the predictive distribution at every point: (grid, grid)."""
        pred = self._posterior.predict(self.points, draws=draws_of(self._posterior, self._draws))
        return of(pred).reshape(self.mesh[0].shape)

    def colour(
        self, ax: Axes, values: np.ndarray, scale: Any, limits: tuple[float, float]
    ) -> QuadMesh:
        """Fill the Axes with colours of `values`."""
        low, high = limits
        return ax.pcolormesh(
            *self.mesh,
            values,
            cmap=scale,
            vmin=low,
            vmax=max(high, low + 1e-12),
            shading="gouraud",
            rasterized=True,
        )

    def finish(
        self,
        ax: Axes,
        y: Any,
        x_names: Sequence[str] | None,
        class_names: Sequence[str] | None,
    ) -> Axes:
        """The data on top, and names on the axes."""
        inputs = self._inputs
        shown = style.original(inputs, self._rescale_x)
        if y is not None:
            targets = np.asarray(joined(y, self._given.labels))
            scatter.check_rows(inputs, targets, most_inputs=2)
            if self._posterior.target.likelihood.classes:
                scatter.classes(ax, shown, targets, class_names)
            else:
                first, second = shown.T
                ax.scatter(first, second, s=12, color=style.COLOURS[5], linewidths=0, label="data")
            style.legend(ax)
        names = style.input_names(self._given, x_names, 2)
        style.label(ax, names[0], names[1])
        ax.set_xlim(self.mesh[0].min(), self.mesh[0].max())
        ax.set_ylim(self.mesh[1].min(), self.mesh[1].max())
        return ax


def _sds() -> Any:
    """The colour scale of standard deviations: the darker, the less is known."""
    return style.between(style.PALE, style.tint(style.DEEP, 0.45), style.DEEP)
