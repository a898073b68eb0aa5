"""The lowering is the function: same values, same derivatives, nothing else touched."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from posterity.nets.convolves import NAMES, held
from posterity.nets.lowering import lowered, products, spectra
from posterity.nets.lowering.evaluation import RULES

NHWC = ("NHWC", "HWIO", "NHWC")
NCHW = ("NCHW", "OIHW", "NCHW")


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def same(ours: Any, theirs: Any, terms: int = 200) -> None:
    """Equal but for the rounding of sums of `terms` products, whose error grows like √terms."""
    ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        a, b = np.asarray(a, float), np.asarray(b, float)
        scale = np.abs(b).max(initial=1.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=8 * terms**0.5 * 2**-24 * scale)


def same_with_derivatives(function: Callable[..., Any], *args: jax.Array) -> None:
    """Values, pullbacks and pushforwards of a function of arrays and of its lowering."""
    cotangent = normal(9, *jax.eval_shape(function, *args).shape)
    tangents = tuple(normal(7 + i, *arg.shape) for i, arg in enumerate(args))

    def everything(function: Callable[..., Any]) -> Any:
        value, pull = jax.vjp(function, *args)
        return value, pull(cotangent), jax.jvp(function, args, tangents)[1]

    ours, theirs = (jax.jit(lambda f=f: everything(f))() for f in (lowered(function), function))
    same(ours, theirs)


def equations(function: Callable[..., Any], *args: Any) -> list[Any]:
    """The equations of a function, at any depth."""

    def visit(jaxpr: Any) -> list[Any]:
        found = []
        for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
            found.append(equation)
            found += [inner for part in held(equation) for inner in visit(part)]
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


SLOW = set(NAMES)


@pytest.fixture(params=["patches", "spectra"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """All convolutions by patches, or all by spectra, whatever they cost."""
    cost = {"patches": np.inf, "spectra": -1.0}[request.param]
    monkeypatch.setattr(spectra, "cost", lambda *sizes: cost)
    return request.param


def took(way: str, function: Callable[..., Any], *args: Any) -> bool:
    """Whether the convolutions of a function are made in this way and no other."""
    made = names(lowered(function), *args)
    return ("spectrum" in made, "conv_outputs" in made) == (way == "spectra", way == "patches")


def test_what_is_found_is_what_has_a_rule() -> None:
    assert {primitive.name for primitive in RULES} == SLOW


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
    same_with_derivatives(conv, x, w)
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
    monkeypatch.setattr(spectra, "cost", lambda *sizes: np.inf)

    def conv(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, w, stride, ((1, 0), (2, 1)), dimension_numbers=NHWC)

    # Shapes of their own, so that nothing compiled with other tiles is used again.
    same_with_derivatives(conv, normal(0, tile[0], 11, 10, 2), normal(1, 3, 4, 2, tile[1] + 1))


def test_layouts_and_one_axis(way: str) -> None:
    x, w = normal(0, 2, 3, 8, 7), normal(1, 5, 3, 3, 3)
    same_with_derivatives(lambda x, w: lax.conv(x, w, (1, 1), "SAME"), x, w)
    line, kernel = normal(2, 2, 12, 3), normal(3, 4, 3, 5)
    for stride, dilation in ((1, 1), (2, 1), (1, 2)):
        same_with_derivatives(
            lambda x, w, s=stride, d=dilation: lax.conv_general_dilated(
                x, w, (s,), "SAME", None, (d,), ("NWC", "WIO", "NWC")
            ),
            line,
            kernel,
        )


def test_large_batches_go_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    def conv(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv(x, w, (1, 1), "SAME")

    monkeypatch.setattr(products, "MOST_PATCHES", 4_000)
    monkeypatch.setattr(spectra, "cost", lambda *sizes: np.inf)
    x, w = normal(0, 12, 3, 9, 9), normal(1, 2, 3, 3, 3)
    same_with_derivatives(conv, x, w)
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
    same(lowered(function)(x, w), function(x, w))


# ---- Pooling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [(2, 2), (3, 2), (3, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 3)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_max_pooling_takes_the_first_of_equals(window: Any, stride: Any, padding: str) -> None:
    def pool(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *stride, 1), padding)

    x = jax.random.randint(jax.random.key(0), (3, 9, 8, 4), 0, 3).astype(jnp.float32)
    assert jnp.array_equal(lowered(pool)(x), pool(x))
    ours, theirs = (jax.vjp(f, x)[1] for f in (lowered(pool), pool))
    same(ours(normal(1, *pool(x).shape)), theirs(normal(1, *pool(x).shape)))
    # Forward mode of JAX breaks ties in another way, so only without them.
    same_with_derivatives(pool, normal(2, *x.shape))
    assert not names(lowered(pool), x) & SLOW


def test_dilated_and_whole_windows_have_equal_values() -> None:
    x = normal(0, 2, 8, 8, 3)
    for window, dilation in (((1, 2, 2, 1), (1, 2, 3, 1)), ((1, 8, 8, 1), (1, 1, 1, 1))):

        def pool(x: jax.Array, window: Any = window, dilation: Any = dilation) -> jax.Array:
            return lax.reduce_window(
                x, -jnp.inf, lax.max, window, (1, 1, 1, 1), "VALID", window_dilation=dilation
            )

        assert jnp.array_equal(lowered(pool)(x), pool(x))


def test_pooling_keeps_nan_and_infinity() -> None:
    def pool(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    x = normal(0, 1, 4, 4, 1).at[0, 0, 1, 0].set(jnp.nan).at[0, 2:, 2:, 0].set(-jnp.inf)
    np.testing.assert_array_equal(lowered(pool)(x), pool(x))


def test_average_pooling() -> None:
    def pool(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, 0.0, lax.add, (1, 1, 2, 3), (1, 1, 2, 3), "VALID") / 6

    x = normal(0, 2, 3, 7, 9)
    same_with_derivatives(pool, x)
    assert not names(lowered(pool), x) & SLOW

    def overlapping(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, 0.0, lax.add, (1, 1, 3, 3), (1, 1, 1, 1), "SAME")

    same_with_derivatives(overlapping, x)


# ---- Transformations -----------------------------------------------------------------------------


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


def test_a_net_and_its_gradient(way: str) -> None:
    params, x = net_params(), normal(5, *IMAGES)
    same(lowered(net)(params, x), net(params, x))
    same(jax.jit(jax.grad(loss(lowered(net))))(params, x), jax.grad(loss(net))(params, x), 5_000)
    assert not names(jax.grad(loss(lowered(net))), params, x) & SLOW
    assert took(way, net, params, x)


FLAT = {
    "as it is": lambda h: h,
    "activation": lambda h: jax.nn.gelu(jnp.tanh(h)) + jax.nn.leaky_relu(h),
    "by features": lambda h: h * normal(5, *h.shape) + normal(6, 1, h.shape[1]),
    "by rows": lambda h: h / (2 + normal(5, h.shape[0], 1) ** 2) - 0.3,
    "with itself": lambda h: h * jnp.where(h > 0, h, -2.0 * h),
    "normalised": lambda h: h / jnp.sqrt(1 + jnp.sum(h**2, axis=1, keepdims=True)),
}


@pytest.mark.parametrize(
    ("layout", "way"),
    [(NHWC, "patches"), (NHWC, "spectra"), (NCHW, "spectra")],
    ids=["rows-last-patches", "rows-last-spectra", "channels-first"],
    indirect=["way"],
)
@pytest.mark.parametrize("name", FLAT)
def test_a_dense_layer_takes_features_as_they_are_kept(name: str, layout: Any, way: str) -> None:
    shapes = {NHWC: ((4, 6, 5, 2), (3, 3, 2, 7)), NCHW: ((4, 2, 6, 5), (7, 2, 3, 3))}[layout]

    def net(x: jax.Array, kernel: jax.Array, w: jax.Array, v: jax.Array) -> jax.Array:
        h = jax.nn.relu(lax.conv_general_dilated(x, kernel, (1, 1), "SAME", None, None, layout))
        h = FLAT[name](h.reshape(h.shape[0], -1))
        return h @ w + (v @ h.T).T

    sizes = ((4, 3), (210, 3), (3, 210))
    x, kernel, w, v = (normal(i, *s) for i, s in enumerate((*shapes, *sizes[1:])))
    same_with_derivatives(net, x, kernel, w, v)


def test_the_weights_are_turned_and_not_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra, "cost", lambda *sizes: np.inf)

    def net(x: jax.Array, kernel: jax.Array, w: jax.Array) -> jax.Array:
        h = jax.nn.relu(lax.conv_general_dilated(x, kernel, (1, 1), "SAME", None, None, NHWC))
        return h.reshape(h.shape[0], -1) @ w

    args = normal(0, 4, 6, 5, 2), normal(1, 3, 3, 2, 7), normal(2, 210, 3)
    *_, product, turned = jax.make_jaxpr(lowered(net))(*args).eqns
    assert product.primitive.name == "dot_general"
    assert product.params["dimension_numbers"] == (((0,), (0,)), ((), ()))
    assert turned.primitive.name == "transpose"


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
    same(ours, theirs, 20_000)


def flipout(
    mean: jax.Array, noise: jax.Array, x: jax.Array, s: jax.Array, r: jax.Array
) -> jax.Array:
    def conv(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC)

    return conv(x, mean) + r * conv(x * s, noise)


def test_flipout_by_hand(way: str) -> None:
    """Two convolutions per layer, signs per example, a bias added to their sum."""
    s, r = jnp.sign(normal(6, 5, 1, 1, 3)), jnp.sign(normal(7, 5, 1, 1, 4))

    def layer(mean: jax.Array, noise: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.tanh(flipout(mean, noise, jnp.tanh(x), s, r) + bias)

    same_with_derivatives(
        layer, normal(0, 3, 3, 3, 4), normal(1, 3, 3, 3, 4), normal(2, 4), normal(3, 5, 6, 7, 3)
    )


def test_flipout_shares_its_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the inputs, one of the outputs, and one of each kernel; the same for gradients."""
    monkeypatch.setattr(spectra, "cost", lambda *sizes: -1.0)
    s, r = jnp.sign(normal(6, 5, 1, 1, 3)), jnp.sign(normal(7, 5, 1, 1, 4))

    def layers(first: jax.Array, mean: jax.Array, noise: jax.Array, x: jax.Array) -> jax.Array:
        x = lax.conv_general_dilated(x, first, (1, 1), "SAME", dimension_numbers=NHWC)
        return flipout(mean, noise, jnp.tanh(x), s, r).sum()

    sizes = (3, 3, 2, 3), (3, 3, 3, 4), (3, 3, 3, 4), (5, 6, 7, 2)
    args = [normal(i, *size) for i, size in enumerate(sizes)]
    assert transforms(jax.grad(lowered(layers), argnums=(0, 1, 2)), *args) == {
        ("inputs", "there"): 2,
        ("inputs", "back"): 1,
        ("kernel", "there"): 3,
        ("kernel", "back"): 3,
        ("outputs", "there"): 2,
        ("outputs", "back"): 2,
    }


