"""Opting in to files: the classes and functions that a saved posterior may name.

A file holds data, never code. What it names is looked up here, and only what was registered by
`stored` is ever built from it.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np

T = TypeVar("T")

_by_name: dict[str, Any] = {}
_names: dict[Any, str] = {}


@dataclasses.dataclass(frozen=True)
class Given:
    """In the place of a part that is given again when a file is loaded.

    Args:
        by: the argument of `po.load` that gives it.
        why: what the part is.
    """

    by: str
    why: str = ""


def stored(name: str) -> Callable[[T], T]:
    """Let a class or a function be part of saved posteriors.

    The fields of a class, an Equinox module or a frozen dataclass, are numbers, strings, booleans,
    None, arrays, tuples, lists, dictionaries with string keys, NumPyro distributions and
    constraints, `po.learned` numbers, elementwise functions, and other stored classes. `po.load`
    gives them to the constructor by name. A class may define

    * ``check_stored(self)``, which raises a ValueError where what was read makes no sense;
    * ``stored_as(self) -> dict`` and ``from_stored(cls, **parts)``, where its constructor takes
      something else than its fields.

    Args:
        name: how files name it, such as ``"mine.Horseshoe"``. The name stays when the class moves.

    Returns:
        A decorator that registers the class or function and returns it as it is. What is not
        registered is loaded with ``po.load(path, model=model)``.

    Raises:
        ValueError: the name is taken by another class or function.
        TypeError: the constructor does not take the fields of the class.

    >>> import equinox as eqx, posterity as po
    >>> @po.stored("docs.Scale")
    ... class Scale(eqx.Module):
    ...     value: float
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f'stored: give a name, @po.stored("mine.Name"), not {name!r}.')

    def register(given: T) -> T:
        known = _by_name.get(name)
        if known is not None and _place(known) != _place(given):
            raise ValueError(
                f"stored: the name {name!r} is taken by {' '.join(_place(known))}; choose another."
            )
        if isinstance(given, type):
            _check_constructor(given)
        elif not callable(given):
            raise TypeError(f"stored: {name!r} is neither a class nor a function.")
        _by_name[name] = given  # again where a notebook's cell or a module is run again
        _names[given] = name
        return given

    return register


def name_of(given: Any) -> str | None:
    """The name of a registered class or function, or None."""
    try:
        return _names.get(given)
    except TypeError:  # without a hash
        return None


def named(name: str) -> Any:
    """The class or function of a name, or None."""
    return _by_name.get(name)


def parts_of(given: Any) -> dict[str, Any]:
    """What a registered object is rebuilt from, by name."""
    if hasattr(given, "stored_as"):
        return dict(given.stored_as())
    return {name: getattr(given, name) for name in part_names(type(given))}


def part_names(kind: Any) -> tuple[str, ...]:
    """The names of what a class is rebuilt from."""
    if hasattr(kind, "from_stored"):
        return tuple(inspect.signature(kind.from_stored).parameters)
    if issubclass(kind, tuple):  # a NamedTuple
        return tuple(kind._fields)
    return tuple(field.name for field in dataclasses.fields(kind))


def rebuilt(kind: type, parts: Mapping[str, Any]) -> Any:
    """The object of a class from its parts.

    Parts that a class names in `later_parts` are those that files of earlier versions lack: the
    class then has a default.

    Raises:
        ValueError: a part is missing, unknown or of the wrong kind, or they make no sense together.
    """
    names = part_names(kind)
    later = getattr(kind, "later_parts", ())
    for name in names:
        if name not in parts and name not in later:
            raise ValueError(f"{kind.__name__} has no {name!r} in the file.")
    for name in parts:
        if name not in names:
            raise ValueError(f"{kind.__name__} takes no {name!r}, which the file has.")
    if misfit := misfits(kind, parts):
        raise ValueError(misfit)
    build: Any = getattr(kind, "from_stored", kind)
    try:
        made = build(**parts)
    except TypeError as error:
        raise ValueError(f"{kind.__name__} cannot be built from the file: {error}.") from error
    if hasattr(made, "check_stored"):
        made.check_stored()
    return made


