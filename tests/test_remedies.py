"""Remedies run as they are told, for every kind of object that can reach the message."""

from __future__ import annotations

import datetime
import decimal
import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.lib.recfunctions
import pytest
import scipy.sparse

import posterity as po
from posterity import inputs
from posterity.data.batches import as_targets

pd = pytest.importorskip("pandas")

DAY = np.datetime64("2001-02-03")
DATES = [datetime.date(2001, 2, 3), datetime.date(2001, 2, 4)]
MIXED = pd.DataFrame({"a": [1.0, 2.0], "city": ["u", "v"]})
STRUCTURED = np.array([(1.0, 2), (3.0, 4)], [("a", float), ("b", int)])
POINTS = np.arange(6.0).reshape(3, 2)

# What is given for x, and the code that the message has.
FOR_X: dict[str, tuple[Any, str]] = {
    "1-d array": (np.arange(3.0), "x[:, None]"),
    "1-d array of JAX": (jnp.arange(3.0), "x[:, None]"),
    "list": ([1.0, 2.0], "np.asarray(x)[:, None]"),
    "range": (range(3), "np.asarray(x)[:, None]"),
    "pandas Series": (pd.Series([1.0, 2.0], [5, 6], name="a"), "x.to_frame()"),
    "pandas Index": (pd.Index([1.0, 2.0]), "x.to_frame()"),
    "pandas array": (pd.array([1.0, 2.0]), "np.asarray(x)[:, None]"),
    "memory": (memoryview(np.arange(3.0)), "np.asarray(x)[:, None]"),
    "a row of a list": ([1.0, 2.0], "np.asarray(x)[None]"),
    "a row of a Series": (pd.Series([1.0, 2.0]), "np.asarray(x)[None]"),
    "a number": (3.0, "np.reshape(x, (1, 1))"),
    "a number of NumPy": (np.float32(3), "np.reshape(x, (1, 1))"),
    "dates": (
        np.array([[DAY], [DAY + 1]]),
        '(np.asarray(x, "datetime64[s]") - np.datetime64("2000-01-01")) / np.timedelta64(1, "D")',
    ),
    "a frame of dates": (
        pd.DataFrame({"t": pd.to_datetime(["2001-02-03 06:00", "2001-02-04 12:00"])}),
        'pd.DataFrame((np.asarray(x, "datetime64[s]") - np.datetime64("2000-01-01")) / '
        'np.timedelta64(1, "D"), x.index, x.columns)',
    ),
    "durations": (
        pd.DataFrame({"t": pd.to_timedelta(["1h", "2h"])}, [5, 6]),
        'pd.DataFrame(np.asarray(x, "timedelta64[s]") / np.timedelta64(1, "D"), '
        "x.index, x.columns)",
    ),
    "complex": (POINTS + 1j, "np.concatenate([np.real(x), np.imag(x)], 1)"),
    "complex frame": (
        pd.DataFrame(POINTS + 1j, [5, 6, 7]),
        "pd.DataFrame(np.concatenate([np.real(x), np.imag(x)], 1), x.index)",
    ),
    "structured": (STRUCTURED, "numpy.lib.recfunctions.structured_to_unstructured(x)"),
    "records": (
        pd.DataFrame(POINTS, columns=["a", "b"]).to_records(),
        "numpy.lib.recfunctions.structured_to_unstructured(x)",
    ),
    "sparse matrix": (scipy.sparse.csr_matrix(POINTS), "x.toarray()"),
    "sparse array": (scipy.sparse.coo_array(POINTS), "x.toarray()"),
    "generator": (zip([1.0, 2.0], [3.0, 4.0]), "np.asarray(list(x))"),
    "values of a dictionary": ({"a": [1.0], "b": [2.0]}.values(), "np.asarray(list(x))"),
    "texts of numbers": (np.array([["1.5"], ["2"]]), "np.asarray(x, float)"),
    "a list of texts": ([["1.5"], ["2"]], "np.asarray(x, float)"),
    "a frame of texts": (pd.DataFrame({"a": ["1.5", "2"]}, [5, 6]), "x.astype(float)"),
    "a frame of decimals": (
        pd.DataFrame({"a": [decimal.Decimal("1.5"), decimal.Decimal("2")]}), "x.astype(float)"
    ),
    "decimals": ([[decimal.Decimal("1.5")], [decimal.Decimal("2")]], "np.asarray(x, float)"),
    "categories": (
        np.array([["u"], ["v"]]), "np.float64(x[:, [0]] == np.unique(x[:, 0]))"
    ),
    "categories in objects": (
        np.array([[1.0, "u"], [2.0, "v"]], object)[:, 1:],
        "np.float64(x[:, [0]] == np.unique(x[:, 0]))",
    ),
    "categories in a list": (
        [["u"], ["v"]], "np.float64(np.asarray(x)[:, [0]] == np.unique(np.asarray(x)[:, 0]))"
    ),
    "a frame with categories": (MIXED, "pd.get_dummies(x, dtype=float)"),
    "a categorical frame": (
        MIXED.astype({"city": "category"}), "pd.get_dummies(x, dtype=float)"
    ),
    "rows in a Series": (
        pd.Series([[1.0, 2.0], [3.0, 4.0]], [5, 6]), "pd.DataFrame(x.tolist(), x.index)"
    ),
    "rows in objects": (
        np.array([np.ones(2), np.zeros(2), None], object)[:2], "np.stack(x)"
    ),
}  # fmt: skip


