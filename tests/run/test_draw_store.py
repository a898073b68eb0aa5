"""Draws that would not fit into memory go to a file: which, when, and what is said."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import posterity as po
from oracles import conjugate
from posterity import memory
from posterity.diagnostics.result import Code
from posterity.run import draw_store as module
from posterity.run.draw_store import open_store

ORACLE = conjugate()
NUTS = po.NUTS(chains=3, warmup=50, draws=60)
METHODS = [
    NUTS,
    po.MCLMC(chains=2, warmup=100, draws=30, thin=3),
    po.SGLD(chains=3, draws=50, step_size=1e-4, batch_size=10),
]


def fit(method: Any = NUTS, **settings: Any) -> po.Posterior:
    return po.fit(ORACLE.model, ORACLE.data, method, progress=False, **settings)


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with next to no memory."""
    monkeypatch.setattr(memory, "available", lambda: 1_000)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_draws_that_do_not_fit_are_the_same_in_a_file(method: Any) -> None:
    inside = fit(method, spool=False)
    with pytest.warns(UserWarning, match=r"draws take .* and 0.0 MB of memory are free; they are"):
        outside = fit(method)
    assert not inside.distribution.in_file
    assert outside.distribution.in_file
    np.testing.assert_array_equal(outside.distribution.theta, inside.distribution.theta)
    assert outside.diagnostics.to_json() == inside.diagnostics.to_json()
    assert outside.result.warnings == inside.result.warnings
    assert "in a temporary file" in outside.result.message
    for name, values in inside.history.fields.items():
        np.testing.assert_array_equal(outside.history.fields[name], values)
    path = Path(outside.distribution.theta.filename)
    if os.name == "posix":  # without a name from the first on
        assert not path.exists()
    del outside
    gc.collect()
    assert not path.exists()


def test_draws_that_fit_stay_in_memory(recwarn: pytest.WarningsRecorder) -> None:
    posterior = fit()
    assert not posterior.distribution.in_file
    assert not [w for w in recwarn if "draws take" in str(w.message)]


def test_the_threshold_counts_draws_and_history(monkeypatch: pytest.MonkeyPatch) -> None:
    method = po.NUTS(chains=2, warmup=7, draws=100, thin=2)
    draws, history = 2 * 100 * 3 * 4, 40 * 2 * 200
    monkeypatch.setattr(memory, "available", lambda: 2 * (draws + history))
    assert isinstance(open_store(method, 3, None).room, np.ndarray)
    monkeypatch.setattr(memory, "available", lambda: 2 * (draws + history) - 2)
    with pytest.warns(UserWarning, match="draws take"):
        assert not isinstance(open_store(method, 3, None).room, np.ndarray)
    assert open_store(po.ADVI(), 3, None) is None


def test_a_folder_keeps_the_file(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    posterior = fit(spool=tmp_path / "new" / "folder")
    path = tmp_path / "new" / "folder" / "draws.npy"
    assert str(path) in posterior.result.message
    assert not [w for w in recwarn if "draws take" in str(w.message)]
    theta = np.asarray(posterior.distribution.theta)
    del posterior
    gc.collect()
    np.testing.assert_array_equal(np.load(path), theta)
    assert theta.std() > 0
    fit(spool=str(path.parent))
    assert path.with_name("draws-2.npy").exists()


def test_looks_see_the_file_as_far_as_it_has_come() -> None:
    seen: list[np.ndarray] = []

    def look(posterior: po.Posterior) -> None:
        seen.append(np.array(posterior.distribution.theta))

    whole = fit(every=40, call=look, spool=True)
    assert [len(theta[0]) for theta in seen] == [1, 30]
    np.testing.assert_array_equal(seen[1], whole.distribution.theta[:, :30])


def test_an_interrupted_run_keeps_its_draws_and_the_file(
    press: Callable[[int], None], tmp_path: Path
) -> None:
    press(12)
    posterior = fit(po.NUTS(chains=3, warmup=20, draws=200_000), spool=tmp_path)
    assert posterior.result.code is Code.INTERRUPTED
    count = posterior.facts["steps_made"] - 20
    assert posterior.distribution.shape == (3, count, 3)
    assert (np.asarray(posterior.distribution.theta) != 0).all()
    np.testing.assert_array_equal(
        np.load(tmp_path / "draws.npy", mmap_mode="r")[:, :count], posterior.distribution.theta
    )
    loaded = po.load(posterior.save(tmp_path / "p"))
    np.testing.assert_array_equal(loaded.distribution.theta, posterior.distribution.theta)
    inputs = np.zeros((2, ORACLE.x.shape[1]))
    assert posterior.predict(inputs).draws == posterior.predictive_draws


# -- what cannot be done is said before the first step --------------------------------------------


def test_a_full_disk_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    with pytest.raises(ValueError, match=r"spool: the draws take 0.0 MB, but .* has 0.0 MB left"):
        fit(spool=tmp_path)
    with pytest.raises(ValueError, match=r"name a folder on another disk: po.fit"):
        fit(spool=True)


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"spool: the draws cannot be written to .*file"):
        fit(spool=tmp_path / "file")
    with pytest.raises(TypeError, match="spool must be a folder"):
        fit(spool=3)


def test_a_disk_that_fills_up_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    room = open_store(NUTS, 3, tmp_path)
    file = room.room._file

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(file, name)

        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    room.room._file = Full()
    with pytest.raises(OSError, match=r"spool: the draws could not be written to .*draws.npy"):
        room.put(0, 0, np.zeros((1, 1, 3), np.float32))


def test_a_run_that_breaks_leaves_what_it_has_written(tmp_path: Path) -> None:
    def look(posterior: po.Posterior) -> None:
        raise ValueError("broken")

    for every, files in ((40, 0), (60, 2)):
        with pytest.raises(ValueError, match="broken"):
            fit(every=every, call=look, spool=tmp_path)
        assert len(list(tmp_path.iterdir())) == files


def test_a_run_that_never_begins_leaves_no_file(tmp_path: Path) -> None:
    theta = np.full(ORACLE.x.shape[1], 1e25)
    with pytest.raises(ValueError, match="no finite step"):
        fit(init=theta, spool=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_temporary_files_are_not_put_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from posterity.distributions import spool

    usual = spool.usual_folder()
    monkeypatch.setattr(spool, "_in_memory", lambda folder: True)
    assert spool.usual_folder() in (Path("/var/tmp"), usual)
    assert module.usual_folder() in (Path("/var/tmp"), usual)