def misfits(kind: type, parts: Mapping[str, Any]) -> str:
    """A sentence on the first part whose kind is not that of its annotation; empty if all fit."""
    hints = _hints(kind)
    for name, value in parts.items():
        if not _fits(value, hints.get(name, Any)):
            return f"{name!r} of {kind.__name__} cannot be {_said(value)}."
    return ""


def refuse_numbers(
    what: str, array: Any, axes: int, *, least: float = -math.inf, floats: bool = True
) -> None:
    """Refuse an array that a file should not hold; for `check_stored`.

    Args:
        what: what the message calls it. array: what was read. axes: how many it must have.
        least: the smallest value. floats: whether it must be of floating-point numbers.

    Raises:
        ValueError: the array is of another kind, or a value is not finite or too small.
    """
    array = np.asarray(array)
    if floats and array.dtype.kind != "f":
        raise ValueError(f"{what} holds {array.dtype} and not floating-point numbers.")
    if array.ndim != axes:
        raise ValueError(f"{what} has shape {array.shape}, but needs {axes} axes.")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} holds values that are not finite.")
    if array.size and array.min() < least:
        raise ValueError(f"{what} holds {array.min():g}, below {least:g}.")


def _place(given: Any) -> tuple[str, str]:
    return getattr(given, "__module__", ""), getattr(given, "__qualname__", repr(given))


def _check_constructor(kind: type) -> None:
    if hasattr(kind, "from_stored") != hasattr(kind, "stored_as"):
        raise TypeError(
            f"stored: {kind.__name__} defines one of stored_as and from_stored; define both."
        )
    if hasattr(kind, "from_stored") or issubclass(kind, tuple):
        return
    if not dataclasses.is_dataclass(kind):
        raise TypeError(
            f"stored: {kind.__name__} has no fields. Make it an eqx.Module or a frozen dataclass, "
            "or define stored_as and from_stored."
        )
    arguments = list(inspect.signature(kind.__init__).parameters.values())[1:]
    wanted = {argument.name for argument in arguments if argument.default is argument.empty}
    fields = set(part_names(kind))
    wrong = (fields - {argument.name for argument in arguments}) | (wanted - fields)
    if wrong:
        raise TypeError(
            f"stored: the constructor of {kind.__name__} and its fields differ in "
            f"{', '.join(map(repr, sorted(wrong)))}; define stored_as(self) and "
            "from_stored(cls, ...)."
        )


def _hints(kind: type) -> dict[str, Any]:
    """The annotations of what a class is rebuilt from."""
    source: Any = kind.from_stored if hasattr(kind, "from_stored") else kind
    try:
        return typing.get_type_hints(source)
    except Exception:  # names that exist for type checkers only
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says, as far as files can tell."""
    if hint is Any:
        return True
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is typing.Literal:
        return any(value is arg or (type(value) is type(arg) and value == arg) for arg in args)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(part, args[0]) for part in value)
    if origin is tuple:
        same = isinstance(value, tuple) and len(value) == len(args)
        return same and all(map(_fits, value, args))
    if origin is list:
        return isinstance(value, list) and all(_fits(part, args[0]) for part in value)
    if origin in (dict, collections.abc.Mapping):
        return isinstance(value, Mapping) and all(_fits(part, args[1]) for part in value.values())
    if origin is collections.abc.Callable or hint is collections.abc.Callable:
        return callable(value)
    if hint is None or hint is types.NoneType:
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint in (int, float):
        return _is_number(value, hint)
    if hint in (jax.Array, np.ndarray):
        return isinstance(value, (jax.Array, np.ndarray))
    checkable = isinstance(hint, type) and not getattr(hint, "_is_protocol", False)
    return isinstance(value, hint) if checkable else True


def _is_number(value: Any, hint: type) -> bool:
    """Numbers, arrays of one, and what stands for a number (`po.learned`)."""
    if isinstance(value, (bool, np.bool_)):
        return False
    if isinstance(value, int):
        return True
    if isinstance(value, float):
        return hint is float
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return getattr(value, "shape", None) == () and kind in ("iu" if hint is int else "iuf")


def _said(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)[:80]
    if isinstance(value, (jax.Array, np.ndarray)):
        return f"an array of {value.dtype} of shape {value.shape}"
    return f"a {type(value).__name__}"
