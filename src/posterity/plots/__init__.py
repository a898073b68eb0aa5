"""Figures of data, predictions, runs and weights; needs ``pip install "posterity[plots]"``.

Every function draws into the Axes given as `ax`, or into a new figure of its own, and returns the
Axes; ``ax.figure.savefig("name.png")`` writes it. No global state of matplotlib is touched.
"""

from posterity.plots.bands import band
from posterity.plots.by_layer import layers
from posterity.plots.histories import elbo, history
from posterity.plots.image_grids import held_out
from posterity.plots.mixing import autocorrelation, energy, ranks, traces
from posterity.plots.observed import calibration, confidence, predicted_observed
from posterity.plots.parameters import density, trace, weights
from posterity.plots.scatter import data
from posterity.plots.surfaces import epistemic_surface, probability_surface, sd_surface

__all__ = [
    "autocorrelation",
    "band",
    "calibration",
    "confidence",
    "data",
    "density",
    "elbo",
    "energy",
    "epistemic_surface",
    "held_out",
    "history",
    "layers",
    "predicted_observed",
    "probability_surface",
    "ranks",
    "sd_surface",
    "trace",
    "traces",
    "weights",
]
