"""Networks: what maps inputs and weights to outputs."""

from posterity.nets.adapters import as_net
from posterity.nets.cnn import CNN
from posterity.nets.lenet import LeNet5
from posterity.nets.mlp import MLP
from posterity.nets.net import AbstractNet
from posterity.nets.resnet import ResNet
from posterity.nets.rnn import Recurrent

__all__ = ["CNN", "MLP", "AbstractNet", "LeNet5", "Recurrent", "ResNet", "as_net"]