def after(x: jax.Array, w: jax.Array, strides: tuple[int, int] = (1, 1)) -> jax.Array:
    return lax.conv_general_dilated(x, w, strides, "SAME", dimension_numbers=NHWC)


# Of x (4, 6, 5, 3), w (3, 3, 3, 3) and v (1, 3, 3, 3): what may be put off, and what may not.
PUT_OFF = {
    "met by two kernels": lambda x, w, v: (lambda h: after(h, w) + after(h, v))(after(x, w)),
    "used twice": lambda x, w, v: after(x, w) * jnp.tanh(after(x, w)) + x,
    "scaled by channel": lambda x, w, v: after(jnp.tanh(after(x, w)) * normal(5, 3), v),
    "scaled by row": lambda x, w, v: after(x, w) * normal(5, 4, 1, 1, 1) * 2.0,
    "scaled by column": lambda x, w, v: after(after(x, v) * normal(5, 1, 1, 5, 1), w),
    "scaled by place": lambda x, w, v: after(x, w) * normal(5, 4, 6, 5, 3),
    "scaled by one number": lambda x, w, v: after(x, w) * jnp.full((1, 1, 1, 1), 3.0),
    "scaled by its mean": lambda x, w, v: after(x, w) * after(x, v).mean((1, 2), keepdims=True),
    "scaled twice": lambda x, w, v: after(after(x, v) * normal(5, 4, 1, 1, 3) * normal(6, 3), w),
    "squared": lambda x, w, v: after(x, w) * after(x, w),
    "added": lambda x, w, v: after(x, w) + after(jnp.sin(x), 2 * w),
    "subtracted": lambda x, w, v: after(x, w) - after(jnp.sin(x), w[::-1]),
    "added to another kind": lambda x, w, v: after(x, w) + after(x, v),
    "added to a smaller": lambda x, w, v: after(x, w) + after(x.mean((1, 2), keepdims=True), w),
    "scaled into a larger": lambda x, w, v: after(x[:1], w) * normal(5, 4, 6, 5, 3),
    "one row": lambda x, w, v: after(after(x[:1], v) * normal(5, 1, 1, 1, 3), w),
    "turned": lambda x, w, v: jnp.transpose(after(x, w) * normal(5, 4, 1, 1, 3), (3, 0, 2, 1)),
    "strided": lambda x, w, v: after(after(x, v) * normal(5, 4, 1, 1, 3), w, (2, 2)),
}