def message_of(call: Any) -> str:
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    return str(caught.value)


def runs(code: str, name: str, given: Any) -> Any:
    return eval(code, {name: given, "np": np, "numpy": np, "pd": pd})


@pytest.mark.parametrize("case", FOR_X)
def test_remedies_for_inputs_run(case: str) -> None:
    given, code = FOR_X[case]
    assert f"{code}" in message_of(lambda: inputs.read(given))
    made = runs(code, "x", given)
    if hasattr(given, "iloc") and "[None]" not in code:
        assert made.index.tolist() == given.index.tolist()  # by which x and y are joined
    found = inputs.read(made)
    assert found.rows >= 1
    assert np.isfinite(inputs.as_inputs(found)).all()


PARTS: dict[str, tuple[Any, str, str]] = {  # inputs of several arrays, the code, what it replaces
    "numbers": ((1.0, 2.0), "np.asarray(x)[None]", "x"),
    "a column of numbers": ((1.0, 2.0), "np.asarray(x)[:, None]", "x"),
    "a number beside an array": ((np.arange(3.0), 5.0), "np.full(3, x[1])", "x[1]"),
    "a number before a list": ((5.0, [1.0, 2.0]), "np.full(2, x[0])", "x[0]"),
    "in a dictionary": ({"a": pd.Series([1.0, 2.0]), "b": 5}, "np.full(2, x['b'])", "x['b']"),
    "numbers in a dictionary": ({"a": 4.0, "b": 5}, "np.full(1, x['a'])", "x['a']"),
}


@pytest.mark.parametrize("case", PARTS)
def test_remedies_for_one_of_several_arrays_run(case: str) -> None:
    given, code, place = PARTS[case]
    assert code in message_of(lambda: inputs.read(given))
    found = runs(code, "x", given)
    if place == "x":
        assert inputs.read(found).arrays[0].size == 2
    elif isinstance(given, dict):
        rest = {
            name: part if np.ndim(part) else np.full(len(found), part)
            for name, part in given.items()
        }
        assert inputs.read(rest | {place[3]: found}).rows == len(found)
    else:
        at = int(place[2])
        assert inputs.read((*given[:at], found, *given[at + 1 :])).rows == len(found)


@pytest.mark.parametrize("zone", [None, "Europe/Oslo"])
def test_a_column_of_dates_becomes_days(zone: str | None) -> None:
    times = pd.to_datetime(["2000-01-02 00:00", "2000-01-03 12:00"]).tz_localize(zone)
    frame = pd.DataFrame({"a": [1.0, 2.0], "t": times})
    said = message_of(lambda: inputs.read(frame))
    code = re.search(r"use (\(.*\))\.$", said)
    assert code, said
    days = runs(code.group(1), "x", frame)
    assert days[1] - days[0] == 1.5
    gap = frame.assign(t=[times[0], pd.NaT])
    assert np.isnan(runs(code.group(1), "x", gap)).tolist() == [False, True]


def test_other_columns_of_a_frame_are_named() -> None:
    frame = pd.DataFrame({"a": ["u", "v"], "t": DATES})
    assert "x['t']" in message_of(lambda: inputs.read(frame[["t"]]))
    frame = pd.DataFrame({"a": [1.0, 2.0], "d": pd.to_timedelta(["1h", "2h"])})
    code = 'np.asarray(x[\'d\'], "timedelta64[s]") / np.timedelta64(1, "D")'
    assert code in message_of(lambda: inputs.read(frame))
    np.testing.assert_allclose(runs(code, "x", frame), [1 / 24, 1 / 12])


