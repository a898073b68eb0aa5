"""Atomic writing: the old content or the new, never a part, and nothing left behind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from posterity import files
from posterity.files import regular, replacing, write_atomic


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


@pytest.mark.parametrize("call", ["fsync", "chmod", "replace"])
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
        calls.append(("replace", Path(source).parent.parent == Path(to).parent))
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


# -- what a killed process leaves behind ----------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from posterity.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"x" * 100_000)
    (temporary.parent / ".tmpABCDEF").write_text("of the library that writes there")
    print("written", flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.readline()
"""
posix = pytest.mark.skipif(os.name == "nt", reason="signals and numbers of processes")


def writer(path, how):
    command = [sys.executable, "-c", KILLED, str(path), how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "written\n"
    return process


@posix
def test_the_next_write_removes_what_a_killed_one_left_and_nothing_of_a_living_one(tmp_path):
    path = tmp_path / "cur.safetensors"
    write_atomic(path, "old")
    for _ in range(2):  # each removes what the one before has left
        writer(path, "kill").wait()
        assert len(os.listdir(tmp_path)) == 2
    living = writer(tmp_path / "other", "live")
    write_atomic(path, "new")
    (left,) = set(os.listdir(tmp_path)) - {"cur.safetensors"}
    assert left.startswith(f".other.posterity-{files._here()}-{living.pid}-")
    living.communicate("go on\n")
    assert living.returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["cur.safetensors", "other"]
    assert (tmp_path / "other").read_bytes() == b"x" * 100_000


def leave(folder, name, age, *, inside=0.0):
    """Something old in a folder, with a file in it that is `inside` seconds old."""
    made = folder / name
    made.mkdir()
    (made / "new").write_text("part")
    for place, seconds in ((made / "new", inside or age), (made, age)):
        os.utime(place, (time.time() - seconds,) * 2)
    return made


DAY = 24 * 3600


@posix
def test_whose_they_are_is_known_by_name_machine_process_and_age(tmp_path):
    pid, begun = os.getpid(), files._begun(os.getpid())
    here, there = files._here(), "0" * 8
    unknown = 2**22 + 12_345  # beyond the largest number of a process
    mark = "-0123abcd"
    kept = [
        leave(tmp_path, f".a.posterity-{here}-{pid}-{begun}{mark}", 2 * DAY),  # this process
        leave(tmp_path, f".a.posterity-{here}-1-{files._begun(1)}{mark}", 2 * DAY),  # of root
        leave(tmp_path, f".a.posterity-{there}-{unknown}-5{mark}", DAY / 2),  # elsewhere, of late
        leave(tmp_path, f".a.posterity-{there}-{unknown}-6{mark}", 2 * DAY, inside=60),
        leave(tmp_path, f".a.posterity-{here}-{unknown}-7", 2 * DAY),  # no name of ours
        leave(tmp_path, "a.posterity-{here}-{unknown}-7-0123abcd", 2 * DAY),
        leave(tmp_path, ".a.original", 2 * DAY),  # a user's
    ]
    gone = [
        leave(tmp_path, f".b.posterity-{here}-{unknown}-8{mark}", 1),
        leave(tmp_path, f".a.posterity-{there}-{unknown}-9{mark}", 2 * DAY),
    ]
    if begun:  # the number of this process, which another one had
        gone.append(leave(tmp_path, f".a.posterity-{here}-{pid}-{begun - 1}{mark}", 1))
    write_atomic(tmp_path / "a", "x")
    assert [place.exists() for place in gone] == [False] * len(gone)
    assert [place.exists() for place in kept] == [True] * len(kept)


def test_long_names_and_several_writers_at_once(tmp_path):
    name = "n" * 250
    with replacing(tmp_path / name) as one, replacing(tmp_path / name) as other:
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / name).read_text() == "one"  # which ended last
    assert os.listdir(tmp_path) == [name]
