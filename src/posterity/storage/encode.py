"""Values as plain data and back: no code in files, no pickle, no eval.

Plain values are JSON as they are, a JSON list is a tuple, and a dictionary with a key that begins
with ``$`` is one of the kinds below. Only what is in the tables here or was registered by `stored`
is ever built from a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints, transforms

from posterity import storable
from posterity.distributions.spool import is_mapped
from posterity.dtypes import float_dtype
from posterity.learnable import Learned, is_learned, learned
from posterity.priors.scale_mixture import ScaleMixtureDistribution
from posterity.storable import Given
from posterity.storage.tensors import DTYPES

Json = Any

# What a forged description may cost before it is refused. The largest of our own (a ResNet of 56
# layers with a joint prior) has 500 entries in a list, 3,000 values, and is 9 deep. Texts and
# numbers in a list, such as the names of columns, are not counted.
MOST_ENTRIES = 4_096
MOST_VALUES = 100_000
MOST_LEVELS = 32
MANY = 64  # numbers of a list that is kept as an array
MOST_LETTERS = 10_000
# Numbers that a distribution's arguments may broadcast to, where the file holds fewer.
MOST_NUMBERS = 2**22

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "leaky_relu": jax.nn.leaky_relu,
    "jax_tanh": jax.nn.tanh,
}
TRANSFORMS = {
    "AffineTransform": ("loc", "scale"),
    "PowerTransform": ("exponent",),
    "ExpTransform": (),
    "SigmoidTransform": (),
    "SoftplusTransform": (),
}
CONSTRAINTS = {
    "real": constraints.real,
    "positive": constraints.positive,
    "nonnegative": constraints.nonnegative,
    "unit_interval": constraints.unit_interval,
}
# Truncated distributions wrap a base; a normal in several dimensions has one parameter too many.
TRUNCATED = {
    "LeftTruncatedDistribution": ("low",),
    "RightTruncatedDistribution": ("high",),
    "TwoSidedTruncatedDistribution": ("low", "high"),
}
PARAMETERS = {"MultivariateNormal": ("loc", "scale_tril")}
OWN = {"ScaleMixtureDistribution": ScaleMixtureDistribution}
DRAWS = "distributions.Draws"  # the name of stored draws, the only arrays that stay in a file


class CannotEncodeError(TypeError):
    """A part that plain data cannot describe, and where it is."""


# -- to plain data --------------------------------------------------------------------------------


class Encoder:
    """Values as plain data, with their arrays put aside as named tensors.

    Args:
        otherwise: what stands in the place of a part that cannot be described, by the part and the
            reason; None for the reason to be raised.
    """

    def __init__(self, *, otherwise: Callable[[Any, CannotEncodeError], Any] | None = None) -> None:
        self.otherwise = otherwise
        self.tensors: dict[str, np.ndarray] = {}
        self._tokens: dict[int, int] = {}

    def encode(self, value: Any, path: str) -> Json:
        """A value as plain data; `path` names its arrays.

        Raises:
            CannotEncodeError: it cannot be described, and nothing stands in its place.
        """
        try:
            return self._encode(value, path)
        except CannotEncodeError as reason:
            if self.otherwise is None:
                raise
            self._forget(path)
            return self._encode(self.otherwise(value, reason), path)

    def _encode(self, value: Any, path: str) -> Json:
        if isinstance(value, Given):
            return _given(value)
        if isinstance(value, (np.ndarray, np.generic, jax.Array)):
            return self._array(value, path)
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"$float": repr(value)}
        if is_learned(value):
            token = self._tokens.setdefault(value.token, len(self._tokens))
            return {"$learned": value.value, "token": token}
        if storable.name_of(type(value)):
            return self._stored(value, path)
        if isinstance(value, dist.Distribution):
            return self._distribution(value, path)
        if isinstance(value, transforms.Transform):
            return self._transform(value, path)
        if type(value) is list and (numbers := _as_numbers(value)) is not None:
            self.tensors[_name(path)] = numbers
            return {"$numbers": _name(path)}
        if type(value) in (tuple, list):
            parts = [self.encode(part, f"{path}.{number}") for number, part in enumerate(value)]
            return parts if type(value) is tuple else {"$list": parts}
        if type(value) is dict and all(isinstance(name, str) for name in value):
            named = {name: self.encode(part, f"{path}.{name}") for name, part in value.items()}
            return {"$dict": named} if any(name.startswith("$") for name in named) else named
        return self._by_identity(value, path)

    def _array(self, value: Any, path: str) -> Json:
        if getattr(value.dtype, "name", "") not in DTYPES:
            raise CannotEncodeError(f"{path} is an array of {value.dtype}")
        name = _name(path)
        if is_mapped(value):  # draws in a file are those in memory to whoever reads them
            self.tensors[name] = value
            return {"$array": name}
        self.tensors[name] = np.ascontiguousarray(value).reshape(np.shape(value))
        of_numpy = not isinstance(value, jax.Array)
        return {"$array": name, "numpy": True} if of_numpy else {"$array": name}

    def _stored(self, value: Any, path: str) -> Json:
        parts = storable.parts_of(value)
        if misfit := storable.misfits(type(value), parts):  # it could not be loaded again
            raise CannotEncodeError(f"{path} is a {type(value).__name__}; {misfit.rstrip('.')}")
        named = {name: self.encode(part, f"{path}.{name}") for name, part in parts.items()}
        return {"$stored": storable.name_of(type(value)), "parts": named}

    def _distribution(self, given: Any, path: str) -> Json:
        if type(given) is dist.TransformedDistribution:
            parts = [
                self._transform(part, f"{path}.transforms.{number}")
                for number, part in enumerate(given.transforms)
            ]
            base = self._encode(given.base_dist, f"{path}.base")
            return {"$numpyro": "TransformedDistribution", "base": base, "transforms": parts}
        if type(given) is dist.ExpandedDistribution:
            base = self._encode(given.base_dist, f"{path}.base")
            return {"$numpyro": "expanded", "base": base, "shape": list(given.batch_shape)}
        if type(given) is dist.Independent:
            base = self._encode(given.base_dist, f"{path}.base")
            dims = given.reinterpreted_batch_ndims
            return {"$numpyro": "event", "base": base, "dims": dims}
        name = type(given).__name__
        if name in TRUNCATED:
            base = self._encode(given.base_dist, f"{path}.base")
            args = {arg: getattr(given, arg) for arg in TRUNCATED[name]}
            return {"$numpyro": name, "base": base, "args": self._args(args, path)}
        if _distributions(name) is not type(given) or not given.arg_constraints:
            raise CannotEncodeError(f"{path} is a {name}")
        names = _arguments(type(given))
        args = {arg: getattr(given, arg) for arg in names}
        try:  # its parameters may not be what its constructor takes
            _built(name, args, math.inf)
        except (TypeError, ValueError) as error:
            raise CannotEncodeError(f"{path} is a {name}") from error
        return {"$numpyro": name, "args": self._args(args, path)}

    def _transform(self, given: Any, path: str) -> Json:
        name = type(given).__name__
        if name not in TRANSFORMS or getattr(transforms, name) is not type(given):
            raise CannotEncodeError(f"{path} is a {name}")
        args = {arg: getattr(given, arg) for arg in TRANSFORMS[name]}
        return {"$transform": name, "args": self._args(args, path)}

    def _args(self, args: Mapping[str, Any], path: str) -> Json:
        for arg, value in args.items():
            if not _is_number(value):
                raise CannotEncodeError(f"{path}.{arg} is a {type(value).__name__}")
        return {arg: self._encode(value, f"{path}.{arg}") for arg, value in args.items()}

    def _by_identity(self, value: Any, path: str) -> Json:
        for name, function in FUNCTIONS.items():
            if function is value:
                return {"$function": name}
        for name, constraint in CONSTRAINTS.items():
            if constraint is value:
                return {"$constraint": name}
        if not isinstance(value, type) and (known := storable.name_of(value)):
            return {"$function": known}
        called = getattr(value, "__name__", None) if callable(value) else None
        what = f"the function {called}" if called else f"a {type(value).__name__}"
        raise CannotEncodeError(f"{path} is {what}")

    def _forget(self, path: str) -> None:
        own = _name(path)
        for name in [n for n in self.tensors if n == own or n.startswith(own + ".")]:
            del self.tensors[name]


ARRAYS = (np.ndarray, np.generic, jax.Array)


def _is_number(value: Any) -> bool:
    """Whether it is what a distribution may have as an argument: numbers, or one to be learned."""
    of_numbers = isinstance(value, (int, float, *ARRAYS)) and not isinstance(value, bool)
    return is_learned(value) or of_numbers


def left_to_give(value: Any, reason: CannotEncodeError) -> Given:
    """In the place of a part that cannot be described: the model gives it when a file is read."""
    del value
    return Given("model", str(reason))


def _name(path: str) -> str:
    """The name of an array: those of the distribution are `theta`, `mean`, … to other libraries."""
    return path.removeprefix("distribution.")


def _as_numbers(value: list[Any]) -> np.ndarray | None:
    """A long list of floats, or of integers, or of such lists, as an array; None of any other."""
    flat, depth = value, 1
    while flat and all(type(part) is list for part in flat):
        flat, depth = [one for part in flat for one in part], depth + 1
    kinds = set(map(type, flat))
    if len(flat) <= MANY or len(kinds) != 1 or not kinds <= {int, float}:
        return None
    try:
        found = np.array(value, np.float64 if kinds == {float} else np.int64)
    except (ValueError, OverflowError):  # of unlike lengths, or too large
        return None
    return found if found.ndim == depth else None


def _given(value: Given) -> Json:
    return {"$given": value.by, "why": value.why}


# -- and back -------------------------------------------------------------------------------------


class Decoder:
    """Values from plain data and named tensors.

    Args:
        tensors: the arrays of the file.
        given: path → value of parts that the file does not describe, or that are taken from
            elsewhere.
    """

    def __init__(
        self, tensors: Mapping[str, np.ndarray], given: Mapping[str, Any] | None = None
    ) -> None:
        self.tensors = tensors
        self.given = given or {}
        self.used: set[str] = set()
        self.narrowed = False  # whether numbers lost digits
        self._learned: dict[int, Learned] = {}
        numbers = sum(int(np.prod(tensor.shape)) for tensor in tensors.values())
        self._room = max(MOST_NUMBERS, 2 * numbers)

    def decode(self, data: Json, path: str) -> Any:
        """The value that `Encoder.encode` described.

        Raises:
            ValueError: the data describe nothing that may be built, or nothing of sense.
        """
        check_size(data, path)
        return self._decode(data, path)

    def _decode(self, data: Json, path: str) -> Any:
        if path in self.given:
            return self.given[path]
        if data is None or isinstance(data, (bool, int, float, str)):
            return data
        if isinstance(data, list):
            return tuple(self._decode(part, f"{path}.{n}") for n, part in enumerate(data))
        kind = next((name for name in data if name.startswith("$")), None)
        if kind is None:
            return {name: self._decode(part, f"{path}.{name}") for name, part in data.items()}
        kinds = {
            "$float": self._float,
            "$list": self._list,
            "$dict": self._dict,
            "$array": self._array,
            "$numbers": self._long_list,
            "$learned": self._number_to_learn,
            "$stored": self._stored,
            "$numpyro": self._distribution,
            "$transform": self._transform,
            "$constraint": self._constraint,
            "$function": self._function,
            "$given": self._given,
        }
        if kind not in kinds:
            raise ValueError(f"{path} is of the unknown kind {kind[:40]!r}.")
        return kinds[kind](data, path)

    def _float(self, data: Json, path: str) -> float:
        if set(data) != {"$float"} or data["$float"] not in ("inf", "-inf", "nan"):
            raise ValueError(f"{path} is no number.")
        return float(data["$float"])

    def _list(self, data: Json, path: str) -> list[Any]:
        _needs(data, path, "$list")
        return [self._decode(part, f"{path}.{n}") for n, part in enumerate(data["$list"])]

    def _dict(self, data: Json, path: str) -> dict[str, Any]:
        _needs(data, path, "$dict")
        return {name: self._decode(p, f"{path}.{name}") for name, p in data["$dict"].items()}

    def _array(self, data: Json, path: str) -> Any:
        name = data["$array"]
        if (
            not set(data) <= {"$array", "numpy"}
            or name not in self.tensors
            or (data.get("numpy", True) is not True)
        ):
            raise ValueError(f"{path}: the file has no array {str(name)[:80]!r}.")
        self.used.add(name)
        tensor = self.tensors[name]
        if data.get("numpy"):
            return tensor if np.ndim(tensor) else np.asarray(tensor)[()]
        narrows = tensor.dtype == np.float64 and float_dtype() == np.float32
        self.narrowed |= narrows
        if is_mapped(tensor):
            return tensor
        if narrows and np.any(np.isfinite(tensor) & (np.abs(tensor) > np.finfo(np.float32).max)):
            raise ValueError(
                f"{path} holds numbers beyond single precision. Run this before anything else of "
                'JAX: jax.config.update("jax_enable_x64", True)'
            )
        if tensor.dtype in (np.float32, np.float64):
            return jnp.asarray(tensor, float_dtype())
        dtype = jax.dtypes.canonicalize_dtype(tensor.dtype)
        if not np.array_equal(tensor.astype(dtype), tensor):
            raise ValueError(f"{path} holds numbers out of the range of {dtype}.")
        return jnp.asarray(tensor.astype(dtype))

    def _long_list(self, data: Json, path: str) -> list[Any]:
        _needs(data, path, "$numbers")
        found = self._array({"$array": data["$numbers"], "numpy": True}, path)
        if np.ndim(found) < 1 or found.dtype not in (np.float64, np.int64):
            raise ValueError(f"{path} is no list of numbers.")
        return found.tolist()

    def _number_to_learn(self, data: Json, path: str) -> Any:
        _needs(data, path, "$learned", "token")
        token, start = data["token"], data["$learned"]
        if not isinstance(token, int) or not isinstance(start, (int, float)):
            raise ValueError(f"{path} is no number to be learned.")
        # A token of its own: one of another process is nobody's here.
        return self._learned.setdefault(token, learned(start))

    def _stored(self, data: Json, path: str) -> Any:
        _needs(data, path, "$stored", "parts")
        name, parts = data["$stored"], data["parts"]
        kind = storable.named(name) if isinstance(name, str) else None
        if not isinstance(kind, type) or not isinstance(parts, dict):
            raise ValueError(
                f"{path} is a {str(name)[:80]!r}, a name that no class has here: import the module "
                f'with @po.stored("{str(name)[:80]}") first, or give the model that was fitted, '
                "po.load(path, model=model)."
            )
        made = {part: self._decode(value, f"{path}.{part}") for part, value in parts.items()}
        if name != DRAWS and any(is_mapped(part) for part in made.values()):
            raise ValueError(f"{path} has an array that is too large for memory.")
        try:
            return storable.rebuilt(kind, made)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def _distribution(self, data: Json, path: str) -> Any:
        kind = data["$numpyro"]
        if kind in ("TransformedDistribution", "expanded", "event") or kind in TRUNCATED:
            return self._wrapped(data, path)
        _needs(data, path, "$numpyro", "args")
        return self._checked(kind, data["args"], path)

    def _wrapped(self, data: Json, path: str) -> Any:
        kind, base = data["$numpyro"], self._decode(data["base"], f"{path}.base")
        if not isinstance(base, dist.Distribution):
            raise ValueError(f"{path}: the base of {kind} is no distribution.")
        if kind == "expanded":
            _needs(data, path, "$numpyro", "base", "shape")
            shape = tuple(data["shape"])
            if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) > 2**40:
                raise ValueError(f"{path} cannot have the shape {shape}.")
            return base.expand(shape)
        if kind == "event":
            _needs(data, path, "$numpyro", "base", "dims")
            if type(data["dims"]) is not int:
                raise ValueError(f"{path} has no number of dimensions.")
            return base.to_event(data["dims"])
        if kind == "TransformedDistribution":
            _needs(data, path, "$numpyro", "base", "transforms")
            parts = [
                self._decode(part, f"{path}.transforms.{number}")
                for number, part in enumerate(data["transforms"])
            ]
            if not all(isinstance(part, transforms.Transform) for part in parts):
                raise ValueError(f"{path}: one of its transforms is none.")
            return dist.TransformedDistribution(base, parts)
        _needs(data, path, "$numpyro", "base", "args")
        if set(data["args"]) != set(TRUNCATED[kind]):
            raise ValueError(f"{path}: {kind} does not take {sorted(data['args'])}.")
        return getattr(dist, kind)(base, **self._numbers(data["args"], path))

    def _checked(self, name: Any, args: Json, path: str) -> Any:
        numbers = self._numbers(args, path)
        known = _distributions(name)
        if known is not None and set(args) != set(_arguments(known)):  # its defaults are not ours
            raise ValueError(f"{path}: {name} does not take {sorted(args)}.")
        try:
            return _built(name, numbers, self._room)
        except TypeError as error:
            raise ValueError(f"{path}: {name} cannot be built from these arguments.") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def _numbers(self, args: Json, path: str) -> dict[str, Any]:
        found = {arg: self._decode(value, f"{path}.{arg}") for arg, value in args.items()}
        for arg, value in found.items():
            if not _is_number(value):
                raise ValueError(f"{path}.{arg} is no number.")
        return found

    def _transform(self, data: Json, path: str) -> Any:
        _needs(data, path, "$transform", "args")
        name = data["$transform"]
        if name not in TRANSFORMS or set(data["args"]) != set(TRANSFORMS[name]):
            raise ValueError(f"{path} is the unknown transform {str(name)[:80]!r}.")
        return getattr(transforms, name)(**self._numbers(data["args"], path))

    def _constraint(self, data: Json, path: str) -> Any:
        _needs(data, path, "$constraint")
        if data["$constraint"] not in CONSTRAINTS:
            raise ValueError(f"{path} is an unknown constraint.")
        return CONSTRAINTS[data["$constraint"]]

    def _function(self, data: Json, path: str) -> Any:
        _needs(data, path, "$function")
        name = data["$function"]
        known = FUNCTIONS.get(name) or storable.named(name)
        if known is None or isinstance(known, type):
            raise ValueError(f"{path} is the unknown function {str(name)[:80]!r}.")
        return known

    def _given(self, data: Json, path: str) -> Any:
        raise ValueError(f"{path} is not in the file ({data.get('why')}).")


NAMES = ("$float", "$array", "$numbers", "$numpyro", "$transform", "$constraint", "$function",
         "$given", "$stored")  # fmt: skip
INSIDE: dict[str, type] = {"$list": list, "$dict": dict, "parts": dict, "args": dict}


def check_form(data: Json, path: str) -> None:
    """Refuse a description whose kinds are not followed by what they need.

    Raises:
        ValueError: it says where.
    """
    waiting: list[tuple[Any, str]] = [(data, path)]
    while waiting:
        value, at = waiting.pop()
        if isinstance(value, list):
            waiting += [(part, f"{at}.{n}") for n, part in enumerate(value) if _has_parts(part)]
        if not isinstance(value, dict):
            continue
        kinds = [name for name in value if name.startswith("$")]
        known = {**dict.fromkeys(NAMES, str), **INSIDE} if kinds else {}
        for name, part in value.items():
            if name in known and not isinstance(part, known[name]):
                raise ValueError(f"{at} has a {type(part).__name__} as its {name}.")
            if _has_parts(part) and name != "$dict":
                waiting.append((part, at if name in known else f"{at}.{name}"))
        if "$stored" in kinds and "parts" not in value:
            raise ValueError(f"{at} has no parts.")
        if "$dict" in kinds:  # whose own names may begin with $
            inside = value["$dict"].items()
            waiting += [(part, f"{at}.{name}") for name, part in inside if _has_parts(part)]


def _has_parts(value: Any) -> bool:
    return isinstance(value, (list, dict))


def check_size(data: Json, path: str) -> None:
    """Refuse a description that is larger or deeper than any of ours.

    Raises:
        ValueError: which it says.
    """
    waiting: list[tuple[Any, int]] = [(data, 0)]
    count = 0
    while waiting:
        value, level = waiting.pop()
        count += 1
        if isinstance(value, str) and len(value) > MOST_LETTERS:
            raise ValueError(f"{path} has a text of {len(value):,} letters.")
        if not isinstance(value, (list, dict)):
            continue
        parts = list(value.values() if isinstance(value, dict) else value)
        if isinstance(value, list):
            longest = max((len(part) for part in parts if isinstance(part, str)), default=0)
            if longest > MOST_LETTERS:
                raise ValueError(f"{path} has a text of {longest:,} letters.")
            parts = [part for part in parts if isinstance(part, (list, dict))]
        if len(parts) > MOST_ENTRIES:
            raise ValueError(f"{path} has {len(parts):,} entries, more than {MOST_ENTRIES:,}.")
        if level > MOST_LEVELS or count > MOST_VALUES:
            raise ValueError(f"{path} is larger or deeper than what this library writes.")
        waiting.extend((part, level + 1) for part in parts)


def _needs(data: Json, path: str, *names: str) -> None:
    if set(data) != set(names):
        raise ValueError(f"{path} has {sorted(data)[:5]} in the place of {sorted(names)}.")


def _arguments(kind: Any) -> tuple[str, ...]:
    """The names of the arguments by which a distribution is described."""
    ranges = kind.arg_constraints
    names = tuple(ranges) if isinstance(ranges, dict) else ()
    return PARAMETERS.get(kind.__name__, names)


def _distributions(name: Any) -> Any:
    """The distribution of that name, NumPyro's or this library's own, or None."""
    found = OWN.get(name) or (getattr(dist, name, None) if isinstance(name, str) else None)
    return found if isinstance(found, type) and issubclass(found, dist.Distribution) else None


def _built(name: Any, args: Mapping[str, Any], room: float) -> Any:
    """A distribution whose arguments are in their ranges.

    Raises:
        ValueError: they are not, there is no such distribution, or it would be too large.
    """
    kind = _distributions(name)
    if kind is None:
        raise ValueError(f"there is no distribution {str(name)[:80]!r}.")
    ranges: Any = kind.arg_constraints
    if not isinstance(ranges, dict) or not set(args) <= set(ranges):
        raise ValueError(f"{name} does not take {sorted(args)}.")
    if _broadcast([np.shape(value) for value in args.values() if not is_learned(value)]) > room:
        raise ValueError(f"{name} would be far larger than the file.")
    for arg, value in args.items():
        if is_learned(value):
            continue
        if not np.isfinite(np.asarray(value, np.float64)).all():  # which NumPyro takes for positive
            raise ValueError(f"{arg} of {name} must be finite, not {_short(value)}.")
        if constraints.is_dependent(ranges[arg]):
            continue
        if not np.all(ranges[arg](np.asarray(value))):
            raise ValueError(f"{arg} of {name} must be {ranges[arg]}, not {_short(value)}.")
    return kind(**args)


def _broadcast(shapes: list[tuple[int, ...]]) -> float:
    """How many numbers arrays of these shapes broadcast to, the last two axes apart at most."""
    try:
        return math.prod(np.broadcast_shapes(*shapes))
    except ValueError:  # a vector beside a factor of another width
        lead = math.prod(np.broadcast_shapes(*(shape[:-2] for shape in shapes)))
        return lead * max(math.prod(shape[-2:]) for shape in shapes)


def _short(value: Any) -> str:
    return str(np.asarray(value)).replace("\n", " ")[:60]


# -- differences ----------------------------------------------------------------------------------


def givens(data: Json, path: str) -> Iterator[tuple[str, Given]]:
    """The parts that a description leaves to be given, with their paths."""
    if isinstance(data, list):
        for number, part in enumerate(data):
            yield from givens(part, f"{path}.{number}")
    elif isinstance(data, dict) and "$given" in data:
        yield path, Given(str(data["$given"]), str(data.get("why")))
    elif isinstance(data, dict):
        inside = data["parts"] if "$stored" in data else data
        for name, part in inside.items():
            yield from givens(part, path if name.startswith("$") else f"{path}.{name}")


def names_in(data: Json) -> Iterator[str]:
    """The names of classes and functions in a description, NumPyro's apart."""
    if isinstance(data, dict):
        yield from (str(data[kind]) for kind in ("$stored", "$function") if kind in data)
    if isinstance(data, (dict, list)):
        for part in data.values() if isinstance(data, dict) else data:
            yield from names_in(part)


