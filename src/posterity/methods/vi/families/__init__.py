"""Families of approximate posteriors: what q(θ) may look like."""

from posterity.checks import said
from posterity.methods.vi.families.family import AbstractFamily
from posterity.methods.vi.families.flow import Flow
from posterity.methods.vi.families.full_rank import FullRank
from posterity.methods.vi.families.low_rank import LowRank
from posterity.methods.vi.families.mean_field import MeanField

__all__ = ["AbstractFamily", "Flow", "FullRank", "LowRank", "MeanField", "as_family"]

NAMES: dict[str, type[AbstractFamily]] = {
    "mean-field": MeanField,
    "low-rank": LowRank,
    "full-rank": FullRank,
    "flow": Flow,
}


def as_family(given: str | AbstractFamily) -> AbstractFamily:
    """A family from its name or itself.

    Raises:
        ValueError: there is no family of that name; the message lists those there are.
    """
    if isinstance(given, AbstractFamily):
        return given
    if not isinstance(given, str) or given not in NAMES:
        raise ValueError(f"family: there is no {said(given)}; there are {', '.join(NAMES)}.")
    return NAMES[given]()
