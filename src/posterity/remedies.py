"""What to write instead: remedies in messages, in code that runs for the kind of object given.

Of pandas' frames and series the index is kept, as x and y may be joined by it.
"""

from __future__ import annotations

import datetime
import decimal
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

DAYS = 'np.timedelta64(1, "D")'


def array_of(given: Any, name: str) -> str:
    """How one writes the array of an object, to index it as an array."""
    return name if isinstance(given, np.ndarray) or _is_jax(given) else f"np.asarray({name})"


def rows_of(given: Any, name: str, axes: int) -> str:
    """What to write for inputs that have no axis of rows, or none of columns."""
    if axes == 0:
        return f"For one number use np.reshape({name}, (1, 1))."
    array = array_of(given, name)
    column = f"{name}.to_frame()" if hasattr(given, "to_frame") else f"{array}[:, None]"
    return f"For one input column use {column}; for one row use {array}[None]."


def row_by_row(parts: Iterable[Any], label: str, name: str, structure: str) -> str:
    """What to write for a number among the arrays of a tuple or a dictionary."""
    lengths = [len(part) for part in parts if getattr(part, "ndim", 1) and hasattr(part, "__len__")]
    if lengths:
        return f"For one value of all rows use np.full({lengths[0]}, {label})."
    if structure == "tuple":
        return (
            f"A tuple is several arrays; for one row use np.asarray({name})[None], for one input "
            f"column np.asarray({name})[:, None]."
        )
    return f"For a single row use np.full(1, {label})."


def column_of(given: Any, name: str) -> str:
    """What to write for one column where an axis less is wanted."""
    return f"Use {name}.iloc[:, 0]." if _is_pandas(given) else f"Use {array_of(given, name)}[:, 0]."


def classes_of(given: Any, name: str) -> str:
    """What to write for one-hot rows."""
    if _is_pandas(given):
        return f"For one-hot rows use {name}.apply(np.argmax, axis=1)."
    return f"For one-hot rows use {array_of(given, name)}.argmax(1)."


def unconvertible(given: Any, name: str, error: Exception) -> str:
    """Why an object cannot be made an array, and what to write."""
    if hasattr(given, "detach"):  # PyTorch: on another device, with a gradient, or in bfloat16
        wide = ".float()" if "bfloat16" in str(getattr(given, "dtype", "")) else ""
        return f"it cannot be made an array ({error}); use {name}.detach().cpu(){wide}.numpy()."
    said = "rows must have one length"
    if isinstance(given, (list, tuple)) and all(hasattr(row, "__len__") for row in given):
        lengths = [len(row) for row in given]
        odd = next((n for n, length in enumerate(lengths) if length != lengths[0]), None)
        if odd is not None:
            said += f", but {name}[{odd}] has {lengths[odd]} entries and {name}[0] {lengths[0]}"
    return f"it cannot be made an array ({error}); {said}."


def of_dtype(given: Any, array: np.ndarray, name: str) -> str:
    """What to write for an array of values that are no real numbers."""
    kind = array.dtype.kind
    if kind in "Mm":
        remedy = _days if kind == "M" else _durations
        return remedy(name, _like(given, name, array.ndim))
    if kind == "c":
        parts = f"[np.real({name}), np.imag({name})]"
        joined = f"np.stack({parts}, -1)" if array.ndim == 1 else f"np.concatenate({parts}, 1)"
        joined = f"pd.DataFrame({joined}, {name}.index)" if _is_pandas(given) else joined
        return f"for real and imaginary parts use {joined}"
    if array.dtype.names:
        return (
            "use numpy.lib.recfunctions.structured_to_unstructured"
            f"({name}), after import numpy.lib.recfunctions"
        )
    return "make it numbers"