@pytest.mark.parametrize("gap", [None, pd.NA, pd.NaT])
def test_gaps_are_no_categories(gap: Any) -> None:
    said = message_of(lambda: inputs.read(np.array([[1.0], [gap]], object)))
    assert "x[1, 0]" in said
    assert "drop or impute missing values" in said


@pytest.mark.parametrize(
    "given",
    [
        np.array([[1.0, 2.0], [3.0, "u"]], object),
        pd.DataFrame({"a": [1.0, 3.0], "b": [2.0, "u"]}),
        [[1.0, 2.0], [3.0, decimal]],
    ],
)
def test_a_word_among_numbers_is_a_slip_and_no_category(given: Any) -> None:
    said = message_of(lambda: inputs.read(given))
    assert "x[1, 1]" in said
    assert "correct it, or drop the row" in said or "make it a number" in said


def test_rows_of_different_lengths_are_named() -> None:
    said = message_of(lambda: inputs.read([[1.0, 2.0], [3.0], [4.0, 5.0]]))
    assert "x[1] has 1 entries and x[0] 2" in said


def test_narrow_floats_need_no_remedy() -> None:
    x = jnp.array([[1.5], [2.5]], jnp.bfloat16)
    np.testing.assert_array_equal(inputs.as_inputs(x), [[1.5], [2.5]])


class Tensor:
    """What of PyTorch counts here: with a gradient, NumPy gets an error."""

    dtype = "torch.float32"

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, *args: Any, **more: Any) -> Any:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    def detach(self) -> Any:
        return self

    cpu = float = detach

    def numpy(self) -> Any:
        return self.values


@pytest.mark.parametrize("dtype", ["torch.float32", "torch.bfloat16"])
def test_tensors_with_gradients(dtype: str) -> None:
    tensor = Tensor(POINTS)
    tensor.dtype = dtype
    code = "x.detach().cpu()" + ".float()" * (dtype == "torch.bfloat16") + ".numpy()"
    assert f"use {code}." in message_of(lambda: inputs.read(tensor))
    assert inputs.read(runs(code, "x", tensor)).rows == 3


LABELS = {  # what is given for y, the likelihood, and the code
    "a column": (np.array([[0], [1]]), "y[:, 0]"),
    "a column of a frame": (pd.DataFrame({"y": [0, 1]}, [5, 6]), "y.iloc[:, 0]"),
    "a column in a list": ([[0], [1]], "np.asarray(y)[:, 0]"),
    "one-hot": (np.eye(2), "y.argmax(1)"),
    "one-hot in a frame": (pd.DataFrame(np.eye(2), [5, 6]), "y.apply(np.argmax, axis=1)"),
    "one-hot in a list": ([[1, 0], [0, 1]], "np.asarray(y).argmax(1)"),
    "minus one": (np.array([-1, 1]), "(y + 1) / 2"),
    "minus one in a list": ([-1, 1], "(np.asarray(y) + 1) / 2"),
    "minus one in a Series": (pd.Series([-1, 1], [5, 6]), "(y + 1) / 2"),
    "texts": (np.array(["no", "yes"]), "np.unique(y, return_inverse=True)[1]"),
    "texts in a list": (["no", "yes"], "np.unique(np.asarray(y), return_inverse=True)[1]"),
    "texts in a Series": (pd.Series(["no", "yes"], [5, 6]), "y.astype('category').cat.codes"),
    "categorical": (
        pd.Series(["no", "yes"], [5, 6], dtype="category"), "y.astype('category').cat.codes"
    ),
    "texts of numbers in a Series": (pd.Series(["0", "1"], [5, 6]), "y.astype(float)"),
}  # fmt: skip


@pytest.mark.parametrize("case", LABELS)
def test_remedies_for_labels_run(case: str) -> None:
    given, code = LABELS[case]
    likelihood = po.likelihoods.Bernoulli()
    assert code in message_of(lambda: as_targets(given, likelihood))
    made = runs(code, "y", given)
    if hasattr(given, "iloc"):
        assert made.index.tolist() == given.index.tolist()  # by which x and y are joined
    assert set(as_targets(made, likelihood).tolist()) == {0, 1}


def test_frames_of_polars() -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": [1.0, 2.0], "city": ["u", "v"]})
    for given, code in [
        (frame["a"], "x.to_frame()"),
        (frame.lazy().select("a"), "x.collect()"),
        (frame, "x.to_dummies('city')"),
        (pl.DataFrame({"t": DATES}), 'np.asarray(x, "datetime64[s]")'),
    ]:
        assert code in message_of(lambda given=given: inputs.read(given))
        if "datetime" not in code:
            assert inputs.read(runs(code, "x", given)).rows == 2
