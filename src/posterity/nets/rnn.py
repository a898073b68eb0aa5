"""A recurrent network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from posterity.checks import MOST_WIDE, Settings
from posterity.nets import parts
from posterity.nets.net import AbstractNet
from posterity.storable import stored

Cell = Literal["gru", "tanh"]


@stored("nets.Recurrent")
class Recurrent(AbstractNet):
    """A recurrent network that reads a sequence and answers from its last state.

        "tanh":  hₜ = tanh(xₜ W + b + hₜ₋₁ U)
        "gru":   r = σ(xₜ W_r + b_r + hₜ₋₁ U_r),   z = σ(xₜ W_z + b_z + hₜ₋₁ U_z)
                 n = tanh(xₜ W_n + b_n + r (hₜ₋₁ U_n + c)),   hₜ = (1 − z) n + z hₜ₋₁
        outputs = h_T V + a,   h₀ = 0

    Args:
        in_size: number of features at every time.
        hidden: width of the state h.
        out_size: number of outputs per row. The likelihood says how many it needs.
        cell: ``"gru"`` or ``"tanh"``.

    Inputs are (rows, time, features), of any one length; of one feature also (rows, time). The net
    holds no weights. Its parameters are ``layers.0.weight`` W (features, hidden),
    ``layers.0.recurrent`` U (hidden, hidden), ``layers.0.bias`` b, and ``layers.1.weight`` V
    (hidden, outputs), ``layers.1.bias`` a. A GRU's W, U and b hold r, z and n side by side, and it
    has ``layers.0.candidate_bias`` c. `init` draws weights from N(0, 1/fan-in); biases are zero.

    Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder"; as in cuDNN the
    reset gate r multiplies U_n's product and not its argument, so that one product serves all
    gates.

    Raises:
        ValueError: an argument out of range; the message names all of them.

    >>> import jax
    >>> net = Recurrent(2, 8, 1)
    >>> net.apply(net.init(jax.random.key(0)), jax.numpy.ones((5, 12, 2))).shape
    (5, 1)
    """

    in_size: int = eqx.field(static=True)
    hidden: int = eqx.field(static=True)
    out_size: int = eqx.field(static=True)
    cell: Cell = eqx.field(static=True)

    def __init__(self, in_size: int, hidden: int, out_size: int, *, cell: Cell = "gru") -> None:
        wrong = Settings("Recurrent")
        wrong.counts(most=MOST_WIDE, in_size=in_size, hidden=hidden, out_size=out_size)
        wrong.among(get_args(Cell), cell=cell)
        wrong.refuse()
        self.in_size, self.hidden, self.out_size = int(in_size), int(hidden), int(out_size)
        self.cell = cell
        parts.check_size("Recurrent", self._shapes())

    def _shapes(self) -> list[parts.Shape]:
        width = self.hidden * (3 if self.cell == "gru" else 1)
        return [(self.in_size, width), (self.hidden, width), (self.hidden, self.out_size)]

    @property
    def rowwise(self) -> bool:
        """True: sequences meet nothing but the weights."""
        return True

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Weights from N(0, 1/fan-in), biases zero."""
        shapes = self._shapes()
        width = shapes[0][1]
        weight, recurrent, last = parts.random_weights(key, shapes, [parts.LINEAR] * 3)
        first = {"weight": weight, "recurrent": recurrent, "bias": parts.zeros(width)}
        if self.cell == "gru":
            first["candidate_bias"] = parts.zeros(self.hidden)
        return {"layers": [first, {"weight": last, "bias": parts.zeros(self.out_size)}]}

    def apply(self, params: dict[str, Any], x: jax.Array) -> jax.Array:
        """Outputs (rows, out_size) for sequences (rows, time, in_size)."""
        x = self._sequences(x)
        first, last = params["layers"]
        step: Callable[..., jax.Array] = _gru if self.cell == "gru" else _tanh
        # All times' products with W at once, and time first to loop over.
        driven = jnp.swapaxes(x, 0, 1) @ first["weight"] + first["bias"]

        def advance(h: jax.Array, given: jax.Array) -> tuple[jax.Array, None]:
            return step(first, h, given), None

        start = jnp.zeros((x.shape[0], self.hidden), driven.dtype)
        state, _ = lax.scan(advance, start, driven)
        return parts.dense(last, state)

    def _sequences(self, x: jax.Array) -> jax.Array:
        if x.ndim == 2 and self.in_size == 1:
            return x[..., None]
        if x.ndim != 3 or x.shape[2] != self.in_size:
            raise ValueError(
                f"Recurrent: its sequences are (time, features) with {self.in_size} features, not "
                f"{x.shape[1:]}."
            )
        return x


def _tanh(layer: dict[str, Any], h: jax.Array, given: jax.Array) -> jax.Array:
    return jnp.tanh(given + h @ layer["recurrent"])


def _gru(layer: dict[str, Any], h: jax.Array, given: jax.Array) -> jax.Array:
    reset, update, candidate = jnp.split(given, 3, axis=-1)
    from_reset, from_update, from_candidate = jnp.split(h @ layer["recurrent"], 3, axis=-1)
    r = jax.nn.sigmoid(reset + from_reset)
    z = jax.nn.sigmoid(update + from_update)
    n = jnp.tanh(candidate + r * (from_candidate + layer["candidate_bias"]))
    return (1 - z) * n + z * h
