"""From a table's columns to the numbers that a model takes, and the same again for new rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from posterity.data.scaling import Standardizer
from posterity.data.tables import Column, Table, listed

Task = Literal["classification", "regression"]
Label = str | int | float | bool

FORMAT = 1
FEW = 10  # up to this many different whole numbers are taken for class labels
MANY = 50  # more categories than this, on more than half of the rows, are taken for names of rows


@dataclasses.dataclass(frozen=True, eq=False)
class Preprocessing:
    """What was done to the columns of the training table.

    Numbers are standardised, text becomes one column of 0 and 1 per category, which is not scaled;
    class labels are numbered in sorted order, real targets standardised.

    Args:
        target: the target's column. task: ``"classification"`` or ``"regression"``.
        names: the input columns. categories: name → its categories, of the columns of text.
        inputs: standardizer of the encoded input columns.
        output: standardizer of the target, for regression.
        classes: the class labels, for classification.
    """

    target: str
    task: Task
    names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    inputs: Standardizer
    output: Standardizer | None = None
    classes: tuple[Label, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the encoded input columns: ``age``, ``city=Rome``, …"""
        return tuple(
            name if category is None else f"{name}={category}"
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
        _refuse_missing(table, column)
        if self.output is not None:
            return self.output.transform(_numbers(table, column))
        return _codes(table, column, [_spell(label) for label in self.classes], "class")

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
            KeyError, ValueError: `data` describes no preprocessing, or one of another version.
        """
        if data["format"] != FORMAT:
            raise ValueError(
                f"preprocessing: format {data['format']}, this version reads {FORMAT}."
            )
        return cls(
            target=data["target"],
            task=data["task"],
            names=tuple(data["names"]),
            categories={name: tuple(found) for name, found in data["categories"].items()},
            inputs=Standardizer.from_json(data["inputs"]),
            output=None if data["output"] is None else Standardizer.from_json(data["output"]),
            classes=tuple(data["classes"]),
        )


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
        ignore: columns to leave out. categorical: columns of numbers that are categories.
        train: True on training rows, which give the means and scales; None for all rows.

    Returns:
        The preprocessing, and a sentence about every decision that could have been another.

    Raises:
        ValueError: a column that cannot be used; the message names it, the row and the remedy.
    """
    ignore, categorical = list(ignore), list(categorical)
    names = _input_names(table, target, ignore, categorical)
    categories = {
        name: _categories(table, table.column(name))
        for name in names
        if name in categorical or table.column(name).kind == "text"
    }
    notes = [
        f"{name!r} holds categories: one column of 0 and 1 for each of {listed(found, 6)}."
        for name, found in categories.items()
    ]
    train = np.ones(table.rows, bool) if train is None else train
    inputs, constant = _fit_inputs(table, names, categories, train)
    column = table.column(target)
    chosen, why = _choose_task(column, task)
    notes += [*constant, why]
    if chosen == "classification":
        classes = _classes(table, column)
        return Preprocessing(target, chosen, names, categories, inputs, None, classes), notes
    output = Standardizer.fit(_numbers(table, column)[train])
    if output.constant:
        raise ValueError(f"{table.source}: the target {target!r} is the same on all training rows.")
    return Preprocessing(target, chosen, names, categories, inputs, output), notes


def _input_names(
    table: Table, target: str, ignore: Sequence[str], categorical: Sequence[str]
) -> tuple[str, ...]:
    for name in (target, *ignore, *categorical):
        table.column(name)
    if target in (*ignore, *categorical):
        raise ValueError(f"the target {target!r} cannot be an input or be left out.")
    _refuse_missing(table, table.column(target))
    names = tuple(name for name in table.columns if name not in (target, *ignore))
    if not names:
        raise ValueError(f"{table.source}: beside the target {target!r} there is no column.")
    return names


def _fit_inputs(
    table: Table,
    names: Sequence[str],
    categories: Mapping[str, tuple[str, ...]],
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


def _choose_task(column: Column, task: str) -> tuple[Task, str]:
    name, distinct = column.name, len(set(column.values.tolist()))
    if task == "classification":
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
    if column.kind == "text":
        labels = sorted(set(column.spelled().tolist()))
    else:
        labels = sorted(set(column.values.tolist()))
    if column.kind == "whole":
        labels = [int(label) for label in labels]
    if len(labels) < 2:
        raise ValueError(
            f"{table.source}: the target {column.name!r} holds one class only, {labels[0]!r}."
        )
    if len(labels) > max(2, table.rows // 2):
        raise ValueError(
            f"{table.source}: the target {column.name!r} holds {len(labels)} different values on "
            f"{table.rows} rows, too many for classes. Name another target, or, if they are "
            "numbers, use --task regression."
        )
    return tuple(labels)


def _categories(table: Table, column: Column) -> tuple[str, ...]:
    _refuse_missing(table, column)
    found = tuple(sorted({_spell(value) for value in column.values.tolist()}))
    if len(found) > MANY and 2 * len(found) > table.rows:
        raise ValueError(
            f"{table.source}: column {column.name!r} holds {len(found)} different texts on "
            f"{table.rows} rows, which looks like a name of every row. Leave it out: --ignore "
            f"{column.name!r}."
        )
    return found


def _encoded(
    table: Table, names: Sequence[str], categories: Mapping[str, tuple[str, ...]]
) -> np.ndarray:
    """Numbers as they are, and 0 and 1 for categories: (rows, encoded columns)."""
    parts = []
    for name in names:
        column = table.column(name)
        _refuse_missing(table, column)
        if name in categories:
            codes = _codes(table, column, categories[name], "category")
            parts.append(np.eye(len(categories[name]))[codes])
        else:
            parts.append(_numbers(table, column)[:, None])
    return np.concatenate(parts, axis=1)


def _codes(table: Table, column: Column, known: Sequence[str], what: str) -> np.ndarray:
    """The number of each value among the `known` ones."""
    numbers = {text: number for number, text in enumerate(known)}
    texts = column.spelled()
    codes = np.array([numbers.get(text, -1) for text in texts])
    if (codes < 0).any() and column.kind in ("whole", "real"):
        # Another kind of file may spell a number in another way: 3, 3.0, 03.
        canonical = np.array([numbers.get(_spell(value), -1) for value in column.values])
        codes = np.where(codes < 0, canonical, codes)
    if (codes < 0).any():
        first = int(np.argmax(codes < 0))
        raise ValueError(
            f"{table.source}: column {column.name!r}, {table.where(first)}: the {what} "
            f"{texts[first]!r} is not among those of the training table, {listed(known)}. "
            f"({(codes < 0).sum()} such rows.)"
        )
    return codes


def _spell(value: Any) -> str:
    """A value as a string; one number has one spelling, whatever the kind of file."""
    if isinstance(value, (float, np.floating)) and value == np.floor(value):
        return str(int(value))
    return str(value)


def _numbers(table: Table, column: Column) -> np.ndarray:
    """A column of finite numbers as float64."""
    if column.kind == "text":
        raise ValueError(
            f"{table.source}: column {column.name!r}, {table.where(0)}: {column.values[0]!r} is "
            "not a number."
        )
    numbers = column.values.astype(np.float64)
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise ValueError(
            f"{table.source}: column {column.name!r} is infinite on {_rows(table, bad)}. Correct "
            f"those rows, or leave the column out: --ignore {column.name!r}."
        )
    return numbers


def _refuse_missing(table: Table, column: Column) -> None:
    if column.missing.any():
        raise ValueError(
            f"{table.source}: column {column.name!r} has missing values on "
            f"{_rows(table, column.missing)}. Drop or fill those rows, or leave the column out: "
            f"--ignore {column.name!r}."
        )


def _rows(table: Table, chosen: np.ndarray, most: int = 5) -> str:
    numbers = np.flatnonzero(chosen)
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(table.where(int(number)) for number in numbers[:most]) + more
