"""Reading tables, what is inferred from them, and what is refused."""

import json

import numpy as np
import pytest

from posterity.data.preprocessing import Preprocessing, infer
from posterity.data.scaling import Standardizer
from posterity.data.tables import read_table


def write(folder, text, name="table.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


CITIES = "age,city,pay\n30,Rome,10.5\n40,Oslo,20.5\n\n50,Rome,30.25\n"


def test_csv_columns_have_kinds_and_lines(tmp_path):
    table = read_table(write(tmp_path, CITIES))
    assert {name: column.kind for name, column in table.columns.items()} == {
        "age": "whole",
        "city": "text",
        "pay": "real",
    }
    assert table.rows == 3
    assert table.where(2) == "row 3 (line 5)"  # the empty line is counted, not read


def test_line_numbers_after_a_quoted_line_break(tmp_path):
    table = read_table(write(tmp_path, 'a,b\n1,"x\ny"\n2,z\n'))
    assert [table.where(row) for row in (0, 1)] == ["row 1 (line 2)", "row 2 (line 4)"]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_are_seen_and_said(tmp_path, separator):
    table = read_table(write(tmp_path, CITIES.replace(",", separator)))
    assert list(table.columns) == ["age", "city", "pay"]
    assert "separated by" in table.notes[0]


def test_csv_parquet_and_npz_give_the_same_numbers(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    data = {"age": [30, 40, 50], "city": ["Rome", "Oslo", "Rome"], "pay": [10.5, 20.5, 30.25]}
    pq.write_table(pa.table(data), tmp_path / "table.parquet")
    np.savez(tmp_path / "table.npz", **{name: np.array(each) for name, each in data.items()})
    first = read_table(write(tmp_path, CITIES))
    known, _ = infer(first, "pay")
    for suffix in ("parquet", "npz"):
        other = read_table(tmp_path / f"table.{suffix}")
        fitted, _ = infer(other, "pay")
        assert fitted.to_json() == known.to_json()
        np.testing.assert_array_equal(known.x(other), known.x(first))
        np.testing.assert_array_equal(known.y(other), known.y(first))


def test_encoding_is_what_it_says(tmp_path):
    table = read_table(write(tmp_path, CITIES))
    fitted, notes = infer(table, "pay")
    assert fitted.columns == ("age", "city=Oslo", "city=Rome")
    assert "'city' holds categories" in notes[0]
    x = fitted.x(table)
    np.testing.assert_allclose(x[:, 0], [-(1.5**0.5), 0, 1.5**0.5])
    np.testing.assert_array_equal(x[:, 1:], [[0, 1], [1, 0], [0, 1]])
    np.testing.assert_allclose(fitted.output.inverse(fitted.y(table)), [10.5, 20.5, 30.25])


def test_scales_come_from_the_training_rows(tmp_path):
    table = read_table(write(tmp_path, CITIES))
    fitted, _ = infer(table, "pay", train=np.array([True, True, False]))
    assert (fitted.inputs.loc[0], fitted.inputs.scale[0]) == (35, 5)
    assert float(fitted.output.loc) == 15.5


def test_preprocessing_survives_json_to_the_bit(tmp_path):
    table = read_table(write(tmp_path, CITIES))
    fitted, _ = infer(table, "city")
    again = Preprocessing.from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(again.x(table), fitted.x(table))
    np.testing.assert_array_equal(again.y(table), fitted.y(table))
    assert again.classes == ("Oslo", "Rome")


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ("0 1 0 1", "classification"),
        ("yes no yes no", "classification"),
        ("3.5 4.0 3.5 4.0", "regression"),
        (" ".join(map(str, range(30))), "regression"),
    ],
)
def test_the_task_is_inferred_and_said(tmp_path, values, task):
    rows = "".join(f"{number},{value}\n" for number, value in enumerate(values.split()))
    fitted, notes = infer(read_table(write(tmp_path, "a,y\n" + rows)), "y")
    assert fitted.task == task
    assert task in notes[-1]


def test_the_task_can_be_overridden(tmp_path):
    table = read_table(write(tmp_path, "a,y\n1,3\n2,4\n3,3\n4,4\n"))
    assert infer(table, "y")[0].classes == (3, 4)
    assert infer(table, "y", task="regression")[0].output is not None


def test_whole_numbers_can_be_categories(tmp_path):
    table = read_table(write(tmp_path, "code,y\n01,1.5\n2,2.5\n1,0.5\n"))
    fitted, _ = infer(table, "y", categorical=["code"])
    assert fitted.columns == ("code=1", "code=2")
    np.testing.assert_array_equal(fitted.x(table), [[1, 0], [0, 1], [1, 0]])


def test_constant_columns_are_said_and_harmless(tmp_path):
    table = read_table(write(tmp_path, "a,b,y\n7,1,1.5\n7,2,2.5\n"))
    fitted, notes = infer(table, "y")
    assert "'a' is constant" in notes[0]
    np.testing.assert_array_equal(fitted.x(table)[:, 0], [0, 0])


