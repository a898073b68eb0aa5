"""Standardising columns: remembered with the model, undone on its answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from posterity.frames import read_frame


@dataclasses.dataclass(frozen=True, eq=False)
class Standardizer:
    """Columns moved to mean 0 and scaled to standard deviation 1.

        z = (x − loc) / scale

    Args:
        loc: mean of every column: (columns,), or () for one target.
        scale: standard deviation of every column, with denominator N; 1 where a column is constant.
        constant: numbers of the constant columns.
        columns: names of the columns of a data frame, by which others are put in order; None where
            they have none.

    >>> import numpy as np
    >>> standardizer = Standardizer.fit(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> standardizer.transform(np.array([[3.0, 5.0]])).tolist(), standardizer.constant
    ([[1.0, 0.0]], (1,))
    """

    loc: np.ndarray
    scale: np.ndarray
    constant: tuple[int, ...] = ()
    columns: tuple[str, ...] | None = None

    @classmethod
    def fit(cls, rows: Any) -> Standardizer:
        """Means and standard deviations of the training rows.

        Args:
            rows: finite numbers, (rows, columns) or (rows,).

        Raises:
            ValueError: no rows, another rank, or a value that is not finite.
        """
        frame = read_frame(rows, "rows")
        array = np.asarray(rows if frame is None else frame.array, np.float64)
        if array.ndim not in (1, 2) or array.shape[0] == 0:
            raise ValueError(
                f"rows: expected (rows, columns) or (rows,) with at least one row, got shape "
                f"{array.shape}."
            )
        if not np.isfinite(array).all():
            where = ", ".join(map(str, np.argwhere(~np.isfinite(array))[0]))
            raise ValueError(f"rows[{where}] is not finite; drop or impute such rows.")
        constant = array.min(0) == array.max(0)
        # Scaled before they are squared: columns in very large units do not overflow.
        loc = np.where(constant, array[0], array.mean(0))
        largest = np.where(constant, 1.0, np.abs(array - loc).max(0))
        scale = np.where(constant, 1.0, largest * np.sqrt((((array - loc) / largest) ** 2).mean(0)))
        names = frame.columns if frame else None
        return cls(loc, scale, tuple(np.flatnonzero(constant).tolist()), names)

    def transform(self, x: Any) -> np.ndarray:
        """`x` in standard units, an array; columns of a data frame go by their names.

        Raises:
            ValueError: a data frame has other columns than the training rows.
        """
        frame = read_frame(x, "x")
        given = x if frame is None else frame.arranged(self.columns, None, "the training rows")
        return (np.asarray(given, np.float64) - self.loc) / self.scale

    def inverse(self, z: Any) -> np.ndarray:
        """`z` back in original units."""
        return self.loc + self.scale * np.asarray(z, np.float64)

    def to_json(self) -> dict[str, Any]:
        """Plain data, from which `from_json` makes the same standardizer to the bit."""
        return {
            "loc": self.loc.tolist(),
            "scale": self.scale.tolist(),
            "constant": list(self.constant),
            "columns": None if self.columns is None else list(self.columns),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Standardizer:
        """The inverse of `to_json`.

        Raises:
            KeyError, ValueError: `data` describes no standardizer.
        """
        loc, scale = np.asarray(data["loc"], np.float64), np.asarray(data["scale"], np.float64)
        if loc.shape != scale.shape or not (np.isfinite(loc).all() and (scale > 0).all()):
            raise ValueError("standardizer: loc must be finite and scale positive, of one shape.")
        names = data.get("columns")
        columns = None if names is None else tuple(map(str, names))
        return cls(loc, scale, tuple(int(column) for column in data["constant"]), columns)
