"""The Fisher information in three sizes, by name."""

from __future__ import annotations

from posterity.curvature.diagonal import Diagonal
from posterity.curvature.fisher import AbstractFisher
from posterity.curvature.full import Full
from posterity.curvature.low_rank import LowRank

SIZES: dict[str, type[AbstractFisher]] = {"full": Full, "low-rank": LowRank, "diagonal": Diagonal}
