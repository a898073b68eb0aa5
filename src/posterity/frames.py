"""Data frames: their numbers, the names of their columns and the labels of their rows."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from posterity import remedies

if TYPE_CHECKING:
    from narwhals import Series

PLAIN = (np.ndarray, jax.Array, list, tuple, dict, set, str, bytes, int, float, complex)
SHOWN = 10  # names in a message
SHORT = 80  # letters of a value in it


class Frame(NamedTuple):
    """A data frame or a series of pandas, polars, Arrow or another library that narwhals knows.

    An array of xarray's with labels is one, too.

    Attributes:
        array: its numbers, (rows, columns) or of a series (rows,).
        columns: the names of its columns; None of a series.
        labels: the labels of its rows: pandas' index; None where the library has none.
        name: what messages call it.
    """

    array: np.ndarray
    columns: tuple[str, ...] | None
    labels: Any
    name: str

    def arranged(self, columns: tuple[str, ...] | None, labels: Any, other: str) -> np.ndarray:
        """The numbers with columns in the order of `columns`, and rows in that of `labels`.

        Args:
            columns, labels: None where there are none. other: what messages call their owner.

        Raises:
            ValueError: other names or labels.
        """
        array = self.array
        order = row_order(self.labels, labels, self.name, other)
        if order is not None:
            array = array[order]
        own = self.columns if array.ndim > 1 else None
        return in_order(array, own, columns, self.name)


def read_frame(given: Any, name: str) -> Frame | None:
    """A data frame or series as numbers; None of anything else.

    Args:
        given: whatever a user gave. name: what messages call it.

    Raises:
        TypeError: columns that hold no numbers; all of them are named, with what to do.
        ValueError: two columns have one name, or the frame has not been computed yet.
    """
    if isinstance(given, PLAIN) or given is None:
        return None
    if hasattr(given, "dims") and hasattr(given, "indexes"):
        return _labelled(given, name)
    import narwhals as nw  # 40 ms, which plain arrays are spared

    if not hasattr(given, "collect"):  # a lazy frame computes its names
        given = _with_names(given, name)
    frame = nw.from_native(given, pass_through=True, allow_series=True)
    if isinstance(frame, nw.LazyFrame):
        raise TypeError(f"{name}: a lazy frame is read by {name}.collect().")
    labels = getattr(given, "index", None)
    labels = None if callable(labels) else labels
    if isinstance(frame, nw.Series):
        return Frame(_numbers(given, [frame], name, [name])[0], None, labels, name)
    if not isinstance(frame, nw.DataFrame):
        return None
    columns = tuple(frame.columns)
    parts = _numbers(given, [frame[column] for column in columns], name, columns)
    array = np.column_stack(parts) if parts else np.empty((len(frame), 0))
    return Frame(array, columns, labels, name)


def _labelled(given: Any, name: str) -> Frame | None:
    """An array of xarray's whose axes have labels, as a frame; None of anything else."""
    axes = [given.indexes.get(dim) for dim in given.dims]
    array = np.asarray(given)
    if (
        array.ndim != len(axes)
        or array.dtype.kind not in "fiub"
        or not any(index is not None for index in axes[:2])
    ):
        return None
    columns = None if len(axes) != 2 or axes[1] is None else tuple(map(str, axes[1]))
    if columns and len(set(columns)) < len(columns):
        raise ValueError(f"{name}: several of its columns have one name; give {name}.to_numpy().")
    return Frame(array, columns, axes[0], name)


def joined(given: Any, labels: Any, columns: tuple[str, ...] | None = None) -> Any:
    """Targets in the order of the rows that `labels` are of, and of `columns`.

    Args:
        given: a data frame, a series, or anything else, which is returned as it is.
        labels, columns: as `Frame.arranged`.

    Raises:
        ValueError: other names or labels.
    """
    frame = read_frame(given, "y")
    return given if frame is None else frame.arranged(columns, labels, "x")


def default_names(columns: Sequence[str]) -> bool:
    """Whether columns are called 0, 1, 2, … in this order, as pandas does where nobody names them.

    >>> default_names(("0", "1")), default_names(("1", "0"))
    (True, False)
    """
    return tuple(columns) == tuple(map(str, range(len(columns))))


