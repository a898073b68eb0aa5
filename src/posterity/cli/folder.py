"""The folder that `posterity fit` writes and the other commands read.

The files of a fit belong together: ``fit.json`` holds the checksum of each, and one of its own. A
new fit is first written beside the old one, under names that begin with ``.next.``; writing
``fit.json`` is the swap, and the files then move to their places. So at every moment the folder
holds the whole old fit or the whole new one, and ``fit.json`` says by checksums which files are it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from posterity import memory
from posterity.cli.console import plain
from posterity.data.archives import arrays_of
from posterity.data.preprocessing import Preprocessing
from posterity.data.scaling import Standardizer
from posterity.files import regular, write_atomic

if TYPE_CHECKING:
    from posterity.posterior import Posterior
    from posterity.predict.predictive import Predictive

Rows = tuple[np.ndarray, np.ndarray]

SUMMARY, REPORT = "fit.json", "report.html"
POSTERIOR, PREPROCESSING, DATA = "posterior.safetensors", "preprocessing.json", "data.npz"
FILES = (POSTERIOR, PREPROCESSING, DATA)
NEXT = ".next."
MOST_TEXT = 2**26  # bytes of a JSON file; 10,000 columns take 2 MB
OBJECTS = 30  # bytes of memory for each byte of JSON, where it is of empty lists


@dataclasses.dataclass(frozen=True)
class Folder:
    """A finished fit on disk; a folder without ``fit.json`` holds none."""

    path: Path

    def prepare(self) -> None:
        """Make the folder, and tidy up after a writer that was killed.

        Raises:
            OSError: it cannot be made or written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path / f"{SUMMARY}.try", "").unlink()
        self._settle()

    @property
    def finished(self) -> bool:
        """Whether it holds a finished fit."""
        return (self.path / "fit.json").is_file()

    def write(
        self,
        posterior: Posterior,
        preprocessing: Preprocessing,
        train: Rows,
        test: Rows | None,
        summary: dict[str, Any],
    ) -> None:
        """Write all that the other commands need, in place of an older fit."""
        self.prepare()
        arrays = {"x_train": train[0], "y_train": train[1]}
        if test is not None:
            arrays |= {"x_test": test[0], "y_test": test[1]}
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        try:
            posterior.save(self._next(POSTERIOR))
            write_atomic(self._next(PREPROCESSING), _json(preprocessing.to_json()))
            write_atomic(self._next(DATA), content.getvalue())
            files = {name: _checksum_of(self._next(name)) for name in FILES}
            described = plain(summary) | {"files": files}
            described["checksum"] = _checksum(described)
            write_atomic(self.path / SUMMARY, _json(described))
            (self.path / REPORT).unlink(missing_ok=True)  # it shows the old fit
        finally:
            self._settle()

    def read(self) -> Stored:
        """The fit that is there now; a later one in its place is then refused, not mixed in.

        Raises:
            FileNotFoundError: the folder holds no finished fit.
            ValueError: ``fit.json`` is damaged, or of a version without checksums.
        """
        path = self.path / SUMMARY
        if not path.exists():
            raise FileNotFoundError(f"{self.path} holds no finished fit: make one with {self._fit}")
        again = f"Copy the folder again, or fit again: {self._fit}"
        try:
            found = _read_json(path)
        except ValueError as error:
            raise ValueError(f"{error} {again}") from error
        if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
            raise ValueError(
                f"{path}: it holds no checksums of the files beside it, so that nothing would tell "
                f"them from those of another fit. It is damaged, or of an older version. Fit "
                f"again: {self._fit}"
            )
        checksum = found.pop("checksum", None)
        whole = isinstance(found.get("settings"), dict) and isinstance(found.get("notes"), list)
        if checksum != _checksum(found) or not whole:
            raise ValueError(
                f"{path}: damaged, or edited by hand: its checksum does not fit its content. "
                f"{again}"
            )
        return Stored(self, found)

    def write_report(self) -> Path:
        """Write report.html from what is stored here.

        Raises:
            ImportError: the extra ``plots`` is not installed.
            FileNotFoundError, ValueError: as `read`.
        """
        return self.read().write_report()

    @property
    def _fit(self) -> str:
        return f"posterity fit DATA --target COLUMN --out {shlex.quote(str(self.path))}"

    def _next(self, name: str) -> Path:
        return self.path / f"{NEXT}{name}"

    def _settle(self) -> None:
        """Move the files of a fit that was swapped in to their places; remove others."""
        if not any(self._next(name).is_file() for name in FILES):
            return
        try:
            files = self.read().summary["files"]
        except (OSError, ValueError):
            files = {}
        for name in FILES:
            waiting = self._next(name)
            if waiting.is_file() and _checksum_of(waiting) == files.get(name):
                waiting.replace(self.path / name)
            waiting.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a folder held when ``fit.json`` was read.

    Args:
        folder: where it is.
        summary: settings, scores and remarks of the fit, and the checksums of its files.
    """

    folder: Folder
    summary: dict[str, Any]

    def preprocessing(self) -> Preprocessing:
        """What was done to the columns.

        Raises:
            ValueError: the file is damaged, or of another fit.
        """
        path = self._file(PREPROCESSING)
        try:
            return Preprocessing.from_json(_read_json(path))
        except Exception as error:  # whatever a forged file leads to
            raise ValueError(f"{path}: damaged ({type(error).__name__}: {error}).") from error

    def posterior(self) -> Posterior:
        """The posterior.

        Raises:
            ValueError: the file is damaged, or of another fit.
        """
        from posterity.posterior import load

        return cast("Posterior", load(self._file(POSTERIOR)))

    def rows(self) -> tuple[Rows, Rows | None]:
        """Training and test rows, as the model takes them.

        Raises:
            ValueError: the file is damaged, or of another fit.
        """
        path = self._file(DATA)
        arrays = arrays_of(path)
        found = [
            (arrays[f"x_{part}"], arrays[f"y_{part}"])
            for part in ("train", "test")
            if {f"x_{part}", f"y_{part}"} <= set(arrays)
        ]
        sound = all(x.ndim == 2 and y.shape == x.shape[:1] for x, y in found)
        if not found or len(arrays) != 2 * len(found) or not sound:
            raise ValueError(f"{path}: it holds {sorted(arrays)[:8]}, not the rows of a fit.")
        return found[0], found[1] if len(found) > 1 else None

    def write_report(self) -> Path:
        """As that of `Folder`."""
        summary, preprocessing = self.summary, self.preprocessing()
        train, test = self.rows()
        from posterity.reports import report

        inputs, output = preprocessing.inputs, preprocessing.output

        def original(rows: Rows) -> Rows:
            return rows if output is None else (rows[0], output.inverse(rows[1]))

        settings = {name: value for name, value in summary["settings"].items() if value is not None}
        return report(
            self.posterior(),
            self.folder.path / REPORT,
            data=original(train),
            test=None if test is None else original(test),
            title=f"{preprocessing.target} from {settings.get('data', 'a table')}",
            rescale=None if output is None else (float(output.loc), float(output.scale)),
            rescale_x=(inputs.loc, inputs.scale),
            x_names=list(preprocessing.columns),
            y_name=preprocessing.target,
            class_names=[str(label) for label in preprocessing.classes] or None,
            extra={
                "How the table was read": summary["notes"],
                "What was asked for": {name: _shown(value) for name, value in settings.items()},
            },
        )

    def _file(self, name: str) -> Path:
        """A file of this fit, wherever it is, whose checksum holds.

        Raises:
            ValueError: it is damaged, of another fit, or not there.
        """
        path, files = self.folder.path / name, self.summary["files"]
        places = [each for each in (path, self.folder._next(name)) if each.exists()]
        for each in places:
            if _checksum_of(regular(each)) == files.get(name):
                return each
        others = [self.folder.path / other for other in FILES if other != name]
        if not places:
            what = f"{path} is missing"
        elif not any(o.is_file() and _checksum_of(o) == files.get(o.name) for o in others):
            what = (
                f"{self.folder.path / SUMMARY}: damaged, or of another fit than the files beside it"
            )
        else:
            what = f"{path}: damaged, or of another fit than {SUMMARY} and the files beside it"
        raise ValueError(f"{what}. Copy the whole folder again, or fit again: {self.folder._fit}")


def in_units(pred: Predictive, output: Standardizer | None) -> Predictive:
    """A prediction in the target's own units."""
    return pred if output is None else pred.rescaled(float(output.loc), float(output.scale))


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _json(data: Any) -> bytes:
    text = json.dumps(plain(data), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")  # names of files may be no Unicode


def _read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it is too long, too deep, or no JSON.
    """
    size = regular(path).stat().st_size
    if size > MOST_TEXT or not memory.fits(OBJECTS * size):
        raise ValueError(f"{path}: damaged: it is too long to be one of ours.")
    try:
        return json.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: it is not readable JSON ({error}).") from error


def _checksum(described: dict[str, Any]) -> str:
    """The checksum of what ``fit.json`` says, but for the checksum itself."""
    try:
        text = json.dumps(described, sort_keys=True)
    except RecursionError:
        return "none"
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum_of(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