# By patches only products are put off.
BOTH = [(name, "spectra") for name in PUT_OFF]
BOTH += [(name, "patches") for name in PUT_OFF if "scaled" in name]


@pytest.mark.parametrize(("name", "way"), BOTH, indirect=["way"])
def test_what_is_put_off_is_done(name: str, way: str) -> None:
    x, w, v = normal(0, 4, 6, 5, 3), normal(1, 3, 3, 3, 3), normal(2, 1, 3, 3, 3)
    same_with_derivatives(PUT_OFF[name], x, w, v)


def test_vmap_of_the_lowered_and_of_what_is_lowered(way: str) -> None:
    many = jax.tree.map(lambda *leaves: jnp.stack(leaves), net_params(), net_params(20))
    params, x, xs = net_params(), normal(5, *IMAGES), normal(6, 2, *IMAGES)
    gradient, ours = jax.grad(loss(net)), jax.grad(loss(lowered(net)))
    for axes, args in (((0, None), (many, x)), ((None, 0), (params, xs)), ((0, 0), (many, xs))):
        expected = jax.jit(jax.vmap(net, axes))(*args)
        same(jax.jit(jax.vmap(lowered(net), axes))(*args), expected)
        same(jax.jit(lowered(jax.vmap(net, axes)))(*args), expected)
        expected = jax.jit(jax.vmap(gradient, axes))(*args)
        same(jax.jit(jax.vmap(ours, axes))(*args), expected, 5_000)
        same(jax.jit(lowered(jax.vmap(gradient, axes)))(*args), expected, 5_000)
    twice, expected = (
        jax.jit(jax.vmap(jax.vmap(f, (0, None)), (None, 0)))(many, xs) for f in (lowered(net), net)
    )
    same(twice, expected)
    rows, expected = (jax.jit(jax.vmap(g, (None, 0)))(params, x[:, None]) for g in (ours, gradient))
    same(rows, expected, 5_000)


