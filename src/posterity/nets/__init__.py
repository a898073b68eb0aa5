"""Networks: what maps inputs and weights to outputs."""

from posterity.nets.adapters import as_net
from posterity.nets.mlp import MLP
from posterity.nets.net import AbstractNet

__all__ = ["MLP", "AbstractNet", "as_net"]
