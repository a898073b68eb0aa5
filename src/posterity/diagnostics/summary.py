"""A table of a posterior's parameters."""

from __future__ import annotations

import dataclasses

import numpy as np

from posterity.distributions.distribution import AbstractDistribution
from posterity.model.target import AbstractTarget


@dataclasses.dataclass(frozen=True)
class Row:
    """One parameter, in unconstrained units: its size and the range of its elements' moments."""

    path: str
    shape: tuple[int, ...]
    smallest_mean: float
    largest_mean: float
    smallest_sd: float
    largest_sd: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """One row per parameter; printing it gives a table.

    Weights of a network are label-symmetric, so that moments of draws over several modes say
    little; look at predictions first.
    """

    rows: tuple[Row, ...]

    @classmethod
    def of(cls, target: AbstractTarget, distribution: AbstractDistribution) -> Summary:
        """The summary of a distribution over the θ of a target."""
        mean, sd = (np.asarray(moment) for moment in distribution.mean_and_sd())
        rows = []
        for path, shape, start, stop in target.parameters:
            m, s = mean[start:stop], sd[start:stop]
            rows.append(Row(path, shape, *map(float, (m.min(), m.max(), s.min(), s.max()))))
        return cls(tuple(rows))

    def __str__(self) -> str:
        head = ("parameter", "shape", "means from", "to", "sds from", "to")
        table: list[tuple[str, ...]] = [head]
        for row in self.rows:
            figures = dataclasses.astuple(row)[2:]
            table.append((row.path, str(row.shape), *(f"{value:.3f}" for value in figures)))
        widths = [max(len(line[column]) for line in table) for column in range(len(head))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths))
            )
            for line in table
        )
