"""What chains are judged by: predictions, named numbers, weights."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterity.densities import AbstractTarget
from posterity.likelihoods import AbstractClassLikelihood
from posterity.posterior import stream
from posterity.target import Target

MOST_DRAWS = 4_000  # of all chains together: longer runs are thinned evenly,
FEWEST_DRAWS = 250  # but not below this many per chain
MOST_NAMED = 1_000  # named numbers; of more, evenly spaced ones
MOST_WEIGHTS = 200  # elements of θ; of more, evenly spaced ones


class Quantities(NamedTuple):
    """Draws of named quantities: `values` has axes (chain, draw, quantity)."""

    labels: tuple[str, ...]
    values: np.ndarray


class Watched(NamedTuple):
    """What is watched of a target; None where it has no such thing.

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


def watch(
    target: AbstractTarget, theta: Any, x: np.ndarray | None, rows: np.ndarray | None = None
) -> Watched:
    """What the chains of a target are judged by.

    Args:
        target: of any model.
        theta: its draws (chain, draw, D); at most 4,000 of them all, or 250 per chain, are used.
        x: inputs (rows, ...); None where the model has none.
        rows: numbers for the rows of `x`, where it is a part of more; None for 0, 1, …
    """
    drawn = np.asarray(theta)
    chains, draws = drawn.shape[:2]
    step = -(-chains * draws // max(MOST_DRAWS, FEWEST_DRAWS * chains))
    kept = drawn[:, ::step]
    return Watched(
        None if x is None else _predictions(target, kept, x, rows),
        _named(target, kept),
        _weights(target, kept),
        step,
    )


def _predictions(
    target: AbstractTarget, theta: np.ndarray, x: np.ndarray, rows: np.ndarray | None
) -> Quantities:
    numbers = range(len(x)) if rows is None else rows
    of_net = cast(Target, target)  # no other target has inputs
    means = stream.means(of_net, jnp.asarray(theta), x)
    part = "class" if isinstance(of_net.likelihood, AbstractClassLikelihood) else "output"
    labels = []
    for row, *rest in np.ndindex(means.shape[1:]):
        labels.append(f"row {numbers[row]}" + "".join(f", {part} {at}" for at in rest))
    return Quantities(tuple(labels), means.reshape(*theta.shape[:2], -1))


def _named(target: AbstractTarget, theta: np.ndarray) -> Quantities | None:
    names = (*target.paths[target.net_leaves :], *target.derived)
    if not names:
        return None
    chains, draws, size = theta.shape
    found = _values(target, jnp.asarray(theta.reshape(-1, size)), names)
    labels, columns = [], []
    for name, value in zip(names, found):
        labels += _elements(name, value.shape[1:])
        columns.append(np.asarray(value, float).reshape(chains, draws, -1))
    values = np.concatenate(columns, axis=2)
    chosen = _even(len(labels), MOST_NAMED)
    return Quantities(tuple(labels[at] for at in chosen), values[..., chosen])


@eqx.filter_jit
def _values(target: AbstractTarget, theta: jax.Array, names: tuple[str, ...]) -> list[jax.Array]:
    def named(row: jax.Array) -> list[jax.Array]:
        values = target.values(row)
        return [values[name] for name in names]

    return jax.lax.map(named, theta, batch_size=32)


def _weights(target: AbstractTarget, theta: np.ndarray) -> Quantities | None:
    parameters = target.parameters[: target.net_leaves]
    if not parameters:
        return None
    chosen = _even(parameters[-1].stop, MOST_WEIGHTS)
    labels = []
    for parameter in parameters:
        inside = chosen[(chosen >= parameter.start) & (chosen < parameter.stop)] - parameter.start
        size = parameter.stop - parameter.start
        # A parameter of another size than its part of θ, such as a simplex, is counted through.
        shape = parameter.shape if int(np.prod(parameter.shape)) == size else (size,)
        labels += [_element(parameter.path, np.unravel_index(at, shape)) for at in inside]
    return Quantities(tuple(labels), theta[..., chosen])


def _elements(name: str, shape: tuple[int, ...]) -> list[str]:
    return [_element(name, index) for index in np.ndindex(shape)]


def _element(name: str, index: Any) -> str:
    return f"{name}[{', '.join(str(int(at)) for at in index)}]" if len(index) else name


def _even(total: int, most: int) -> np.ndarray:
    return np.linspace(0, total - 1, min(total, most)).round().astype(int)
