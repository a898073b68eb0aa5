"""What the units of data do to a fit: digits that single precision loses, and scales far from 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from posterity.dtypes import float_dtype
from posterity.inputs import Given, InputSpec

SAMPLE = 10_000  # rows of which means and sds are taken
WHOLE = 2.0**24  # up to which float32 holds every whole number
EPS = 2.0**-24  # half the relative distance of neighbours in float32
RESOLVED = 1e-3  # of a column's sd: distances below it are not missed
LARGE = 30.0  # root mean square from which on a column is far from standard units
NARROW = 0.05  # range below which it is
APART = 20.0  # mean, in sds, from which on it is
SHOWN = 5  # columns in a sentence


class Column(NamedTuple):
    """One column of numbers, what messages call it, and the array (rows, …) that it is of."""

    name: str
    values: np.ndarray
    array: str = "x"
    axes: int = 2

    @property
    def remedy(self) -> str:
        """What to write to standardise its array."""
        if self.axes > 2:
            return f"({self.array} - np.mean({self.array})) / np.std({self.array})"
        return f"po.data.Standardizer.fit({self.array}).transform({self.array})"


def notes(x: Given, inputs: InputSpec, y: np.ndarray, y_columns: Any, *, real: bool) -> list[str]:
    """Sentences about columns that float32 cannot tell apart, or far from standard units.

    Args:
        x: the inputs as they were given. inputs: their description; what a net indexes with is
            left out.
        y: targets as they were given. y_columns: their names. real: whether they are real numbers.
    """
    columns = list(_columns(x, inputs))
    targets = list(_named(y, "y", y_columns)) if real else []
    both = [*columns, *targets]
    lost = [(said, column) for column in both if (said := lost_digits(column))]
    far = [(said, column) for column in both if (said := far_units(column))]
    found = [_said(lost)] if lost else []
    if far:
        found.append(
            f"Far from standard units: {_joined(far)}. Priors and step sizes mean numbers of mean "
            f"0 and sd 1: standardise, {_remedies(far)}, or choose priors for these units."
        )
    return found


def notes_of_arguments(data: Any) -> list[str]:
    """The sentence about a program's real arrays that float32 cannot tell apart.

    Args:
        data: a tuple or dictionary of arguments, as it was given and found right.
    """
    named = data.items() if isinstance(data, dict) else enumerate(data)
    lost = []
    for key, value in named:
        array = None if isinstance(value, (dict, str)) else np.asarray(value)
        if array is not None and array.dtype.kind == "f" and array.size > 1:
            name = f"data[{key!r}]"
            column = Column(name, array.reshape(-1), name, array.ndim)
            lost += [(said, column)] if (said := lost_digits(column)) else []
    return [_said(lost)] if lost else []


def _said(lost: list[tuple[str, Column]]) -> str:
    return (
        f"Single precision loses digits of the data: {_joined(lost)}. Standardise in NumPy's "
        f"double precision before the fit, {_remedies(lost)}, or compute in double precision: "
        'jax.config.update("jax_enable_x64", True) before anything else.'
    )


def _remedies(found: list[tuple[str, Column]]) -> str:
    return " and ".join(dict.fromkeys(column.remedy for _, column in found))


def lost_digits(column: Column) -> str:
    """What float32 loses of a column, in words; empty where that does not matter.

    A column of whole numbers should keep every one of them apart. Of real numbers half of the
    distinct values should be kept, and a thousandth of the sd be resolved.
    """
    values = column.values
    if float_dtype() is np.float64:
        return ""
    some = _sample(values)
    mean, sd = float(some.mean()), float(some.std())
    largest = float(np.abs(some).max())
    resolution = EPS * 2 * largest
    if sd > 0 and resolution > RESOLVED * sd:
        return (
            f"{column.name} (mean {mean:.6g}, sd {sd:.3g}) is resolved to {resolution:.2g}, "
            f"{resolution / sd:.2g} of its sd"
        )
    if values.dtype.itemsize < 8:
        return ""
    largest = float(np.abs(values).max())
    whole = largest > WHOLE and bool((values == np.floor(values)).all())
    dense = EPS * largest * len(values) > float(np.ptp(values)) > 0
    if not (whole or dense):
        return ""
    kept, there = len(np.unique(values.astype(np.float32))), len(np.unique(values))
    if kept < (there if whole else there / 2):
        return f"{column.name} has {there:,} distinct values, of which {kept:,} are kept"
    return ""


def far_units(column: Column) -> str:
    """Mean and sd of a column far from standard units, in words; empty where it is not."""
    some = _sample(column.values)
    mean, sd = float(some.mean()), float(some.std())
    if sd == 0:
        return "" if abs(mean) < LARGE else f"{column.name} (always {mean:.4g})"
    narrow = float(np.ptp(some)) < NARROW or abs(mean) > APART * sd
    if np.hypot(mean, sd) < LARGE and not narrow:
        return ""
    return f"{column.name} (mean {mean:.4g}, sd {sd:.3g})"


def _columns(x: Given, inputs: InputSpec) -> Iterator[Column]:
    """Every column of every array that the net computes with; an image's pixels are one."""
    for number, (array, leaf) in enumerate(zip(x.arrays, inputs.leaves)):
        if leaf.dtype == "float":
            yield from _named(array, inputs.label(number, x.name), leaf.columns)


def _named(array: np.ndarray, name: str, columns: Sequence[str] | None) -> Iterator[Column]:
    array = array if array.dtype.kind in "iuf" else array.astype(np.float64)
    if array.ndim != 2:
        some = array if array.ndim < 2 else array[_few(array)]
        yield Column(name, some.reshape(-1), name, array.ndim)
        return
    for number, values in enumerate(array.T):
        each = f"{name}[{columns[number]!r}]" if columns else f"{name}[:, {number}]"
        yield Column(each, values, name)


def _few(array: np.ndarray) -> np.ndarray:
    """Rows of which a million numbers are taken at most."""
    most = max(1, 10**6 // max(1, array[0].size))
    return np.linspace(0, len(array) - 1, min(most, len(array))).astype(int)


def _sample(values: np.ndarray) -> np.ndarray:
    """Evenly spaced values in double precision."""
    rows = np.linspace(0, len(values) - 1, min(SAMPLE, len(values))).astype(int)
    return values[rows].astype(np.float64)


def _joined(found: list[tuple[str, Column]]) -> str:
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(said for said, _ in found[:SHOWN]) + more