def of_value(given: Any, array: np.ndarray, index: tuple[int, ...], name: str) -> str:
    """What to write where an entry of an array of objects or of texts is no number."""
    value = array[index]
    if not index:
        return _of_object(given, name)
    if _is_missing(value):
        return "drop or impute missing values"
    if isinstance(value, (datetime.date, np.datetime64)):
        return _in_column(given, index, name, _days)
    if isinstance(value, (datetime.timedelta, np.timedelta64)):
        return _in_column(given, index, name, _durations)
    if isinstance(value, (numbers.Real, decimal.Decimal)):
        return _as_floats(given, name)
    if isinstance(value, (str, bytes)):
        return _of_text(given, array, index, name)
    if hasattr(value, "__len__") and array.ndim == 1:
        if _is_pandas(given):
            return f"for rows of one length use pd.DataFrame({name}.tolist(), {name}.index)"
        return f"for rows of one length use np.stack({array_of(given, name)})"
    return "make it a number"


def _of_object(given: Any, name: str) -> str:
    """What to write for an object that NumPy takes for one value."""
    if hasattr(given, "toarray"):  # SciPy's sparse matrices
        return f"a sparse matrix is made an array by {name}.toarray()"
    if hasattr(given, "todense"):
        return f"a sparse array is made dense by {name}.todense()"
    if hasattr(given, "collect"):  # a lazy frame of polars
        return f"a lazy frame is read by {name}.collect()"
    if hasattr(given, "__iter__") and not isinstance(given, (str, bytes)):
        return f"give an array, such as np.asarray(list({name}))"
    return "give an array of numbers"


def _of_text(given: Any, array: np.ndarray, index: tuple[int, ...], name: str) -> str:
    """Texts that spell numbers are converted; others are categories."""
    try:
        array.astype(np.float64)
    except (TypeError, ValueError):
        pass
    else:
        return _as_floats(given, name)
    beside = array if array.ndim == 1 else array[:, index[1]]
    if not all(isinstance(entry, (str, bytes)) for entry in beside.ravel()):
        return "correct it, or drop the row"
    if array.ndim > 2:
        return "encode categories as numbers"
    if hasattr(given, "get_column"):  # polars
        return f"encode categories, as by {name}.to_dummies({list(given.columns)[index[1]]!r})"
    if _is_pandas(given):
        if array.ndim == 2:
            return f"encode categories, as by pd.get_dummies({name}, dtype=float)"
        return f"number categories, as by {name}.astype('category').cat.codes"
    own = array_of(given, name)
    if array.ndim == 2:
        at = index[1]
        return f"encode categories, as by np.float64({own}[:, [{at}]] == np.unique({own}[:, {at}]))"
    return f"number categories, as by np.unique({own}, return_inverse=True)[1]"


def _in_column(given: Any, index: tuple[int, ...], name: str, remedy: Any) -> str:
    """A remedy for the column of a frame, or for a whole array."""
    columns = getattr(given, "columns", None)
    if columns is None or len(index) != 2:
        return str(remedy(name, _like(given, name, len(index))))
    return str(remedy(f"{name}[{list(columns)[index[1]]!r}]"))


def _days(name: str, like: tuple[str, str] = ("", "")) -> str:
    days = f'(np.asarray({name}, "datetime64[s]") - np.datetime64("2000-01-01")) / {DAYS}'
    return f"for days since 2000 use {like[0]}{days}{like[1]}"


def _durations(name: str, like: tuple[str, str] = ("", "")) -> str:
    days = f'np.asarray({name}, "timedelta64[s]") / {DAYS}'
    return f"for days use {like[0]}{days}{like[1]}"


def _like(given: Any, name: str, axes: int) -> tuple[str, str]:
    """What to write around an array, so that it has the index of a frame or of a series."""
    if not _is_pandas(given):
        return "", ""
    if axes == 1:
        return "pd.Series(", f", {name}.index)"
    return "pd.DataFrame(", f", {name}.index, {name}.columns)"


def _as_floats(given: Any, name: str) -> str:
    array = f"{name}.astype(float)" if _is_pandas(given) else f"np.asarray({name}, float)"
    return f"use {array}"


def _is_missing(value: Any) -> bool:
    """None, NaN, NaT, and pandas' NA, which answers no comparison."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def _is_pandas(given: Any) -> bool:
    """Whether an object has an index, as pandas' frames and series."""
    return hasattr(given, "iloc")


def _is_jax(given: Any) -> bool:
    return type(given).__module__.partition(".")[0] in ("jax", "jaxlib")