def in_order(
    array: np.ndarray,
    given: tuple[str, ...] | None,
    wanted: tuple[str, ...] | None,
    label: str,
) -> np.ndarray:
    """An array with its columns in the order of `wanted`; as it is where either has no names.

    Raises:
        ValueError: the names differ; they are listed.
    """
    if wanted is None and given is not None:
        # Numbers for names still say the order: of x[[1, 0]] after a fit to columns without names.
        numbers = tuple(map(str, range(len(given))))
        wanted = numbers if set(given) == set(numbers) else None
    if given is None or wanted is None:
        return array
    if set(given) != set(wanted) and (default_names(given) or default_names(wanted)):
        return array
    places = column_order(given, wanted, label)
    return array if places is None else array[:, places]


def column_order(given: tuple[str, ...], wanted: tuple[str, ...], name: str) -> np.ndarray | None:
    """Where the wanted columns are among the given ones; None where they are those.

    Raises:
        ValueError: the names differ; they are listed.
    """
    if given == wanted:
        return None
    missing = [column for column in wanted if column not in given]
    extra = [column for column in given if column not in wanted]
    if missing or extra:
        said = [
            f"{what} {_listed(names)}"
            for what, names in (("missing", missing), ("unknown", extra))
            if names
        ]
        raise ValueError(
            f"{name}: its columns are not those of fit: {'; '.join(said)}. Select or rename them; "
            "their order does not matter."
        )
    at = {column: number for number, column in enumerate(given)}
    return np.array([at[column] for column in wanted])


def row_order(labels: Any, wanted: Any, name: str, other: str) -> np.ndarray | None:
    """Where the rows with the wanted labels are; None where they are in that order already.

    Args:
        labels: of the rows of `name`, as a pandas index. wanted: those of the rows of `other`. None
            where there are none, and rows go by their order.

    Raises:
        ValueError: the labels differ, or are in another order and occur twice.
    """
    if labels is None or wanted is None or labels.equals(wanted):
        return None
    by_place = f"If their rows are in the same order, give {name}.to_numpy()"
    for which, index in ((name, labels), (other, wanted)):
        if not index.is_unique:
            twice = index[index.duplicated()][0]
            raise ValueError(
                f"{name}, {other}: their rows have labels in different orders, and {which} has the "
                f"label {_shown(twice)} twice, so that they cannot be joined. {by_place}."
            )
    order = labels.get_indexer(wanted)
    if (order < 0).any():
        first = wanted[int(np.argmax(order < 0))]
        raise ValueError(
            f"{name}, {other}: their rows have different labels: {name} has none {_shown(first)}, "
            f"and {(order < 0).sum()} of {len(wanted)} labels of {other} are missing. {by_place}."
        )
    if len(labels) > len(wanted):
        raise ValueError(
            f"{name}: it has {len(labels)} rows and {other} has {len(wanted)}, whose labels are "
            f"among them: join them by label, {name}.loc[{other}.index]."
        )
    return order


def refuse_shuffled(given: Sequence[tuple[Any, str]]) -> None:
    """Refuse frames and series with the same row labels in different orders.

    Of the arguments of a program nobody knows which belong together, so that none is reordered.

    Args:
        given: values, and what messages call them.

    Raises:
        ValueError: two of them; the remedy joins one to the other.
    """
    seen: list[tuple[Any, str]] = []
    for value, name in given:
        labels = None if isinstance(value, PLAIN) else getattr(value, "index", None)
        if labels is None or callable(labels):
            continue
        for other, first in seen:
            if len(labels) != len(other) or labels.equals(other):
                continue
            if labels.sort_values().equals(other.sort_values()):
                raise ValueError(
                    f"{first}, {name}: their rows have the same labels in different orders. "
                    f"Join the second to the first, {name}.loc[{first}.index], or give both as "
                    "arrays, with .to_numpy(), to go by their order."
                )
        seen.append((labels, name))


def _with_names(given: Any, name: str) -> Any:
    """A pandas frame with names that are texts; any other object as it is.

    Raises:
        ValueError: two columns have one name.
    """
    columns = getattr(given, "columns", None)
    if columns is None or callable(columns) or not hasattr(given, "set_axis"):
        return given
    names = [
        ".".join(map(str, column)) if isinstance(column, tuple) else str(column)
        for column in columns
    ]
    twice = [column for column, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{name}: several of its columns are called {_listed(twice)}, so that names do not say "
            f"which is which. Rename them, or give {name}.to_numpy() to go by their order."
        )
    return given if names == list(columns) else given.set_axis(names, axis=1)


