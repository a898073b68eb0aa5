"""Reading tables, what is inferred from them, and what is refused."""

import json
import time

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


def test_whole_numbers_can_be_categories_and_keep_their_texts(tmp_path):
    table = read_table(write(tmp_path, "code,y\n01,1.5\n2,2.5\n1,0.5\n"))
    fitted, _ = infer(table, "y", categorical=["code"])
    assert fitted.columns == ("code=01", "code=1", "code=2")
    np.testing.assert_array_equal(fitted.x(table), np.eye(3)[[0, 2, 1]])


ALIKE = {  # texts that Python's float makes one number
    "underscores": ("1_12", "11_2"),
    "zeros before": ("007", "7"),
    "zeros behind": ("1.1", "1.10"),
    "powers": ("1E3", "10E2"),
    "signs": ("+5", "5"),
    "negative zero": ("-0", "0"),
    "more digits than a double": ("12345678901234567", "12345678901234568"),
    "points": ("5.", "5"),
}


@pytest.mark.parametrize("case", ALIKE)
def test_texts_that_are_one_number_stay_two_categories_and_two_classes(tmp_path, case):
    pair = ALIKE[case]
    rows = "".join(f"{row}.5,{pair[row % 2]}\n" for row in range(8))
    table = read_table(write(tmp_path, "y,code\n" + rows))
    fitted, _ = infer(table, "y", categorical=["code"])
    assert set(fitted.columns) == {f"code={text}" for text in pair}
    assert fitted.x(table).sum(0).tolist() == [4, 4]
    for options in ({"task": "classification"}, {"categorical": ["code"]}):
        fitted, _ = infer(table, "code", **options)
        assert {str(label) for label in fitted.classes} == set(pair)
        assert sorted(fitted.y(table).tolist()) == [0] * 4 + [1] * 4
        again = Preprocessing.from_json(json.loads(json.dumps(fitted.to_json())))
        assert again.classes == fitted.classes


@pytest.mark.parametrize("case", [case for case in ALIKE if case != "underscores"])
def test_two_spellings_of_one_amount_are_said(tmp_path, case):
    pair = ALIKE[case]
    table = read_table(write(tmp_path, f"code,y\n{pair[0]},1.5\n{pair[1]},2.5\n3,0.5\n"))
    _, notes = infer(table, "y")
    both = " and ".join(map(repr, sorted(pair)))
    assert f"'code': {both} are one number. If they are codes: --categorical code." in notes


def test_a_number_that_looks_like_a_code_is_said(tmp_path):
    table = read_table(write(tmp_path, "my code,y\n0171,1.5\n2000,2.5\n"))
    assert (
        "such as '0171', read as 171. If they are codes: --categorical 'my code'."
        in (infer(table, "y")[1][0])
    )


def test_labels_are_numbers_only_where_nothing_is_lost(tmp_path):
    for texts, labels in {"10 9 9": (9, 10), "10 09 9": ("09", "9", "10")}.items():
        rows = "".join(f"{row}.5,{text}\n" for row, text in enumerate(2 * texts.split()))
        fitted, _ = infer(read_table(write(tmp_path, "a,y\n" + rows)), "y")
        assert fitted.classes == labels


