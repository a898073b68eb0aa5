"""Functions that are made anew but are the same: they share what was compiled for the first.

A lambda in a loop, a notebook's cell that is run again and every `optax.adam(1e-3)` are new
functions, for which JAX would trace and compile a fit again: seconds, and 20 MB that stay. Two
functions are alike where they have the same code, and the same values in their defaults, closures
and globals. Values are compared only where they cannot change: numbers, words, tuples of them,
JAX's arrays, other such functions, and what well-known packages define. All else is left alone.
"""

from __future__ import annotations

import builtins
import dataclasses
import dis
import functools
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import numpy as np

from posterity.storable import name_of

MOST = 256  # functions that are remembered
SMALL = 2**20  # bytes of a NumPy array that is compared
DEEPEST = 16  # functions within functions
# Packages whose functions, classes and modules do not change while a program runs.
PACKAGES = sys.stdlib_module_names | {
    "blackjax", "equinox", "flax", "flowjax", "jax", "jaxlib", "jaxtyping", "numpy", "numpyro",
    "optax", "posterity", "quax", "scipy",
}  # fmt: skip

_first: OrderedDict[Hashable, Callable[..., Any]] = OrderedDict()


class _Same:
    """An object as a key: equal to itself alone, and kept alive as long as it is a key."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def __hash__(self) -> int:
        return id(self.given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.given is other.given


class _Unlike(Exception):
    """A value that may change, so that functions with it are alike to themselves only."""


def alike(given: Any) -> Any:
    """`given` with every function in it replaced by the first that was like it.

    Args:
        given: a function; or a module, a dataclass, a tuple, list or dictionary, which are gone
            through and come back as they are where nothing in them changes.

    >>> first, second = (lambda x: 2 * x for _ in range(2))
    >>> first is second, alike(first) is alike(second)
    (False, True)
    """
    if isinstance(given, types.FunctionType):
        return _representative(given)
    if isinstance(given, (jax.Array, np.ndarray, type)):
        return given
    if dataclasses.is_dataclass(given) and hasattr(given, "__dict__"):
        return given if type(given).__module__.startswith("flax.") else _rebuilt(given)
    if isinstance(given, tuple):
        parts = [alike(part) for part in given]
        if all(new is old for new, old in zip(parts, given)):
            return given
        return type(given)(*parts) if hasattr(given, "_fields") else tuple(parts)
    if type(given) is list:
        return [alike(part) for part in given]
    if type(given) is dict:
        return {name: alike(part) for name, part in given.items()}
    return given


def _rebuilt(given: Any) -> Any:
    changed = {}
    for field in dataclasses.fields(given):
        old = getattr(given, field.name, None)
        new = alike(old)
        if new is not old and not _equal(new, old):
            changed[field.name] = new
    if not changed:
        return given
    other = object.__new__(type(given))
    for name, value in {**vars(given), **changed}.items():
        object.__setattr__(other, name, value)
    return other


def _equal(new: Any, old: Any) -> bool:
    """Whether a list or dictionary, which is always copied, has the same parts."""
    if type(new) is list:
        return all(a is b for a, b in zip(new, old))
    return type(new) is dict and all(new[name] is old[name] for name in new)


def _representative(function: types.FunctionType) -> Callable[..., Any]:
    if _from_package(function) or name_of(function) is not None:
        return function
    try:
        key = _of_function(function, 0)
    except _Unlike:
        return function
    found = _first.setdefault(key, function)
    _first.move_to_end(key)
    while len(_first) > MOST:
        _first.popitem(last=False)
    return found


def _of_function(function: types.FunctionType, depth: int) -> Hashable:
    if depth > DEEPEST:
        raise _Unlike
    of = functools.partial(_of_value, depth=depth + 1)
    try:
        cells = tuple(of(cell.cell_contents) for cell in function.__closure__ or ())
    except ValueError as error:  # an empty cell
        raise _Unlike from error
    outer = []
    for name in sorted(set(_globals_of(function.__code__))):
        if name in function.__globals__:
            outer.append((name, of(function.__globals__[name])))
        elif not hasattr(builtins, name):
            raise _Unlike
    defaults = tuple(of(value) for value in function.__defaults__ or ())
    named = tuple((k, of(v)) for k, v in sorted((function.__kwdefaults__ or {}).items()))
    if vars(function):  # attributes, such as a wrapper's
        raise _Unlike
    return function.__code__, cells, tuple(outer), defaults, named


def _globals_of(code: types.CodeType) -> Iterator[str]:
    """The names that code looks up outside of itself."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield step.argval
        elif step.opname in ("IMPORT_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"):
            raise _Unlike
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _globals_of(inner)


def _of_value(value: Any, depth: int) -> Hashable:
    kind = type(value)
    if value is None or value is Ellipsis or kind in (bool, int, str, bytes):
        return kind, value
    if kind is float:
        return kind, value.hex()
    if kind is complex:
        return kind, value.real.hex(), value.imag.hex()
    if isinstance(value, np.dtype):
        return kind, value.str
    if isinstance(value, np.ufunc):
        return _Same(value)
    if isinstance(value, np.generic):
        return kind, value.dtype.str, value.tobytes()
    if isinstance(value, tuple):
        return kind, tuple(_of_value(part, depth + 1) for part in value)
    if isinstance(value, functools.partial):
        named = tuple((k, _of_value(v, depth + 1)) for k, v in sorted(value.keywords.items()))
        parts = (value.func, *value.args)
        return kind, tuple(_of_value(part, depth + 1) for part in parts), named
    if isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer):
        return _Same(value)
    if isinstance(value, np.ndarray) and value.nbytes <= SMALL and value.dtype != object:
        return _Same(value), value.tobytes()  # the same array, as long as nobody writes to it
    if _from_package(value):
        return _Same(value)
    if isinstance(value, types.FunctionType):
        return _of_function(value, depth)
    raise _Unlike


def _from_package(value: Any) -> bool:
    """Whether a module, class or function is defined by one of `PACKAGES`, by itself."""
    if isinstance(value, types.ModuleType):
        return value.__name__.partition(".")[0] in PACKAGES
    # What a package's function returns is made anew with what it was given.
    name = getattr(value, "__qualname__", None)
    if not isinstance(name, str) or "<" in name:
        return False
    module = getattr(value, "__module__", None) or ""
    return callable(value) and module.partition(".")[0] in PACKAGES
