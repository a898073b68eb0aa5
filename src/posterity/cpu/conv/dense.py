"""The rule for `dot_general`: a dense layer that follows a convolution."""

from __future__ import annotations

import math
from typing import Any

import jax
from jax import lax

from posterity.cpu.conv.layouts import Merged, plain_of, type_of


def dense(a: Any, b: Any, params: dict[str, Any]) -> jax.Array | None:
    """A product over the merged features of a convolution, or None where that is not for it.

    It is the weight's rows that are put into the order in which the features are kept, not the
    features, of which there are as many for each row of the batch.
    """
    (a_over, b_over), batched = params["dimension_numbers"]
    pairs = [(a, a_over, b, b_over), (b, b_over, a, a_over)]
    found = [pair for pair in pairs if isinstance(pair[0], Merged)]
    if len(found) != 1 or batched != ((), ()):
        return None
    merged, over, weight, weight_over = found[0]
    if tuple(over) != (1,) or len(type_of(weight).shape) != 2:
        return None
    apart = merged.apart
    rows_last = apart.order[:-1]
    features = apart.array.reshape(-1, apart.array.shape[-1])
    weight = plain_of(weight)
    weight = weight if tuple(weight_over) == (0,) else weight.T
    split = [apart.shape[axis] for axis in range(1, len(rows_last) + 1)]
    weight = weight.reshape(*split, -1).transpose(*(axis - 1 for axis in rows_last), len(split))
    weight = weight.reshape(math.prod(split), -1)
    how = {**params, "dimension_numbers": (((0,), (0,)), ((), ()))}
    made = lax.dot_general_p.bind(weight, features, **how)  # (outputs, rows)
    return made.T if isinstance(a, Merged) else made
