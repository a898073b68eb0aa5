"""Tables from files: CSV, Parquet and npz as named columns, with nothing guessed in silence.

*Numbers in text.* A number is decimal digits 0 to 9 with at most one point, a sign before them and
a power of ten after them: ``12``, ``-1.5``, ``.5``, ``2e-3``. ``inf`` is read beside numbers, to
be refused by row. Nothing else that Python takes for a float is a number. What a person reads as
a number all the same, such as ``1,234``, ``5%`` or ``$5``, is refused and never guessed. The texts
are kept: categories and class labels are what the file spells, and ``007`` is not ``7``.

*Missing values in text.* The empty field, and the words of `MISSING` in any case. A column of text
that holds such a word is refused, as NA is also Namibia, unless its texts are asked for.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from posterity import memory
from posterity.data.archives import arrays_of, refuse_large
from posterity.files import regular

Kind = Literal["whole", "real", "bool", "text"]

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "<na>", "#n/a"})  # in CSV, in any case
LONGEST_GAP = max(map(len, MISSING))
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE)
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
SPACES = " \u00a0\u2009\u202f"
CURRENCIES = "$€£¥₹₩₽¢"
# What people read as a number, and nobody should guess: 1,234 is 1234 here and 1.234 there.
NEARLY = re.compile(
    rf"\(?(?:[+\-−–][{SPACES}]*(?:[{CURRENCIES}][{SPACES}]*)?|[{CURRENCIES}][{SPACES}]*[+\-−–]?)?"
    rf"(?:\d{{1,3}}(?:[{SPACES},.'’]\d{{3}})+(?:[.,]\d*)?|\d+(?:[.,]\d*)?|[.,]\d+)"
    rf"(?:[eE][+\-−–]?\d+)?[{SPACES}]*[%‰{CURRENCIES}]?\)?-?"
)
LONG = 60  # characters; nobody reads more as one number, and the search would take its square
ODDITIES = {  # the first that a text has says what is odd about it
    "%‰": "a percent sign",
    CURRENCIES: "a currency sign",
    "()": "brackets for a minus sign",
    "−–": "a minus sign that is not the one of the keyboard",
    ",": "a comma, which may be a decimal comma or may separate thousands",
    "'’" + SPACES: "thousands that are set apart",
}
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
ANNOUNCED = re.compile(r'"?sep=([^\r\n]?)"?[\r\n]*', re.IGNORECASE)
PANDAS_INDEX = re.compile(r"__index_level_\d+__")
KINDS: dict[str, Kind] = {"f": "real", "i": "whole", "u": "whole", "b": "bool", "U": "text"}
# Bytes of memory for each byte of a CSV file: 32 where fields have one digit, 8 where they have 17.
CSV_MEMORY = 30


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """One column of a table.

    Args:
        name: as in the file.
        kind: ``"whole"`` numbers, ``"real"`` numbers, ``"bool"`` or ``"text"``.
        values: numbers, booleans, or strings as objects; anything where `missing`.
        missing: True on rows without a value.
        texts: the values as the file spells them, where it holds text, without spaces around them.
        slip: of text that is nearly numbers, the first that is none and why, with its row.
    """

    name: str
    kind: Kind
    values: np.ndarray
    missing: np.ndarray
    texts: np.ndarray | None = None
    slip: str | None = None

    def spelled(self) -> np.ndarray:
        """The values as strings, as the file spells them."""
        if self.texts is not None:
            return self.texts
        return np.array([str(value).strip() for value in self.values], object)


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
            alone = len(self.columns) == 1 and self.lines is not None
            raise ValueError(
                f"{self.source}: there is no column {name!r}; there are {listed(self.columns)}."
                + " Only commas, semicolons and tabs separate columns." * alone
            )
        return self.columns[name]


def read_table(path: str | Path) -> Table:
    """Read a table; the suffix says how.

    Args:
        path: ``.csv``, ``.tsv`` or ``.txt`` (a header line, then rows; separated by comma,
            semicolon or tab, which a first line ``sep=;`` may say; UTF-8), ``.parquet``, or
            ``.npz`` (arrays ``X`` (rows, columns) and ``y``, or one array per column).

    Returns:
        A `Table`. The words NA, N/A, #N/A, <NA>, NaN, null and ? and the empty field are missing,
        but in Parquet files, which know null. Spaces around a text are no part of it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, a file too large for the memory, or content that is no table;
            the message names the place.
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
    table = readers[path.suffix.lower()](regular(path))
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
    size = path.stat().st_size
    if not memory.fits(CSV_MEMORY * size):
        raise ValueError(
            f"{path}: a text of {memory.said(size)} may take {memory.said(CSV_MEMORY * size)} of "
            "memory, more than half of what is free. Use a part of its rows, or save its numbers "
            "as .npz."
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head, skipped, delimiter = _head(path, file)
            reader = csv.reader(itertools.chain(head, file), delimiter=delimiter, strict=True)
            names = [name.strip() for name in next(reader, [])]
            _check_names(path, names)
            rows, lines = _csv_rows(path, reader, len(names), skipped, delimiter)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: it is not UTF-8 text ({error}); save it as UTF-8.") from error
    except csv.Error as error:
        end = "; a quotation mark is not closed" if "unexpected end" in str(error) else ""
        raise ValueError(f"{path}, line {skipped + reader.line_num}: {error}{end}.") from error
    columns = {name: _text_column(name, values, lines) for name, values in zip(names, zip(*rows))}
    _refuse_row_as_header(path, columns)
    said = () if delimiter == "," else (f"{path.name}: separated by {SEPARATORS[delimiter]}.",)
    return Table(str(path), columns, len(rows), lines, said)


def _head(path: Path, file: TextIO) -> tuple[list[str], int, str]:
    """The lines of the header, how many lines come before them, and the delimiter."""
    line, skipped, announced = file.readline(), 0, None
    while line and (not line.strip() or ANNOUNCED.fullmatch(line)):
        if found := ANNOUNCED.fullmatch(line):
            announced = found.group(1)
        line, skipped = file.readline(), skipped + 1
    if line.lstrip().startswith("#"):
        raise ValueError(
            f"{path}, line {skipped + 1}: it begins with #. Remove lines of comments; if this is "
            "the header, remove the #, or put the name in quotes."
        )
    if announced is not None and announced not in SEPARATORS:
        raise ValueError(
            f"{path}: its first line announces the separator {announced!r}; only comma, semicolon "
            "and tab are read. Save the table with one of them."
        )
    header, row = _record(line, file), _record(file.readline(), file)
    while row[-1] and not "".join(row).strip():
        row += _record(file.readline(), file)
    return [*header, *row], skipped, announced or _delimiter(path, "".join(header), "".join(row))


def _record(line: str, file: TextIO) -> list[str]:
    """The lines of a record that begins with `line`: a field in quotes may go on in the next."""
    lines, quotes = [line], line.count('"')
    while quotes % 2 and (line := file.readline()):
        lines.append(line)
        quotes += line.count('"')
    return lines


def _delimiter(path: Path, header: str, row: str) -> str:
    """The separator that occurs most often outside quotes, in the header as in the first row."""
    names, fields = (re.sub(r'"[^"]*"', "", record) for record in (header, row))
    counts = {
        each: (names.count(each) == fields.count(each) > 0, names.count(each))
        for each in SEPARATORS
    }
    first, second, _ = sorted(SEPARATORS, key=lambda each: counts[each], reverse=True)
    if counts[first] == counts[second] and names.count(first):
        raise ValueError(
            f"{path}: its header may be separated by {SEPARATORS[first]} or by "
            f"{SEPARATORS[second]}. Put names that hold such signs in quotes, or say which it is "
            f"by a first line: sep={second if second != chr(9) else first}"
        )
    return first


def _csv_rows(
    path: Path, reader: Any, width: int, skipped: int, delimiter: str
) -> tuple[list[list[str]], list[int]]:
    """All rows, and the line on which each begins; lines without anything are skipped."""
    rows, lines = [], []
    line = skipped + reader.line_num + 1
    for row in reader:
        if row:
            if len(row) != width:
                comment = " Remove lines of comments." if row[0].startswith("#") else ""
                raise ValueError(
                    f"{path}, line {line}: {len(row)} fields, but the header has {width}. (Read as "
                    f"separated by {SEPARATORS[delimiter]}.){comment}"
                )
            rows.append(row)
            lines.append(line)
        line = skipped + reader.line_num + 1
    return rows, lines


def _check_names(path: Path, names: Sequence[str]) -> None:
    if not any(names):
        raise ValueError(f"{path}: it is empty; a header line with the columns' names is needed.")
    if all(map(NUMBER.fullmatch, names)):
        raise ValueError(
            f"{path}: its first line holds numbers; a header line with the columns' names is "
            "needed."
        )
    known: set[str] = set()
    for number, name in enumerate(names):
        if not name:
            raise ValueError(
                f"{path}: column {number + 1} has no name; name it in the header line, or remove "
                "it if it only counts the rows."
            )
        if name in known:
            raise ValueError(f"{path}: two columns are called {name!r}; rename one.")
        known.add(name)


def _refuse_row_as_header(path: Path, columns: dict[str, Column]) -> None:
    """Refuse a header of numbers, and of words that occur below it: it is the first row."""
    words = [name for name in columns if not NUMBER.fullmatch(name)]
    below = all(name in columns[name].spelled().tolist() for name in words)
    if len(words) < len(columns) and below:
        raise ValueError(
            f"{path}: its first line, {listed(columns, 4)}, reads like a row; a header line with "
            "the columns' names is needed."
        )


def _text_column(name: str, values: Sequence[str], lines: Sequence[int]) -> Column:
    """A column of strings, as numbers where all of them are by the grammar above."""
    spelled = [value.strip() for value in values]
    words = set(spelled)  # of which most columns have far fewer than rows
    gaps = {text for text in words if len(text) <= LONGEST_GAP and text.lower() in MISSING}
    texts = np.array(spelled, object)
    missing = np.array([text in gaps for text in spelled] if gaps else np.zeros(len(spelled)), bool)
    words -= gaps
    if not _are_numbers(words):
        return Column(name, "text", texts, missing, texts, _slip(texts, missing, lines))
    present = ["nan" if text in gaps else text for text in spelled] if gaps else spelled
    numbers = np.fromiter(map(float, present), np.float64, len(present))
    whole = not gaps and all(map(WHOLE.fullmatch, words))
    return Column(name, "whole" if whole else "real", numbers, missing, texts)


def _are_numbers(texts: set[str]) -> bool:
    """Whether all are numbers, or infinite beside one that is none of those."""
    others = [text for text in texts if not NUMBER.fullmatch(text)]
    return len(others) < max(len(texts), 1) and all(map(INFINITE.fullmatch, others))


def _slip(texts: np.ndarray, missing: np.ndarray, lines: Sequence[int]) -> str | None:
    """Why a column of text that is nearly numbers is none, or None where it is of words."""
    odd = np.array([not NUMBER.fullmatch(text) for text in texts]) & ~missing
    words = odd & np.array([len(text) > LONG or not NEARLY.fullmatch(text) for text in texts])
    present = int((~missing).sum())
    if 2 * words.sum() >= present:
        return None
    chosen = words if words.any() else odd
    first = int(np.argmax(chosen))
    others = f" ({chosen.sum()} such rows.)" if chosen.sum() > 1 else ""
    place = f"row {first + 1} (line {lines[first]}): {texts[first]!r}"
    if words.any():
        return f"{place} is not a number, though most of the column is.{others}"
    return f"{place} has {_oddity(texts[first])}; a number is written as 1234.5 or 2e-3.{others}"


def _oddity(text: str) -> str:
    """What makes a number one that is not read."""
    for signs, said in ODDITIES.items():
        if any(sign in text for sign in signs):
            return said
    if not text.isascii():
        return "digits that are not 0 to 9"
    return "thousands that are set apart" if text.count(".") > 1 else "its sign behind it"


# -- Parquet --------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(
            f"{path}: Parquet files need pyarrow: pip install 'posterity[tables]'."
        ) from error
    try:
        with pq.ParquetFile(path) as file:
            schema, found = file.schema_arrow, file.metadata
            groups = [found.row_group(number) for number in range(found.num_row_groups)]
            size = max(
                8 * found.num_rows * found.num_columns, sum(g.total_byte_size for g in groups)
            )
    except Exception as error:  # a damaged file raises one of many types
        raise ValueError(f"{path}: it is not a readable Parquet file ({error}).") from error
    refuse_large(path, size, PLAIN_PARQUET)
    index = [name for name in schema.names if PANDAS_INDEX.fullmatch(name)]
    names = [name for name in schema.names if name not in index]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path}: two columns are called {min(twice)!r}; rename one.")
    kinds = {name: _arrow_kind(path, name, schema.field(name).type) for name in names}
    try:
        # As dictionaries, so that a long text that occurs often is held once.
        words = [name for name, kind in kinds.items() if kind == "text"]
        with pq.ParquetFile(path, read_dictionary=words) as file:
            table = file.read()
        columns = {name: _arrow_column(name, kinds[name], table.column(name)) for name in names}
    except Exception as error:
        raise ValueError(f"{path}: it is not a readable Parquet file ({error}).") from error
    notes = (f"{path.name}: the index of the pandas table was left out.",) * bool(index)
    return Table(str(path), columns, table.num_rows, notes=notes)


