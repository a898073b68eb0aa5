"""Small images with ten classes: MNIST, Fashion-MNIST and notMNIST.

Files are looked for in the folder that the environment variable ``POSTERITY_DATA`` names (its
default is ``../shared/data``, seen from the current folder), then in the user's cache, and are
downloaded otherwise. Wherever they come from, their bytes are checked against known digests.
"""

from __future__ import annotations

import gzip
import hashlib
from typing import NamedTuple

import numpy as np

from posterity.data import datasets
from posterity.data.datasets import Split
from posterity.files import regular, write_atomic

IMAGES, LABELS = "images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"
BYTES = 8  # the code of unsigned bytes in an idx file's magic number
SIDE = 28
CLASSES = 10
GITHUB = "https://raw.githubusercontent.com/"


class _Source(NamedTuple):
    """Where a data set's files come from, tried in order, and their sha256 by name."""

    urls: tuple[str, ...]
    sha256: dict[str, str]


SOURCES = {
    "mnist": _Source(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", GITHUB + "fgnt/mnist/master/"),
        {
            "train-" + IMAGES: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-" + LABELS: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-" + IMAGES: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-" + LABELS: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "fashion-mnist": _Source(
        (GITHUB + "zalandoresearch/fashion-mnist/master/data/fashion/",),
        {
            "train-" + IMAGES: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-" + LABELS: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-" + IMAGES: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-" + LABELS: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
    "notmnist": _Source(
        (GITHUB + "davidflanagan/notMNIST-to-MNIST/master/",),
        {
            "t10k-" + IMAGES: "70ae9e06201f2827e5b0a3781a3169d735dd2efc69996b9eeaee7f10ed4044d7",
            "t10k-" + LABELS: "1fa03836e01c862542f8eb83463bb951bebec6fcb3efa28dad748c6b38a9021b",
        },
    ),
}


def mnist() -> Split:
    """60,000 and 10,000 handwritten digits (LeCun, Cortes & Burges), 12 MB to download.

    Returns:
        A `Split`: images (rows, 28, 28, 1) in float32 from 0 to 1, bright on dark, and labels 0 … 9
        as int64. The training images take 188 MB.

    Raises:
        ValueError: a file with other bytes than the published ones.
        OSError: a file is neither here nor can it be downloaded.
    """
    return _split("mnist")


def fashion_mnist() -> Split:
    """60,000 and 10,000 pieces of clothing (Xiao et al. 2017), 31 MB to download.

    0 T-shirt, 1 trousers, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt, 7 trainer, 8 bag, 9 boot.

    Returns, Raises: as `mnist`.
    """
    return _split("fashion-mnist")


def notmnist() -> tuple[np.ndarray, np.ndarray]:
    """10,000 letters A … J in many typefaces, 1,000 of each: what a digit classifier never saw.

    Y. Bulatov's notMNIST, in the form of MNIST's test set by D. Flanagan; 3 MB to download.

    Returns:
        Images and labels as in `mnist`, 0 for A: ``x, y = po.data.notmnist()``. There is no
        training part.

    Raises:
        ValueError, OSError: as `mnist`.
    """
    return _rows("notmnist", "t10k")


def _split(name: str) -> Split:
    return Split(*_rows(name, "train"), *_rows(name, "t10k"))


def _rows(name: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one part of a data set."""
    pixels = read_idx(_fetch(name, f"{part}-{IMAGES}"), f"{name}/{part}-{IMAGES}")
    labels = read_idx(_fetch(name, f"{part}-{LABELS}"), f"{name}/{part}-{LABELS}")
    if pixels.shape[1:] != (SIDE, SIDE) or labels.shape != pixels.shape[:1]:
        raise ValueError(
            f"{name}: images of shape {pixels.shape} and labels of shape {labels.shape} are no "
            f"pairs of {SIDE} × {SIDE} pixels and a label."
        )
    if labels.max() >= CLASSES:
        first = int(np.argmax(labels >= CLASSES))
        raise ValueError(f"{name}: label {first} is {labels[first]}, not 0 … {CLASSES - 1}.")
    # Straight from bytes to float32: in float64 the images would take twice their room on the way.
    x = np.divide(pixels[..., None], 255, dtype=np.float32)
    return x, labels.astype(np.int64)


def read_idx(content: bytes, source: str) -> np.ndarray:
    """The array of unsigned bytes in an idx file, the format of MNIST.

    Two zero bytes, a code for the type, the number of axes; each axis's length as a big-endian
    32-bit integer; the values, last axis fastest.

    Args:
        content: of the file, compressed by gzip or not. source: its name, for messages.

    Returns:
        A read-only array that shares memory with the file's content.

    Raises:
        ValueError: it is no such file, holds another type, or has another length than it says.
    """
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise ValueError(f"{source}: its compression is damaged ({error}).") from error
    if len(content) < 4 or content[:2] != b"\0\0" or not content[3]:
        raise ValueError(
            f"{source}: no idx file; it begins with {content[:4].hex(' ') or 'nothing'}."
        )
    if content[2] != BYTES:
        raise ValueError(f"{source}: its type is {content[2]:#04x}; only bytes (0x08) are read.")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"{source}: it ends within the lengths of its {content[3]} axes.")
    shape = tuple(map(int, np.frombuffer(content[4:start], ">u4")))
    size = int(np.prod(shape, dtype=object))
    if len(content) - start != size:
        raise ValueError(
            f"{source}: shape {shape} needs {size:,} bytes, but {len(content) - start:,} follow."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _fetch(name: str, file: str) -> bytes:
    """The bytes of a file, from the data folder, the cache or the network."""
    source = SOURCES[name]
    cached = datasets.cache_folder() / name / file
    for path in (datasets.data_folder() / name / file, cached):
        if path.exists():
            return _checked(regular(path).read_bytes(), source.sha256[file], str(path))
    content = _download(name, file)
    write_atomic(cached, content)
    return content


def _download(name: str, file: str) -> bytes:
    """The file from the first place that has it."""
    source = SOURCES[name]
    *first, last = source.urls
    for url in first:
        try:
            return _from(url, name, file)
        except (OSError, ValueError):
            continue
    return _from(last, name, file)


def _from(url: str, name: str, file: str) -> bytes:
    content = datasets.download(url + file, f"{name}/{file}", f"put {name}/{file}")
    return _checked(content, SOURCES[name].sha256[file], url + file)


def _checked(content: bytes, sha256: str, source: str) -> bytes:
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(
            f"{source}: its bytes are not the published ones (their sha256 differs); the file is "
            "damaged or another version. Remove it to have it fetched again."
        )
    return content
