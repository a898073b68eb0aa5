"""How long convolutions take inside a compiled loop on CPU, by XLA and lowered: three tables.

python benchmarks/convolutions.py        about four minutes on two cores
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import posterity as po
from posterity.cpu.conv import products, spectra
from posterity.cpu.conv.evaluation import lowered

ROWS, STEPS, REPEATS = 128, 10, 5
# The layers of LeNet-5: height and width, channels in and out. All have kernels of 5×5.
LAYERS = {"28²·1→6": (28, 1, 6), "14²·6→16": (14, 6, 16), "7²·16→120": (7, 16, 120)}
TILES = (1, 2, 4, 8)
# Height and width, channels in and out, kernel, rows: where patches or spectra should be chosen.
SHAPES = [
    (7, 16, 120, 5, 128),
    (7, 16, 120, 5, 16),
    (7, 16, 120, 5, 4),
    (14, 6, 16, 5, 128),
    (28, 1, 6, 5, 128),
    (4, 64, 64, 3, 128),
    (8, 16, 16, 3, 128),
    (8, 64, 64, 3, 128),
    (8, 128, 128, 3, 128),
    (10, 8, 8, 3, 128),
    (14, 3, 16, 3, 128),
    (16, 32, 32, 3, 128),
    (28, 8, 8, 3, 128),
    (32, 3, 16, 3, 128),
    (32, 16, 16, 3, 128),
    (32, 32, 32, 5, 32),
]


def conv(w: jax.Array, x: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def layer(
    size: int, channels: int, outputs: int, kernel: int = 5, rows: int = ROWS
) -> tuple[jax.Array, jax.Array]:
    """A kernel and a batch of inputs."""
    keys = jax.random.split(jax.random.key(0))
    w = jax.random.normal(keys[0], (kernel, kernel, channels, outputs))
    w /= (kernel**2 * channels) ** 0.5
    return w, jax.random.normal(keys[1], (rows, size, size, channels))


def flipout(w: jax.Array, x: jax.Array) -> jax.Array:
    """Both convolutions of a layer under Flipout; the signs are not what takes time."""
    rows, _, _, channels = x.shape
    s, r = (
        jax.random.rademacher(jax.random.key(n), (rows, 1, 1, size), x.dtype)
        for n, size in enumerate((channels, w.shape[3]))
    )
    x = jnp.tanh(x)
    return conv(w, x) + r * conv(2 * w, x * s)


@contextmanager
def by(way: str) -> Iterator[None]:
    """All convolutions by patches, or by spectra, or as costs choose."""
    cost = spectra.cost
    if way != "chosen":
        spectra.cost = lambda *sizes: float("inf") if way == "patches" else -1.0
    yield
    spectra.cost = cost


def descent(apply: Callable[..., jax.Array], steps: int) -> Callable[..., Any]:
    """Steps along the gradient of both arguments, in a loop; one step alone is not in a loop."""

    def step(at: Any) -> Any:
        gradient = jax.grad(lambda at: jnp.mean(apply(*at) ** 2))(at)
        return jax.tree.map(lambda a, g: a - 1e-3 * g, at, gradient)

    def loop(*at: Any) -> Any:
        return lax.scan(lambda at, _: (step(at), None), at, None, length=steps)[0]

    return loop if steps > 1 else lambda *at: step(at)


def timed(functions: list[tuple[Callable[..., Any], int]], *args: Any) -> list[tuple[float, float]]:
    """Milliseconds of a step of each, taken in turns, and seconds to compile it."""
    jax.clear_caches()  # what was compiled with other tiles is not to be used again
    compiled, compile_s = [], []
    for apply, steps in functions:
        start = time.perf_counter()
        compiled.append(jax.jit(descent(apply, steps)).lower(*args).compile())
        compile_s.append(time.perf_counter() - start)
        jax.block_until_ready(compiled[-1](*args))
    runs: list[list[float]] = [[] for _ in functions]
    for _ in range(REPEATS):
        for run, (_, steps), seconds in zip(compiled, functions, runs):
            start = time.perf_counter()
            jax.block_until_ready(run(*args))
            seconds.append((time.perf_counter() - start) / steps)
    return [(1e3 * median(seconds), spent) for seconds, spent in zip(runs, compile_s)]


def beside(name: str, apply: Callable[..., jax.Array], *args: Any) -> None:
    """A row: XLA outside of a loop, XLA in a loop, ours in a loop."""
    (alone, _), (theirs, their_s), (ours, our_s) = timed(
        [(apply, 1), (apply, STEPS), (lowered(apply), STEPS)], *args
    )
    print(
        f"| {name} | {alone:.1f} | {theirs:.1f} | {ours:.1f} | {theirs / ours:.1f} "
        f"| {their_s:.1f} | {our_s:.1f} |",
        flush=True,
    )


def by_way(size: int, channels: int, outputs: int, kernel: int, rows: int) -> None:
    """A row: patches, spectra and what is chosen, of one convolution and of Flipout's two."""
    args, cells = layer(size, channels, outputs, kernel, rows), []
    for apply in (conv, flipout):
        ms = {}
        for way in ("patches", "spectra", "chosen"):
            with by(way):
                ((ms[way], _),) = timed([(lowered(apply), STEPS)], *args)
        cells += [f"{ms['patches']:.1f}", f"{ms['spectra']:.1f}", f"{ms['chosen']:.1f}"]
    name = f"{size}²·{channels}→{outputs}, {kernel}×{kernel}, {rows} rows"
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def by_tile(name: str, *args: jax.Array) -> None:
    """A row: ours with the tiles that it chooses, and with square ones of each size."""
    choose = products.with_tiles
    cells = []
    for tile in (None, *TILES):
        if tile:
            products.with_tiles = lambda axes, channels, outputs, tile=tile: tuple(
                axis._replace(tile=min(tile, axis.out)) for axis in axes
            )
        with by("patches"):
            cells.append(f"{timed([(lowered(conv), STEPS)], *args)[0][0]:.1f}")
    products.with_tiles = choose
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    print(f"Forward and backward, {ROWS} rows, medians of {REPEATS}; ms per step, s to compile.\n")
    print("| | XLA, no loop | XLA | ours | XLA / ours | XLA compiles | ours compiles |")
    print("| --- |" + " ---: |" * 6)
    for name, sizes in LAYERS.items():
        beside(name, conv, *layer(*sizes))
    net = po.nets.LeNet5()
    images = jax.random.normal(jax.random.key(1), (ROWS, 28, 28, 1))
    beside("LeNet-5", net.apply, net.init(jax.random.key(2)), images)
    print("\n| ms per step | patches | spectra | chosen | Flipout, patches | spectra | chosen |")
    print("| --- |" + " ---: |" * 6)
    for shape in SHAPES:
        by_way(*shape)
    print("\n| ms per step, by patches | chosen | " + " | ".join(f"{t}×{t}" for t in TILES) + " |")
    print("| --- |" + " ---: |" * (1 + len(TILES)))
    for name, sizes in LAYERS.items():
        by_tile(name, *layer(*sizes))


if __name__ == "__main__":
    main()