def _numbers(
    given: Any, parts: Sequence[Series], name: str, columns: Sequence[str]
) -> list[np.ndarray]:
    """Every column as numbers, missing ones as NaN.

    Raises:
        TypeError: columns that hold something else, with the remedy of each kind.
    """
    found: list[np.ndarray] = []
    other: dict[str, list[str]] = {}
    for part, column in zip(parts, columns):
        kind = _kind(part)
        if kind:
            other.setdefault(kind, []).append(column)
        else:
            found.append(_array(part))
    if other:
        raise TypeError(f"{name}: {_said(other, given, name, columns)}")
    return found


def _kind(part: Series) -> str:
    """What a column holds that is no number; empty where it holds numbers."""
    import narwhals as nw

    dtype = part.dtype
    if dtype.is_numeric() or dtype == nw.Boolean:
        return ""
    if dtype in (nw.Categorical, nw.Enum):
        return "categories"
    if dtype.is_temporal():
        return "times"
    if dtype == nw.String:
        return "texts"
    values = part.to_numpy()  # Python's own objects, or a type that narwhals does not know
    if values.dtype.kind in "fiub":
        return ""
    numbers = (int, float, np.integer, np.floating, np.bool_)
    if all(isinstance(value, numbers) for value in values):
        return ""
    return "texts" if any(isinstance(value, str) for value in values) else "objects"


def _array(part: Series) -> np.ndarray:
    import narwhals as nw

    if part.dtype.is_numeric() and not part.dtype.is_decimal():
        array = part.to_numpy()
        if array.dtype.kind in "fiu":
            return array
    if part.dtype == nw.Boolean and not part.null_count():
        return np.asarray(part.to_numpy(), bool)
    missing = part.is_null().to_list()
    return np.array(
        [np.nan if gone else float(value) for gone, value in zip(missing, part.to_list())]
    )


def _said(other: Mapping[str, list[str]], given: Any, name: str, columns: Sequence[str]) -> str:
    """Which columns hold no numbers, and what to write for the first of each kind."""
    try:
        array = np.asarray(given)
    except Exception as error:
        return remedies.unconvertible(given, name, error)
    first = {kind: names[0] for kind, names in other.items()}
    told = dict.fromkeys(
        _remedy(given, array, columns.index(column), kind, name) for kind, column in first.items()
    )
    if array.ndim == 1:
        (kind,) = other
        return f"it holds {kind} and no numbers: {'; '.join(told)}."
    said = ", ".join(f"{_listed(names)} ({kind})" for kind, names in other.items())
    return f"its columns {said} hold no numbers: {'; '.join(told)}."


def _remedy(given: Any, array: np.ndarray, column: int, kind: str, name: str) -> str:
    """The first entry of a column that is no number, and what to write."""
    if array.dtype.kind not in "OUS" and kind != "categories":
        return remedies.of_dtype(given, array, name)
    values = array if array.ndim == 1 else array[:, column]
    numbers = (int, float, np.integer, np.floating, np.bool_)
    bad = next((n for n, value in enumerate(values) if not isinstance(value, numbers)), None)
    if bad is None:  # numbers that are called categories
        dummies = "pd.get_dummies" if hasattr(given, "iloc") else "x.to_dummies"
        if array.ndim == 1:
            return f"numbers that are meant are {name}.astype(float), labels {name}.cat.codes"
        return f"encode categories, as by {dummies}({name}, dtype=float)"
    index = (bad,) if array.ndim == 1 else (bad, column)
    where = ", ".join(map(str, index))
    value = repr(array[index])
    shown = value if len(value) <= SHORT else f"a {type(array[index]).__name__}"
    return f"{name}[{where}] = {shown}, {remedies.of_value(given, array, index, name)}"


def _shown(label: Any) -> str:
    """A label as a user would write it."""
    return repr(label.item() if isinstance(label, np.generic) else label)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + ", …" * (len(names) > SHOWN)