def lists_in(data: Json, within: str = "") -> Iterator[tuple[str, int]]:
    """The lengths of lists in a description, each with the name of the class that it belongs to."""
    if isinstance(data, list):
        yield within, len(data)
    if isinstance(data, dict):
        within = str(data.get("$stored", within))
    if isinstance(data, (dict, list)):
        for part in data.values() if isinstance(data, dict) else data:
            yield from lists_in(part, within)


def is_own(name: str) -> bool:
    """Whether a name stands for this library's own code, or JAX's."""
    known = storable.named(name)
    return name in FUNCTIONS or getattr(known, "__module__", "").startswith("posterity.")


def difference(
    one: Json, tensors: Mapping[str, Any], other: Json, others: Mapping[str, Any], path: str
) -> tuple[str, str, str] | None:
    """Where two descriptions first differ: the path and both values; None where they agree.

    What either leaves to be given agrees with everything.
    """
    if any(isinstance(data, dict) and "$given" in data for data in (one, other)):
        return None
    number, number_held = _as_array(one, tensors), _as_array(other, others)
    if number is not None and number_held is not None:
        same = _equal(number, number_held)
        return None if same else (path, _short(number), _short(number_held))
    differs = path, said(one, tensors), said(other, others)
    if type(one) is not type(other):
        return differs
    if isinstance(one, list) and len(one) == len(other):
        pairs = [(f"{path}.{n}", a, b) for n, (a, b) in enumerate(zip(one, other))]
    elif isinstance(one, dict) and set(one) == set(other):
        kinds = [name for name in one if name.startswith("$")]
        if any(one[name] != other[name] and not isinstance(one[name], (list, dict))
               for name in kinds):  # fmt: skip
            return differs
        flat = ("parts", "args", "$dict", "$list")
        pairs = [
            (path if name in flat else f"{path}.{name}", one[name], other[name])
            for name in one
            if name not in ("$stored", "$numpyro", "token", "why")
        ]
    else:
        return None if one == other else differs
    for inner, a, b in pairs:
        if (found := difference(a, tensors, b, others, inner)) is not None:
            return found
    return None