def test_another_kind_of_file_spells_a_number_its_own_way(tmp_path):
    np.savez(tmp_path / "a.npz", code=np.array([3.0, 10.0, 3.5]), y=np.array([0.5, 1.5, 2.5]))
    numbers = read_table(tmp_path / "a.npz")
    by_number, _ = infer(numbers, "y", categorical=["code"])
    assert by_number.columns == ("code=3", "code=3.5", "code=10")
    spelled = read_table(write(tmp_path, "code\n03\n10.0\n3.50\n"))
    np.testing.assert_array_equal(by_number.x(spelled), by_number.x(numbers)[[0, 1, 2]])
    with pytest.raises(ValueError, match=r"'03' and '3' are two texts, but one number, 3"):
        by_number.x(read_table(write(tmp_path, "code\n03\n3\n")))
    by_text, _ = infer(
        read_table(write(tmp_path, "code,y\n007,1.5\n7,2.5\n8,0.5\n")), "y", categorical=["code"]
    )
    np.savez(tmp_path / "b.npz", code=np.array([8]))
    assert by_text.x(read_table(tmp_path / "b.npz")).tolist() == [[0, 0, 1]]
    np.savez(tmp_path / "b.npz", code=np.array([8, 7]))
    with pytest.raises(ValueError, match=r"row 2: the category '7' could be any of.*'007', '7'"):
        by_text.x(read_table(tmp_path / "b.npz"))
    with pytest.raises(ValueError, match=r"row 1 \(line 2\): the category '07' is not among"):
        by_text.x(read_table(write(tmp_path, "code\n07\n")))


NO_NUMBERS = {  # what Python's float takes, and what people read as numbers
    "1_000": "is not a number, though most of the column is",
    "١٢": "has digits that are not 0 to 9",
    "1,5": "has a comma, which may be a decimal comma or may separate thousands",
    "1,234": "has a comma",
    "1.234,5": "has a comma",
    "1.234.567": "has thousands that are set apart",
    "1\u202f234": "has thousands that are set apart",
    "1'234": "has thousands that are set apart",
    "5%": "has a percent sign",
    "$5": "has a currency sign",
    "-€ 5.50": "has a currency sign",
    "\u22125": "has a minus sign that is not the one of the keyboard",
    "(5)": "has brackets for a minus sign",
    "5-": "has its sign behind it",
    "0x1F": "is not a number",
    "1e5.5": "is not a number",
    "1 2": "is not a number",
    "+-1": "is not a number",
    "--1": "is not a number",
    "-nan": "is not a number",
}


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_is_refused_beside_numbers_with_what_to_do(tmp_path, text):
    rows = "".join(f'{row},{row}.5,"{each}"\n' for row, each in enumerate(["1", text, "3", "4"]))
    table = read_table(write(tmp_path, "b,y,my pay\n" + rows))
    with pytest.raises(ValueError, match="'my pay', row 2") as caught:
        infer(table, "y")
    said = str(caught.value)
    assert f"(line 3): {text!r} {NO_NUMBERS[text]}" in said
    # And the remedies work.
    assert said.endswith("--categorical 'my pay'. Or leave it out: --ignore 'my pay'.")
    assert f"my pay={text}" in infer(table, "y", categorical=["my pay"])[0].columns
    assert infer(table, "y", ignore=["my pay"])[0].columns == ("b",)
    with pytest.raises(ValueError, match="'my pay', row 2"):
        infer(table, "my pay", task="classification")
    known, _ = infer(read_table(write(tmp_path, "my pay,y\n1,1.5\n2,2.5\n")), "y")
    with pytest.raises(ValueError, match="'my pay', row 2") as caught:
        known.x(table)
    assert "--" not in str(caught.value).replace(text, "")  # no option of another command


@pytest.mark.parametrize("text", ["1,5", "1,234", "5%", "$5", "١٢", "1.234.567"])
def test_a_column_that_only_people_read_as_numbers_is_refused(tmp_path, text):
    rows = "".join(f'"{text}",{row}.5\n' for row in range(4))
    with pytest.raises(ValueError, match=r"a number is written as 1234.5 or 2e-3. \(4 such rows"):
        infer(read_table(write(tmp_path, "a,y\n" + rows)), "y")


@pytest.mark.parametrize("text", ["7", "+7", "-7", "7.", ".7", "7.5e3", "7E-3", " 7 ", "1e400"])
def test_what_a_number_is(tmp_path, text):
    column = read_table(write(tmp_path, f"a,y\n{text},1\n2,2\n")).columns["a"]
    assert column.kind in ("whole", "real")
    assert column.values[0] == float(text)


