"""What chains are judged by: predictions, named numbers, weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.cpu.compile import quick_jit
from posterity.distributions.draws import Draws
from posterity.inputs import on_device, row_count
from posterity.model.net_target import Target
from posterity.model.target import AbstractTarget
from posterity.predict import stream

MOST_DRAWS = 4_000  # of all chains together: longer runs are thinned evenly,
FEWEST_DRAWS = 250  # but not below this many per chain
AT_ONCE = 2**24  # bytes of draws that are looked at together
MOST_NAMED = 1_000  # named numbers; of more, evenly spaced ones
MOST_NOISE = 64  # draws per chain at which the variance of y is looked at
MOST_WEIGHTS = 200  # elements of θ; of more, evenly spaced ones


class Quantities(NamedTuple):
    """Draws of named quantities: `values` has axes (chain, draw, quantity)."""

    labels: tuple[str, ...]
    values: np.ndarray


class Monitored(NamedTuple):
    """What is monitored of a target; None where it has no such thing.

    Attributes:
        predictions: E[y | x, θ] at inputs x, which means the same in all modes of a network.
        named: what has a name and a meaning of its own: unknowns of the likelihood,
            hyperparameters, the sites of a program.
        weights: elements of θ, which are label-symmetric in a network.
        step: every how many-th draw of a chain was looked at.
    """

    predictions: Quantities | None
    named: Quantities | None
    weights: Quantities | None
    step: int


def monitor(
    target: AbstractTarget, draws: Draws, x: Any, rows: np.ndarray | None = None
) -> Monitored:
    """What the chains of a target are judged by.

    Args:
        target: of any model.
        draws: of it; at most 4,000 of them all, or 250 per chain, are used.
        x: inputs (rows, ...); None where the model has none.
        rows: numbers for the rows of `x`, where it is a part of more; None for 0, 1, …
    """
    chains, count = draws.shape[:2]
    step = -(-chains * count // max(MOST_DRAWS, FEWEST_DRAWS * chains))
    numbers = np.arange(count)[::step] + count * np.arange(chains)[:, None]
    # Whole thirty-twos, of which predictions are made.
    length = max(1, AT_ONCE // (32 * 4 * target.size)) * 32
    seen = [
        _look(target, draws.rows(some), x)
        for some in np.split(numbers.ravel(), range(length, numbers.size, length))
    ]
    predicted, named, weights = (
        None if parts[0] is None else np.concatenate(parts).reshape(*numbers.shape, -1)
        for parts in zip(*seen)
    )
    return Monitored(
        _quantities(lambda: _prediction_labels(target, x, rows), predicted),
        _quantities(lambda: _named_labels(target), named),
        _quantities(lambda: _weight_labels(target), weights),
        step,
    )


def noise(target: Target, draws: Draws, x: Any) -> np.ndarray:
    """Means over draws of Var[y | x, θ] by chain, (chain, prediction); of some draws of each."""
    chains, count = draws.shape[:2]
    most = max(1, min(MOST_NOISE, AT_ONCE // (chains * 4 * target.size)))
    numbers = _even(count, most) + count * np.arange(chains)[:, None]
    theta = jnp.asarray(draws.rows(numbers.ravel()))
    found = stream.variances(target, theta, x).astype(float)
    return found.reshape(*numbers.shape, -1).mean(1)


def _quantities(labels: Callable[[], list[str]], values: np.ndarray | None) -> Quantities | None:
    return None if values is None else Quantities(tuple(labels()), values)


def _look(target: AbstractTarget, theta: np.ndarray, x: Any) -> tuple[Any, Any, Any]:
    """Predictions, named numbers and weights of draws (n, D), each with the draws as first axis."""
    count, at = len(theta), _chosen_weights(target)
    means = None
    if x is not None:  # no other target than a net's has inputs
        means = stream.means(cast(Target, target), jnp.asarray(theta), x).reshape(count, -1)
    values = None
    if names := target.named:
        found = _named_quickly(target, jnp.asarray(theta), names)
        joined = np.concatenate([np.asarray(v, float).reshape(count, -1) for v in found], axis=1)
        values = joined[:, _even(joined.shape[1], MOST_NAMED)]
    return means, values, theta[:, at] if at.size else None


def _prediction_labels(target: AbstractTarget, x: Any, rows: np.ndarray | None) -> list[str]:
    of_net = cast(Target, target)
    theta = jax.ShapeDtypeStruct((1, target.size), target.dtype)
    shape = eqx.filter_eval_shape(stream.mean_of_each, of_net, theta, on_device(x)).shape[1:]
    numbers = range(row_count(x)) if rows is None else rows
    part = "class" if of_net.likelihood.classes else "output"
    return [
        f"row {numbers[row]}" + "".join(f", {part} {at}" for at in rest)
        for row, *rest in np.ndindex(shape)
    ]


def _named_labels(target: AbstractTarget) -> list[str]:
    names = target.named
    theta = jax.ShapeDtypeStruct((1, target.size), target.dtype)
    shapes = eqx.filter_eval_shape(_named, target, theta, names)
    labels = [label for n, v in zip(names, shapes) for label in _elements(n, v.shape[1:])]
    return [labels[at] for at in _even(len(labels), MOST_NAMED)]


def _named(target: AbstractTarget, theta: jax.Array, names: tuple[str, ...]) -> list[jax.Array]:
    def of_one(row: jax.Array) -> list[jax.Array]:
        values = target.values(row)
        return [values[name] for name in names]

    return jax.lax.map(of_one, theta, batch_size=32)


_named_quickly = quick_jit(_named)


def _chosen_weights(target: AbstractTarget) -> np.ndarray:
    """Which elements of θ, of a net's weights, are looked at."""
    parameters = target.parameters[: target.net_leaves]
    return _even(parameters[-1].stop, MOST_WEIGHTS) if parameters else np.zeros(0, int)


def _weight_labels(target: AbstractTarget) -> list[str]:
    chosen, labels = _chosen_weights(target), []
    for parameter in target.parameters[: target.net_leaves]:
        inside = chosen[(chosen >= parameter.start) & (chosen < parameter.stop)] - parameter.start
        size = parameter.stop - parameter.start
        # A parameter of another size than its part of θ, such as a simplex, is counted through.
        shape = parameter.shape if int(np.prod(parameter.shape)) == size else (size,)
        labels += [_element(parameter.path, np.unravel_index(at, shape)) for at in inside]
    return labels


def _elements(name: str, shape: tuple[int, ...]) -> list[str]:
    return [_element(name, index) for index in np.ndindex(shape)]


def _element(name: str, index: Any) -> str:
    return f"{name}[{', '.join(str(int(at)) for at in index)}]" if len(index) else name


def _even(total: int, most: int) -> np.ndarray:
    return np.linspace(0, total - 1, min(total, most)).round().astype(int)
