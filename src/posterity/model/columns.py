"""Columns of x that a prior reads: where they lie, and rows without them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from posterity.inputs import InputSpec, Leaf

Places = tuple[int, ...]


def positions(columns: tuple[int | str, ...], inputs: InputSpec) -> tuple[Places, InputSpec]:
    """Where the columns lie in a row, and the description of a row without them.

    Args:
        columns: positions (from the end where negative) or names. inputs: of a row.

    Raises:
        ValueError: there is no such column, one is named twice, or rows are no vectors.
    """
    if not columns:
        return (), inputs
    shape = inputs.leaves[0].shape
    if inputs.structure != "array" or len(shape) != 1:
        raise ValueError(
            f"prior: it reads columns {_listed(columns)} of x, but a row of x has shape {inputs}. "
            "Give x as one table, shape (rows, columns)."
        )
    names = inputs.columns
    places = tuple(_place(column, shape[0], names) for column in columns)
    if len(set(places)) < len(places):
        raise ValueError(f"prior: it reads a column of x twice: {_listed(columns)}.")
    rest = [place for place in range(shape[0]) if place not in places]
    left = None if names is None else tuple(names[place] for place in rest)
    return places, InputSpec((Leaf("", (len(rest),), "float", left),))


def _place(column: int | str, width: int, names: tuple[str, ...] | None) -> int:
    if isinstance(column, str):
        if names is None:
            raise ValueError(
                f"prior: it reads the column {column!r} of x, whose columns have no names. Give x "
                "as a data frame, or give the prior the column's position."
            )
        if column not in names:
            raise ValueError(
                f"prior: it reads the column {column!r}, which x does not have; its columns are "
                f"{', '.join(map(repr, names))}."
            )
        return names.index(column)
    if not -width <= column < width:
        raise ValueError(
            f"prior: it reads column {column} of x, which has {width} columns: 0 to {width - 1}."
        )
    return column % width


def refuse_other_names(
    inputs: InputSpec | None,
    targets: tuple[str, ...] | None,
    described: InputSpec,
    y_columns: tuple[str, ...] | None,
) -> None:
    """Refuse data whose columns are not those that a posterior, now a prior, was fitted to.

    Its weights belong to columns by their order.

    Args:
        inputs, targets: of the posterior's fit; None where they are not known. described,
            y_columns: of the data.

    Raises:
        ValueError: names differ, or come in another order; the remedy puts them in order.
    """
    pairs = [("y", targets, y_columns)]
    if inputs is not None and inputs.alike(described):
        pairs += [
            (described.label(number), old.columns, new.columns)
            for number, (old, new) in enumerate(zip(inputs.leaves, described.leaves))
        ]
    for name, old, new in pairs:
        if old and new and old != new:
            raise ValueError(
                f"prior: it is a posterior of columns {_listed(old)} of {name}, in this order, and "
                f"the data have {_listed(new)}. Give {name}[{list(old)!r}], or learn from the data "
                "by posterior.update, which goes by names."
            )


def separate(x: jax.Array, places: Places) -> tuple[jax.Array, jax.Array]:
    """The columns that the prior reads (rows, count), and what the net sees of x."""
    rest = tuple(place for place in range(x.shape[1]) if place not in places)
    return x[:, jnp.array(places)], x[:, jnp.array(rest, int)]


def _listed(columns: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, columns))
