"""Data: what is handed out in batches, how tables become numbers, and example data."""

from posterity.data.datasets import Split, breast_cancer, moons, uci
from posterity.data.images import fashion_mnist, mnist, notmnist
from posterity.data.scaling import Standardizer

__all__ = [
    "Split",
    "Standardizer",
    "breast_cancer",
    "fashion_mnist",
    "mnist",
    "moons",
    "notmnist",
    "uci",
]
