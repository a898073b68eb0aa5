"""The compilation cache: where it is, who decides, and that it is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from posterity.cpu.compile import VARIABLE, cache_folder, quick_jit


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
import jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3))).block_until_ready()
print(before, jax.config.jax_compilation_cache_dir)
"""


def job(folder, **more):
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    env |= {VARIABLE: str(folder), **more}
    done = subprocess.run(
        [sys.executable, "-c", JOB], capture_output=True, text=True, check=True, env=env
    )
    return done.stdout.split()


def test_compiled_loops_are_kept_there_but_not_before_they_are_needed(tmp_path):
    folder = tmp_path / "new" / "cache"
    assert job(folder) == ["None", str(folder)]
    assert any(folder.iterdir())


def test_a_cache_that_the_user_has_set_up_stays(tmp_path):
    theirs = str(tmp_path / "theirs")
    assert job(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=theirs) == [theirs, theirs]
    assert not (tmp_path / "ours").exists()


def test_a_folder_that_cannot_be_made_is_no_reason_to_fail(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert job(tmp_path / "file" / "cache") == ["None", "None"]
