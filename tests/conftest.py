"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; a test that needs it is skipped where there is none."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("POSTERITY_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set POSTERITY_DATA to the folder with uci/ and mnist/")
    return folder


@pytest.fixture(scope="session")
def moons() -> tuple[np.ndarray, ...]:
    """Two moons: x_train, y_train, x_test, y_test."""
    import posterity as po

    return tuple(po.data.moons())