REFUSED = {
    "missing": ("a,y\n1,2.5\n,3.5\n4,4.5\nNA,1.5\n", r"'a' has missing.*row 2 \(line 3\), row 4"),
    "missing target": ("a,y\n1,2.5\n2,\n", r"'y' has missing values on row 2 \(line 3\)"),
    "infinite": ("a,y\n1,2.5\ninf,3.5\n", r"'a' is infinite on row 2 \(line 3\)"),
    "slip": ("a,y\n1,2.5\n2,3.5\nthree,4.5\n", r"'a', row 3 \(line 4\): 'three' is not a number"),
    "ragged": ("a,y\n1,2.5\n1,2,3\n", "line 3: 3 fields, but the header has 2"),
    "same name": ("a,a,y\n1,2,3\n", "two columns are called 'a'"),
    "no name": (",y\n1,2\n", "column 1 has no name"),
    "no header": ("1,2\n3,4\n", "first line holds numbers"),
    "no rows": ("a,y\n", "holds no rows"),
    "empty": ("", "it is empty"),
    "no target": ("a,b\n1,2\n", "no column 'y'; there are 'a', 'b'"),
    "one class": ("a,y\n1,no\n2,no\n", "one class only, 'no'"),
    "constant target": ("a,y\n1,2.5\n2,2.5\n", "the same on all training rows"),
    "only a target": ("y\n1.5\n2.5\n", "beside the target 'y' there is no column"),
    "names of rows": (
        "a,y\n" + "".join(f"n{row},{row}.5\n" for row in range(60)),
        "'a' holds 60 different texts.*--ignore 'a'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_place(tmp_path, case):
    text, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        infer(read_table(write(tmp_path, text)), "y")


def test_new_rows_are_held_to_what_was_trained_on(tmp_path):
    fitted, _ = infer(read_table(write(tmp_path, CITIES)), "pay")
    for text, message in {
        "age,city\n30,Rome\n40,Bern\n": r"'city', row 2 \(line 3\): the category 'Bern'",
        "age\n30\n": "needs the columns 'city'",
        "age,city\nold,Rome\n": "'age', row 1.*'old' is not a number",
    }.items():
        with pytest.raises(ValueError, match=message):
            fitted.x(read_table(write(tmp_path, text, "new.csv")))


def test_new_rows_need_no_target_and_any_order(tmp_path):
    fitted, _ = infer(read_table(write(tmp_path, CITIES)), "pay")
    new = read_table(write(tmp_path, "city,other,age\nOslo,x,40.0\n", "new.csv"))
    np.testing.assert_array_equal(fitted.x(new), [[0, 1, 0]])


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.csv"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match=r"ending in \.csv"):
        read_table(write(tmp_path, "", "table.xlsx"))
    with pytest.raises(ValueError, match="not a readable npz"):
        read_table(write(tmp_path, "junk", "table.npz"))
    (tmp_path / "latin.csv").write_bytes("ort,y\nKöln,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        read_table(tmp_path / "latin.csv")


def test_npz_objects_and_odd_shapes_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.array([{}], object))
    with pytest.raises(ValueError, match="not a readable npz"):
        read_table(path)
    np.savez(path, X=np.zeros((3, 2)), y=np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"array 'y' has shape \(3, 1\)"):
        read_table(path)
    np.savez(path, X=np.zeros((3, 2)), y=np.zeros(4))
    with pytest.raises(ValueError, match="differ in length"):
        read_table(path)


def test_npz_of_x_and_y_leaves_other_arrays_out_and_says_so(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.zeros((3, 2)), y=np.arange(3), mask=np.zeros(5))
    table = read_table(tmp_path / "a.npz")
    assert list(table.columns) == ["x0", "x1", "y"]
    assert "'mask'" in table.notes[0]


class TestStandardizer:
    def test_inverse_undoes_transform(self):
        x = np.random.default_rng(0).normal(5, 3, (50, 4))
        standardizer = Standardizer.fit(x)
        z = standardizer.transform(x)
        np.testing.assert_allclose(z.mean(0), 0, atol=1e-14)
        np.testing.assert_allclose(z.std(0), 1)
        np.testing.assert_allclose(standardizer.inverse(z), x)

    def test_constant_columns_have_scale_one(self):
        standardizer = Standardizer.fit(np.array([[0.1, 1], [0.1, 2], [0.1, 3]]))
        assert standardizer.constant == (0,)
        assert standardizer.scale[0] == 1

    def test_huge_units_do_not_overflow(self):
        z = Standardizer.fit(np.array([[1e200], [3e200]])).transform([[1e200], [3e200]])
        np.testing.assert_allclose(z, [[-1], [1]])

    def test_json_gives_the_same_back(self):
        standardizer = Standardizer.fit(np.random.default_rng(1).normal(size=20) / 3)
        again = Standardizer.from_json(json.loads(json.dumps(standardizer.to_json())))
        assert float(again.loc) == float(standardizer.loc)
        assert float(again.scale) == float(standardizer.scale)

    @pytest.mark.parametrize("rows", [np.zeros((0, 2)), np.array([[1.0, np.nan]])])
    def test_refusals(self, rows):
        with pytest.raises(ValueError, match="rows"):
            Standardizer.fit(rows)
