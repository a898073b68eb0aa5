"""Whether a net computes each row by itself, tried on a few rows of the data."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from posterity.cpu.compile import quick_jit
from posterity.inputs import row_count, take
from posterity.nets.net import AbstractNet

ROWS = 4  # that the net is tried on
# Of the largest output: above what another order of summation changes in a deep net.
TOLERANCE = {2: 5e-2, 4: 1e-3, 8: 1e-7}
REMEDY = (
    "Rows are independent given the weights, for every method and for batches. Compute each row by "
    "itself: write the net for one row and map it with jax.vmap, use LayerNorm and not statistics "
    "of the batch, and standardise x before the fit."
)


def refuse_mixing(net: AbstractNet, template: Any, x: Any) -> None:
    """Refuse a net whose outputs for a row depend on other rows, or on where the row is.

    Its weights are random, as a head of zeros would hide what comes before it. Four rows are tried
    in reverse order, with all but the first replaced, and the first alone.

    Args:
        net: the net. template: its parameters as shapes and dtypes.
        x: some rows of the data, as the net gets them.

    Raises:
        ValueError: the net mixes rows, or gives outputs of another shape for one row.
    """
    if net.rowwise:
        return
    _refuse_lost_rows(net, template, x)
    x = _different(take(x, np.minimum(np.arange(ROWS), row_count(x) - 1)))
    for params in (_random(template), _started(net, template)):
        usual = _outputs(net, params, x)
        if np.isfinite(usual.astype(np.float64)).all():
            return _refuse_differences(net, params, x, usual)


def _refuse_differences(net: AbstractNet, params: Any, x: Any, usual: np.ndarray) -> None:
    rows = len(usual)
    limit = TOLERANCE[usual.dtype.itemsize] * float(np.abs(usual).max())
    backwards = _outputs(net, params, take(x, np.arange(rows)[::-1]))[::-1]
    replaced = _outputs(net, params, take(x, np.minimum(np.arange(rows), 1)))
    alone = _outputs(net, params, take(x, np.arange(1)))
    for what, found, expected in (
        ("in a batch whose other rows are replaced", replaced[:1], usual[:1]),
        ("in a batch in reverse order", backwards, usual),
        ("by itself, and not in a batch,", alone, usual[:1]),
    ):
        apart = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())
        if not apart <= limit:  # NaN, too
            raise ValueError(
                f"net: the outputs for a row change by {apart:.2g} when it is given {what} (with "
                f"random weights, outputs up to {np.abs(usual).max():.2g}). {REMEDY}"
            )


def _refuse_lost_rows(net: AbstractNet, template: Any, x: Any) -> None:
    """Refuse a net that does not take one row, or loses its axis."""
    shapes = [
        jax.tree.map(lambda leaf, n=n: jax.ShapeDtypeStruct((n, *leaf.shape[1:]), leaf.dtype), x)
        for n in (1, ROWS)
    ]
    try:
        one, several = (jax.eval_shape(net.apply, template, shape).shape for shape in shapes)
    except Exception as error:
        raise ValueError(
            f"net: it takes {ROWS} rows, but not one row alone ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}). {REMEDY}"
        ) from error
    if one != (1, *several[1:]):
        raise ValueError(
            f"net: for one row it gives outputs of shape {one}, and for {ROWS} rows of shape "
            f"{several}. The axis of rows must stay: in place of squeeze() name the axis, "
            "squeeze(-1)."
        )


def _random(template: Any) -> Any:
    """Parameters of a usual size, made on the host: nothing is compiled."""
    rng = np.random.default_rng(0)

    def made(leaf: Any) -> np.ndarray:
        wide = max(1.0, np.prod(leaf.shape) / max(leaf.shape, default=1))
        return np.asarray(rng.normal(size=leaf.shape) / wide**0.5, leaf.dtype)

    return jax.tree.map(made, template)


def _started(net: AbstractNet, template: Any) -> Any:
    """The net's own initial parameters with noise, for a net that is not finite elsewhere."""
    start = net.init(jax.random.key(0))
    return jax.tree.map(lambda own, noise: np.asarray(own) + 0.1 * noise, start, _random(template))


def _different(x: Any) -> Any:
    """Rows of which no two are alike: of a few that are, real numbers are moved."""
    rng = np.random.default_rng(1)

    def moved(leaf: np.ndarray) -> np.ndarray:
        alike = len(np.unique(leaf.reshape(len(leaf), -1), axis=0)) < len(leaf)
        if not alike or leaf.dtype.kind != "f":
            return leaf
        size = float(np.abs(leaf).mean()) or 1.0
        noise = np.concatenate([np.zeros((1, *leaf.shape[1:])), rng.normal(size=leaf[1:].shape)])
        return (leaf + size * noise).astype(leaf.dtype)

    return jax.tree.map(moved, x)


def _outputs(net: AbstractNet, params: Any, x: Any) -> np.ndarray:
    return np.asarray(_computed(net, params, x))


@quick_jit
def _computed(net: AbstractNet, params: Any, x: Any) -> jax.Array:
    return net.apply(params, x)
