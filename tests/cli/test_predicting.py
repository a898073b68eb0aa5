"""Files of predictions: exact numbers, and no cell that a spreadsheet would compute."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import posterity as po
from handmade import draws_of, linear, posterior_of
from posterity.cli import app
from posterity.cli.folder import Folder
from posterity.cli.predicting import WRITERS
from posterity.data.preprocessing import infer
from posterity.data.tables import read_table

FORMULAS = ["=1+1", "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-", "=-1"]
PLAIN = ["-1", "+1", "-1.5e-3", "-.5", "1", "u", "é", "a b", "", "'", "a=b", "a-b"]


def cells(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_escaped_in_cells_and_heads(text: str) -> None:
    content = WRITERS[".csv"]({"label": np.array([text, "u"]), text: np.array([-1.5, 2.0])})
    assert cells(content) == [["label", f"'{text}"], [f"'{text}", "-1.5"], ["u", "2.0"]]


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_and_negative_numbers_stay(text: str) -> None:
    content = WRITERS[".csv"]({"label": np.array([text, "u"]), "mean": np.array([-1.5, -1e-30])})
    assert cells(content) == [["label", "mean"], [text, "-1.5"], ["u", "-1e-30"]]


@pytest.mark.parametrize("text", ["a;=1+1", 'a";"=1', "a\t=1", "a\n=1", "a\r=1", 'a,"=1"'])
def test_no_text_ends_its_cell_in_a_spreadsheet_of_another_separator(text: str) -> None:
    content = WRITERS[".csv"]({"label": np.array([text])})
    assert cells(content) == [["label"], [text]]
    assert content.decode().split("\n", 1)[1].startswith('"a')


def test_numbers_come_back_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        values = (rng.normal(size=50) * 10.0 ** rng.integers(-30, 30, 50)).astype(dtype)
        rows = cells(WRITERS[".csv"]({"mean": values}))[1:]
        np.testing.assert_array_equal(np.array([row[0] for row in rows], dtype), values)


def test_the_answer_says_which_labels_were_changed(tmp_path: Path) -> None:
    data = tmp_path / "a.csv"
    data.write_text("x,kind\n1,=1+1\n2,-5\n3,=1+1\n4,-5\n")
    table = read_table(data)
    preprocessing, _ = infer(table, "kind")
    train = (preprocessing.x(table), preprocessing.y(table))
    model = linear(po.likelihoods.Bernoulli())
    posterior = posterior_of(model, draws_of([[1.0], [2.0]]))
    summary = {"settings": {"data": "a.csv"}, "notes": []}
    Folder(tmp_path / "fit").write(posterior, preprocessing, train, None, summary)
    for suffix, changed in ((".csv", True), (".npz", False)):
        out = tmp_path / f"p{suffix}"
        command = ["predict", str(tmp_path / "fit"), str(data), "--out", str(out), "--json"]
        answer = json.loads(CliRunner().invoke(app, command).stdout)
        assert ("notes" in answer) is changed
        if changed:
            assert "'=1+1': written with an apostrophe before" in answer["notes"][0]
            labels = {row[0] for row in cells(out.read_bytes())[1:]}
            assert labels == {"'=1+1", "-5"}
        else:
            with np.load(out) as file:
                assert set(file["label"].tolist()) == {"=1+1", "-5"}
