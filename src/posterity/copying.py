"""What models need to be copied and pickled by whoever wants to; this library reads no pickles.

JAX's own functions (`jax.nn.relu`, what `jax.jit` returns) are objects without a way into a pickle:
here they go there by name, as Python's functions do.
"""

from __future__ import annotations

import copyreg
import functools
import importlib
import sys
from types import FunctionType
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp

PUBLIC = ("jax.nn", "jax.numpy", "jax.lax", "jax.scipy.special")  # names that stay


class Frozen(eqx.Module):
    """A module that is its own copy: its fields never change, and neither do their arrays."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        del memo
        return self


def by_name(module: str, name: str) -> Any:
    """What has a name in a module.

    >>> by_name("jax.nn", "relu") is jax.nn.relu
    True
    """
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


class Named:
    """In the place of a function, in a pickle; it becomes the function as the pickle is read."""

    def __init__(self, module: str, name: str) -> None:
        self.place = module, name

    def __reduce__(self) -> Any:
        return by_name, self.place


def nameable(given: Any) -> Any:
    """A pytree with `Named` in the place of every lambda that a module has under a name.

    Equinox's `MLP` ends with one, unless it is told otherwise.
    """

    def named(leaf: Any) -> Any:
        if not isinstance(leaf, FunctionType) or "<lambda>" not in leaf.__qualname__:
            return leaf
        known = vars(sys.modules[leaf.__module__]) if leaf.__module__ in sys.modules else {}
        name = next((name for name, value in known.items() if value is leaf), None)
        return leaf if name is None else Named(leaf.__module__, name)

    return jax.tree.map(named, given)


def _reduced(function: Any) -> Any:
    """How a pickle says a function that JAX has wrapped: by name, or else as it did before.

    What has no name in its module goes where the function inside goes: into cloudpickle's, and not
    into Python's, which names it.
    """
    own = getattr(function, "__module__", None)
    name = str(getattr(function, "__qualname__", None) or getattr(function, "__name__", ""))
    for module in (*PUBLIC, own):
        known: Any = sys.modules.get(module or "")
        for part in name.split("."):
            known = getattr(known, part, None)
        if known is function:
            return by_name, (module, name)
    return function.__reduce_ex__(4)


WRAPPED: tuple[Any, ...] = (jax.custom_jvp, jax.custom_vjp, type(jax.jit(by_name)), type(jnp.add))
for kind in WRAPPED:
    copyreg.pickle(kind, _reduced)
