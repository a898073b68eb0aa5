"""Columns of x that a prior reads: where they lie, and rows without them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

Places = tuple[int, ...]


def positions(
    columns: tuple[int | str, ...],
    x_shape: tuple[int, ...],
    names: tuple[str, ...] | None = None,
) -> tuple[Places, tuple[int, ...]]:
    """Where the columns lie in a row, and the shape of a row without them.

    Args:
        columns: positions (from the end where negative) or names. x_shape: of a row.
        names: of the columns of x, where they have any.

    Raises:
        ValueError: there is no such column, one is named twice, or rows are no vectors.
    """
    if not columns:
        return (), x_shape
    if len(x_shape) != 1:
        raise ValueError(
            f"prior: it reads columns {_listed(columns)} of x, but a row of x has shape {x_shape}. "
            "Give x as one table, shape (rows, columns)."
        )
    places = tuple(_place(column, x_shape[0], names) for column in columns)
    if len(set(places)) < len(places):
        raise ValueError(f"prior: it reads a column of x twice: {_listed(columns)}.")
    return places, (x_shape[0] - len(places),)


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


def separate(x: jax.Array, places: Places) -> tuple[jax.Array, jax.Array]:
    """The columns that the prior reads (rows, count), and what the net sees of x."""
    rest = tuple(place for place in range(x.shape[1]) if place not in places)
    return x[:, jnp.array(places)], x[:, jnp.array(rest, int)]


def _listed(columns: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, columns))
