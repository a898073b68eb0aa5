"""The lowering is the function: same values, same derivatives, nothing else touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from cpu.conv.comparing import (
    IMAGES,
    NHWC,
    SLOW,
    difference,
    equations,
    loss,
    lowering_changes,
    names,
    net,
    net_params,
    normal,
    took,
    transforms,
)
from posterity.cpu.conv.evaluation import RULES, lowered


def test_what_is_found_is_what_has_a_rule() -> None:
    assert {primitive.name for primitive in RULES} == SLOW


def test_a_net_and_its_gradient(way: str) -> None:
    params, x = net_params(), normal(5, *IMAGES)
    assert difference(lowered(net)(params, x), net(params, x)) <= 1
    assert (
        difference(
            jax.jit(jax.grad(loss(lowered(net))))(params, x), jax.grad(loss(net))(params, x), 5_000
        )
        <= 1
    )
    assert not names(jax.grad(loss(lowered(net))), params, x) & SLOW
    assert took(way, net, params, x)


def test_gradient_of_the_data_is_not_computed(way: str) -> None:
    params, x = net_params(), normal(5, *IMAGES)
    gradient = jax.grad(loss(lowered(net)))
    if way == "patches":
        made = [equation.primitive.name for equation in equations(gradient, params, x)]
        assert made.count("conv_kernel") == 2
        assert made.count("conv_inputs") == 1
        return
    # Of both layers there and back, but of the data only there.
    found = transforms(gradient, params, x)
    assert found["inputs", "there"] == 2
    assert found["inputs", "back"] == 1
    assert found["kernel", "back"] == found["outputs", "there"] == 2


def test_second_derivatives(way: str) -> None:
    def smooth(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        y = lax.conv_general_dilated(x, params["w1"], (1, 1), "SAME", dimension_numbers=NHWC)
        y = jnp.tanh(y + params["b1"])
        y = lax.conv_general_dilated(y, params["w2"], (2, 2), "SAME", dimension_numbers=NHWC)
        return jnp.sum(jnp.tanh(y + params["b2"]) ** 2)

    params, x = net_params(), normal(5, *IMAGES)
    direction = net_params(50)

    def product(function: Callable[..., jax.Array]) -> tuple[Any, Any]:
        gradient = jax.grad(function, argnums=(0, 1))
        forward = jax.jvp(lambda p: gradient(p, x), (params,), (direction,))[1]
        reverse = jax.grad(
            lambda p: sum(
                jnp.vdot(a, b)
                for a, b in zip(jax.tree.leaves(gradient(p, x)[0]), jax.tree.leaves(direction))
            )
        )(params)
        return forward, reverse

    ours, theirs = (jax.jit(lambda f=f: product(f))() for f in (lowered(smooth), smooth))
    assert difference(ours, theirs, 20_000) <= 1


def test_vmap_of_the_lowered_and_of_what_is_lowered(way: str) -> None:
    many = jax.tree.map(lambda *leaves: jnp.stack(leaves), net_params(), net_params(20))
    params, x, xs = net_params(), normal(5, *IMAGES), normal(6, 2, *IMAGES)
    gradient, ours = jax.grad(loss(net)), jax.grad(loss(lowered(net)))
    for axes, args in (((0, None), (many, x)), ((None, 0), (params, xs)), ((0, 0), (many, xs))):
        expected = jax.jit(jax.vmap(net, axes))(*args)
        assert difference(jax.jit(jax.vmap(lowered(net), axes))(*args), expected) <= 1
        assert difference(jax.jit(lowered(jax.vmap(net, axes)))(*args), expected) <= 1
        expected = jax.jit(jax.vmap(gradient, axes))(*args)
        assert difference(jax.jit(jax.vmap(ours, axes))(*args), expected, 5_000) <= 1
        assert difference(jax.jit(lowered(jax.vmap(gradient, axes)))(*args), expected, 5_000) <= 1
    twice, expected = (
        jax.jit(jax.vmap(jax.vmap(f, (0, None)), (None, 0)))(many, xs) for f in (lowered(net), net)
    )
    assert difference(twice, expected) <= 1
    rows, expected = (jax.jit(jax.vmap(g, (None, 0)))(params, x[:, None]) for g in (ours, gradient))
    assert difference(rows, expected, 5_000) <= 1


def test_inside_a_loop() -> None:
    x = normal(5, *IMAGES)

    def train(apply: Callable[..., jax.Array]) -> Any:
        def step(params: Any, _: None) -> tuple[Any, jax.Array]:
            value, gradient = jax.value_and_grad(loss(apply))(params, x)
            return jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradient), value

        return jax.jit(lambda params: lax.scan(step, params, None, length=5))(net_params())

    assert difference(train(lowered(net)), train(net), 10_000) <= 1


def one_layer(x: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.tanh(lax.conv(x, w, (1, 1), "SAME"))


@jax.custom_jvp
def scaled_jvp(x: jax.Array, w: jax.Array) -> jax.Array:
    return one_layer(x, w)


@scaled_jvp.defjvp
def _(primals: Any, tangents: Any) -> Any:
    value, tangent = jax.jvp(one_layer, primals, tangents)
    return value, 3 * tangent


@jax.custom_vjp
def scaled_vjp(x: jax.Array, w: jax.Array) -> jax.Array:
    return one_layer(x, w)


scaled_vjp.defvjp(
    lambda x, w: (one_layer(x, w), (x, w)),
    lambda kept, t: jax.tree.map(lambda g: 3 * g, jax.vjp(one_layer, *kept)[1](t)),
)


def scanned(x: jax.Array, w: jax.Array) -> jax.Array:
    return lax.scan(lambda x, i: (one_layer(x, w) + i, x.sum()), x, jnp.arange(3.0))[0]


def repeated(x: jax.Array, w: jax.Array) -> jax.Array:
    return lax.while_loop(
        lambda c: (c[0] < 2) & (one_layer(c[1], w).sum() < 1e9),
        lambda c: (c[0] + 1, one_layer(c[1], w)),
        (0, x),
    )[1]


def chosen(x: jax.Array, w: jax.Array) -> jax.Array:
    return lax.cond(x[0, 0, 0, 0] > 10, lambda x: x * 2, lambda x: one_layer(x, w), x)


HOLDING = {
    "jit": jax.jit(one_layer),
    "checkpoint": jax.checkpoint(one_layer),
    "scan": scanned,
    "cond": chosen,
    "custom_jvp": scaled_jvp,
}


@pytest.mark.parametrize("name", HOLDING)
def test_equations_that_hold_convolutions(name: str) -> None:
    x, w = normal(0, 2, 3, 5, 5), normal(1, 3, 3, 3, 3) * 0.3
    assert lowering_changes(HOLDING[name], x, w) <= 1
    assert not names(lowered(HOLDING[name]), x, w) & SLOW


def test_while_loops_and_custom_pullbacks() -> None:
    x, w = normal(0, 2, 3, 5, 5), normal(1, 3, 3, 3, 3) * 0.3
    assert difference(lowered(repeated)(x, w), repeated(x, w)) <= 1
    assert not names(lowered(repeated), x, w) & SLOW
    assert difference(jax.jit(lowered(scaled_vjp))(x, w), scaled_vjp(x, w)) <= 1
    ours, theirs = (
        jax.grad(lambda x, w, f=f: f(x, w).sum(), argnums=(0, 1))(x, w)
        for f in (lowered(scaled_vjp), scaled_vjp)
    )
    assert difference(ours, theirs) <= 1


# ---- What stays as it was ------------------------------------------------------------------------


def test_closed_over_tracers_and_leaves_that_are_no_arrays() -> None:
    params, x = net_params(), normal(5, *IMAGES)

    def closed(params: Any, apply: Callable[..., Any]) -> jax.Array:
        made = apply(lambda x, times, *, name: {"y": times * net(params, x), "name": name})(
            x, 2, name="images"
        )
        assert made["name"] == "images"
        return made["y"].sum()

    ours = jax.jit(jax.grad(lambda p: closed(p, lowered)))(params)
    assert difference(ours, jax.grad(lambda p: closed(p, lambda f: f))(params), 5_000) <= 1


def test_functions_without_convolutions_are_unchanged() -> None:
    def function(x: jax.Array) -> jax.Array:
        return jax.checkpoint(jax.nn.relu)(x) @ jnp.ones((3, 2))

    x = normal(0, 4, 3)
    assert str(jax.make_jaxpr(lowered(function))(x)) == str(jax.make_jaxpr(function)(x))


def test_other_platforms_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    params, x = net_params(), normal(5, *IMAGES)
    expected = str(jax.make_jaxpr(net)(params, x))
    assert str(jax.make_jaxpr(lowered(net))(params, x)) != expected
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert str(jax.make_jaxpr(lowered(net))(params, x)) == expected