def said(data: Json, tensors: Mapping[str, Any]) -> str:
    """A description in few words: ``Normal(scale=0.1)``."""
    if isinstance(data, list):
        return f"({', '.join(said(part, tensors) for part in data)})"[:120]
    if not isinstance(data, dict):
        return repr(data)[:80]
    if "$array" in data:
        return _short(_as_array(data, tensors))
    if "$learned" in data:
        return f"learned({data['$learned']})"
    name = next((data[key] for key in data if key.startswith("$")), "")
    inside: dict[str, Any] = data.get("parts") or data.get("args") or {}
    if "base" in data:
        inside = {"base": data["base"], **inside}
    if not isinstance(name, str):
        return "a dictionary"
    shown = ", ".join(f"{key}={said(part, tensors)}" for key, part in inside.items())
    name = name.rpartition(".")[2]
    return name if "$function" in data else f"{name}({shown})"[:120]


def _as_array(data: Json, tensors: Mapping[str, Any]) -> np.ndarray | None:
    """A number, or an array of them; None of anything else."""
    if isinstance(data, (int, float)) and not isinstance(data, bool):
        return np.asarray(data)
    if isinstance(data, dict) and "$array" in data and data["$array"] in tensors:
        tensor = tensors[data["$array"]]
        return None if is_mapped(tensor) else np.asarray(tensor)
    if isinstance(data, dict) and "$float" in data:
        return np.asarray(float(data["$float"]))
    return None


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two are the same numbers, in the precision of the less precise."""
    floats = [array for array in (one, other) if array.dtype.kind == "f" and array.ndim]
    floats += [array for array in (one, other) if array.dtype == np.float32]
    if floats:
        least = min(floats, key=lambda array: array.dtype.itemsize).dtype
        one, other = one.astype(least), other.astype(least)
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def encode_distribution(given: dist.Distribution) -> tuple[Json, dict[str, np.ndarray]]:
    """A NumPyro distribution as plain data, with its arrays.

    Raises:
        CannotEncodeError: it is not one that its parameters describe.
    """
    encoder = Encoder()
    return encoder.encode(given, "distribution"), encoder.tensors
