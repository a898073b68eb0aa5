"""The Fisher information in three sizes, by name."""

from __future__ import annotations

from posterity.inference.sgmcmc.fisher.diagonal import Diagonal
from posterity.inference.sgmcmc.fisher.fisher import AbstractFisher
from posterity.inference.sgmcmc.fisher.full import Full
from posterity.inference.sgmcmc.fisher.low_rank import LowRank

SIZES: dict[str, type[AbstractFisher]] = {"full": Full, "low-rank": LowRank, "diagonal": Diagonal}
