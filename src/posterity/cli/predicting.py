"""`posterity predict`: from a folder and a table to a file of predictions."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from posterity.cli.folder import Folder, in_units
from posterity.data.preprocessing import Preprocessing
from posterity.data.tables import NUMBER, listed, read_table
from posterity.files import write_atomic
from posterity.predict.predictive import Predictive

Columns = dict[str, np.ndarray]

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a formula begins with in some spreadsheet
SPECIAL = re.compile(r'[",;\t\r\n]')  # what ends a cell in one, unless the cell is quoted


def predict_table(
    folder: Path, data: Path, out: Path, interval: float, draws: int | None, seed: int
) -> dict[str, Any]:
    """Predict the rows of the table `data`, and write the file `out`.

    Returns:
        What the command prints.

    Raises:
        ValueError, OSError: something cannot be used as it is; the message says what.
    """
    if out.suffix.lower() not in WRITERS:
        raise ValueError(f"--out {out}: expected a file ending in {', '.join(WRITERS)}.")
    if not 0 < interval < 1:
        raise ValueError(f"--interval: a probability between 0 and 1, not {interval}.")
    fitted = Folder(folder).read()
    preprocessing = fitted.preprocessing()
    x = preprocessing.x(read_table(data))
    pred = in_units(fitted.posterior().predict(x, draws=draws, seed=seed), preprocessing.output)
    columns = tabulate(pred, preprocessing, interval)
    write_atomic(out, WRITERS[out.suffix.lower()](columns))
    answer = {"rows": len(x), "columns": list(columns), "out": str(out)}
    changed = [name for name in map(str, preprocessing.classes) if _formula(name)]
    if out.suffix.lower() == ".csv" and changed:
        answer["notes"] = [
            f"{listed(changed)}: written with an apostrophe before, as a spreadsheet would compute "
            "it; .parquet and .npz files have it as it is."
        ]
    return answer


def tabulate(pred: Predictive, preprocessing: Preprocessing, interval: float) -> Columns:
    """A prediction as named columns, in the target's own units and class names."""
    if preprocessing.task == "classification":
        return _classes(pred, preprocessing, interval)
    lower, upper = pred.interval(interval)
    return {
        "mean": pred.mean,
        "sd": pred.sd,
        "aleatoric": pred.aleatoric,
        "epistemic": pred.epistemic,
        "lower": lower,
        "upper": upper,
    }


def _classes(pred: Predictive, preprocessing: Preprocessing, interval: float) -> Columns:
    lower, upper = pred.interval(interval)
    probs = pred.probs
    if lower.ndim == 1:  # of two classes, that of P(y = 1)
        lower, upper = np.stack([1 - upper, lower], 1), np.stack([1 - lower, upper], 1)
    rows = np.arange(len(probs))
    label = pred.label
    named = {f"prob_{name}": probs[:, code] for code, name in enumerate(preprocessing.classes)}
    return {
        "label": np.array(preprocessing.classes)[label],
        **named,
        "mean": probs[rows, label],
        "sd": pred.sd,
        "aleatoric": pred.aleatoric,
        "epistemic": pred.epistemic,
        "lower": lower[rows, label],
        "upper": upper[rows, label],
        "entropy": pred.entropy,
        "mutual_information": pred.mutual_information,
    }


def _csv(columns: Columns) -> bytes:
    # As strings, numbers have the fewest digits that give them back exactly.
    rows = zip(*(values.astype(str).tolist() for values in columns.values()))
    lines = [",".join(map(_cell, row)) for row in (columns, *rows)]
    return ("\n".join(lines) + "\n").encode()


def _cell(text: str) -> str:
    """A text as a cell that no spreadsheet takes for a formula, or for several cells."""
    if _formula(text):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if SPECIAL.search(text) else text


def _formula(text: str) -> bool:
    """Whether a spreadsheet would compute a text; a number it only reads."""
    return text.startswith(FORMULA) and not NUMBER.fullmatch(text)


def _parquet(columns: Columns) -> bytes:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install 'posterity[tables]'.") from error
    content = io.BytesIO()
    pq.write_table(pa.table({name: values.tolist() for name, values in columns.items()}), content)
    return content.getvalue()


def _npz(columns: Columns) -> bytes:
    content = io.BytesIO()
    arrays: dict[str, Any] = dict(columns)
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return content.getvalue()


WRITERS: dict[str, Callable[[Columns], bytes]] = {".csv": _csv, ".parquet": _parquet, ".npz": _npz}
