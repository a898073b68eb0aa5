"""Comparing a function with its lowering."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from posterity.cpu.conv import spectra
from posterity.cpu.conv.evaluation import lowered
from posterity.cpu.convolves import NAMES, subjaxprs

NHWC = ("NHWC", "HWIO", "NHWC")
NCHW = ("NCHW", "OIHW", "NCHW")
SLOW = set(NAMES)


def normal(seed: int, *shape: int) -> jax.Array:
    """Standard normal numbers."""
    return jax.random.normal(jax.random.key(seed), shape)


def difference(ours: Any, theirs: Any, terms: int = 200) -> float:
    """The largest difference, in units of what rounding may make of it in sums of `terms` products.

    That grows like √terms. Infinite where shapes or dtypes differ, and NaN where a number is NaN.
    """
    ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    if [(a.shape, a.dtype) for a in ours] != [(b.shape, b.dtype) for b in theirs]:
        return np.inf
    found = [0.0]
    for a, b in ((np.asarray(a, float), np.asarray(b, float)) for a, b in zip(ours, theirs)):
        scale = np.abs(b).max(initial=1.0)
        found.append(np.abs(a - b).max(initial=0.0) / (8 * terms**0.5 * 2**-24 * scale))
    return float(np.max(found))


def lowering_changes(function: Callable[..., Any], *args: jax.Array) -> float:
    """`difference` that lowering makes to values, pullbacks and pushforwards of a function."""
    cotangent = normal(9, *jax.eval_shape(function, *args).shape)
    tangents = tuple(normal(7 + i, *arg.shape) for i, arg in enumerate(args))

    def everything(function: Callable[..., Any]) -> Any:
        value, pull = jax.vjp(function, *args)
        return value, pull(cotangent), jax.jvp(function, args, tangents)[1]

    ours, theirs = (jax.jit(lambda f=f: everything(f))() for f in (lowered(function), function))
    return difference(ours, theirs)


def equations(function: Callable[..., Any], *args: Any) -> list[Any]:
    """The equations of a function, at any depth."""

    def visit(jaxpr: Any) -> list[Any]:
        found = []
        for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
            found.append(equation)
            found += [inner for part in subjaxprs(equation) for inner in visit(part)]
        return found

    return visit(jax.make_jaxpr(function)(*args))


def names(function: Callable[..., Any], *args: Any) -> set[str]:
    """The primitives that a function uses, at any depth."""
    return {equation.primitive.name for equation in equations(function, *args)}


def transforms(function: Callable[..., Any], *args: Any) -> dict[tuple[str, str], int]:
    """How often a function transforms which part of a convolution, there or back."""
    return collections.Counter(
        (equation.params["part"], "back" if equation.params["back"] else "there")
        for equation in equations(function, *args)
        if equation.primitive.name == "spectrum"
    )


def took(way: str, function: Callable[..., Any], *args: Any) -> bool:
    """Whether the convolutions of a function are made in this way and no other."""
    made = names(lowered(function), *args)
    return ("spectrum" in made, "conv_outputs" in made) == (way == "spectra", way == "patches")


def force(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All convolutions by patches, or all by spectra, whatever they cost."""
    cost = {"patches": np.inf, "spectra": -1.0}[way]
    monkeypatch.setattr(spectra, "cost", lambda *sizes: cost)


# ---- A net and its gradient ----------------------------------------------------------------------


def net(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Convolution, bias, relu, pooling, twice, and a dense layer; NHWC."""
    for w, b in (("w1", "b1"), ("w2", "b2")):
        x = lax.conv_general_dilated(x, params[w], (1, 1), "SAME", dimension_numbers=NHWC)
        x = jax.nn.relu(x + params[b])
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
    return jnp.tanh(x.reshape(x.shape[0], -1) @ params["w3"])


def net_params(seed: int = 0) -> dict[str, jax.Array]:
    return {
        "w1": normal(seed, 3, 3, 1, 4),
        "b1": normal(seed + 1, 4),
        "w2": normal(seed + 2, 5, 5, 4, 3) * 0.3,
        "b2": normal(seed + 3, 3),
        "w3": normal(seed + 4, 12, 2) * 0.3,
    }


IMAGES = (5, 8, 8, 1)


def loss(apply: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    return lambda params, x: jnp.sum(apply(params, x) ** 2)