@pytest.mark.parametrize("word", ["inf", "-INF", "Infinity", "1e999"])
def test_infinity_beside_numbers_is_refused_by_row_and_alone_is_a_word(tmp_path, word):
    table = read_table(write(tmp_path, f"a,y\n1,2.5\n{word},3.5\n"))
    with pytest.raises(ValueError, match=r"'a' is infinite on row 2 \(line 3\)"):
        infer(table, "y")
    if word != "1e999":
        assert read_table(write(tmp_path, f"a,y\n{word},1\n")).columns["a"].kind == "text"


@pytest.mark.parametrize("word", ["NA", "NaN", "null", "?", "N/A"])
def test_a_word_for_missing_in_text_is_refused_and_kept_when_asked_for(tmp_path, word):
    table = read_table(write(tmp_path, f"land,y\nDE,1.5\n{word},2.5\nFR,0.5\n{word},1.5\n"))
    with pytest.raises(ValueError, match=r"'land' has missing values on row 2 \(line 3\)") as found:
        infer(table, "y")
    assert f"If {word!r} is a value there, keep its texts: --categorical land." in str(found.value)
    fitted, notes = infer(table, "y", categorical=["land"])
    assert f"'land': {word!r} is one of its categories." in notes
    assert fitted.x(table).sum(0)[fitted.columns.index(f"land={word}")] == 2
    two = read_table(write(tmp_path, f"land,y\nDE,1\n{word},2\n{word},3\nDE,4\n"))
    classes, _ = infer(two, "land", categorical=["land"])
    assert [classes.classes[code] for code in classes.y(two)] == ["DE", word, word, "DE"]
    empty = read_table(write(tmp_path, f"land,y\nDE,1.5\n,2.5\n{word},0.5\n"))
    for use in (lambda: infer(empty, "y", categorical=["land"]), lambda: fitted.x(empty)):
        with pytest.raises(ValueError, match=r"'land' has missing values on row 2 \(line 3\)\."):
            use()


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_texts_of_numbers_in_typed_files_are_numbers_where_these_are_needed(tmp_path, suffix):
    columns = {"a": np.array(["1.5", "2", "3e0"]), "y": np.array(["0.5", "1", "1.5"])}
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, **columns)
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table(columns), path)
    table = read_table(path)
    known, _ = infer(read_table(write(tmp_path, "a,y\n1.5,0.5\n2,1\n3,1.5\n")), "y")
    np.testing.assert_allclose(known.inputs.inverse(known.x(table))[:, 0], [1.5, 2, 3])
    np.testing.assert_allclose(known.output.inverse(known.y(table)), [0.5, 1, 1.5])
    assert infer(table, "y", task="regression")[0].columns == ("a=1.5", "a=2", "a=3e0")


