"""The compilation cache: where it is, who decides, and that it is used."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from posterity.cpu import compile as module
from posterity.cpu.compile import SEAL, VARIABLE, Sealed, cache_folder, quick_jit


@pytest.mark.parametrize("word", ["off", "OFF", "0", "no", "False"])
def test_it_can_be_switched_off(monkeypatch, word):
    monkeypatch.setenv(VARIABLE, word)
    assert cache_folder() is None


def test_the_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


@pytest.mark.parametrize("value", [None, ""])
def test_by_default_it_is_in_the_users_cache(monkeypatch, value):
    if value is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, value)
    folder = cache_folder()
    assert folder.parent == Path(platformdirs.user_cache_dir("posterity"))


def test_options_that_xla_has_dropped_cost_no_more_than_time():
    double = quick_jit(lambda x: 2 * x, {"xla_no_such_option": True})
    assert float(double(np.float32(3))) == 6


def test_other_errors_of_quick_code_are_raised():
    with pytest.raises(TypeError, match=r"matmul|dot_general"):
        quick_jit(lambda x: x @ x)(np.zeros((2, 3), np.float32))


JOB = """
import jax, posterity as po
before = jax.config.jax_compilation_cache_dir
from posterity.cpu.compile import use_compilation_cache
use_compilation_cache()
use_compilation_cache()
import jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
for n in range(6):
    print(float(jax.jit(lambda x: (jnp.sin(x + n) @ x).sum())(jnp.ones((3, 3)))), end=" ")
print(before, jax.config.jax_compilation_cache_dir)
"""


def run(folder, **more):
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    env |= {VARIABLE: str(folder), **more}
    return subprocess.run(
        [sys.executable, "-c", JOB], capture_output=True, text=True, check=True, env=env
    )


def job(folder, **more):
    return run(folder, **more).stdout.split()[6:]


def entries(folder):
    """The entries of a cache, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_compiled_loops_are_kept_there_but_not_before_they_are_needed(tmp_path):
    """For the user alone; and entries that chance has damaged are replaced, without a word."""
    folder = tmp_path / "new" / "cache"
    first = run(folder)
    assert first.stdout.split()[6:] == ["None", str(folder)]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 or os.name == "nt"
    whole = entries(folder)
    assert len(whole) >= 6
    for content in whole.values():
        assert hashlib.sha256(content[:-SEAL]).digest() == content[-SEAL:]
    damages = [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: content[:99] + bytes([content[99] ^ 64]) + content[100:],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[:-SEAL],  # of an earlier version
    ]
    for number, (name, content) in enumerate(whole.items()):
        (folder / name).write_bytes(damages[number % len(damages)](content))
    again = run(folder, PYTHONWARNINGS="error::UserWarning")
    assert (again.stdout, again.stderr) == (first.stdout, first.stderr)
    assert set(entries(folder)) == set(whole)
    for content in entries(folder).values():
        assert hashlib.sha256(content[:-SEAL]).digest() == content[-SEAL:]


def test_a_cache_that_the_user_has_set_up_stays(tmp_path):
    theirs = str(tmp_path / "theirs")
    assert job(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=theirs) == [theirs, theirs]
    assert not (tmp_path / "ours").exists()


def test_a_folder_that_cannot_be_made_is_no_reason_to_fail(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert job(tmp_path / "file" / "cache") == ["None", "None"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX rights")
def test_a_folder_that_others_can_write_to_is_no_cache_and_that_is_said_once(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    done = run(tmp_path / "cache")
    assert done.stdout.split()[6:] == ["None", "None"]
    assert done.stderr.count("Compiled loops are not kept") == 1
    assert f"everybody can write to {tmp_path / 'cache'}" in done.stderr
    assert f"{VARIABLE}=off" in done.stderr
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX rights")
def test_whose_the_folder_is(monkeypatch, tmp_path):
    parent, folder = tmp_path / "parent", tmp_path / "parent" / "cache"
    folder.mkdir(parents=True)
    monkeypatch.setattr(module, "_is_alone", lambda group: False)
    cases = {
        (0o755, 0o755): "",
        (0o700, 0o700): "",
        (0o777, 0o700): f"everybody can write to {parent}",
        (0o775, 0o700): f"group {parent.stat().st_gid} can write to {parent}",
        (0o1777, 0o700): "",  # as /tmp
        (0o755, 0o777): f"everybody can write to {folder}",
        (0o755, 0o1777): f"everybody can write to {folder}",
        (0o755, 0o770): f"group {folder.stat().st_gid} can write to {folder}",
    }
    for rights, why in cases.items():
        parent.chmod(rights[0])
        folder.chmod(rights[1])
        module._make_private(folder)
        assert module._open_to_others(folder) == why
        if not why:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    parent.chmod(0o775)
    folder.chmod(0o770)
    monkeypatch.setattr(module, "_is_alone", lambda group: True)
    assert module._open_to_others(folder) == ""
    parent.chmod(0o755)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "link").symlink_to(folder)  # which everybody could turn elsewhere
    assert "open" in module._open_to_others(tmp_path / "open" / "link")
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert module._open_to_others(folder) == (
        f"{folder} belongs to another user, number {folder.stat().st_uid}"
    )


def test_where_jax_has_another_cache_it_stays(monkeypatch):
    from jax._src import compilation_cache as inside

    monkeypatch.delattr(inside, "_initialize_cache")
    before = inside._cache
    with pytest.warns(UserWarning, match="This release of JAX keeps compiled loops in another way"):
        module._seal()
    assert inside._cache is before


def test_an_entry_comes_back_as_it_was_put(tmp_path):
    from jax._src.lru_cache import LRUCache

    cache = Sealed(LRUCache(str(tmp_path), max_size=-1))
    assert cache.get("a") is None
    cache.put("a", b"code")
    assert cache.get("a") == b"code"
    (tmp_path / "a-cache").write_bytes(b"cod" + (tmp_path / "a-cache").read_bytes()[4:])
    assert cache.get("a") is None
    assert not (tmp_path / "a-cache").exists()
