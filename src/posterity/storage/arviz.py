"""Posteriors for ArviZ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from posterity.diagnostics.history import History
from posterity.distributions.distribution import AbstractDistribution
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


def to_arviz(
    values: Mapping[str, np.ndarray],
    distribution: AbstractDistribution,
    history: History,
    settings: Mapping[str, Any],
    facts: Mapping[str, Any],
    axes: Mapping[tuple[str, int], Sequence[str]],
    names: Mapping[str, Sequence[str]],
) -> Any:
    """`InferenceData` (ArviZ 0.x) or `DataTree` (1.x); see `Posterior.to_arviz`.

    Args:
        values: path → draws (chain, draw, *shape) of each named quantity.
        distribution, history, settings, facts: of the posterior.
        axes: path and axis of a quantity → the names along it, where it has any.
        names: what else has names: attributes of the groups.

    Raises:
        ImportError: ArviZ is not installed.
    """
    try:
        import arviz
    except ImportError as error:
        raise ImportError('to_arviz needs ArviZ: pip install "posterity[arviz]".') from error
    dims = {
        path: [f"{path}_dim_{axis}" for axis in range(draws.ndim - 2)]
        for path, draws in values.items()
    }
    coords = {
        name: np.asarray(axes.get((path, axis), np.arange(length)))
        for path, draws in values.items()
        for axis, (name, length) in enumerate(zip(dims[path], draws.shape[2:]))
    }
    groups: dict[str, Any] = {"posterior": dict(values)}
    if distribution.stored is not None:
        shape = next(iter(values.values())).shape[:2]
        groups["sample_stats"] = _stats(history, settings, shape)
    groups = {name: group for name, group in groups.items() if group}
    if int(arviz.__version__.split(".")[0]) >= 1:
        data = arviz.from_dict(groups, coords=coords, dims=dims)
    else:
        data = arviz.from_dict(**groups, coords=coords, dims=dims)
    for name in groups:
        listed = {what: list(given) for what, given in names.items()}
        data[name].attrs.update({**_origin({**settings, **facts}), **listed})
    return data


def _stats(
    history: History, settings: Mapping[str, Any], shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Sample statistics of the kept draws: the last step of each draw's `thin`.

    But a draw counts as divergent, or as one of the longest path, if any of its steps was.
    """
    thin = int(settings.get("thin") or 1)
    deepest = settings.get("max_depth")
    fields = dict(history.fields)
    if "depth" in fields and deepest is not None:
        fields["deepest"] = fields["depth"] >= deepest
    stats: dict[str, np.ndarray] = {}
    for name, values in fields.items():
        if name not in STATS or values.shape != (shape[0], shape[1] * thin):
            continue
        steps = values.reshape(*shape, thin)
        stats[STATS[name]] = np.any(steps, axis=2) if values.dtype == bool else steps[..., -1]
    return stats


def _origin(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where the draws come from, in ArviZ's names of attributes."""
    found: dict[str, Any] = {
        "inference_library": "posterity",
        "inference_library_version": __version__,
        "inference_method": str(settings["method"]),
    }
    if isinstance(settings.get("seconds"), float):
        found["sampling_time"] = settings["seconds"]
    if isinstance(settings.get("warmup"), int):
        found["tuning_steps"] = settings["warmup"]
    return found
