"""The command line: round trips over files, what it says, and what it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from posterity.cli import app, fitting
from posterity.cli.folder import Folder
from posterity.data.datasets import DEFAULT_FOLDER, VARIABLE
from posterity.run import runner
from posterity.run.progress import Watcher

RUNNER = CliRunner()
QUICK = ["--steps", "200", "--hidden", "4"]


def run(*arguments, code=0):
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.stderr or result.exception
    return result


def houses(rows=60):
    """Prices that depend on size and city."""
    rng = np.random.default_rng(0)
    size, city = rng.normal(100, 20, rows).round(2), rng.choice(["Rome", "Oslo"], rows)
    price = (3 * size + 50 * (city == "Oslo") + rng.normal(0, 5, rows)).round(2)
    return {"size": size, "city": city, "price": price}


def flowers(rows=60):
    """Three kinds, told apart by one number."""
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, rows)
    return {"width": kind + rng.normal(0, 0.1, rows), "kind": np.array(["a", "b", "c c"])[kind]}


def write(path, columns):
    if path.suffix == ".npz":
        np.savez(path, **columns)
    elif path.suffix == ".parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({name: each.tolist() for name, each in columns.items()}), path)
    else:
        rows = zip(*columns.values())
        lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return path


def read(path):
    """A file of predictions as columns of strings or numbers."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    if path.suffix == ".parquet":
        return pytest.importorskip("pyarrow.parquet").read_table(path).to_pydict()
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    return {name: list(each) for name, each in zip(header, zip(*rows))}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with a finished regression, and its table."""
    folder = tmp_path_factory.mktemp("houses")
    data = write(folder / "houses.csv", houses())
    result = run("fit", data, "--target", "price", "--out", folder / "fit", *QUICK, "--json")
    return folder / "fit", data, result


def test_importing_the_command_line_loads_no_heavy_module():
    code = (
        "import sys, posterity.cli; "
        "print([m for m in ('jax', 'numpy', 'pandas', 'numpyro', 'rich') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [[], ["fit"], ["predict"], ["report"], ["demo", "moons"]])
def test_help_shows_examples(command):
    shown = run(*command, "--help").stdout
    # The program is called "root" here, so that this is the example and not the usage line.
    assert " ".join(["posterity", *(command or ["fit"])]) in shown


def test_version():
    import posterity

    assert run("--version").stdout == f"posterity {posterity.__version__}\n"


def test_fit_prints_one_json_object_and_remarks_elsewhere(fitted):
    _, _, result = fitted
    answer = json.loads(result.stdout)
    assert answer["task"] == "regression"
    assert set(answer["test"]) == {"rmse", "nll", "coverage_90"}
    assert answer["result"]["message"]
    for remark in ("regression", "54 rows to train on, 6 to test on", "'Oslo', 'Rome'"):
        assert remark in result.stderr


def test_the_folder_holds_what_the_help_says(fitted):
    folder = fitted[0]
    names = {path.name for path in folder.iterdir()}
    assert names >= {"posterior.safetensors", "preprocessing.json", "fit.json", "data.npz"}
    summary = json.loads((folder / "fit.json").read_text())
    assert summary["rows"] == {"train": 54, "test": 6}
    assert summary["settings"]["data"] == "houses.csv"


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_regression_predictions_are_in_original_units(fitted, tmp_path, suffix):
    folder, data, _ = fitted
    run("predict", folder, data, "--out", tmp_path / f"p{suffix}", "--json")
    found = read(tmp_path / f"p{suffix}")
    assert list(found) == ["mean", "sd", "aleatoric", "epistemic", "lower", "upper"]
    p = {name: np.asarray(values, float) for name, values in found.items()}
    np.testing.assert_allclose(p["sd"] ** 2, p["aleatoric"] + p["epistemic"], rtol=1e-4)
    price = houses()["price"]
    assert len(p["mean"]) == len(price)
    assert np.corrcoef(p["mean"], price)[0, 1] > 0.8
    assert np.mean((p["lower"] < price) & (price < p["upper"])) > 0.7


def test_a_wider_interval_is_wider(fitted, tmp_path):
    folder, data, _ = fitted
    widths = []
    for interval in ("0.5", "0.95"):
        run("predict", folder, data, "--out", tmp_path / "p.csv", "--interval", interval)
        found = read(tmp_path / "p.csv")
        widths.append(np.asarray(found["upper"], float) - np.asarray(found["lower"], float))
    assert (widths[1] > widths[0]).all()


def test_predictions_repeat_and_leave_no_temporary_file(fitted, tmp_path):
    folder, data, _ = fitted
    for name in ("a.csv", "b.csv"):
        run("predict", folder, data, "--out", tmp_path / name, "--draws", "50")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_classes_go_in_and_come_out_by_name(tmp_path, suffix):
    data = write(tmp_path / f"flowers{suffix}", flowers())
    fit = ["fit", data, "--target", "kind", "--out", tmp_path / "fit", "--method", "map"]
    answer = json.loads(run(*fit, *QUICK, "--json").stdout)
    assert answer["test"]["accuracy"] == 1
    run("predict", tmp_path / "fit", data, "--out", tmp_path / f"p{suffix}")
    found = read(tmp_path / f"p{suffix}")
    assert list(found)[:4] == ["label", "prob_a", "prob_b", "prob_c c"]
    assert list(found)[-2:] == ["entropy", "mutual_information"]
    assert np.mean(np.asarray(found["label"]) == flowers()["kind"]) > 0.95
    probs = np.stack([np.asarray(found[f"prob_{name}"], float) for name in ("a", "b", "c c")])
    np.testing.assert_allclose(probs.sum(0), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "method",
    [
        ["nuts", "--draws", "10", "--steps", "20"],
        ["sgld", "--draws", "20", "--steps", "20", "--batch-size", "10"],
    ],
)
def test_samplers_and_two_classes(tmp_path, method):
    rows = flowers()
    data = write(tmp_path / "a.npz", {"X": rows["width"][:, None], "y": rows["kind"] == "a"})
    fit = ["fit", data, "--out", tmp_path / "fit", "--hidden", "2", "--seed", "1"]
    answer = json.loads(run(*fit, "--method", *method, "--json", "--quiet").stdout)
    assert answer["notes"]  # remarks that were not shown are in the answer
    run("predict", tmp_path / "fit", data, "--out", tmp_path / "p.npz")
    found = read(tmp_path / "p.npz")
    assert {"prob_False", "prob_True"} < set(found)
    assert found["label"].dtype == bool
    assert (found["lower"] <= found["upper"]).all()


def test_a_test_table_takes_the_place_of_the_held_out_rows(tmp_path):
    data = write(tmp_path / "a.csv", houses())
    test = write(tmp_path / "b.csv", houses(20))
    fit = ["fit", data, "--target", "price", "--test", test, "--out", tmp_path / "fit"]
    result = run(*fit, "--method", "map", "--hidden", "0", "--steps", "100")
    assert "60 rows to train on, 20 to test on" in result.stderr


@pytest.mark.parametrize(
    ("file", "suffix", "metric", "least", "most"),
    [
        ("uci/concrete.npz", ".csv", "rmse", 3, 11),  # the sd of the target is 16.7
        ("uci/energy.npz", ".parquet", "rmse", 0.2, 4),  # 10.1
        ("small/breast_cancer.npz", ".npz", "accuracy", 0.9, 1),
    ],
)
def test_public_tables(tmp_path, file, suffix, metric, least, most):
    path = Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER) / file
    if not path.exists():
        pytest.skip(f"{path} is not there; set {VARIABLE} to the folder of the tables.")
    with np.load(path, allow_pickle=False) as source:
        x, y = source["X"], source["y"]
    columns = {f"f{number}": x[:, number] for number in range(x.shape[1])}
    data = write(tmp_path / f"table{suffix}", {**columns, "y": y})
    fit = ["fit", data, "--target", "y", "--out", tmp_path / "fit", "--steps", "1000"]
    answer = json.loads(run(*fit, "--method", "map", "--json").stdout)
    assert least < answer["test"][metric] <= most
    run("predict", tmp_path / "fit", data, "--out", tmp_path / "p.npz")
    found = read(tmp_path / "p.npz")
    assert all(len(values) == len(y) for values in found.values())
    if metric == "accuracy":
        assert np.mean(found["label"] == y) > 0.9


def test_report_is_made_from_the_folder_alone(fitted):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    folder = fitted[0]
    (folder / "report.html").unlink()
    answer = json.loads(run("report", folder, "--json").stdout)
    assert answer == {"report": str(folder / "report.html")}
    assert "price from houses.csv" in (folder / "report.html").read_text()


def test_demo(tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "demo"
    answer = json.loads(run("demo", "moons", "--steps", "2000", "--out", out, "--json").stdout)
    assert answer["test"]["accuracy"] > 0.8
    assert answer["elbo"]["value"] < 0 < answer["fit_seconds"]
    assert (out / "report.html").is_file()


REFUSED = {
    "no file": (["absent.csv", "--target", "price"], "there is no file absent.csv"),
    "no target": (["{data}"], "--target: name the column to predict; there are 'size', 'city'"),
    "wrong target": (["{data}", "--target", "cost"], "there is no column 'cost'; there are 'size'"),
    "wrong task": (["{data}", "--target", "city", "--task", "regression"], "is not a number"),
    "hidden": (["{data}", "--target", "price", "--hidden", "5x"], "--hidden: expected widths"),
    "steps": (["{data}", "--target", "price", "--steps", "0"], "steps must be a whole number"),
    "draws": (["{data}", "--target", "price", "--draws", "5"], "--draws is for nuts and sgld"),
    "batch": (["{data}", "--target", "price", "--batch-size", "99"], "to the 54 rows of the data"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_fit_refuses_with_one_message_and_code_2(tmp_path, case):
    arguments, message = REFUSED[case]
    data = write(tmp_path / "houses.csv", houses())
    given = [argument.format(data=data) for argument in arguments]
    result = run("fit", *given, "--out", tmp_path / "fit", code=2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "fit" / "fit.json").exists()


@pytest.mark.parametrize("moment", ["compiling", "warm-up", "test rows", "report"])
def test_ctrl_c_leaves_a_finished_fit_in_the_folder(fitted, tmp_path, monkeypatch, moment):
    folder, data, _ = fitted
    copy = shutil.copytree(folder, tmp_path / "fit")
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    nuts = ["--method", "nuts", "--steps", "200", "--draws", "20"]
    place, name, method = {
        "compiling": (runner, "prepare", QUICK),
        "warm-up": (Watcher, "update", nuts),
        "test rows": (fitting, "_scores", QUICK),
        "report": (Folder, "write_report", QUICK),
    }[moment]
    whole = getattr(place, name)
    calls = []

    def pressed(*args, **settings):
        calls.append(1)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        return whole(*args, **settings)

    monkeypatch.setattr(place, name, pressed)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        replaced = moment in ("test rows", "report")
        code = 0 if replaced else 130
        result = run("fit", data, "--target", "price", "--out", copy, *method, code=code)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert "interrupted" in result.stderr
    after = {path.name: path.read_bytes() for path in copy.iterdir()}
    assert (after == before) is not replaced
    run("predict", copy, data, "--out", tmp_path / "p.csv", "--draws", "20")


def test_predict_refuses_with_one_message_and_code_2(fitted, tmp_path):
    folder, data, _ = fitted
    new = write(tmp_path / "new.csv", {"size": np.array([1.0]), "city": np.array(["Bern"])})
    for arguments, message in [
        ([tmp_path, data, "--out", "p.csv"], "holds no finished fit"),
        ([folder, data, "--out", "p.xlsx"], "expected a file ending in .csv"),
        ([folder, new, "--out", "p.csv"], "'city', row 1 (line 2): the category 'Bern'"),
        ([folder, data, "--out", "p.csv", "--interval", "90"], "between 0 and 1"),
    ]:
        assert message in run("predict", *arguments, code=2).stderr


def test_debug_shows_where(tmp_path):
    result = RUNNER.invoke(app, ["--debug", "report", str(tmp_path)])
    assert isinstance(result.exception, FileNotFoundError)


def test_a_damaged_folder_is_refused(fitted, tmp_path):
    folder, data, _ = fitted
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "preprocessing.json").write_text('{"format": 1}')
    result = run("predict", copy, data, "--out", tmp_path / "p.csv", code=2)
    assert "preprocessing.json: damaged" in result.stderr
