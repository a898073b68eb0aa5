"""Where a network uses each of its weights, read off its jaxpr for a single example."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal

from posterity.inputs import InputSpec

# What leaves a weight a weight: the same numbers, laid out anew, scaled or shifted by known ones.
VIEWS = ("transpose", "reshape", "squeeze", "convert_element_type", "broadcast_in_dim", "copy")
SCALES = ("mul", "div", "neg", "add", "sub")  # shifted ones, too: only the mean moves
CALLS = ("jit", "pjit", "closed_call", "core_call")


class Use(NamedTuple):
    """One product in which a weight meets a single example.

    Attributes:
        layout: how the weight was laid out and which of its axes meet which; two uses of the same
            layout can share one random sign per axis.
        other: the other operand's shape. out: the product's shape.
        signs_in, signs_out: shapes of random signs that multiply the other operand and the product:
            1 along the positions.
        positions: how many positions of the example the weight meets, by broadcasting or in a loop.
        example_in, example_out: the axis of `other` and of `out` that grows with the number of
            examples; None where no single axis does.
    """

    layout: tuple[Any, ...]
    other: tuple[int, ...]
    out: tuple[int, ...]
    signs_in: tuple[int, ...]
    signs_out: tuple[int, ...]
    positions: float
    example_in: int | None = None
    example_out: int | None = None


class Weight(NamedTuple):
    """A value that is a view of one weight: which, and through which layouts."""

    number: int
    views: tuple[Any, ...]


class Example(NamedTuple):
    """A value that depends on the example."""


EXAMPLE = Example()
Meaning = Weight | Example | None  # None: a value that is the same for all examples


def uses(
    function: Callable[..., Any], weights: Any, inputs: InputSpec, known: Any = None
) -> list[list[Use] | None]:
    """The uses of every leaf of `weights` in ``function(weights, x, known)`` for one example.

    The net is traced for one, two and three examples: the axis that grows is the examples'.

    Args:
        function: the net. weights: a pytree of arrays or their shapes.
        inputs: the description of an example. known: what is the same for all, as `weights`.

    Returns:
        For every leaf its products with one example; None where the net does anything else with it,
        in which case only one draw shared by all examples is right.
    """
    one, two, three = (_uses(function, weights, inputs.shapes(rows), known) for rows in (1, 2, 3))
    return [_with_axes(*each) for each in zip(one, two, three)]


def _with_axes(
    one: list[Use] | None, two: list[Use] | None, three: list[Use] | None
) -> list[Use] | None:
    if one is None or two is None or three is None or not len(one) == len(two) == len(three):
        return one
    return [
        use._replace(example_in=_growing(a.other, b.other), example_out=_growing(a.out, b.out))
        for use, a, b in zip(one, two, three)
    ]


def _growing(two: tuple[int, ...], three: tuple[int, ...]) -> int | None:
    """The one axis that is 2 long for two examples and 3 for three."""
    changed = [axis for axis, (a, b) in enumerate(zip(two, three)) if a != b]
    if len(two) != len(three) or len(changed) != 1:
        return None
    return changed[0] if (two[changed[0]], three[changed[0]]) == (2, 3) else None


def _uses(
    function: Callable[..., Any], weights: Any, x: Any, shared: Any
) -> list[list[Use] | None]:
    closed = jax.make_jaxpr(function)(weights, x, shared)
    count = len(jax.tree.leaves(weights))
    found: list[list[Use] | None] = [[] for _ in range(count)]
    given: list[Meaning] = [Weight(number, ()) for number in range(count)]
    given += [EXAMPLE] * len(jax.tree.leaves(x))
    given += [None] * len(jax.tree.leaves(shared))
    for out in _walk(closed.jaxpr, given, found, repeats=1):
        _spoil(found, out)
    return [each or None for each in found]


def _walk(
    jaxpr: Any, given: Sequence[Meaning], found: list[list[Use] | None], repeats: float
) -> list[Meaning]:
    """Record the uses in one jaxpr; returns what its outputs mean."""
    known = {var: what for var, what in zip(jaxpr.invars, given) if what is not None}

    def look(var: Any) -> Meaning:
        return None if isinstance(var, Literal) else known.get(var)

    for eqn in jaxpr.eqns:
        meant = [look(var) for var in eqn.invars]
        if any(what is not None for what in meant):
            outs = _equation(eqn, meant, found, repeats)
            known.update((var, out) for var, out in zip(eqn.outvars, outs) if out is not None)
    return [look(var) for var in jaxpr.outvars]


def _equation(
    eqn: Any, meant: list[Meaning], found: list[list[Use] | None], repeats: float
) -> list[Meaning]:
    name = eqn.primitive.name
    weights = [what for what in meant if isinstance(what, Weight)]
    example = EXAMPLE in meant
    plain: list[Meaning] = [EXAMPLE if example else None] * len(eqn.outvars)
    if not weights:
        return plain
    if len(weights) == 1 and not example and name in VIEWS + SCALES and _same_size(eqn, meant):
        step = () if name in SCALES or name in ("convert_element_type", "copy") else (_key(eqn),)
        return [Weight(weights[0].number, weights[0].views + step)]
    if len(weights) == 1 and name in ("dot_general", "conv_general_dilated"):
        use = (_dot if name == "dot_general" else _conv)(eqn, meant, repeats)
        uses = found[weights[0].number]
        if use is not None and uses is not None:
            uses.append(use)
            return [EXAMPLE]
    if name in CALLS:
        return _walk(eqn.params["jaxpr"].jaxpr, meant, found, repeats)
    if name == "scan" and (constants := eqn.params.get("num_consts")) is not None:
        for what in meant[constants:]:  # carried or sliced: no longer one weight
            _spoil(found, what)
        # What is carried may come to depend on the example in a later round.
        inner = [*meant[:constants], *([EXAMPLE] * (len(meant) - constants))]
        for out in _walk(eqn.params["jaxpr"].jaxpr, inner, found, repeats=math.inf):
            _spoil(found, out)
        return [EXAMPLE] * len(eqn.outvars)
    for weight in weights:
        _spoil(found, weight)
    return plain


def _spoil(found: list[list[Use] | None], what: Meaning) -> None:
    if isinstance(what, Weight):
        found[what.number] = None


def _same_size(eqn: Any, meant: list[Meaning]) -> bool:
    """Whether no number of the weight is repeated or lost, and it is not the divisor."""
    at = next(i for i, what in enumerate(meant) if isinstance(what, Weight))
    if eqn.primitive.name == "div" and at == 1:
        return False
    return eqn.invars[at].aval.size == eqn.outvars[0].aval.size


def _key(eqn: Any) -> tuple[str, str]:
    return eqn.primitive.name, str(sorted(eqn.params.items(), key=lambda item: item[0]))


def _dot(eqn: Any, meant: list[Meaning], repeats: float) -> Use:
    """A product with the weight on either side."""
    side = 0 if isinstance(meant[0], Weight) else 1
    contracting, batch = eqn.params["dimension_numbers"]
    other = eqn.invars[1 - side].aval.shape
    free = [
        axis
        for axis in range(len(other))
        if axis not in contracting[1 - side] and axis not in batch[1 - side]
    ]
    out = eqn.outvars[0].aval.shape
    signs_in = tuple(1 if axis in free else n for axis, n in enumerate(other))
    # The product's axes: those of the batch, then the left's free ones, then the right's.
    left_free = eqn.invars[0].aval.ndim - len(contracting[0]) - len(batch[0])
    start = len(batch[0]) + (left_free if side == 0 else 0)
    positions_at = range(start, start + len(free))
    signs_out = tuple(1 if axis in positions_at else n for axis, n in enumerate(out))
    positions = math.prod(other[axis] for axis in free) * repeats
    weight = meant[side]
    assert isinstance(weight, Weight)
    layout = (weight.views, "dot", side, str(eqn.params["dimension_numbers"]), signs_in)
    return Use(layout, other, out, signs_in, signs_out, positions)


def _conv(eqn: Any, meant: list[Meaning], repeats: float) -> Use | None:
    """A convolution with the weight as its kernel."""
    weight = meant[1]
    if not isinstance(weight, Weight) or eqn.params["batch_group_count"] != 1:
        return None
    numbers = eqn.params["dimension_numbers"]
    image, out = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    feature_in, feature_out = numbers.lhs_spec[1], numbers.out_spec[1]
    signs_in = tuple(n if axis == feature_in else 1 for axis, n in enumerate(image))
    signs_out = tuple(n if axis == feature_out else 1 for axis, n in enumerate(out))
    positions = math.prod(out[axis] for axis in numbers.out_spec[2:]) * repeats
    layout = (weight.views, "conv", str(numbers), eqn.params["feature_group_count"], signs_in)
    return Use(layout, image, out, signs_in, signs_out, positions)