def test_inside_a_loop() -> None:
    x = normal(5, *IMAGES)

    def train(apply: Callable[..., jax.Array]) -> Any:
        def step(params: Any, _: None) -> tuple[Any, jax.Array]:
            value, gradient = jax.value_and_grad(loss(apply))(params, x)
            return jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradient), value

        return jax.jit(lambda params: lax.scan(step, params, None, length=5))(net_params())

    same(train(lowered(net)), train(net), 10_000)


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
    same_with_derivatives(HOLDING[name], x, w)
    assert not names(lowered(HOLDING[name]), x, w) & SLOW


def test_while_loops_and_custom_pullbacks() -> None:
    x, w = normal(0, 2, 3, 5, 5), normal(1, 3, 3, 3, 3) * 0.3
    same(lowered(repeated)(x, w), repeated(x, w))
    assert not names(lowered(repeated), x, w) & SLOW
    same(jax.jit(lowered(scaled_vjp))(x, w), scaled_vjp(x, w))
    ours, theirs = (
        jax.grad(lambda x, w, f=f: f(x, w).sum(), argnums=(0, 1))(x, w)
        for f in (lowered(scaled_vjp), scaled_vjp)
    )
    same(ours, theirs)


# ---- Other people's nets -------------------------------------------------------------------------


