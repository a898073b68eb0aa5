"""Which figures fit a model and its data: what a report shows."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from posterity.data.batches import as_pair
from posterity.inputs import take
from posterity.plots import mixing, style
from posterity.plots.bands import band
from posterity.plots.histories import drawable, elbo
from posterity.plots.observed import calibration, confidence, predicted_observed
from posterity.plots.parameters import weights
from posterity.plots.predictions import in_units
from posterity.plots.scatter import data
from posterity.plots.style import Rescale
from posterity.plots.surfaces import epistemic_surface, probability_surface, sd_surface
from posterity.posterior import Posterior
from posterity.predict.predictive import Predictive

MOST_MARKERS = 5_000  # rows shown on top of a surface
MOST_SURFACES = 6  # classes with a surface of their own
DPI = 160

BAND = "What is predicted, where new observations fall, and how well the curve itself is known."
CURVE = "The predictive probability, and how well it is known."
PROBABILITY = "The predictive probability; the line is where it is one half."
SD = "The predictive standard deviation of y: noise and ignorance together."
EPISTEMIC = "How far the posterior's draws disagree: what more data would cure."
CALIBRATION = "On the dashed line, what is said with 80 % is right 8 times in 10."
CONFIDENCE = "How probable the predicted classes were said to be."
OBSERVED = "A perfect prediction lies on the dashed line."
RUN = "What the method reported, step by step."
TRACES = (
    "Draws in their order by chain, at the row where the chains agree least and at others, and of "
    "named numbers. Chains that agree overlie each other."
)
RANKS = "Each chain's share of all draws by rank: flat where the chains agree."
AUTOCORRELATION = "What draws have in common with later ones: the sooner zero, the more they tell."
ENERGY = "Steps much narrower than the energies there are (E-BFMI below 0.3) miss the tails."
WEIGHTS = (
    "Weights of a network are label-symmetric: chains may differ here and yet predict alike. "
    "Judge by the predictions."
)


class Names(NamedTuple):
    """What things are called, and in which units they are shown.

    Attributes:
        x, classes: names of the input columns and of the classes, or None. y: name of the target.
        rescale, rescale_x: ``(loc, scale)`` of a standardised y and x, or None.
    """

    x: Sequence[str] | None = None
    y: str = "y"
    classes: Sequence[str] | None = None
    rescale: Rescale | None = None
    rescale_x: Rescale | None = None


class Rows(NamedTuple):
    """Rows of data, and the prediction at all or an even part of them.

    Attributes:
        name: what they are: ``test rows``. x, y: all of them. pred, pred_y: the prediction, and the
        targets of its rows. x_names: names of the input columns, or None.
    """

    name: str
    x: Any
    y: np.ndarray
    pred: Predictive
    pred_y: np.ndarray
    x_names: Sequence[str] | None

    @classmethod
    def of(
        cls, name: str, posterior: Posterior, pair: Any, names: Names, most: int | None = None
    ) -> Rows:
        """Check a pair ``(x, y)`` of arrays, and predict at up to `most` of its rows.

        Raises:
            TypeError, ValueError: as `fit`, and where x and y have different lengths.
        """
        target = posterior.target
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"data, test: expected a pair (x, y), got {type(pair).__name__}.")
        known = target.inputs, target.y_columns
        checked = as_pair(pair, target.likelihood, *known, one_class=True)
        given, y = checked.x, checked.y
        x = given.converted(target.inputs)
        part = np.arange(given.rows)
        if most is not None and given.rows > most:
            part = np.linspace(0, given.rows - 1, most).astype(int)
        pred = in_units(posterior.predict(take(x, part)), names.rescale)
        return cls(name, x, y, pred, y[part], names.x or given.columns)

    @property
    def used(self) -> str:
        """How many rows the prediction is of."""
        used, rows = len(self.pred_y), len(self.y)
        return f"{rows:,}" if used == rows else f"{used:,} of {rows:,}"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure with words, which also serve those who cannot see it.

    Attributes:
        title, caption: the words. drawn: the Axes or Figure. wide: whether it has a line to itself.
    """

    title: str
    caption: str
    drawn: Any
    wide: bool = False

    @property
    def figure(self) -> Any:
        """The figure, also where an Axes was drawn."""
        return getattr(self.drawn, "figure", self.drawn)

    @property
    def inches(self) -> float:
        """Width of the figure: its text has one size where widths are shown in proportion."""
        return float(self.figure.get_figwidth())

    def png(self) -> bytes:
        """The figure as PNG."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()


def pictures(
    posterior: Posterior, train: Rows | None, test: Rows | None, names: Names
) -> list[Picture]:
    """The figures that fit a model: predictions over x, checks, the run and the weights.

    Predictions over x are shown with the training rows, which explain them; predictions are checked
    on the test rows. Where one of them is missing the other serves for both.
    """
    found: list[Picture] = []
    seen, judged = train or test, test or train
    if seen is not None and judged is not None:
        found += _over_x(posterior, seen, names)
        found += _checks(judged, names, by_band=len(found) == 1)
    if drawable(posterior.history):
        found.append(Picture("The run", RUN, elbo(posterior)))
    sampled = mixing.has_chains(posterior)
    if sampled and "energy" in posterior.history:
        found.append(Picture("Energy", ENERGY, mixing.energy(posterior)))
    if len(found) % 2:
        found[-1] = dataclasses.replace(found[-1], wide=True)
    if sampled:
        found += _chains(posterior, seen, names)
    return [*found, Picture("Weights", WEIGHTS, weights(posterior), wide=True)]


def _chains(posterior: Posterior, rows: Rows | None, names: Names) -> list[Picture]:
    """Whether the chains agree; without rows and without named numbers there is nothing to see."""
    if rows is None and posterior.target.net_leaves == len(posterior.target.paths):
        return []
    x = None if rows is None else rows.x
    units: dict[str, Any] = {"y_name": names.y, "rescale": names.rescale}
    return [
        Picture("Traces", TRACES, mixing.traces(posterior, x, **units), wide=True),
        Picture("Ranks", RANKS, mixing.ranks(posterior, x, **units), wide=True),
        Picture(
            "Autocorrelation",
            AUTOCORRELATION,
            mixing.autocorrelation(posterior, x, **units),
            wide=True,
        ),
    ]


def _over_x(posterior: Posterior, rows: Rows, names: Names) -> list[Picture]:
    """Data and predictions over x, where there are one or two inputs and one target."""
    target = posterior.target
    classes = target.likelihood.classes
    if target.y_shape:
        return []
    if target.inputs.shape == (1,) and classes <= 2:
        ax = band(
            posterior,
            rows.x,
            rows.y,
            x_names=rows.x_names,
            y_name=names.y,
            class_names=names.classes,
            rescale=names.rescale,
            rescale_x=names.rescale_x,
        )
        caption = CURVE if classes else BAND
        return [Picture("Prediction", f"{caption} With the {rows.name}.", ax)]
    return _surfaces(posterior, rows, names, classes) if target.inputs.shape == (2,) else []


def _surfaces(posterior: Posterior, rows: Rows, names: Names, classes: int) -> list[Picture]:
    """The data, and the prediction over the plane of two inputs."""
    units: dict[str, Any] = {"x_names": rows.x_names, "rescale_x": names.rescale_x}
    named = {**units, "y_name": names.y, "class_names": names.classes}
    y = rows.y if len(rows.y) <= MOST_MARKERS else None
    found = [Picture("Data", f"The {rows.name}.", data(rows.x, rows.y, **named))]
    for index in range(classes)[:MOST_SURFACES] if classes > 2 else range(1, classes):
        ax = probability_surface(
            posterior, rows.x, y, class_index=index, class_names=names.classes, **units
        )
        title = f"Probability of {style.class_name(index, names.classes)}"
        found.append(Picture(title, PROBABILITY, ax))
    spread = {**named, "rescale": names.rescale}
    return [
        *found,
        Picture("Uncertainty", SD, sd_surface(posterior, rows.x, y, **spread)),
        Picture("Ignorance", EPISTEMIC, epistemic_surface(posterior, rows.x, y, **spread)),
    ]


def _checks(rows: Rows, names: Names, *, by_band: bool) -> list[Picture]:
    """Predictions held against the truth; for real targets over one input a band shows it."""
    pred, y = rows.pred, rows.pred_y
    if pred.classes:
        return [
            Picture("Calibration", f"{CALIBRATION} The {rows.name}.", calibration(pred, y)),
            Picture("Confidence", f"{CONFIDENCE} The {rows.name}.", confidence(pred, y)),
        ]
    if by_band:
        return []
    ax = predicted_observed(pred, y, y_name=names.y)
    return [Picture("Predicted and observed", f"{OBSERVED} The {rows.name}.", ax)]
