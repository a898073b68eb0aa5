"""Example data: where they come from, and that they are the published ones."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import posterity as po
from posterity.data import datasets

FOLDER = Path(os.environ.get(datasets.VARIABLE) or datasets.DEFAULT_FOLDER)


def published(name):
    """The published table and its splits, from the data folder."""
    path = FOLDER / "uci" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there; set {datasets.VARIABLE} to the folder of the tables.")
    return np.load(path, allow_pickle=False)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A table of our own, served as a file: URL; no data folder, an empty cache."""
    import hashlib

    numbers = np.random.default_rng(0).normal(size=(20, 3))
    x, y = np.ascontiguousarray(numbers[:, :2]), np.ascontiguousarray(numbers[:, 2])
    digest = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
    source = tmp_path / "tiny.txt"
    np.savetxt(source, numbers, fmt="%.17g")
    monkeypatch.setitem(datasets.TABLES, "tiny", datasets._Table(2, digest))
    monkeypatch.setattr(datasets, "SOURCE", f"file://{tmp_path}/{{name}}.txt")
    monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path / "nowhere"))
    return source


@pytest.mark.parametrize(("n", "noise", "seed"), [(1000, 0.2, 0), (2, 0.2, 3), (777, 0.0, 1)])
def test_moons_are_scikit_learns(n, noise, seed):
    pytest.importorskip("sklearn")
    from sklearn.datasets import make_moons
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import scale

    x, y = make_moons(noise=noise, random_state=seed, n_samples=n)
    parts = train_test_split(scale(x).astype("f4"), y, test_size=0.5, random_state=1)
    moons = po.data.moons(n, noise, seed)
    for given, expected in zip((moons.x_train, moons.x_test, moons.y_train, moons.y_test), parts):
        np.testing.assert_array_equal(given, expected)
        assert given.dtype == np.float32


@pytest.mark.parametrize(
    "bad", [{"n": 1}, {"n": 2.5}, {"n": True}, {"noise": -1.0}, {"noise": "a"}]
)
def test_moons_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=f"moons: {next(iter(bad))} must be"):
        po.data.moons(**bad)


def test_moons_need_numpy_alone():
    used = "import sys, posterity as po; po.data.moons(); print('sklearn' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", used], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize("name", list(datasets.TABLES))
def test_splits_are_the_published_ones_bit_for_bit(name):
    table = published(name)
    np.testing.assert_array_equal(datasets.split_masks(len(table["y"])), table["test_mask"])


@pytest.mark.parametrize("name", list(datasets.TABLES))
def test_uci_tables(name):
    table = published(name)
    test = table["test_mask"][3]
    split = po.data.uci(name, 3)
    np.testing.assert_array_equal(split.x_train, table["X"][~test])
    np.testing.assert_array_equal(split.y_test, table["y"][test])


def test_breast_cancer_is_scikit_learns_table():
    pytest.importorskip("sklearn")
    split = po.data.breast_cancer(0.25)
    assert split.x_train.shape == (426, 30)
    assert np.concatenate([split.y_train, split.y_test]).sum() == 357
    assert abs(split.y_train.mean() - split.y_test.mean()) < 0.01


def test_a_table_is_downloaded_once(tiny):
    first = po.data.uci("tiny", 1)
    assert first.x_train.shape == (18, 2)
    tiny.unlink()
    again = po.data.uci("tiny", 1)
    for one, other in zip(first, again):
        np.testing.assert_array_equal(one, other)
    assert [path.name for path in (tiny.parent / "cache").iterdir()] == ["tiny.npz"]


def test_a_table_with_other_numbers_is_refused_and_not_kept(tiny):
    tiny.write_text(tiny.read_text().replace("1", "2", 1))
    with pytest.raises(ValueError, match="not those of the table 'tiny'"):
        po.data.uci("tiny")
    assert not (tiny.parent / "cache").exists()


def test_a_damaged_cache_is_refused(tiny):
    po.data.uci("tiny")
    path = tiny.parent / "cache" / "tiny.npz"
    np.savez(path, X=np.zeros((20, 2)), y=np.zeros(20))
    with pytest.raises(ValueError, match=r"tiny\.npz: its numbers are not"):
        po.data.uci("tiny")


def test_without_a_network_it_says_what_to_do(tiny):
    tiny.unlink()
    with pytest.raises(OSError, match=r"cannot be downloaded.*POSTERITY_DATA"):
        po.data.uci("tiny")


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("boston", 0, "built from race"),
        ("iris", 0, "expected one of concrete"),
        ("yacht", 20, "from 0 to 19"),
    ],
)
def test_unknown_tables_and_splits(name, split, message):
    with pytest.raises(ValueError, match=message):
        po.data.uci(name, split)
