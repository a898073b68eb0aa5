"""Convolutions by patches and by spectra, and what is left to XLA."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from cpu.conv.comparing import (
    NHWC,
    SLOW,
    difference,
    force,
    lowering_changes,
    names,
    normal,
    took,
)
from posterity.cpu.conv import products
from posterity.cpu.conv.evaluation import lowered

CONVOLUTIONS = [
    pytest.param(stride, padding, dilation, groups, id=f"{stride}-{padding}-{dilation}-{groups}")
    for stride, padding, dilation, groups in [
        ((1, 1), "SAME", (1, 1), 1),
        ((1, 1), "VALID", (1, 1), 1),
        ((2, 1), "SAME", (1, 1), 1),
        ((3, 2), "VALID", (1, 1), 1),
        ((1, 1), ((2, 1), (0, 3)), (1, 1), 1),
        ((2, 2), ((2, 1), (0, 3)), (2, 1), 1),
        ((1, 1), ((-1, 0), (1, -1)), (1, 1), 1),
        ((1, 1), "SAME", (2, 3), 1),
        ((1, 1), "SAME", (1, 1), 2),
        ((1, 2), "VALID", (1, 2), 4),
    ]
]


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolutions_with_derivatives(
    stride: Any, padding: Any, dilation: Any, groups: int, way: str
) -> None:
    def conv(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x, w, stride, padding, None, dilation, NHWC, feature_group_count=groups
        )

    x, w = normal(0, 3, 9, 8, 4), normal(1, 3, 2, 4 // groups, 8)
    assert lowering_changes(conv, x, w) <= 1
    assert not names(lowered(conv), x, w) & SLOW
    assert took(way if groups == 1 else "patches", conv, x, w)


@pytest.mark.parametrize("tile", [(1, 4), (2, 1), (3, 2), (5, 4)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_every_tile_gives_the_same_numbers(
    tile: tuple[int, int], stride: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tiled(axes: Any, channels: int, outputs: int) -> Any:
        return tuple(axis._replace(tile=min(t, axis.out)) for axis, t in zip(axes, tile))

    monkeypatch.setattr(products, "with_tiles", tiled)
    force("patches", monkeypatch)

    def conv(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, w, stride, ((1, 0), (2, 1)), dimension_numbers=NHWC)

    # Shapes of their own, so that nothing compiled with other tiles is used again.
    assert (
        lowering_changes(conv, normal(0, tile[0], 11, 10, 2), normal(1, 3, 4, 2, tile[1] + 1)) <= 1
    )


def test_layouts_and_one_axis(way: str) -> None:
    x, w = normal(0, 2, 3, 8, 7), normal(1, 5, 3, 3, 3)
    assert lowering_changes(lambda x, w: lax.conv(x, w, (1, 1), "SAME"), x, w) <= 1
    line, kernel = normal(2, 2, 12, 3), normal(3, 4, 3, 5)
    for stride, dilation in ((1, 1), (2, 1), (1, 2)):
        assert (
            lowering_changes(
                lambda x, w, s=stride, d=dilation: lax.conv_general_dilated(
                    x, w, (s,), "SAME", None, (d,), ("NWC", "WIO", "NWC")
                ),
                line,
                kernel,
            )
            <= 1
        )


def test_large_batches_go_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    def conv(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv(x, w, (1, 1), "SAME")

    monkeypatch.setattr(products, "MOST_PATCHES", 4_000)
    force("patches", monkeypatch)
    x, w = normal(0, 12, 3, 9, 9), normal(1, 2, 3, 3, 3)
    assert lowering_changes(conv, x, w) <= 1
    assert "while" in jax.jit(lowered(conv)).lower(x, w).as_text()


UNSUPPORTED = {
    "transposed": lambda x, w: lax.conv_general_dilated(x, w, (1, 1), ((1, 1), (1, 1)), (2, 2)),
    "half precision": lambda x, w: lax.conv(
        x.astype(jnp.bfloat16), w.astype(jnp.bfloat16), (1, 1), "SAME"
    ).astype(jnp.float32),
    "batch groups": lambda x, w: lax.conv_general_dilated(
        x, w, (1, 1), "SAME", batch_group_count=2
    ),
    "many places": lambda x, w: lax.conv_general_dilated(
        x, jnp.tile(w[:, :1], (1, 1, 4, 4)), (1, 1), "SAME", feature_group_count=2
    ),
    "three axes": lambda x, w: lax.conv_general_dilated(
        x[..., None], w[..., None], (1, 1, 1), "SAME"
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_is_left_alone(name: str) -> None:
    x, w = normal(0, 4, 2, 6, 6), normal(1, 4, 2, 3, 3)
    function = UNSUPPORTED[name]
    assert "conv_general_dilated" in names(lowered(function), x, w)
    assert difference(lowered(function)(x, w), function(x, w)) <= 1
