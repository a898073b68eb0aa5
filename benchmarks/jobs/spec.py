"""What a job is: which processes to run side by side, and which of their figures to tabulate."""

from dataclasses import dataclass
from typing import Any, Literal

Cache = Literal["default", "cold", "warm"]
"""Compiled code kept between processes: as the library comes ("default", for ours: off), in an
empty folder made for each process ("cold"), or in a folder that an earlier process filled ("warm").
"""


@dataclass(frozen=True)
class Variant:
    """One row of the table: a script, run in a peer's environment."""

    name: str
    peer: str
    script: str
    arguments: tuple[str, ...] = ()
    cache: Cache = "default"
    optional: bool = False  # measured only when named with --only


@dataclass(frozen=True)
class Metric:
    """One figure that children report (or, for "wall_seconds", that the harness measures)."""

    key: str
    title: str
    digits: int = 2
    headline: bool = False  # a table of its own, with ratios against ours


@dataclass(frozen=True)
class Job:
    """One measured workload, the same for all its variants."""

    name: str
    title: str
    data: str  # the script in peers/data/ that writes the arrays
    steps: int
    variants: tuple[Variant, ...]
    metrics: tuple[Metric, ...]
    references: tuple[str, ...]  # the variants that ratios are taken against
    repeats: int = 5  # processes per variant, where the command line says nothing

    def sections(self, runs: dict[str, list[dict[str, Any]]]) -> list[str]:
        """Markdown in place of the standard tables; nothing keeps those."""
        return []
