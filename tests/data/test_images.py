"""Images: the idx format, the digests, and where files come from."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

import posterity as po
from posterity.data import datasets, images

FOLDER = Path(os.environ.get(datasets.VARIABLE) or datasets.DEFAULT_FOLDER)
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
DIGITS = np.array([3, 0, 9, 1, 3], np.uint8)
HEAD = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3])


def idx(array):
    lengths = np.array(array.shape, ">u4").tobytes()
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes(), mtime=0)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A data set of five images, served as file: URLs; no data folder, an empty cache."""
    served = tmp_path / "served"
    served.mkdir()
    files = {"t10k-" + images.IMAGES: idx(PIXELS), "t10k-" + images.LABELS: idx(DIGITS)}
    for name, content in files.items():
        (served / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    urls = (f"file://{tmp_path}/gone/", f"file://{served}/")
    monkeypatch.setitem(images.SOURCES, "notmnist", images._Source(urls, digests))
    monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path / "nowhere"))
    return served


# -- the format ---------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_idx_is_read_last_axis_fastest(compress):
    found = images.read_idx(compress(HEAD + bytes(range(6))), "file")
    np.testing.assert_array_equal(found, [[0, 1, 2], [3, 4, 5]])
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no idx file; it begins with nothing"),
        (b"PK\3\4" + bytes(20), "no idx file; it begins with 50 4b 03 04"),
        (bytes([0, 0, 8, 0]), "no idx file"),
        (bytes([0, 0, 13, 2]) + HEAD[4:] + bytes(24), "type is 0x0d"),
        (HEAD[:7], "within the lengths of its 2 axes"),
        (HEAD + bytes(5), "needs 6 bytes, but 5 follow"),
        (HEAD + bytes(7), "needs 6 bytes, but 7 follow"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "79,228,162,458,924,105,385,300,197,375 bytes"),
        (gzip.compress(HEAD + bytes(6), mtime=0)[:-9], "compression is damaged"),
    ],
)
def test_what_is_no_idx_file_is_refused(content, message):
    with pytest.raises(ValueError, match=f"here: .*{message}"):
        images.read_idx(content, "here")


# -- where files come from ----------------------------------------------------------------------


def test_files_are_downloaded_once_from_the_first_place_that_has_them(tiny):
    x, y = po.data.notmnist()
    np.testing.assert_array_equal(x, PIXELS[..., None] / np.float32(255))
    np.testing.assert_array_equal(y, DIGITS)
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    for path in tiny.iterdir():
        path.unlink()
    np.testing.assert_array_equal(po.data.notmnist()[0], x)
    kept = sorted(path.name for path in (tiny.parent / "cache" / "notmnist").iterdir())
    assert kept == ["t10k-" + images.IMAGES, "t10k-" + images.LABELS]


def test_the_data_folder_comes_first(tiny, monkeypatch):
    (tiny.parent / "mine").mkdir()
    tiny.rename(tiny.parent / "mine" / "notmnist")
    monkeypatch.setenv(datasets.VARIABLE, str(tiny.parent / "mine"))
    assert len(po.data.notmnist()[1]) == 5
    assert not (tiny.parent / "cache").exists()


def test_other_bytes_are_refused_and_not_kept(tiny):
    path = tiny / ("t10k-" + images.LABELS)
    path.write_bytes(idx(DIGITS[::-1]))
    with pytest.raises(ValueError, match=r"labels-idx1-ubyte\.gz: its bytes are not the published"):
        po.data.notmnist()
    kept = [found.name for found in (tiny.parent / "cache" / "notmnist").iterdir()]
    assert kept == ["t10k-" + images.IMAGES]


def test_a_damaged_cache_is_refused(tiny):
    po.data.notmnist()
    path = tiny.parent / "cache" / "notmnist" / ("t10k-" + images.IMAGES)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="Remove it to have it fetched again"):
        po.data.notmnist()


def test_without_a_network_it_says_what_to_do(tiny):
    (tiny / ("t10k-" + images.IMAGES)).unlink()
    message = r"notmnist/t10k-images-idx3-ubyte\.gz is not in .*put notmnist/t10k.*POSTERITY_DATA"
    with pytest.raises(OSError, match=message):
        po.data.notmnist()


@pytest.mark.parametrize(
    ("pixels", "digits", "message"),
    [
        (PIXELS[:, :27], DIGITS, "no pairs"),
        (PIXELS[:4], DIGITS, "no pairs"),
        (PIXELS, DIGITS + 1, "label 2 is 10"),
    ],
)
def test_what_is_no_pair_of_images_and_labels_is_refused(monkeypatch, pixels, digits, message):
    files = {"t10k-" + images.IMAGES: idx(pixels), "t10k-" + images.LABELS: idx(digits)}
    monkeypatch.setattr(images, "_fetch", lambda name, file: files[file])
    with pytest.raises(ValueError, match=message):
        po.data.notmnist()


# -- the published files ------------------------------------------------------------------------


def test_mnist_is_the_published_one():
    if not (FOLDER / "mnist").is_dir():
        pytest.skip(f"no mnist in {FOLDER}; set {datasets.VARIABLE} to the folder with mnist/.")
    split = po.data.mnist()
    assert split.x_train.shape == (60_000, 28, 28, 1)
    assert split.x_test.shape == (10_000, 28, 28, 1)
    assert (split.x_train.dtype, split.y_train.dtype) == (np.float32, np.int64)
    assert (split.x_train.min(), split.x_train.max()) == (0, 1)
    # The well-known counts of each digit, and the first labels.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(split.y_train).tolist() == counts
    assert split.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert split.y_test[:5].tolist() == [7, 2, 1, 0, 4]
    # The well-known mean and sd of the training pixels.
    assert abs(split.x_train.mean() - 0.1307) < 5e-5
    assert abs(split.x_train.std() - 0.3081) < 5e-5


def test_the_other_sets_are_the_published_ones():
    if not (FOLDER / "fashion-mnist").is_dir() or not (FOLDER / "notmnist").is_dir():
        pytest.skip(f"no images in {FOLDER}; set {datasets.VARIABLE} to their folder.")
    x, y = po.data.notmnist()
    assert x.shape == (10_000, 28, 28, 1)
    assert np.bincount(y).tolist() == [1_000] * 10
    split = po.data.fashion_mnist()
    assert np.bincount(split.y_train).tolist() == [6_000] * 10
    assert split.y_train[:5].tolist() == [9, 0, 0, 3, 0]
    assert abs(split.x_train.mean() - 0.2860) < 5e-5
