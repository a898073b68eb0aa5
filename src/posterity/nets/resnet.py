"""Residual networks without batch statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from posterity.checks import MOST_WIDE, Settings, is_whole, said
from posterity.nets import parts
from posterity.nets.net import AbstractNet
from posterity.storable import stored

Activation = Literal["tlu", "silu"]

EPSILON = 1e-6  # of the normalisation, as in the paper
DEEPEST = 3_002  # layers of a net; the paper's largest has 1,202
LARGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # blocks per stage of the nets for large images


class _Plan(NamedTuple):
    """The convolutions of a depth: kernel and stride of the first, then blocks by stage."""

    kernel: int
    stride: int
    pool: bool
    widths: tuple[int, ...]
    blocks: tuple[int, ...]

    @property
    def reduction(self) -> int:
        """How many pixels of a side become one in the last stage."""
        return self.stride * (2 if self.pool else 1) * 2 ** (len(self.widths) - 1)

    def steps(self) -> list[tuple[int, int, int]]:
        """(channels in, channels out, stride) of every block."""
        found, before = [], self.widths[0]
        for stage, (width, blocks) in enumerate(zip(self.widths, self.blocks)):
            for block in range(blocks):
                found.append((before, width, 2 if stage and not block else 1))
                before = width
        return found


@stored("nets.ResNet")
class ResNet(AbstractNet):
    """A residual network with filter-response normalisation, whose rows are independent.

        block:  h ← act(s(h) + frn(W₂ ∗ act(frn(W₁ ∗ h))))
        frn(u) = scale · u / √(ν² + 10⁻⁶) + shift,   ν² = mean of u² over an image's pixels
        act(u) = max(u, threshold), learned by channel ("tlu"), or u σ(u) ("silu")
        outputs = (mean of h over pixels) W + b

    with s(h) = h, or frn(W_s ∗ h) of a 1×1 convolution where a block halves the image or widens the
    channels. Batch normalisation would make the rows of a batch depend on each other, so that there
    would be no likelihood to speak of; this normalisation looks at one image only.

    Args:
        depth: number of layers: 6n + 2 (8, 14, 20, 32, 44, 56, …) for small images such as CIFAR's,
            stages of 16, 32 and 64 channels; 18 or 34 for large images, a 7×7 convolution of stride
            2 and a 3×3 pool of stride 2 before stages of 64, 128, 256 and 512.
        out_size: number of outputs per row. The likelihood says how many it needs.
        in_shape: (height, width, channels) of an image; None for (32, 32, 3), and (224, 224, 3) at
            depths 18 and 34.
        activation: ``"tlu"`` or ``"silu"``.

    Inputs are (rows, height, width, channels); of one channel also (rows, height, width). The net
    holds no weights. Its parameters are ``layers.0`` (the first convolution), ``layers.l.first``,
    ``.second`` and ``.shortcut`` of block l, each with ``weight`` (kernel, kernel, in, out),
    ``scale``, ``shift`` and, with "tlu", ``threshold`` (out,), and the last layer's ``weight`` and
    ``bias``. `init` draws W ~ N(0, 2/fan-in), N(0, 1/fan-in) in the last layer, scales one, and the
    rest zero.

    He et al. 2016, "Deep residual learning for image recognition"; Singh & Krishnan 2020, "Filter
    response normalization layer"; silu as in Izmailov et al. 2021, "What are Bayesian neural
    network posteriors really like?". Shortcuts are projections (option B of He et al.) in small
    nets too, and the second threshold of a block acts on its sum.

    Raises:
        ValueError: an unknown depth or activation, a size below one, or images so small that
            normalisation over the pixels of the last stage would leave only signs.

    >>> import jax
    >>> net = ResNet(8, 10, (16, 16, 3))
    >>> net.apply(net.init(jax.random.key(0)), jax.numpy.ones((2, 16, 16, 3))).shape
    (2, 10)
    """

    depth: int = eqx.field(static=True)
    out_size: int = eqx.field(static=True)
    in_shape: tuple[int, int, int] = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)

    def __init__(
        self,
        depth: int = 20,
        out_size: int = 10,
        in_shape: Sequence[int] | None = None,
        *,
        activation: Activation = "tlu",
    ) -> None:
        wrong = Settings("ResNet")
        known = is_whole(depth) and (depth in LARGE or (8 <= depth <= DEEPEST and depth % 6 == 2))
        if not known:
            wrong.add(
                "depth",
                f"must be 18, 34 or 6n + 2 (8, 14, 20, 32, …, at most {DEEPEST}), not "
                f"{said(depth)}",
            )
        wrong.counts(most=MOST_WIDE, out_size=out_size)
        side = 224 if known and depth in LARGE else 32
        shape = (side, side, 3) if in_shape is None else in_shape
        sizes = wrong.sizes("in_shape", shape, length=3)
        wrong.among(get_args(Activation), activation=activation)
        wrong.refuse()
        self.depth, self.out_size = int(depth), int(out_size)
        self.in_shape = sizes[0], sizes[1], sizes[2]
        self.activation = activation
        least = self._plan.reduction
        if max(self.in_shape[:2]) <= least:
            raise ValueError(
                f"ResNet: depth {self.depth} makes one pixel of images of {self.in_shape[:2]}, and "
                f"normalisation over one pixel leaves only signs; one side must be above {least}."
                + " Use depth 20 for small images."
                * (self.depth in LARGE)
            )

    @property
    def _plan(self) -> _Plan:
        if self.depth in LARGE:
            return _Plan(7, 2, True, (64, 128, 256, 512), LARGE[self.depth])
        return _Plan(3, 1, False, (16, 32, 64), ((self.depth - 2) // 6,) * 3)

    @property
    def rowwise(self) -> bool:
        """True: filter response normalisation is of one image."""
        return True

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Weights from N(0, 2/fan-in), in the last layer N(0, 1/fan-in); scales one, rest zero."""
        shapes = self._shapes()
        gains = jax.tree.map(lambda _: parts.BEFORE_ACTIVATION, shapes, is_leaf=_is_shape)
        gains[-1] = parts.LINEAR
        flat, structure = jax.tree.flatten(shapes, is_leaf=_is_shape)
        weights = parts.random_weights(key, flat, jax.tree.leaves(gains))
        *convolutions, last = jax.tree.unflatten(structure, weights)
        found = [
            {name: self._normalised(name, weight) for name, weight in block.items()}
            if isinstance(block, dict)
            else self._normalised("first", block)
            for block in convolutions
        ]
        return {"layers": [*found, {"weight": last, "bias": parts.zeros(self.out_size)}]}

    def _shapes(self) -> list[Any]:
        """Shapes of the weights: of the first layer, by name of every block, of the last layer."""
        plan = self._plan
        found: list[Any] = [(plan.kernel, plan.kernel, self.in_shape[2], plan.widths[0])]
        for before, width, stride in plan.steps():
            block = {"first": (3, 3, before, width), "second": (3, 3, width, width)}
            if stride > 1 or before != width:
                block["shortcut"] = (1, 1, before, width)
            found.append(block)
        return [*found, (plan.widths[-1], self.out_size)]

    def _normalised(self, name: str, weight: jax.Array) -> dict[str, jax.Array]:
        """The parameters of one convolution with its normalisation; a shortcut has no threshold."""
        nothing = parts.zeros(weight.shape[-1])
        layer = {"weight": weight, "scale": nothing + 1, "shift": nothing}
        if self.activation == "tlu" and name != "shortcut":
            layer["threshold"] = nothing
        return layer

    def apply(self, params: dict[str, Any], x: jax.Array) -> jax.Array:
        """Outputs (rows, out_size) for images (rows, height, width, channels)."""
        h = parts.as_images(x, self.in_shape, "ResNet")
        first, *blocks, last = params["layers"]
        plan = self._plan
        h = self._activate(first, _convolve(first, h, plan.stride))
        if plan.pool:
            h = parts.max_pool(h, 3, 2)
        for block, (_, _, stride) in zip(blocks, plan.steps()):
            h = self._block(block, h, stride)
        return parts.dense(last, h.mean((1, 2)))

    def _block(self, block: dict[str, Any], h: jax.Array, stride: int) -> jax.Array:
        u = self._activate(block["first"], _convolve(block["first"], h, stride))
        u = _convolve(block["second"], u, 1)
        if "shortcut" in block:
            h = _convolve(block["shortcut"], h, stride)
        return self._activate(block["second"], h + u)

    def _activate(self, layer: dict[str, Any], u: jax.Array) -> jax.Array:
        return jax.nn.silu(u) if self.activation == "silu" else jnp.maximum(u, layer["threshold"])


def _convolve(layer: dict[str, Any], h: jax.Array, stride: int) -> jax.Array:
    """A convolution and its filter-response normalisation."""
    u = parts.conv(h, layer["weight"], stride)
    power = jnp.mean(u**2, axis=(1, 2), keepdims=True)
    return layer["scale"] * (u * lax.rsqrt(power + EPSILON)) + layer["shift"]


def _is_shape(part: Any) -> bool:
    return isinstance(part, tuple)