class EquinoxCNN(eqx.Module):
    convolutions: list[eqx.nn.Conv2d]
    pool: eqx.nn.MaxPool2d
    average: eqx.nn.AvgPool2d
    out: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        a, b, c = jax.random.split(key, 3)
        self.convolutions = [
            eqx.nn.Conv2d(1, 4, 3, padding=1, key=a),
            eqx.nn.Conv2d(4, 6, 3, padding=1, key=b),
        ]
        self.pool, self.average = eqx.nn.MaxPool2d(2, 2), eqx.nn.AvgPool2d(2, 2)
        self.out = eqx.nn.Linear(24, 3, key=c)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.pool(jax.nn.relu(self.convolutions[0](x)))
        return self.out(self.average(jax.nn.relu(self.convolutions[1](x))).reshape(-1))


def test_an_equinox_net_of_one_example() -> None:
    cnn, x = EquinoxCNN(jax.random.key(0)), normal(1, 4, 1, 8, 8)

    def apply(cnn: EquinoxCNN, x: jax.Array) -> jax.Array:
        return jax.vmap(cnn)(x)

    for fast in (lowered(apply), lambda cnn, x: jax.vmap(lowered(cnn))(x)):
        same(fast(cnn, x), apply(cnn, x))
        ours, theirs = (eqx.filter_jit(eqx.filter_grad(loss(f)))(cnn, x) for f in (fast, apply))
        same(ours, theirs, 5_000)
    assert not names(lambda x: lowered(apply)(cnn, x), x) & SLOW


def test_an_nnx_net_of_a_batch() -> None:
    nnx = pytest.importorskip("flax.nnx")

    class CNN(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.first = nnx.Conv(1, 4, (3, 3), rngs=rngs)
            self.second = nnx.Conv(4, 6, (3, 3), strides=2, rngs=rngs)
            self.out = nnx.Linear(24, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            x = nnx.max_pool(nnx.relu(self.first(x)), (2, 2), strides=(2, 2))
            return self.out(nnx.relu(self.second(x)).reshape(x.shape[0], -1))

    graph, state = nnx.split(CNN(nnx.Rngs(0)))
    x = normal(1, *IMAGES)

    def apply(state: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, state)(x)

    same(lowered(apply)(state, x), apply(state, x))
    ours, theirs = (jax.jit(jax.grad(loss(f)))(state, x) for f in (lowered(apply), apply))
    same(ours, theirs, 5_000)
    assert not names(lambda x: lowered(apply)(state, x), x) & SLOW


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
    same(ours, jax.grad(lambda p: closed(p, lambda f: f))(params), 5_000)


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
