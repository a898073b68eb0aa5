"""LeNet-5."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax

from posterity.checks import MOST_WIDE, Settings
from posterity.nets.cnn import CNN


def LeNet5(
    classes: int = 10,
    in_shape: Sequence[int] = (28, 28, 1),
    *,
    activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
) -> CNN:
    """LeNet-5 for small images such as MNIST's: a `CNN` of 545,546 weights and biases.

        5×5 convolution to 6 maps, pool 2, 5×5 to 16 maps, pool 2, 5×5 to 120 maps,
        fully connected 84, fully connected `classes`

    Args:
        classes: number of outputs.
        in_shape: (height, width, channels) of an image.
        activation: elementwise function after every layer but the last.

    Returns:
        The `CNN`; its inputs are (rows, 28, 28, 1), or (rows, 28, 28).

    LeCun et al. 1998, "Gradient-based learning applied to document recognition". As in TensorFlow
    Probability's Bayesian LeNet, and unlike the paper, all convolutions are padded (so that the
    last one sees 7×7 maps and not one 5×5 window), pooling takes the largest value, the activation
    is relu, every map of a layer sees all maps of the one before, and the outputs are logits.

    >>> net = LeNet5()
    >>> net.channels, net.flat_size, net.hidden
    ((6, 16, 120), 5880, (84,))
    """
    wrong = Settings("LeNet5")
    wrong.counts(most=MOST_WIDE, classes=classes)
    wrong.sizes("in_shape", in_shape, length=3)
    wrong.functions(activation=activation)
    wrong.refuse()
    return CNN(
        in_shape, [6, 16, 120], [84], classes, kernel=5, pool=[2, 2, 1], activation=activation
    )
