"""From a table's columns to the numbers that a model takes, and the same again for new rows."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from posterity import memory
from posterity.data.scaling import Standardizer
from posterity.data.tables import NUMBER, WHOLE, Column, Table, listed

Task = Literal["classification", "regression"]
Label = str | int | float | bool

FORMAT = 2
FEW = 10  # up to this many different whole numbers are taken for class labels
MANY = 50  # more categories than this, on more than half of the rows, are taken for names of rows
CODE = re.compile(
    r"0\d+|\d+e\d+|\d{16,}", re.ASCII | re.IGNORECASE
)  # likelier a name than an amount
EXACT = re.compile(r"0|-?[1-9]\d{0,14}", re.ASCII)  # whole numbers that come back as they were


@dataclasses.dataclass(frozen=True, eq=False)
class Preprocessing:
    """What was done to the columns of the training table.

    Numbers are standardised, text becomes one column of 0 and 1 per category, which is not scaled;
    class labels are numbered in sorted order, real targets standardised.

    Args:
        target: the target's column.
        task: ``"classification"`` or ``"regression"``.
        names: the input columns.
        categories: name → its categories: texts as the file spelled them, or numbers of a file
            that holds numbers.
        inputs: standardizer of the encoded input columns.
        output: standardizer of the target, for regression.
        classes: the class labels, for classification; as categories.
    """

    target: str
    task: Task
    names: tuple[str, ...]
    categories: Mapping[str, tuple[Label, ...]]
    inputs: Standardizer
    output: Standardizer | None = None
    classes: tuple[Label, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the encoded input columns: ``age``, ``city=Rome``, …"""
        return tuple(
            name if category is None else f"{name}={_spell(category)}"
            for name in self.names
            for category in self.categories.get(name, (None,))
        )

    def x(self, table: Table) -> np.ndarray:
        """The inputs of a table as the model takes them: (rows, encoded columns).

        Raises:
            ValueError: a column that is missing or holds something else than in training, a missing
                or infinite value, or a category that training did not have; the message names the
                column and the row.
        """
        absent = [name for name in self.names if name not in table.columns]
        if absent:
            raise ValueError(
                f"{table.source}: the model needs the columns {listed(absent)}; there are "
                f"{listed(table.columns)}."
            )
        return self.inputs.transform(_encoded(table, self.names, self.categories))

    def y(self, table: Table) -> np.ndarray:
        """The targets of a table as the model takes them: (rows,).

        Raises:
            ValueError: as `x`.
        """
        column = table.column(self.target)
        _refuse_missing(table, column, self.classes)
        if self.output is not None:
            return self.output.transform(_numbers(table, column))
        return _codes(table, column, self.classes, "class")

    def to_json(self) -> dict[str, Any]:
        """Plain data, from which `from_json` makes the same preprocessing."""
        return {
            "format": FORMAT,
            "target": self.target,
            "task": self.task,
            "names": list(self.names),
            "categories": {name: list(found) for name, found in self.categories.items()},
            "inputs": self.inputs.to_json(),
            "output": None if self.output is None else self.output.to_json(),
            "classes": list(self.classes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: `data` describes no preprocessing, or one of another
                version.
        """
        if data["format"] != FORMAT:
            raise ValueError(
                f"preprocessing: format {data['format']!r}, this version reads {FORMAT}."
            )
        made = cls(
            target=data["target"],
            task=data["task"],
            names=tuple(data["names"]),
            categories={name: tuple(found) for name, found in data["categories"].items()},
            inputs=Standardizer.from_json(data["inputs"]),
            output=None if data["output"] is None else Standardizer.from_json(data["output"]),
            classes=tuple(data["classes"]),
        )
        made._check()
        return made

    def _check(self) -> None:
        """Refuse what no table gave."""
        names = (self.target, *self.names)
        labels = (self.classes, *self.categories.values())
        classes = self.task == "classification"
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ValueError("preprocessing: its columns have no names, or one has two of them.")
        if not set(self.categories) <= set(self.names) or not all(self.categories.values()):
            raise ValueError("preprocessing: its categories are not those of its columns.")
        if not all(map(_are_labels, labels)):
            raise ValueError("preprocessing: its categories or classes make no sense.")
        if self.task not in get_args(Task) or classes != (self.output is None):
            raise ValueError("preprocessing: its task and its target do not fit.")
        if classes != (len(self.classes) > 1) or (self.output and self.output.loc.shape):
            raise ValueError("preprocessing: its target makes no sense.")
        if self.inputs.loc.shape != (len(self.columns),):
            raise ValueError("preprocessing: its scales are not those of its columns.")


def infer(
    table: Table,
    target: str,
    *,
    task: Task | Literal["auto"] = "auto",
    ignore: Iterable[str] = (),
    categorical: Iterable[str] = (),
    train: np.ndarray | None = None,
) -> tuple[Preprocessing, list[str]]:
    """Decide what becomes of the columns of a table.

    Args:
        table: all rows of the file: their categories and classes are those that there are.
        target: the target's column.
        task: what the target is; ``"auto"`` takes text, booleans and up to 10 different whole
            numbers for classes, and other numbers for regression.
        ignore: columns to leave out.
        categorical: columns whose texts are categories or classes, as the file spells them: words
            for missing values too, and only the empty field is missing.
        train: True on training rows, which give the means and scales; None for all rows.

    Returns:
        The preprocessing, and a sentence about every decision that could have been another.

    Raises:
        ValueError: a column that cannot be used; the message names it, the row and the remedy.
    """
    ignore, categorical = list(ignore), list(categorical)
    names = _input_names(table, target, ignore)
    for name in categorical:
        table.column(name)
    for name in (target, *names):
        _refuse_gaps_and_slips(table, table.column(name), target, name in categorical)
    categories = {
        name: _categories(table, table.column(name))
        for name in names
        if name in categorical or table.column(name).kind == "text"
    }
    notes = [
        f"{name!r} holds categories: one column of 0 and 1 for each of "
        f"{listed([_spell(each) for each in found], 6)}."
        for name, found in categories.items()
    ]
    notes += [_said_of_words(table.column(name)) for name in names if name in categories]
    notes += [_said_of_codes(table.column(name)) for name in names if name not in categories]
    train = np.ones(table.rows, bool) if train is None else train
    inputs, constant = _fit_inputs(table, names, categories, train)
    column = table.column(target)
    chosen, why = _choose_task(column, task, target in categorical)
    said = (_said_of_words if chosen == "classification" else _said_of_codes)(column)
    notes = [note for note in (*notes, *constant, said, why) if note]
    if chosen == "classification":
        classes = _classes(table, column)
        return Preprocessing(target, chosen, names, categories, inputs, None, classes), notes
    output = Standardizer.fit(_numbers(table, column)[train])
    if output.constant:
        raise ValueError(f"{table.source}: the target {target!r} is the same on all training rows.")
    return Preprocessing(target, chosen, names, categories, inputs, output), notes


def _input_names(table: Table, target: str, ignore: Sequence[str]) -> tuple[str, ...]:
    for name in (target, *ignore):
        table.column(name)
    if target in ignore:
        raise ValueError(f"the target {target!r} cannot be left out.")
    names = tuple(name for name in table.columns if name not in (target, *ignore))
    if not names:
        raise ValueError(f"{table.source}: beside the target {target!r} there is no column.")
    return names


def _fit_inputs(
    table: Table,
    names: Sequence[str],
    categories: Mapping[str, tuple[Label, ...]],
    train: np.ndarray,
) -> tuple[Standardizer, list[str]]:
    """Means and scales of the encoded columns, those of categories left as they are."""
    fitted = Standardizer.fit(_encoded(table, names, categories)[train])
    kept = np.concatenate(
        [[name in categories] * len(categories.get(name, (None,))) for name in names]
    ).astype(bool)
    loc, scale = np.where(kept, 0.0, fitted.loc), np.where(kept, 1.0, fitted.scale)
    owners = [name for name in names for _ in categories.get(name, (None,))]
    flat = [owners[number] for number in fitted.constant if not kept[number]]
    flat += [name for name, found in categories.items() if len(found) == 1]
    notes = [f"{name!r} is constant in the training rows: it tells nothing." for name in flat]
    return Standardizer(loc, scale, fitted.constant), notes


def _choose_task(column: Column, task: str, labels: bool) -> tuple[Task, str]:
    """The task and why; `labels` where the target was asked for as categories."""
    name, distinct = column.name, len(set(column.spelled().tolist()))
    if labels and task == "regression":
        raise ValueError(f"the target {name!r} cannot be categorical in a regression.")
    if task == "classification" or labels:
        return "classification", f"target {name!r}: classification, as asked for."
    if task == "regression":
        return "regression", f"target {name!r}: regression, as asked for."
    if task != "auto":
        raise ValueError(f"task: expected auto, classification or regression, not {task!r}.")
    if column.kind in ("text", "bool") or (column.kind == "whole" and distinct <= FEW):
        what = "different whole numbers" if column.kind == "whole" else "different labels"
        other = "; if they are amounts: --task regression" if column.kind == "whole" else ""
        return "classification", f"target {name!r} holds {distinct} {what}: classification{other}."
    what = "whole numbers" if column.kind == "whole" else "real numbers"
    other = "; if they are labels: --task classification" if distinct <= FEW else ""
    return "regression", f"target {name!r} holds {what}: regression{other}."


def _classes(table: Table, column: Column) -> tuple[Label, ...]:
    """The labels there are, sorted, as plain data."""
    labels = _labels(column)
    if column.kind == "whole" and all(EXACT.fullmatch(str(label)) for label in labels):
        labels = [int(label) for label in labels]  # which spells each of them as the file does
    if len(labels) < 2:
        raise ValueError(
            f"{table.source}: the target {column.name!r} holds one class only, {labels[0]!r}."
        )
    if len(labels) > max(2, table.rows // 2):
        numbers = "" if column.kind == "text" else ", or, for amounts, use --task regression"
        raise ValueError(
            f"{table.source}: the target {column.name!r} holds {len(labels)} different values on "
            f"{table.rows} rows, too many for classes. Name another target{numbers}."
        )
    return tuple(labels)


def _categories(table: Table, column: Column) -> tuple[Label, ...]:
    found = tuple(_labels(column))
    if len(found) > MANY and 2 * len(found) > table.rows:
        raise ValueError(
            f"{table.source}: column {column.name!r} holds {len(found)} different texts on "
            f"{table.rows} rows, which looks like a name of every row. Leave it out: "
            f"{_option('ignore', column)}."
        )
    return found


def _labels(column: Column) -> list[Label]:
    """What there is in a column, sorted: texts as the file spells them, else its numbers."""
    if column.texts is not None:
        return sorted(set(column.texts.tolist()), key=_text_order)
    return sorted(set(column.values.tolist()))


def _text_order(text: str) -> tuple[float, str]:
    """Numbers before words, and by their size."""
    return (float(text) if NUMBER.fullmatch(text) else np.inf, text)


def _encoded(
    table: Table, names: Sequence[str], categories: Mapping[str, tuple[Label, ...]]
) -> np.ndarray:
    """Numbers as they are, and 0 and 1 for categories: (rows, encoded columns)."""
    _refuse_wide(table, names, categories)
    parts = []
    for name in names:
        column = table.column(name)
        _refuse_missing(table, column, categories.get(name, ()))
        if name in categories:
            codes = _codes(table, column, categories[name], "category")
            parts.append(np.eye(len(categories[name]))[codes])
        else:
            parts.append(_numbers(table, column)[:, None])
    return np.concatenate(parts, axis=1)


# -- categories and classes -----------------------------------------------------------------------


def _codes(table: Table, column: Column, known: Sequence[Label], what: str) -> np.ndarray:
    """The number of each value among the `known` ones.

    Text is compared with text. Where one side is of numbers, numbers are compared: another kind of
    file may spell a number in another way, such as 3, 3.0 and 03.

    Raises:
        ValueError: a value is none of them, could be several, or two texts would become one.
    """
    values = (column.values if column.texts is None else column.texts).tolist()
    key = _key(column, known)
    places: dict[Any, list[int]] = {}
    for number, label in enumerate(known):
        places.setdefault(key(label), []).append(number)
    found = {each: places.get(key(each), []) for each in set(values)}
    unknown = np.array([len(found[each]) != 1 for each in values])
    if unknown.any():
        first = int(np.argmax(unknown))
        among = found[values[first]] or range(len(known))
        is_what = "could be any of" if found[values[first]] else "is not among"
        raise ValueError(
            f"{table.source}: column {column.name!r}, {table.where(first)}: the {what} "
            f"{_spell(values[first])!r} {is_what} those of the training table, "
            f"{listed([_spell(known[number]) for number in among])}. ({unknown.sum()} such rows.)"
        )
    _refuse_merged(table, column, {each: number for each, (number,) in found.items()}, known)
    return np.array([found[each][0] for each in values], int)


def _key(column: Column, known: Sequence[Label]) -> Callable[[Label], Any]:
    """What is compared of a value and of a label."""
    both_text = column.texts is not None and isinstance(known[0], str)
    if both_text or column.kind == "bool" or isinstance(known[0], bool):
        return _spell
    return _number


def _refuse_merged(
    table: Table, column: Column, codes: Mapping[Label, int], known: Sequence[Label]
) -> None:
    """Refuse two texts that would become one category or class."""
    owners: dict[int, Label] = {}
    for value, code in codes.items():
        if code in owners:
            both = " and ".join(sorted(repr(_spell(each)) for each in (owners[code], value)))
            raise ValueError(
                f"{table.source}: column {column.name!r}: {both} are two texts, but one number, "
                f"{_spell(known[code])}, of the training table. Spell them alike."
            )
        owners[code] = value


def _number(label: Label) -> Any:
    """A label as a number, exactly; a word as it is."""
    if not isinstance(label, str) or not NUMBER.fullmatch(label):
        return label
    return int(label) if WHOLE.fullmatch(label) and len(label) < 400 else float(label)


def _are_labels(given: Sequence[Any]) -> bool:
    """Whether labels are different texts, different numbers or booleans."""
    kinds = {type(each) for each in given}
    alike = len(kinds) <= 1 or kinds == {int, float}
    return alike and kinds <= {str, bool, int, float} and len(set(given)) == len(given)


def _spell(value: Any) -> str:
    """A value as a string; one number has one spelling, whatever the kind of file."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


# -- refusals and remarks -------------------------------------------------------------------------


def _numbers(table: Table, column: Column) -> np.ndarray:
    """A column of finite numbers as float64; texts that are numbers by the grammar are such."""
    if column.kind == "text":
        words = [n for n, text in enumerate(column.values) if not NUMBER.fullmatch(text)]
        if words:
            place = f"{table.where(words[0])}: {column.values[words[0]]!r} is not a number."
            raise ValueError(f"{table.source}: column {column.name!r}, {column.slip or place}")
    numbers = column.values.astype(np.float64)
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise ValueError(
            f"{table.source}: column {column.name!r} is infinite on {_rows(table, bad)}. Correct "
            "those rows, or leave them out."
        )
    return numbers


def _refuse_missing(table: Table, column: Column, known: Sequence[Label] = ()) -> None:
    """Refuse rows without a value; a word that is one of the `known` labels is a value."""
    missing = column.missing
    if missing.any() and column.texts is not None and known:
        missing = missing & np.array([text not in known for text in column.texts])
    if missing.any():
        raise ValueError(
            f"{table.source}: column {column.name!r} has missing values on "
            f"{_rows(table, missing)}. Drop or fill those rows."
        )


def _refuse_wide(
    table: Table, names: Sequence[str], categories: Mapping[str, tuple[Label, ...]]
) -> None:
    """Refuse more columns of 0 and 1 than the memory holds."""
    counts = {name: len(categories.get(name, (None,))) for name in names}
    size = 8 * table.rows * sum(counts.values())
    if not memory.fits(2 * size):
        most = max(counts, key=lambda name: counts[name])
        raise ValueError(
            f"{table.source}: its {sum(counts.values()):,} encoded columns of {table.rows:,} rows "
            f"would take {memory.said(2 * size)} of memory, more than half of what is free. Use "
            f"fewer rows or columns; {most!r} becomes {counts[most]:,} columns."
        )


def _refuse_gaps_and_slips(table: Table, column: Column, target: str, asked: bool) -> None:
    """Refuse a column of the training table that cannot be used as it is.

    Args:
        target: the target's name.
        asked: whether it was asked for as categories, so that every text in it is one.
    """
    missing, texts = column.missing, column.texts
    if texts is not None and asked:
        missing = texts == ""
    place = f"{table.source}: column {column.name!r}"
    keep = _option("categorical", column)
    out = "" if column.name == target else f" Or leave it out: {_option('ignore', column)}."
    if missing.any():
        first = int(np.argmax(missing))
        word = texts[first] if texts is not None and column.kind == "text" else ""
        kept = f" If {word!r} is a value there, keep its texts: {keep}." if word else ""
        raise ValueError(
            f"{place} has missing values on {_rows(table, missing)}. Drop or fill those rows."
            f"{kept}{out}"
        )
    if column.slip and not asked:
        raise ValueError(
            f"{place}, {column.slip} Correct it. If its texts are categories: {keep}.{out}"
        )


def _said_of_words(column: Column) -> str:
    """A remark where a word for missing values is a category."""
    if column.texts is None or not column.missing.any():
        return ""
    return f"{column.name!r}: {column.texts[column.missing][0]!r} is one of its categories."


def _said_of_codes(column: Column) -> str:
    """A remark where numbers look like codes, or one number is spelled in two ways."""
    if column.texts is None or column.kind == "text":
        return ""
    texts = set(column.texts[~column.missing].tolist())
    codes = f"If they are codes: {_option('categorical', column)}."
    if len(np.unique(column.values[~column.missing])) < len(texts):
        values: dict[float, str] = {}
        for text in sorted(texts):
            if (other := values.setdefault(float(text), text)) != text:
                return f"{column.name!r}: {other!r} and {text!r} are one number. {codes}"
    found = min(filter(CODE.fullmatch, texts), default=None)
    if found is None:
        return ""
    return f"{column.name!r} holds numbers such as {found!r}, read as {float(found):.17g}. {codes}"


def _option(option: str, column: Column) -> str:
    """An option of `posterity fit` for a column, as a shell takes it."""
    return f"--{option} {shlex.quote(column.name)}"


def _rows(table: Table, chosen: np.ndarray, most: int = 5) -> str:
    numbers = np.flatnonzero(chosen)
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(table.where(int(number)) for number in numbers[:most]) + more
