"""Files of tables that are none, that are damaged, or that would fill the memory."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from posterity import memory
from posterity.data.tables import read_table


def mutations(content: bytes) -> Iterator[bytes]:
    """A file's content, damaged in many ways."""
    size = len(content)
    for number in range(80):
        changed = bytearray(content)
        changed[number * size // 80] ^= 1 << number % 8
        yield bytes(changed)
    yield from (content[: size * part // 8] for part in range(8))
    yield from (content + b"more", content[1:], content * 2, content[::-1], b"PK" + bytes(60))


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, X=np.zeros((2**17, 2**9), np.int8))  # 8 times as much as floats
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"would become 0\.5 GB.*np\.savez\(path, \*\*arrays\)"):
        read_table(path)
    with zipfile.ZipFile(path, "w") as archive, archive.open("X.npy", "w") as file:
        header = {"descr": "|V0", "fortran_order": False, "shape": (2**40,)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(ValueError, match="would become 8,796"):
        read_table(path)


def test_a_table_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1_000)
    (tmp_path / "a.csv").write_text("x,y\n" + "1,2\n" * 30)
    with pytest.raises(ValueError, match=r"a text of 0\.0 MB may take 0\.0 MB of memory"):
        read_table(tmp_path / "a.csv")
    np.savez(tmp_path / "a.npz", X=np.zeros((100, 2)))
    with pytest.raises(ValueError, match=r"would take 0\.0 MB of memory"):
        read_table(tmp_path / "a.npz")


def test_a_small_parquet_file_of_very_many_rows_is_refused(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    column = pa.array(np.zeros(2**25 + 1, bool))  # in runs: some bytes
    pq.write_table(pa.table({"a": column}), path, compression="zstd")
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ValueError, match=r"would become 0\.3 GB.*use_dictionary=False"):
        read_table(path)


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".parquet"])
def test_only_files_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        read_table(path)
    path.rmdir()
    path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="is a device or a socket, which is not read"):
        read_table(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match="is a pipe, which is not read"):
        read_table(path)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_damaged_tables_are_one_sentence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, X=np.arange(40.0).reshape(20, 2), y=np.arange(20))
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        words = pa.array(["u", "v", None, "w"] * 5).dictionary_encode()
        pq.write_table(pa.table({"a": np.arange(20.0), "b": words}), path)
    content, said = path.read_bytes(), []
    for changed in mutations(content):
        path.write_bytes(changed)
        try:
            read_table(path)
        except ValueError as error:
            said.append(str(error))
    assert len(said) > 40
    assert all(str(path) in each for each in said)
