"""Evaluating a function's equations by rules, also those inside other equations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.extend.core import primitives

from posterity.cpu.conv.convolution import convolution
from posterity.cpu.conv.dense import dense
from posterity.cpu.conv.layouts import (
    ELEMENTWISE,
    POINTWISE,
    Spread,
    as_operands,
    elementwise,
    merging,
    plain_of,
)
from posterity.cpu.conv.lazy import put_off
from posterity.cpu.conv.pooling import max_pooling, sum_pooling
from posterity.cpu.convolves import convolves, subjaxprs

RULES: dict[Any, Callable[..., Any]] = {
    primitives.conv_general_dilated_p: convolution,
    primitives.reduce_window_max_p: max_pooling,
    primitives.reduce_window_sum_p: sum_pooling,
}
# What may follow them, where it would otherwise turn a value back.
FOLLOWING: dict[Any, Callable[..., Any]] = {
    primitives.reshape_p: merging,
    primitives.dot_general_p: dense,
}


# ---- Equations that hold other equations ---------------------------------------------------------


def _call(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    inner = params.get("jaxpr", params.get("call_jaxpr"))
    return _run(inner, values)


def _remat(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    run = functools.partial(_run, params["jaxpr"])
    kept = jax.checkpoint(
        lambda *v: run(v), prevent_cse=params["prevent_cse"], policy=params["policy"]
    )
    return kept(*values)


def _custom_jvp(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    """The value is lowered, the user's derivative is kept and lowered too."""
    call = jax.custom_jvp(lambda *v: _run(params["call_jaxpr"], v))

    def derivative(primals: Any, tangents: Any) -> Any:
        rule = lowered(lambda p, t: jax.jvp(bind, p, t)[1])
        return call(*primals), rule(primals, tangents)

    call.defjvp(derivative)
    return call(*values)