PLAIN_PARQUET = "df.to_parquet(path, compression=None, use_dictionary=False) of pandas writes it so"


def _arrow_kind(path: Path, name: str, kind: Any) -> Kind:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "whole"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "real"
    raise ValueError(
        f"{path}: column {name!r} holds values of type {kind}; make them numbers or text, or "
        "remove the column."
    )


def _arrow_column(name: str, kind: Kind, given: Any) -> Column:
    import pyarrow as pa

    missing = given.is_null().to_numpy().astype(bool)
    if kind == "text":
        coded = given.dictionary_encode().unify_dictionaries()
        chunks = coded.chunks
        words = (
            [(text or "").strip() for text in chunks[0].dictionary.to_pylist()] if chunks else []
        )
        codes = [each.indices.cast(pa.int64()).fill_null(len(words)) for each in chunks]
        at = np.concatenate([np.zeros(0, int), *(each.to_numpy() for each in codes)])
        texts = np.array([*words, ""], object)[at]
        return Column(name, kind, texts, missing | (texts == ""), texts)
    if pa.types.is_dictionary(given.type):
        given = given.cast(given.type.value_type)
    if kind == "bool":
        return Column(name, kind, given.fill_null(False).to_numpy().astype(bool), missing)
    if kind == "whole":
        return Column(name, kind, given.fill_null(0).to_numpy(), missing)
    numbers = given.cast(pa.float64()).to_numpy()  # null becomes NaN
    return Column(name, kind, numbers, np.isnan(numbers))


# -- npz ------------------------------------------------------------------------------------------


def _read_npz(path: Path) -> Table:
    arrays = arrays_of(path)
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
        texts = np.array([text.strip() for text in array.tolist()], object)
        missing = np.array([text.lower() in MISSING for text in texts], bool)
        return Column(name, kind, texts, missing, texts)
    return Column(name, kind, array, np.zeros(array.shape, bool))
