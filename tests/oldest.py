"""The oldest versions that pyproject.toml allows, as constraints for pip: `name==floor` by line.

A floor of two numbers stands for its first release: ``jax>=0.10`` is ``jax==0.10.0``.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

# Tools that check the code, and do not run with it.
TOOLS = ("pytest", "pytest-xdist", "ruff", "mypy", "import-linter", "pandas-stubs", "hypothesis")


def floors(text: str) -> dict[str, str]:
    """Name → oldest version of every dependency, extras included."""
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"].values()
    given = itertools.chain(project["dependencies"], *extras)
    found = {}
    for requirement in given:
        match = re.match(r"([\w.-]+)\s*>=\s*([\d.]+)", requirement)
        if match and match[1] not in TOOLS:
            found[match[1]] = match[2] + ".0" * (2 - match[2].count("."))
    return found


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "pyproject.toml"
    for name, version in sorted(floors(path.read_text("utf-8")).items()):
        print(f"{name}=={version}")