def _custom_vjp(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    """The value is lowered, the user's derivative is kept as it is."""
    call = jax.custom_vjp(lambda *v: _run(params["call_jaxpr"], v))
    call.defvjp(lambda *v: jax.vjp(bind, *v), lambda pull, cotangents: pull(cotangents))
    return call(*values)


def _scan(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    consts, carried = params["num_consts"], params["num_carry"]
    fixed, carry, rows = _cut(values, consts, consts + carried)

    def body(carry: Any, row: Any) -> Any:
        made = _run(params["jaxpr"], [*fixed, *carry, *row])
        return made[:carried], made[carried:]

    carry, rows = lax.scan(body, carry, rows, params["length"], params["reverse"], params["unroll"])
    return [*carry, *rows]


def _while(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    asked, fixed, carry = _cut(
        values, params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    )
    return lax.while_loop(
        lambda carry: _run(params["cond_jaxpr"], [*asked, *carry])[0],
        lambda carry: _run(params["body_jaxpr"], [*fixed, *carry]),
        carry,
    )


def _cond(values: Sequence[Any], params: dict[str, Any], bind: Any) -> Any:
    index, *operands = values
    branches = [lambda *v, b=branch: _run(b, v) for branch in params["branches"]]
    return lax.switch(index, branches, *operands)


def _cut(values: Sequence[Any], first: int, second: int) -> tuple[list[Any], ...]:
    return list(values[:first]), list(values[first:second]), list(values[second:])


HOLDERS: dict[Any, Callable[..., Any]] = {
    primitives.jit_p: _call,
    primitives.closed_call_p: _call,
    primitives.remat_p: _remat,
    primitives.custom_jvp_call_p: _custom_jvp,
    primitives.custom_vjp_call_p: _custom_vjp,
    primitives.scan_p: _scan,
    primitives.while_p: _while,
    primitives.cond_p: _cond,
}


# ---- Evaluation ----------------------------------------------------------------------------------


def _run(jaxpr: Any, values: Sequence[Any]) -> list[Any]:
    """Evaluate `jaxpr`, open without constants or closed, by the rules."""
    consts = getattr(jaxpr, "consts", ())
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    known: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *values]))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else known[atom]

    for equation in jaxpr.eqns:
        made = _evaluate(equation, [read(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, made))
    return [plain_of(read(atom)) for atom in jaxpr.outvars]


def _evaluate(equation: Any, values: list[Any]) -> Sequence[Any]:
    primitive, params = equation.primitive, equation.params
    made = None
    if primitive in RULES:
        made = RULES[primitive](*values, params)
    elif primitive in FOLLOWING:
        made = FOLLOWING[primitive](*values, params)
    elif primitive in ELEMENTWISE:
        made = put_off(primitive, values) or elementwise(primitive, values, params)
    if made is not None:
        return [made]
    kept, values = values, [plain_of(value) for value in values]
    if primitive is lax.broadcast_in_dim_p and jnp.ndim(values[0]) and params["sharding"] is None:
        return [Spread(values[0], params["broadcast_dimensions"], params["shape"])]

    def bind(*values: Any) -> Sequence[Any]:
        with equation.ctx.manager:
            made = primitive.bind(*values, **primitive.get_bind_params(params))
        return made if primitive.multiple_results else [made]

    if primitive in HOLDERS and any(map(convolves, subjaxprs(equation))):
        return HOLDERS[primitive](values, params, bind)
    made = bind(*values)
    return as_operands(made, kept) if _is_pointwise(equation) else made


def _is_pointwise(equation: Any) -> bool:
    """Whether every result has an element for each element of the operands, and of that alone."""
    if equation.primitive in POINTWISE:
        return True
    inside = subjaxprs(equation)
    calls = (primitives.jit_p, primitives.custom_jvp_call_p, primitives.custom_vjp_call_p)
    return equation.primitive in calls and all(
        _is_pointwise(inner) for jaxpr in inside for inner in getattr(jaxpr, "jaxpr", jaxpr).eqns
    )


def lowered(
    function: Callable[..., Any], failed: Callable[[Exception], None] | None = None
) -> Callable[..., Any]:
    """`function` with its convolutions and pooling computed in a way that is fast on CPU.

        conv(x, w) = reshape(w) · patches(x),  or  F⁻¹(F w · F x);    its gradients likewise

    The values are those of `function` but for rounding, and so are derivatives of any order; where
    several inputs of a pooling window are equally large the first has the derivative, as in JAX. By
    spectra, rounding is relative to a row's largest outputs, so that what would be exactly zero is
    nearly so, and a NaN spreads over its row. It replaces `lax.conv_general_dilated` with one or
    two spatial axes and any strides, padding, kernel dilation and groups, `lax.reduce_window` of a
    maximum, and of a sum if windows tile the input; also inside `jit`, `vmap`, `scan`, conditionals
    and checkpoints. Everything else, a function without these and any platform but CPU are left as
    they are: transposed convolutions too, windows of more than `MOST_PLACES` places, and kernels of
    as many that spectra do not serve.

    Args:
        function: a function of pytrees of arrays. Leaves that are no arrays stay as they are.
        failed: told of an error in the rules, after which `function` is computed as it is; None to
            raise it.

    Returns:
        A function of the same arguments and results. The platform is `jax.default_backend()` when
        it is traced.

    Mathieu, Henaff & LeCun 2014, "Fast training of convolutional networks through FFTs". Here the
    transforms are products with matrices.

    >>> import jax, jax.numpy as jnp
    >>> def smooth(x):
    ...     return jax.lax.conv(x, jnp.ones((1, 1, 3, 3)) / 9, (1, 1), "VALID")
    >>> lowered(smooth)(jnp.ones((2, 1, 5, 5))).shape
    (2, 1, 3, 3)
    """

    @functools.wraps(function)
    def computed(*args: Any, **kwargs: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*args, **kwargs)
        leaves, tree = jax.tree.flatten((args, kwargs))
        arrays, fill = _separated(leaves)
        results: list[Any] = []  # of the trace: what is no array, and how to put it back

        def flat(*arrays: Any) -> list[Any]:
            given, named = jax.tree.unflatten(tree, fill(arrays))
            made, result_tree = jax.tree.flatten(function(*given, **named))
            out, fill_out = _separated(made)
            results[:] = [result_tree, fill_out]
            return out

        closed = jax.make_jaxpr(flat)(*arrays)
        if not convolves(closed):
            return function(*args, **kwargs)
        result_tree, fill_out = results
        try:
            made = _run(closed, arrays)
        except Exception as error:  # of the rules: the function itself has just been traced
            if failed is None:
                raise
            failed(error)
            return function(*args, **kwargs)
        return jax.tree.unflatten(result_tree, fill_out(made))

    return computed


def _separated(leaves: list[Any]) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
    """The arrays among `leaves`, and a function that puts others in their places."""
    at = [
        i for i, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray, np.generic))
    ]

    def fill(arrays: Sequence[Any]) -> list[Any]:
        filled = list(leaves)
        for i, array in zip(at, arrays):
            filled[i] = array
        return filled

    return [leaves[i] for i in at], fill
