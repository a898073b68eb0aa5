"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from posterity.checks import MOST_WIDE, Settings
from posterity.dtypes import float_dtype
from posterity.nets import parts
from posterity.nets.net import AbstractNet
from posterity.storable import stored

# On CPU the long axis wants to be last, and with few features that is the rows. Gradients of an
# 8-H-1 tanh net on 1,000 rows: 2.4 times faster by columns at H = 5, 2.2 at 16, 1.4 at 64. Wider
# nets gained too (1.5 at 256), but only this one shape was measured, so the limit is cautious.
FEATURES_FIRST_WIDTH = 64


@stored("nets.MLP")
class MLP(AbstractNet):
    """A fully connected network.

        h₀ = x,   hₗ = activation(Wₗ hₗ₋₁ + bₗ),   outputs = W_L h_{L−1} + b_L

    Args:
        in_size: number of input columns.
        hidden: widths of the hidden layers; ``[]`` gives a linear model.
        out_size: number of outputs per row. The likelihood says how many it needs.
        activation: elementwise function between layers.
        use_bias: whether layers have biases bₗ.

    The net holds no weights. Its parameters are ``layers.l.weight`` (out, in) and
    ``layers.l.bias`` (out,); `init` draws W ~ N(0, 1/fan-in) and sets b = 0. A narrow net is
    computed with features first, which is faster on CPU; the numbers are the same.

    Raises:
        ValueError: an argument out of range; the message names all of them.

    >>> import jax
    >>> net = MLP(2, [5, 5], 1)
    >>> params = net.init(jax.random.key(0))
    >>> net.apply(params, jax.numpy.ones((3, 2))).shape
    (3, 1)
    """

    in_size: int = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True)
    out_size: int = eqx.field(static=True)
    activation: Callable[[jax.Array], jax.Array] = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        hidden: Sequence[int],
        out_size: int,
        *,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        use_bias: bool = True,
    ) -> None:
        wrong = Settings("MLP")
        wrong.counts(most=MOST_WIDE, in_size=in_size, out_size=out_size)
        widths = wrong.sizes("hidden", hidden)
        wrong.functions(activation=activation)
        wrong.flags(use_bias=use_bias)
        wrong.refuse()
        self.in_size, self.hidden, self.out_size = int(in_size), widths, int(out_size)
        self.activation = activation
        self.use_bias = bool(use_bias)
        parts.check_size("MLP", [*zip(self.sizes[:-1], self.sizes[1:])])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths from inputs to outputs."""
        return (self.in_size, *self.hidden, self.out_size)

    @property
    def features_first(self) -> bool:
        """True for narrow nets."""
        return max(self.sizes) <= FEATURES_FIRST_WIDTH

    @property
    def column_axis(self) -> tuple[str, int]:
        """The second axis of the first weight."""
        return "layers.0.weight", 1

    @property
    def rowwise(self) -> bool:
        """True where the activation is known to be elementwise."""
        return parts.elementwise(self.activation)

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Weights from N(0, 1/fan-in), biases zero."""
        pairs = list(zip(self.sizes[:-1], self.sizes[1:]))
        # One call for all layers: each call of the generator costs a tenth of a second to compile.
        noise = jax.random.normal(key, (sum(a * b for a, b in pairs),), float_dtype())
        layers, start = [], 0
        for fan_in, fan_out in pairs:
            stop = start + fan_in * fan_out
            layer = {"weight": noise[start:stop].reshape(fan_out, fan_in) / fan_in**0.5}
            if self.use_bias:
                layer["bias"] = jnp.zeros(fan_out, float_dtype())
            layers.append(layer)
            start = stop
        return {"layers": layers}

    def apply(self, params: dict[str, Any], x: jax.Array) -> jax.Array:
        """Outputs (rows, out_size) for inputs (rows, in_size)."""
        if x.ndim != 2 or x.shape[1] != self.in_size:
            flat = " Flatten them: x.reshape(len(x), -1)." if x.ndim > 2 else ""
            raise ValueError(
                f"MLP: its rows have {self.in_size} numbers along one axis, not shape "
                f"{x.shape[1:]}.{flat}"
            )
        return self._by_columns(params, x) if self.features_first else self._by_rows(params, x)

    def _by_columns(self, params: dict[str, Any], x: jax.Array) -> jax.Array:
        h = x.T
        for index, layer in enumerate(params["layers"]):
            h = layer["weight"] @ (self.activation(h) if index else h)
            if self.use_bias:
                h = h + layer["bias"][:, None]
        return h.T

    def _by_rows(self, params: dict[str, Any], x: jax.Array) -> jax.Array:
        h = x
        for index, layer in enumerate(params["layers"]):
            h = (self.activation(h) if index else h) @ layer["weight"].T
            if self.use_bias:
                h = h + layer["bias"]
        return h
