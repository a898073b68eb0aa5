"""Posteriors for ArviZ."""

from __future__ import annotations

from typing import Any

import numpy as np

from posterity.posterior.distributions import Draws
from posterity.posterior.posterior import Posterior, Seed

# What ArviZ calls the figures that samplers report (its schema's names of sample statistics).
STATS = {
    "log_joint": "lp",
    "acceptance_rate": "acceptance_rate",
    "divergent": "diverging",
    "depth": "tree_depth",
    "leapfrogs": "n_steps",
    "energy": "energy",
    "step_size": "step_size",
}


def to_arviz(posterior: Posterior, n: int, seed: Seed) -> Any:
    """`InferenceData` (ArviZ 0.x) or `DataTree` (1.x); see `Posterior.to_arviz`.

    Raises:
        ImportError: ArviZ is not installed.
    """
    try:
        import arviz
    except ImportError as error:
        raise ImportError('to_arviz needs ArviZ: pip install "posterity[arviz]".') from error
    weights = {path: posterior.weights(path, n=n, seed=seed) for path in posterior.target.paths}
    dims = {
        path: [f"{path}_dim_{axis}" for axis in range(values.ndim - 2)]
        for path, values in weights.items()
    }
    coords = {
        name: np.arange(length)
        for path, values in weights.items()
        for name, length in zip(dims[path], values.shape[2:])
    }
    groups: dict[str, Any] = {"posterior": weights}
    if isinstance(posterior.distribution, Draws):
        groups["sample_stats"] = _stats(posterior, next(iter(weights.values())).shape[:2])
    groups = {name: group for name, group in groups.items() if group}
    if int(arviz.__version__.split(".")[0]) >= 1:
        return arviz.from_dict(groups, coords=coords, dims=dims)
    return arviz.from_dict(**groups, coords=coords, dims=dims)


def _stats(posterior: Posterior, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Sample statistics of the kept draws: the last step of each draw's `thin`."""
    thin = int(posterior.settings.get("thin", 1))
    stats = {}
    for name, values in posterior.history.fields.items():
        kept = values[..., thin - 1 :: thin] if values.ndim == 2 else values
        if name in STATS and kept.shape == shape:
            stats[STATS[name]] = kept
    return stats
