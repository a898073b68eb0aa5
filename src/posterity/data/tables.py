"""Tables from files: CSV, Parquet and npz as named columns, with nothing guessed in silence."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

Kind = Literal["whole", "real", "bool", "text"]

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null"})  # in CSV files, whatever the case
WHOLE = re.compile(r"\s*[+-]?\d+\s*")
DELIMITERS = ",;\t"
PANDAS_INDEX = re.compile(r"__index_level_\d+__")
KINDS: dict[str, Kind] = {"f": "real", "i": "whole", "u": "whole", "b": "bool", "U": "text"}


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """One column of a table.

    Args:
        name: as in the file.
        kind: ``"whole"`` numbers, ``"real"`` numbers, ``"bool"`` or ``"text"``.
        values: numbers, booleans, or strings as objects; anything where `missing`.
        missing: True on rows without a value.
        texts: the values as the file spells them, where it holds text.
    """

    name: str
    kind: Kind
    values: np.ndarray
    missing: np.ndarray
    texts: np.ndarray | None = None

    def spelled(self) -> np.ndarray:
        """The values as strings, as the file spells them."""
        values = self.values if self.texts is None else self.texts
        return np.array([str(value).strip() for value in values], object)


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Named columns of one length.

    Args:
        source: the file's name, for messages.
        columns: name → column, in the file's order.
        rows: their number.
        lines: the file's line of every row, where it has lines.
        notes: what the reader did that the user should know.
    """

    source: str
    columns: dict[str, Column]
    rows: int
    lines: Sequence[int] | None = None
    notes: tuple[str, ...] = ()

    def where(self, row: int) -> str:
        """A row (from 0) as people count: ``row 3 (line 4)``."""
        line = f" (line {self.lines[row]})" if self.lines is not None else ""
        return f"row {row + 1}{line}"

    def column(self, name: str) -> Column:
        """The column called `name`.

        Raises:
            ValueError: there is none; the message lists those there are.
        """
        if name not in self.columns:
            raise ValueError(
                f"{self.source}: there is no column {name!r}; there are {listed(self.columns)}."
            )
        return self.columns[name]


