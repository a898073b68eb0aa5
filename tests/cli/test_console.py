"""What reaches the terminal: names and paths with control characters are spelled out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from posterity.cli import app, console

EVIL = "a\x1b[2J\x07\x9b31m\u202ex\u2028\x7f\r\tb"
CONTROL = set(EVIL) - set("a[2J31mxb")


@pytest.mark.parametrize("say", [console.say, console.warn, console.echo])
def test_messages_spell_control_characters_out(say, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"column {EVIL}: ¼ é 日本 is fine\nwarning: no message of its own")
    found = "".join(capsys.readouterr())
    assert not CONTROL & set(found)
    assert r"a\x1b[2J\x07\x9b31m\u202ex\u2028\x7f\r\tb: ¼ é 日本 is fine" in found
    assert "\n  warning: no message" in found


@pytest.mark.parametrize("as_json", [True, False])
def test_answers_do_so_too_and_json_stays_the_same(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"out": EVIL, EVIL: [EVIL, "é"], "undecodable": "\udcff"}
    console.finish(answer, as_json)
    found = capsys.readouterr().out
    assert not CONTROL & set(found)
    assert "é" in found
    if as_json:
        assert json.loads(found) == answer


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".parquet"])
def test_names_and_paths_in_refusals(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t\x1b[2J{suffix}"
    columns = {"x": np.arange(4.0), f"{EVIL}": np.arange(4.0), "u": np.array(["p", "q"] * 2)}
    if suffix == ".npz":
        np.savez(path, **columns)
    elif suffix == ".parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table(columns), path)
    else:
        rows = "".join(f"{x},{x},{u}\n" for x, u in zip(columns["x"], columns["u"]))
        path.write_text(f'x,"{EVIL}",u\n{rows}', newline="")
    for data, target in ((path, "no\x1b]0;such"), (path, "u"), (tmp_path / f"{EVIL}.csv", "u")):
        command = ["fit", str(data), "--target", target, "--out", str(tmp_path / "fit")]
        command += ["--task", "regression"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert not (CONTROL | {"\x1b"}) & set(result.stderr + result.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "fit", "a.csv", f"{EVIL}.csv", "--out", "p.csv"],  # as where a shell lists them
        ["fit", "a.csv", "--out", "fit", "--task", EVIL],
        ["fit", "a.csv", "--out", "fit", f"--{EVIL}"],
        ["report", "fit", EVIL],
    ],
)
def test_names_in_errors_of_usage(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert not CONTROL & set(result.stderr + result.stdout)


def test_notes_about_columns_are_plain() -> None:
    """Names in notes are quoted, so that what is stored and reported is plain as well."""
    from posterity.data.preprocessing import infer
    from posterity.data.tables import Column, Table

    gaps = np.zeros(4, bool)
    texts = np.array(["01", "1", "2", "2"], object)
    words = np.array([EVIL, "u", "u", EVIL], object)
    table = Table("t", {
        EVIL: Column(EVIL, "whole", np.array([1.0, 1, 2, 2]), gaps, texts),
        EVIL + "words": Column(EVIL + "words", "text", words, gaps, words),
        "y": Column("y", "real", np.array([0.5, 1.5, 2.5, 3.5]), gaps),
    }, 4)  # fmt: skip
    _, notes = infer(table, "y")
    assert len(notes) == 3
    assert not CONTROL & set(console.printable("".join(notes)))
