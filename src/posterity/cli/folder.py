"""The folder that `posterity fit` writes and the other commands read."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from posterity.cli.console import plain
from posterity.data.preprocessing import Preprocessing
from posterity.data.scaling import Standardizer
from posterity.files import write_atomic

if TYPE_CHECKING:
    from posterity.posterior import Posterior
    from posterity.predict.predictive import Predictive

Rows = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Folder:
    """A finished fit on disk.

    ``fit.json`` is written last and removed first: a folder without it holds no finished fit.
    """

    path: Path

    def prepare(self) -> None:
        """Make the folder, before anything is computed.

        Raises:
            OSError: it cannot be made or written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path / "fit.json.try", "").unlink()

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
        (self.path / "fit.json").unlink(missing_ok=True)
        posterior.save(self.path / "posterior.safetensors")
        _write_json(self.path / "preprocessing.json", preprocessing.to_json())
        arrays = {"x_train": train[0], "y_train": train[1]}
        if test is not None:
            arrays |= {"x_test": test[0], "y_test": test[1]}
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        write_atomic(self.path / "data.npz", content.getvalue())
        _write_json(self.path / "fit.json", summary)

    def summary(self) -> dict[str, Any]:
        """Settings, scores and remarks of the fit.

        Raises:
            FileNotFoundError: the folder holds no finished fit.
            ValueError: the file is damaged.
        """
        path = self.path / "fit.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{self.path} holds no finished fit: make one with posterity fit DATA --target "
                f"COLUMN --out {self.path}."
            )
        found: dict[str, Any] = _read_json(path)
        return found

    def preprocessing(self) -> Preprocessing:
        """What was done to the columns.

        Raises:
            ValueError: the file is damaged.
        """
        path = self.path / "preprocessing.json"
        try:
            return Preprocessing.from_json(_read_json(path))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: damaged ({type(error).__name__}: {error}).") from error

    def posterior(self) -> Posterior:
        """The posterior."""
        from posterity.posterior import load

        return cast("Posterior", load(self.path / "posterior.safetensors"))

    def rows(self) -> tuple[Rows, Rows | None]:
        """Training and test rows, as the model takes them."""
        with np.load(self.path / "data.npz", allow_pickle=False) as file:
            test = (file["x_test"], file["y_test"]) if "x_test" in file else None
            return (file["x_train"], file["y_train"]), test

    def write_report(self) -> Path:
        """Write report.html from what is stored here.

        Raises:
            ImportError: the extra ``plots`` is not installed.
        """
        summary, preprocessing = self.summary(), self.preprocessing()
        train, test = self.rows()
        from posterity.reports import report

        inputs, output = preprocessing.inputs, preprocessing.output

        def original(rows: Rows) -> Rows:
            return rows if output is None else (rows[0], output.inverse(rows[1]))

        settings = {name: value for name, value in summary["settings"].items() if value is not None}
        return report(
            self.posterior(),
            self.path / "report.html",
            data=original(train),
            test=None if test is None else original(test),
            title=f"{preprocessing.target} from {settings['data']}",
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


def in_units(pred: Predictive, output: Standardizer | None) -> Predictive:
    """A prediction in the target's own units."""
    return pred if output is None else pred.rescaled(float(output.loc), float(output.scale))


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _write_json(path: Path, data: Any) -> None:
    write_atomic(
        path, json.dumps(plain(data), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: it is not readable JSON ({error}).") from error