def test_words_for_missing_in_npz_and_in_parquet(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"a": np.array(["u", "nan", "u"]), "y": np.array([0.5, 1, 1.5])}
    np.savez(tmp_path / "a.npz", **columns)
    with pytest.raises(ValueError, match=r"'a' has missing values on row 2\..*--categorical a"):
        infer(read_table(tmp_path / "a.npz"), "y")
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert infer(read_table(tmp_path / "a.parquet"), "y")[0].columns == ("a=nan", "a=u")
    pq.write_table(pa.table({"a": ["u", None, "u"], "y": columns["y"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"'a' has missing values on row 2\. Drop or fill"):
        infer(read_table(tmp_path / "a.parquet"), "y")


def test_categories_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    rows = "".join(f"{row % 200},{row}.5\n" for row in range(500))
    table = read_table(write(tmp_path, "code,y\n" + rows))
    monkeypatch.setattr("posterity.memory.available", lambda: 1_000_000)
    with pytest.raises(ValueError, match=r"its 200 encoded columns.*'code' becomes 200 columns"):
        infer(table, "y", categorical=["code"])


def test_an_ignored_or_unused_column_may_hold_anything(tmp_path):
    table = read_table(write(tmp_path, "a,b,y\n1,5%,1.5\n2,,2.5\n3,x,0.5\n"))
    fitted, _ = infer(table, "y", ignore=["b"])
    assert fitted.x(table).shape == (3, 1)


HEADS = {
    "a delimiter in quotes": '"a;b;c",y\n1,2.5\n3,4.5\n',
    "more of another delimiter": "a;;b,y\n1,2.5\n3,4.5\n",
    "sep": "sep=;\na;y\n1;2.5\n3;4.5\n",
    "sep in quotes": '"sep=,"\r\na,y\r\n1,2.5\r\n3,4.5\r\n',
    "sep of tabs": "SEP=\t\na\ty\n1\t2.5\n3\t4.5\n",
    "sep settles a tie": "sep=,\na;b,y\n1;2,2.5\n3;4,4.5\n",
    "blank lines": "\n \n\na,y\n1,2.5\n3,4.5\n",
    "a blank line behind the header": "a;b,y\n\n1,2.5\n3,4.5\n",
    "a byte order mark": "\ufeffa,y\n1,2.5\n3,4.5\n",
    "a year as a name": "1990,y\n1,2.5\n3,4.5\n",
    "a line break in a name": '"a\nb",y\n1,2.5\n3,4.5\n',
}


@pytest.mark.parametrize("case", HEADS)
def test_headers_are_read_right(tmp_path, case):
    path = write(tmp_path, HEADS[case])
    table = read_table(path)
    assert list(table.columns)[-1] == "y"
    assert len(table.columns) == 2
    assert table.columns["y"].values.tolist() == [2.5, 4.5]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert "4.5" in lines[table.lines[1] - 1]  # lines are counted from the file's first


BAD_HEADS = {
    "comment": ("# by me\na,y\n1,2\n", "line 1: it begins with #. Remove lines of comments"),
    "comment later": ("a,y\n1,2\n#end\n", "line 3: 1 fields.*Remove lines of comments"),
    "hash": ("\n#a,y\n1,2\n", "line 2: it begins with #.*remove the #, or put the name in quotes"),
    "separator": ("sep=|\na|y\n", r"announces the separator '\|'; only comma"),
    "tie": ("a;b,y\n1;2,2.5\n", "by commas or by semicolons.*by a first line: sep=;"),
    "two names": ("1,1\n2,3\n", "first line holds numbers"),
    "blank": ("\n\n \n", "it is empty"),
    "a row": ("5.1,3.5,setosa\n4.9,3,setosa\n6,2,virginica\n", "'setosa', reads like a row"),
    "a row of numbers and words": ("1,u,v\n2,u,w\n3,x,v\n", "reads like a row"),
}


@pytest.mark.parametrize("case", BAD_HEADS)
def test_headers_that_are_refused(tmp_path, case):
    text, message = BAD_HEADS[case]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        read_table(write(tmp_path, text))


def test_long_fields_are_judged_in_linear_time(tmp_path):
    texts = ["1" * 100_000 + "x", "+" + "\u00a0" * 100_000 + "x", "1." + "0" * 100_000 + "e"]
    began = time.perf_counter()
    read_table(write(tmp_path, "a\n" + "\n".join(texts) + "\n"))
    assert time.perf_counter() - began < 1


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
    "open quote": ('a,y\n"1,2\n3,4\n', "end of data; a quotation mark is not closed"),
    "another separator": ("a|y\n1|2\n", r"'a\|y'\. Only commas, semicolons and tabs separate"),
    "no target": ("a,b\n1,2\n", "no column 'y'; there are 'a', 'b'"),
    "one class": ("a,y\n1,no\n2,no\n", "one class only, 'no'"),
    "constant target": ("a,y\n1,2.5\n2,2.5\n", "the same on all training rows"),
    "only a target": ("y\n1.5\n2.5\n", "beside the target 'y' there is no column"),
    "names of rows": (
        "a,y\n" + "".join(f"n{row},{row}.5\n" for row in range(60)),
        "'a' holds 60 different texts.*--ignore a",
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
