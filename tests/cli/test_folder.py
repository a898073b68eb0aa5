"""The folder of a fit: whole at every moment, and never the files of two fits."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import posterity as po
from handmade import draws_of, linear, posterior_of
from posterity.cli import app
from posterity.cli.folder import DATA, FILES, NEXT, SUMMARY, Folder
from posterity.data.preprocessing import Preprocessing, infer
from posterity.data.tables import read_table

EVERY = (*FILES, SUMMARY)


class Fit:
    """What one fit writes: rows, scales and weights of its own."""

    def __init__(self, folder: Path, slope: float) -> None:
        rows = "".join(f"{x},{slope * x + x**slope + 0.5}\n" for x in range(6))
        self.data = folder / f"{slope}.csv"
        self.data.write_text("x,y\n" + rows)
        table = read_table(self.data)
        self.preprocessing, _ = infer(table, "y", task="regression")
        self.train = (self.preprocessing.x(table), self.preprocessing.y(table))
        model = linear(po.likelihoods.Normal(0.5), bias=True)
        self.posterior = posterior_of(model, draws_of([[0.0, slope], [0.1, slope]]))
        self.summary = {"settings": {"data": self.data.name}, "notes": ["a note"], "test": slope}

    def write(self, path: Path) -> None:
        Folder(path).write(self.posterior, self.preprocessing, self.train, self.train, self.summary)


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> list[Fit]:
    folder = tmp_path_factory.mktemp("fits")
    return [Fit(folder, 2.0), Fit(folder, 3.0)]


@pytest.fixture
def folder(tmp_path: Path, fits: list[Fit]) -> Path:
    fits[0].write(tmp_path / "fit")
    return tmp_path / "fit"


def contents(path: Path) -> tuple[str, str, list[Any], str]:
    """All that the commands read of a folder."""
    found = Folder(path).read()
    train, test = found.rows()
    assert test is not None
    described = found.preprocessing().to_json()
    theta = np.asarray(found.posterior().sample()).tolist()
    summary = {name: found.summary[name] for name in ("settings", "notes", "test")}
    return (
        json.dumps(summary), json.dumps(described), [a.tolist() for a in (*train, *test)],
        str(theta),
    )  # fmt: skip


def refusal(call: Callable[[], object]) -> str | None:
    """The message of a refusal, or None; any other exception is one of the test."""
    try:
        call()
    except (ValueError, OSError) as error:
        return str(error)
    return None


def mutations(content: bytes, other: bytes) -> Iterator[bytes]:
    """A file's content, damaged in many ways."""
    size = len(content)
    for number in range(60):
        changed = bytearray(content)
        changed[number * size // 60] ^= 1 << number % 8
        yield bytes(changed)
    yield from (content[: size * part // 8] for part in range(8))
    yield from (content + b"\n{}", content[1:], content * 2, other, b"[" * 100_000, b"{}", b"null")
    yield from (b"\xff\xfe" + content, b"\x80\x04N.", b"PK\x03\x04" + bytes(60), b"\x93NUMPY")
    yield from (b"9" * 10_000, b'{"files": {}, "checksum": null}', b'{"files": 3}')
    if content[:1] == b"{":
        yield from (json.dumps(each).encode() for each in edits(json.loads(content)))


def edits(described: Any) -> Iterator[Any]:
    """A description with one entry removed or replaced."""
    if isinstance(described, dict):
        for name, part in described.items():
            yield {key: each for key, each in described.items() if key != name}
            yield from (described | {name: each} for each in edits(part))
    elif isinstance(described, list):
        for number, part in enumerate(described):
            yield described[:number] + described[number + 1 :]
            yield from (
                [*described[:number], each, *described[number + 1 :]] for each in edits(part)
            )
    else:
        yield from (each for each in (None, "other", 7, [], {}, True) if each != described)
        if isinstance(described, float):
            yield np.nextafter(described, np.inf)


@pytest.mark.parametrize("name", EVERY)
def test_no_damaged_file_is_read_as_another_fit(folder: Path, fits: list[Fit], name: str) -> None:
    known, path = contents(folder), folder / name
    content = path.read_bytes()
    other = folder.with_name("other")
    fits[1].write(other)
    refused = 0
    for changed in mutations(content, (other / name).read_bytes()):
        path.write_bytes(changed)
        said = refusal(lambda: contents(folder))
        if said is None:
            assert contents(folder) == known  # as where only a space was added
            continue
        assert str(folder) in said
        assert "posterity fit DATA" in said
        refused += 1
    assert refused > 80
    path.unlink()
    with pytest.raises((ValueError, OSError), match=f"{name} is missing|holds no finished fit"):
        contents(folder)
    path.write_bytes(content)
    assert contents(folder) == known


@pytest.mark.parametrize("name", EVERY)
def test_another_fits_file_is_named(folder: Path, fits: list[Fit], name: str) -> None:
    fits[1].write(folder.with_name("other"))
    shutil.copy(folder.with_name("other") / name, folder / name)
    with pytest.raises(ValueError, match=f"/{name}: damaged, or of another fit"):
        contents(folder)


@pytest.mark.parametrize("name", EVERY)
def test_the_commands_end_with_one_message(folder: Path, fits: list[Fit], name: str) -> None:
    (folder / name).write_bytes(b"[" * 100_000)
    out = folder.with_name("p.csv")
    command = ["report", str(folder)]
    if name != DATA:
        command = ["predict", str(folder), str(fits[0].data), "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {folder / name}")
    assert "Traceback" not in result.stderr
    assert not out.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
@pytest.mark.parametrize("name", EVERY)
def test_pipes_are_refused_and_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ValueError, match=f"{name} is a pipe"):
        contents(folder)


def test_a_folder_without_checksums_is_refused_with_the_remedy(folder: Path) -> None:
    (folder / SUMMARY).write_text('{"settings": {}, "notes": []}')
    with pytest.raises(ValueError, match=r"no checksums.*older version.*posterity fit DATA"):
        contents(folder)


class Killed(BaseException):
    """The end of a process at some place."""


def cut_short(
    monkeypatch: pytest.MonkeyPatch, fit: Fit, path: Path, steps: int, kill: bool
) -> bool:
    """Write a fit, and end at the given step of the file system; False where it has fewer."""
    made = 0

    def counted(call: Any) -> Any:
        def step(*args: Any, **more: Any) -> Any:
            nonlocal made
            made += 1
            if made == steps:
                raise Killed
            return call(*args, **more)

        return step

    with monkeypatch.context() as context:
        for name in ("replace", "fsync", "unlink"):
            context.setattr(os, name, counted(getattr(os, name)))
        if kill:  # nothing is tidied up: only the next command can do so
            context.setattr(Folder, "_settle", lambda self: None)
        try:
            fit.write(path)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("kill", [True, False])
def test_at_every_moment_the_old_fit_is_there_or_the_new_one(
    folder: Path, fits: list[Fit], monkeypatch: pytest.MonkeyPatch, kill: bool
) -> None:
    old = contents(folder)
    fits[1].write(folder.with_name("new"))
    new = contents(folder.with_name("new"))
    seen = []
    for steps in range(1, 100):
        fits[0].write(folder)
        if not cut_short(monkeypatch, fits[1], folder, steps, kill):
            break
        seen.append(contents(folder))
        assert seen[-1] in (old, new), steps
        Folder(folder).prepare()
        assert contents(folder) == seen[-1]
        assert {each.name for each in folder.iterdir()} == set(EVERY)
    assert seen[0] == old
    assert seen[-1] == new
    assert len(seen) > 6


def test_a_swap_that_was_cut_short_is_read_from_beside(
    folder: Path, fits: list[Fit], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        context.setattr(Folder, "_settle", lambda self: None)
        fits[1].write(folder)
    assert all((folder / f"{NEXT}{name}").exists() for name in FILES)
    found = contents(folder)
    fits[1].write(folder)
    assert contents(folder) == found
    assert {each.name for each in folder.iterdir()} == set(EVERY)


def test_the_old_report_does_not_stay_beside_a_new_fit(folder: Path, fits: list[Fit]) -> None:
    (folder / "report.html").write_text("old")
    (folder / "mine.txt").write_text("mine")
    fits[1].write(folder)
    assert {each.name for each in folder.iterdir()} == {*EVERY, "mine.txt"}


FORGED: dict[str, Any] = {
    "columns without scales": {"names": ["x", "z"]},
    "one name twice": {"names": ["x", "x"]},
    "the target as an input": {"names": ["y"]},
    "categories of no column": {"categories": {"z": ["u"]}},
    "no categories": {"categories": {"x": []}},
    "equal classes": {"task": "classification", "output": None, "classes": ["u", "u"]},
    "one class": {"task": "classification", "output": None, "classes": ["u"]},
    "classes of two kinds": {"task": "classification", "output": None, "classes": ["u", 1]},
    "classes of a regression": {"classes": ["u", "v"]},
    "no target": {"output": None},
    "another task": {"task": "ranking"},
    "a negative scale": {"inputs": {"loc": [0.0], "scale": [-1.0], "constant": []}},
    "a later format": {"format": 3},
    "names that are none": {"names": 3},
    "categories that are none": {"categories": ["x"]},
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_preprocessing_makes_no_sense(folder: Path, fits: list[Fit], case: str) -> None:
    described = fits[0].preprocessing.to_json() | FORGED[case]
    forged = type("Forged", (), {"to_json": lambda self: described})()
    Folder(folder).write(fits[0].posterior, forged, fits[0].train, None, fits[0].summary)
    with pytest.raises(ValueError, match=r"preprocessing\.json: damaged \("):
        Folder(folder).read().preprocessing()
    whole = fits[0].preprocessing.to_json()
    assert Preprocessing.from_json(whole).to_json() == whole


def test_rows_that_are_none_are_refused(folder: Path, fits: list[Fit]) -> None:
    for x, y in [((6,), (6,)), ((6, 1), (5,)), ((6, 1), (6, 1))]:
        rows = (np.zeros(x), np.zeros(y))
        Folder(folder).write(fits[0].posterior, fits[0].preprocessing, rows, None, fits[0].summary)
        with pytest.raises(ValueError, match="not the rows of a fit"):
            Folder(folder).read().rows()


def test_posteriors_are_read_from_files_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.safetensors")
    (tmp_path / "d.safetensors").mkdir()
    with pytest.raises(ValueError, match="is a pipe"):
        po.load(tmp_path / "p")
    with pytest.raises(ValueError, match="is a folder"):
        po.load(tmp_path / "d")
