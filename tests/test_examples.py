"""Examples run, whatever they find: with the few draws of `--quick`, and far from converged."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
WRITTEN = {
    "deep_regression": ("deep-regression.png", "deep-regression.html"),
    "gap_update": ("gap-update.png",),
    "moons_nuts": ("moons-nuts.png",),
    "moons_sgfs": (
        "moons-sgfs.png",
        "moons-sgfs-identity.png",
        "moons-sgfs-fisher.png",
        "moons-sgfs-fisher-kept.png",
    ),
}


# These take some ten seconds to compile, whatever the number of draws.
LONG = ("deep_regression", "gap_update", "moons_sgfs")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in LONG]


@pytest.mark.parametrize("name", [*SLOW, "moons_nuts"])
def test_example(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib").use("agg")
    runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](["--quick", "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == set(WRITTEN[name])
    assert "r-hat" in capsys.readouterr().out