def read_table(path: str | Path) -> Table:
    """Read a table; the suffix says how.

    Args:
        path: ``.csv``, ``.tsv`` or ``.txt`` (a header line, then rows; separated by comma,
            semicolon or tab; UTF-8), ``.parquet``, or ``.npz`` (arrays ``X`` (rows, columns) and
            ``y``, or one array per column).

    Returns:
        A `Table`. In CSV files the words NA, N/A, NaN, null and ? and the empty field are missing.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, or content that is no table; the message names the place.
        ImportError: Parquet without pyarrow.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "a.csv")
    >>> _ = open(path, "w").write("age,city\\n31,Rome\\n")
    >>> [(column.name, column.kind) for column in read_table(path).columns.values()]
    [('age', 'whole'), ('city', 'text')]
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Table]] = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".txt": _read_csv,
        ".parquet": _read_parquet,
        ".pq": _read_parquet,
        ".npz": _read_npz,
    }
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: expected a file ending in {', '.join(readers)}.")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    table = readers[path.suffix.lower()](path)
    if table.rows == 0 or not table.columns:
        raise ValueError(f"{path}: it holds no rows.")
    return table


def listed(names: Any, most: int = 20) -> str:
    """Names for a message, quoted, the first `most` of them."""
    shown = [repr(str(name)) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


# -- CSV ------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(DELIMITERS, key=first.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            names = [name.strip() for name in next(reader, [])]
            _check_names(path, names)
            rows, lines = _csv_rows(path, reader, len(names))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: it is not UTF-8 text ({error}); save it as UTF-8.") from error
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}.") from error
    columns = {
        name: _text_column(name, values, str(path), lines)
        for name, values in zip(names, zip(*rows))
    }
    said = {",": (), ";": ("separated by semicolons.",), "\t": ("separated by tabs.",)}[delimiter]
    notes = tuple(f"{path.name}: {note}" for note in said)
    return Table(str(path), columns, len(rows), lines, notes)


def _csv_rows(path: Path, reader: Any, width: int) -> tuple[list[list[str]], list[int]]:
    """All rows, and the line on which each begins; lines without anything are skipped."""
    rows, lines = [], []
    line = reader.line_num + 1
    for row in reader:
        if row:
            if len(row) != width:
                raise ValueError(
                    f"{path}, line {line}: {len(row)} fields, but the header has {width}."
                )
            rows.append(row)
            lines.append(line)
        line = reader.line_num + 1
    return rows, lines


def _check_names(path: Path, names: Sequence[str]) -> None:
    if not names:
        raise ValueError(f"{path}: it is empty; a header line with the columns' names is needed.")
    for number, name in enumerate(names):
        if not name:
            raise ValueError(
                f"{path}: column {number + 1} has no name; name it in the header line, or remove "
                "it if it only counts the rows."
            )
        if name in names[:number]:
            raise ValueError(f"{path}: two columns are called {name!r}; rename one.")
    if all(_is_number(name) for name in names):
        raise ValueError(
            f"{path}: its first line holds numbers; a header line with the columns' names is "
            "needed."
        )


def _text_column(name: str, values: Sequence[str], source: str, lines: Sequence[int]) -> Column:
    """A column of strings, as numbers where all of them are."""
    numbers = _all_numbers(values)
    if numbers is not None:
        whole = bool((numbers == np.floor(numbers)).all())
        kind: Kind = "whole" if whole and all(map(WHOLE.fullmatch, values)) else "real"
        return Column(name, kind, numbers, np.zeros(len(values), bool), np.array(values, object))
    texts = np.array([value.strip() for value in values], object)
    missing = np.array([text.lower() in MISSING for text in texts])
    present = texts[~missing]
    numbers = _all_numbers(present)
    if numbers is None:
        _refuse_mixed(name, texts, missing, source, lines)
        return Column(name, "text", texts, missing, texts)
    column = np.full(len(texts), np.nan)
    column[~missing] = numbers
    return Column(name, "real", column, missing, texts)


def _all_numbers(values: Sequence[str] | np.ndarray) -> np.ndarray | None:
    """The values as numbers, or None where one is no number or is missing."""
    try:
        numbers = np.array([float(value) for value in values], np.float64)
    except ValueError:
        return None
    return None if np.isnan(numbers).any() else numbers


def _refuse_mixed(
    name: str, texts: np.ndarray, missing: np.ndarray, source: str, lines: Sequence[int]
) -> None:
    """Refuse a column of numbers with a slip in it, which would pass as text."""
    words = np.array([not _is_number(text) for text in texts]) & ~missing
    if 2 * words.sum() < (~missing).sum():
        first = int(np.argmax(words))
        raise ValueError(
            f"{source}: column {name!r}, row {first + 1} (line {lines[first]}): {texts[first]!r} "
            f"is not a number, though most of the column is. ({words.sum()} such rows.) Correct "
            "it, or leave the column out."
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# -- Parquet --------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(
            f"{path}: Parquet files need pyarrow: pip install 'posterity[tables]'."
        ) from error
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: it is not a readable Parquet file ({error}).") from error
    columns, notes = {}, []
    for name in table.column_names:
        if PANDAS_INDEX.fullmatch(name):
            notes.append(f"{path.name}: the index of the pandas table was left out.")
            continue
        columns[name] = _arrow_column(path, name, table.column(name))
    return Table(str(path), columns, table.num_rows, notes=tuple(notes))


def _arrow_column(path: Path, name: str, given: Any) -> Column:
    import pyarrow as pa

    if pa.types.is_dictionary(given.type):
        given = given.cast(given.type.value_type)
    kind = given.type
    missing = given.is_null().to_numpy().astype(bool)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = np.array(["" if text is None else text for text in given.to_pylist()], object)
        return Column(name, "text", texts, missing, texts)
    if pa.types.is_boolean(kind):
        return Column(name, "bool", given.fill_null(False).to_numpy().astype(bool), missing)
    if pa.types.is_integer(kind):
        return Column(name, "whole", given.fill_null(0).to_numpy(), missing)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = given.cast(pa.float64()).to_numpy()  # null becomes NaN
        return Column(name, "real", numbers, np.isnan(numbers))
    raise ValueError(
        f"{path}: column {name!r} holds values of type {kind}; make them numbers or text, or "
        "remove the column."
    )


# -- npz ------------------------------------------------------------------------------------------


def _read_npz(path: Path) -> Table:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # a broken archive raises one of many types
        raise ValueError(f"{path}: it is not a readable npz file of arrays ({error}).") from error
    notes: tuple[str, ...] = ()
    if "X" in arrays:
        others = [name for name in arrays if name not in ("X", "y")]
        if others:
            notes = (f"{path.name}: the arrays {listed(others)} were left out.",)
        arrays = _unstacked(path, arrays["X"]) | {k: v for k, v in arrays.items() if k == "y"}
    lengths = {name: array.shape for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype.kind not in KINDS:
            raise ValueError(
                f"{path}: array {name!r} has shape {array.shape} and dtype {array.dtype}; expected "
                "one column of numbers, booleans or strings per array, or the arrays X (rows, "
                "columns) and y (rows,)."
            )
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: its arrays differ in length: {lengths}.")
    rows = len(next(iter(arrays.values()))) if arrays else 0
    columns = {name: _array_column(name, array) for name, array in arrays.items()}
    return Table(str(path), columns, rows, notes=notes)


def _unstacked(path: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    if x.ndim != 2 or x.dtype.kind not in "fiub":
        raise ValueError(
            f"{path}: array 'X' has shape {x.shape} and dtype {x.dtype}; expected numbers of shape "
            "(rows, columns)."
        )
    return {f"x{number}": x[:, number] for number in range(x.shape[1])}


def _array_column(name: str, array: np.ndarray) -> Column:
    kind = KINDS[array.dtype.kind]
    if kind == "real":
        return Column(name, kind, array.astype(np.float64), np.isnan(array))
    if kind == "text":
        texts = array.astype(object)
        return Column(name, kind, texts, np.array([text == "" for text in texts]), texts)
    return Column(name, kind, array, np.zeros(array.shape, bool))
