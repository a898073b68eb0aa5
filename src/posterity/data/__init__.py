"""Data: what is handed out in batches, how tables become numbers, and example data."""

from posterity.data.datasets import Split, breast_cancer, moons, uci
from posterity.data.scaling import Standardizer

__all__ = ["Split", "Standardizer", "breast_cancer", "moons", "uci"]
