"""Tables of any content: what is written is read, and any text is a table or one sentence."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posterity.data.preprocessing import Preprocessing, infer
from posterity.data.tables import MISSING, read_table

QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)
LETTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"])
# Texts that no reader could take for a number, a missing value or a border.
WORDS = st.text(LETTERS, min_size=1, max_size=8).map(lambda word: f"w{word}w")
NAMES = st.lists(WORDS, min_size=2, max_size=5, unique=True)


def written(folder: Path, rows: list[list[object]]) -> Path:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    path = folder / "table.csv"
    path.write_bytes(text.getvalue().encode())
    return path


@QUICK
@given(names=NAMES, data=st.data())
def test_numbers_and_words_come_back(tmp_path: Path, names: list[str], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    kinds = [data.draw(st.sampled_from([NUMBERS, WORDS])) for _ in names]
    columns = [data.draw(st.lists(kind, min_size=count, max_size=count)) for kind in kinds]
    table = read_table(written(tmp_path, [names, *map(list, zip(*columns))]))
    assert list(table.columns) == names
    assert table.rows == count
    for name, values in zip(names, columns):
        column = table.columns[name]
        assert not column.missing.any()
        if isinstance(values[0], str):
            assert column.kind == "text"
            assert list(column.spelled()) == values
        else:
            assert column.kind in ("real", "whole")
            np.testing.assert_array_equal(np.asarray(column.values, float), values)


@QUICK
@given(values=st.lists(st.one_of(NUMBERS, st.sampled_from(sorted(MISSING))), min_size=2))
def test_words_for_missing_are_missing_and_the_others_are_not(
    tmp_path: Path, values: list[float | str]
) -> None:
    rows: list[list[object]] = [["a", "b"], *([value, "w"] for value in values)]
    column = read_table(written(tmp_path, rows)).columns["a"]
    assert column.missing.tolist() == [isinstance(value, str) for value in values]


NEARLY_NUMBERS = st.text("0123456789+-−.eE_,%$() \u00a0aAnNi١", min_size=1, max_size=6).filter(
    lambda text: text.strip() != ""
)


@QUICK
@given(texts=st.lists(NEARLY_NUMBERS, min_size=4, max_size=12))
def test_no_two_texts_become_one(tmp_path: Path, texts: list[str]) -> None:
    """As categories and as classes all stay apart; as amounts they are what their digits say."""
    rows: list[list[object]] = [["y", "a"], *([f"{n}.5", text] for n, text in enumerate(texts))]
    table = read_table(written(tmp_path, rows))
    apart = {text.strip() for text in texts}
    fitted, _ = infer(table, "y", categorical=["a"])
    assert set(fitted.columns) == {f"a={text}" for text in apart}
    again = Preprocessing.from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(again.x(table), fitted.x(table))
    if 1 < len(apart) <= len(texts) // 2:
        classes, _ = infer(table, "a", categorical=["a"])
        assert {str(label) for label in classes.classes} == apart
        assert len(set(classes.y(table).tolist())) == len(apart)
    column = table.columns["a"]
    if column.kind == "text":
        assert not all(
            re.fullmatch(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)(e[+-]?[0-9]+)?", text.lower())
            for text in apart
        )
        return
    for text, value in zip(texts, column.values):
        if text.strip().lower() not in MISSING:
            assert set(text.strip().lower()) <= set("0123456789+-.einf")
            assert value == float(text)


@QUICK
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_content_is_a_table_or_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(content)
    said, table = "", None
    try:
        table = read_table(path)
    except ValueError as error:
        said = str(error)
    assert table is not None or str(path) in said
    if table is None:
        return
    for column in table.columns.values():
        assert len(column.values) == len(column.missing) == table.rows
        if column.kind in ("real", "whole"):
            known = np.asarray(column.values, float)[~column.missing]
            assert not any(math.isnan(value) for value in known)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt"])
def test_an_empty_file_is_no_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"empty{suffix}"
    path.write_text("")
    with pytest.raises(ValueError, match="empty"):
        read_table(path)
