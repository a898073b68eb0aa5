"""Atomic writing: the old content or the new, never a part, and nothing left behind."""

from __future__ import annotations

import os
import stat

import pytest

from posterity.files import regular, write_atomic


@pytest.mark.parametrize(
    ("content", "expected"), [(b"\x00\xff", b"\x00\xff"), ("σ = ½", "σ = ½".encode()), ("", b"")]
)
def test_bytes_and_text_are_written_and_the_path_returned(tmp_path, content, expected):
    path = tmp_path / "deep" / "er" / "file.bin"
    assert write_atomic(path, content) == path
    assert path.read_bytes() == expected
    assert os.listdir(path.parent) == ["file.bin"]


def test_the_new_replaces_the_old(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "a longer old content")
    write_atomic(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("call", ["fsync", "chmod", "replace", "close"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file_and_leaves_no_other(monkeypatch, tmp_path, call, error):
    path = tmp_path / "file"
    write_atomic(path, "old")

    def crash(*args, **kwargs):
        raise error

    with monkeypatch.context() as context:
        context.setattr(os, call, crash)
        with pytest.raises(error):
            write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_content_is_synced_before_it_gets_its_name(monkeypatch, tmp_path):
    calls = []
    fsync, replace = os.fsync, os.replace

    def synced(handle):
        calls.append(("fsync", os.fstat(handle).st_size))
        fsync(handle)

    def renamed(source, to):
        calls.append(("replace", os.path.dirname(source) == os.path.dirname(to)))
        replace(source, to)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_atomic(tmp_path / "file", "12345")
    assert calls == [("fsync", 5), ("replace", True)]


@pytest.mark.skipif(os.name == "nt", reason="POSIX rights")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_file_has_the_rights_of_any_new_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        path = write_atomic(tmp_path / "file", "x")
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert os.umask(umask) == umask  # unchanged by the writing
    finally:
        os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_only_files_are_files(tmp_path):
    path = write_atomic(tmp_path / "file", "x")
    (tmp_path / "link").symlink_to(path)
    assert regular(path) == path
    assert regular(tmp_path / "link") == tmp_path / "link"
    os.mkfifo(tmp_path / "pipe")
    refused = {tmp_path: "is a folder", tmp_path / "pipe": "is a pipe", "/dev/null": "is a device"}
    for other, said in refused.items():
        with pytest.raises(ValueError, match=said):
            regular(other)
    for other in (tmp_path / "absent", path / "below"):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            regular(other)
