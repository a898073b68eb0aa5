"""A convolutional network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import numpy as np

from posterity.checks import MOST_WIDE, Settings
from posterity.nets import parts
from posterity.nets.net import AbstractNet
from posterity.storable import stored


@stored("nets.CNN")
class CNN(AbstractNet):
    """Convolutions with pooling, then fully connected layers.

        hₗ = pool(activation(Wₗ ∗ hₗ₋₁ + bₗ))     for every entry of `channels`
        hₗ = activation(hₗ₋₁ Wₗ + bₗ)             for every entry of `hidden`, from the flat h
        outputs = h W + b

    Args:
        in_shape: (height, width, channels) of an image.
        channels: output channels of the convolutions.
        hidden: widths of the fully connected hidden layers; ``[]`` for none.
        out_size: number of outputs per row. The likelihood says how many it needs.
        kernel: height and width of the convolutions' kernels. Borders are padded with zeros, so
            that a convolution keeps height and width.
        pool: the max-pooling window, which is also its stride: 2 halves height and width (rounded
            up), 1 leaves them. One number for all convolutions, or one for each.
        activation: elementwise function after every layer but the last.

    Inputs are (rows, height, width, channels); of one channel also (rows, height, width). The net
    holds no weights. Its parameters are ``layers.l.weight``, (kernel, kernel, in, out) or (in,
    out), and ``layers.l.bias`` (out,); `init` draws W ~ N(0, 2/fan-in) (He et al. 2015, "Delving
    deep into rectifiers"), N(0, 1/fan-in) in the last layer, and sets b = 0.

    Raises:
        ValueError: an argument out of range, or not one pool for every convolution; the message
            names all of them.

    >>> import jax
    >>> net = CNN((8, 8, 1), [4, 8], [16], 10)
    >>> params = net.init(jax.random.key(0))
    >>> [layer["weight"].shape for layer in params["layers"]]
    [(3, 3, 1, 4), (3, 3, 4, 8), (32, 16), (16, 10)]
    >>> net.apply(params, jax.numpy.ones((5, 8, 8))).shape
    (5, 10)
    """

    in_shape: tuple[int, int, int] = eqx.field(static=True)
    channels: tuple[int, ...] = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True)
    out_size: int = eqx.field(static=True)
    kernel: int = eqx.field(static=True)
    pool: tuple[int, ...] = eqx.field(static=True)
    activation: Callable[[jax.Array], jax.Array] = eqx.field(static=True)

    def __init__(
        self,
        in_shape: Sequence[int],
        channels: Sequence[int],
        hidden: Sequence[int],
        out_size: int,
        *,
        kernel: int = 3,
        pool: int | Sequence[int] = 2,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
    ) -> None:
        wrong = Settings("CNN")
        shape = wrong.sizes("in_shape", in_shape, length=3)
        maps = wrong.sizes("channels", channels)
        widths = wrong.sizes("hidden", hidden)
        wrong.counts(most=MOST_WIDE, out_size=out_size, kernel=kernel)
        if np.iterable(pool) and not isinstance(pool, str):
            # A wrong number of channels is told by itself.
            stages = -1 if "channels" in wrong.named else len(maps)
            pools = wrong.sizes("pool", pool, length=stages)
        else:
            wrong.counts(most=MOST_WIDE, pool=pool)
            pools = () if "pool" in wrong.named else (int(pool),) * len(maps)
        wrong.functions(activation=activation)
        wrong.refuse()
        self.in_shape = shape[0], shape[1], shape[2]
        self.channels, self.hidden, self.pool = maps, widths, pools
        self.out_size, self.kernel = int(out_size), int(kernel)
        self.activation = activation
        parts.check_size("CNN", self._shapes())

    @property
    def flat_size(self) -> int:
        """Numbers per image after the last convolution."""
        height, width, channels = self.in_shape
        for window in self.pool:
            height, width = -(-height // window), -(-width // window)
        return height * width * (self.channels[-1] if self.channels else channels)

    def _shapes(self) -> list[parts.Shape]:
        maps = (self.in_shape[2], *self.channels)
        sizes = (self.flat_size, *self.hidden, self.out_size)
        kernels = [(self.kernel, self.kernel, a, b) for a, b in pairwise(maps)]
        return [*kernels, *pairwise(sizes)]

    @property
    def rowwise(self) -> bool:
        """True where the activation is known to be elementwise."""
        return parts.elementwise(self.activation)

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Weights from N(0, 2/fan-in), in the last layer N(0, 1/fan-in); biases zero."""
        shapes = self._shapes()
        gains = [parts.BEFORE_ACTIVATION] * (len(shapes) - 1) + [parts.LINEAR]
        weights = parts.random_weights(key, shapes, gains)
        return {"layers": [{"weight": w, "bias": parts.zeros(w.shape[-1])} for w in weights]}

    def apply(self, params: dict[str, Any], x: jax.Array) -> jax.Array:
        """Outputs (rows, out_size) for images (rows, height, width, channels)."""
        h = parts.as_images(x, self.in_shape, "CNN")
        stages = len(self.channels)
        for layer, window in zip(params["layers"][:stages], self.pool):
            h = self.activation(parts.conv(h, layer["weight"]) + layer["bias"])
            h = parts.max_pool(h, window)
        h = h.reshape(h.shape[0], -1)
        for layer in params["layers"][stages:-1]:
            h = self.activation(parts.dense(layer, h))
        return parts.dense(params["layers"][-1], h)
