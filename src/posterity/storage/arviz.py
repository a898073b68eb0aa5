"""Posteriors for ArviZ."""

from __future__ import annotations

from typing import Any

import numpy as np

from posterity.distributions.draws import AbstractDraws
from posterity.posterior import AbstractPosterior, Seed
from posterity.version import __version__

# What ArviZ calls the figures that samplers report (its schema's names of sample statistics).
STATS = {
    "log_joint": "lp",
    "acceptance_rate": "acceptance_rate",
    "divergent": "diverging",
    "depth": "tree_depth",
    "deepest": "reached_max_treedepth",
    "leapfrogs": "n_steps",
    "energy": "energy",
    "step_size": "step_size",
}


def to_arviz(posterior: AbstractPosterior, n: int | None, seed: Seed) -> Any:
    """`InferenceData` (ArviZ 0.x) or `DataTree` (1.x); see `Posterior.to_arviz`.

    Raises:
        ImportError: ArviZ is not installed.
    """
    try:
        import arviz
    except ImportError as error:
        raise ImportError('to_arviz needs ArviZ: pip install "posterity[arviz]".') from error
    target = posterior.target
    weights = posterior.named((*target.paths, *target.derived), draws=n, seed=seed)
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
    if isinstance(posterior.distribution, AbstractDraws):
        groups["sample_stats"] = _stats(posterior, next(iter(weights.values())).shape[:2])
    groups = {name: group for name, group in groups.items() if group}
    if int(arviz.__version__.split(".")[0]) >= 1:
        data = arviz.from_dict(groups, coords=coords, dims=dims)
    else:
        data = arviz.from_dict(**groups, coords=coords, dims=dims)
    for name in groups:
        data[name].attrs.update(_origin(posterior))
    return data


def _stats(posterior: AbstractPosterior, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Sample statistics of the kept draws: the last step of each draw's `thin`.

    But a draw counts as divergent, or as one of the longest path, if any of its steps was.
    """
    thin = int(posterior.settings.get("thin") or 1)
    deepest = posterior.settings.get("max_depth")
    fields = dict(posterior.history.fields)
    if "depth" in fields and deepest is not None:
        fields["deepest"] = fields["depth"] >= deepest
    stats: dict[str, np.ndarray] = {}
    for name, values in fields.items():
        if name not in STATS or values.shape != (shape[0], shape[1] * thin):
            continue
        steps = values.reshape(*shape, thin)
        stats[STATS[name]] = np.any(steps, axis=2) if values.dtype == bool else steps[..., -1]
    return stats


def _origin(posterior: AbstractPosterior) -> dict[str, Any]:
    """Where the draws come from, in ArviZ's names of attributes."""
    settings = posterior.settings
    found: dict[str, Any] = {
        "inference_library": "posterity",
        "inference_library_version": __version__,
        "inference_method": str(settings["method"]),
    }
    if isinstance(posterior.facts.get("seconds"), float):
        found["sampling_time"] = posterior.facts["seconds"]
    if isinstance(settings.get("warmup"), int):
        found["tuning_steps"] = settings["warmup"]
    return found
