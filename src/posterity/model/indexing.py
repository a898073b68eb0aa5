"""With which of its inputs a net indexes, read off its jaxpr."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from posterity.cpu.convolves import convolves, subjaxprs
from posterity.inputs import InputSpec, Number
from posterity.nets.net import AbstractNet

# Where the indices are among the operands.
INDICES = {
    "gather": slice(1, 2),
    "dynamic_slice": slice(1, None),
    "dynamic_update_slice": slice(2, None),
}
ORDERS = ("argmax", "argmin", "sort", "top_k")  # their results say where values are, not what
ROWS = 3  # of the inputs that a net is traced with
MOST_TRIED = 6  # arrays of which every combination of types is tried

Meaning = frozenset[int]  # the arrays that a value is an integer function of
NOTHING: Meaning = frozenset()
STEPS = -1  # stands for 0, 1, 2, … or another known vector, which one-hot codes compare with


class Traced(NamedTuple):
    """What is known of a net on inputs.

    Attributes:
        inputs: the description with ``"int32"`` where the net indexes. out: what the net returns,
            as shapes and dtypes. convolves: whether the net has convolutions or pooling.
    """

    inputs: InputSpec
    out: Any
    convolves: bool


def trace(net: AbstractNet, template: Any, given: InputSpec) -> Traced:
    """Trace a net on three rows, and find the types that its inputs need.

    An array given as integers stays integers where the net indexes with it. An array given as
    floats becomes integers where the net takes nothing else, and indexes with it.

    Args:
        net: the net. template: its parameters as shapes and dtypes.
        given: the inputs; ``"int32"`` where they were given as integers.

    Raises:
        ValueError: the net takes such rows in no type.
    """
    errors: list[Exception] = []
    idle: Traced | None = None
    for dtypes in _tried(given.dtypes):
        inputs = given.with_dtypes(dtypes)
        try:
            jaxpr, out = jax.make_jaxpr(net.apply, return_shape=True)(template, inputs.shapes(ROWS))
        except Exception as error:
            errors.append(error)
            continue
        found = Traced(inputs, out, convolves(jaxpr))
        used = indexed(jaxpr, len(dtypes)) if "int32" in dtypes else ()
        if all(each or dtype == "float" for dtype, each in zip(dtypes, used)):
            return found
        idle = idle or found  # a later combination has floats there, if the net takes them
    if idle:
        return idle
    reason = _telling(errors)
    floats: list[Number] = ["float"] * len(given.leaves)
    rows = given.with_dtypes(floats)
    said = next(iter(str(reason).splitlines()), "") or type(reason).__name__
    raise ValueError(
        f"x: the net cannot take rows of shape {rows}: {said.rstrip('.')}. Check the number of "
        "input columns of the net and of x."
    ) from reason


def _tried(given: Sequence[Number]) -> Iterator[tuple[Number, ...]]:
    """Combinations of types, those nearest to the given one first."""
    both: list[tuple[Number, ...]] = [(own, _other(own)) for own in given]
    if len(given) > MOST_TRIED:
        floats: list[Number] = ["float"] * len(given)
        yield from (tuple(given), tuple(floats))
        return
    every = itertools.product(*both)
    yield from sorted(every, key=lambda types: sum(a != b for a, b in zip(types, given)))


def _other(dtype: Number) -> Number:
    return "float" if dtype == "int32" else "int32"


def _telling(errors: list[Exception]) -> Exception:
    """The error of a wrong shape, if there is one, and not that of a type that was tried."""
    typed = ("int32", "float32", "float64")
    return next((e for e in errors if not any(word in str(e) for word in typed)), errors[0])


def indexed(closed: Any, count: int) -> tuple[bool, ...]:
    """Which of the last `count` arguments of a jaxpr it indexes with.

    An argument counts where it reaches the indices of a gather or of a dynamic slice, the number
    of a branch, or the comparison of a one-hot code, through operations on integers alone.
    """
    jaxpr = closed.jaxpr
    found: set[int] = set()
    known = len(jaxpr.invars) - count
    given = [NOTHING] * known + [frozenset({number}) for number in range(count)]
    _walk(jaxpr, given, found)
    return tuple(number in found for number in range(count))


def _walk(jaxpr: Any, given: Sequence[Meaning], found: set[int]) -> list[Meaning]:
    """Record the uses in one jaxpr; returns what its outputs mean."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    known: dict[Any, Meaning] = dict(zip(jaxpr.invars, given))
    for var in jaxpr.constvars:
        if _whole(var) and var.aval.size > 1:
            known[var] = frozenset({STEPS})

    def look(var: Any) -> Meaning:
        return NOTHING if isinstance(var, Literal) or not _whole(var) else known.get(var, NOTHING)

    for eqn in jaxpr.eqns:
        meant = [look(var) for var in eqn.invars]
        if eqn.primitive.name == "iota":
            known[eqn.outvars[0]] = frozenset({STEPS})
        elif any(meant) or subjaxprs(eqn):
            known.update(zip(eqn.outvars, _equation(eqn, meant, found)))
    return [look(var) for var in jaxpr.outvars]


def _equation(eqn: Any, meant: list[Meaning], found: set[int]) -> list[Meaning]:
    name = eqn.primitive.name
    if name in INDICES or name.startswith("scatter"):
        for meaning in meant[INDICES.get(name, slice(1, 2))]:
            found |= meaning
    elif name == "eq":
        if any(STEPS in meaning for meaning in meant):
            found |= meant[0] | meant[1]
    elif name in ("select_n", "cond"):  # a number that chooses
        found |= meant[0]
    every: Meaning = NOTHING.union(*meant)
    inner = subjaxprs(eqn)
    if name == "while":
        return _while(eqn, meant, found)
    if name == "scan":
        return _scan(eqn, meant, found)
    if name == "cond":
        outs = [_walk(branch, meant[1:], found) for branch in inner]
        return [NOTHING.union(*parts) for parts in zip(*outs)]
    if inner and len(getattr(inner[0], "jaxpr", inner[0]).invars) == len(meant):
        return _walk(inner[0], meant, found)
    return [NOTHING if name in ORDERS else every] * len(eqn.outvars)


def _scan(eqn: Any, meant: list[Meaning], found: set[int]) -> list[Meaning]:
    consts, carried = eqn.params["num_consts"], eqn.params["num_carry"]
    while True:  # until nothing more is carried from one round to the next
        outs = _walk(eqn.params["jaxpr"], meant, found)
        carry = [
            a | b for a, b in zip(meant[consts : consts + carried], outs[:carried], strict=True)
        ]
        if carry == meant[consts : consts + carried]:
            return outs
        meant = [*meant[:consts], *carry, *meant[consts + carried :]]


def _while(eqn: Any, meant: list[Meaning], found: set[int]) -> list[Meaning]:
    first, second = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    consts, carry = meant[first : first + second], meant[first + second :]
    while True:
        outs = _walk(eqn.params["body_jaxpr"], [*consts, *carry], found)
        more = [a | b for a, b in zip(carry, outs, strict=True)]
        if more == carry:
            return outs
        carry = more


def _whole(var: Any) -> bool:
    """Whether a value is of integers."""
    return jnp.issubdtype(getattr(var.aval, "dtype", bool), jnp.integer)
