"""What a row of inputs is: one array, a tuple or a dictionary of arrays, described and checked.

The first axis of every array counts the rows. The description is static: it belongs to the target.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, get_args

import jax
import jax.numpy as jnp
import numpy as np

from posterity import remedies
from posterity.dtypes import float_dtype, largest_magnitude
from posterity.frames import Frame, default_names, in_order, read_frame
from posterity.storable import stored

Structure = Literal["array", "tuple", "dict"]
Number = Literal["float", "int32"]  # "float" is the library's precision, whichever that is

REAL_KINDS = "fiub"
INTEGER_KINDS = "iu"
MOST_NUMBERS = 10**9  # of a row that is read from a file
MOST_AXES = 16


@stored("inputs.Leaf")
@dataclasses.dataclass(frozen=True)
class Leaf:
    """One array of the inputs, without its axis of rows.

    Attributes:
        name: "" of the only array, "0", "1", … in a tuple, the key in a dictionary.
        shape: of a row.
        dtype: ``"int32"`` where the net indexes with the array, else ``"float"``.
        columns: names of the columns of a data frame, in the order that the net sees; None where
            the array has no names.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Number = "float"
    columns: tuple[str, ...] | None = None


@stored("inputs.Spec")
@dataclasses.dataclass(frozen=True)
class InputSpec:
    """The description of the inputs: static, hashable, and plain data in files.

    Attributes:
        leaves: the arrays, in JAX's order: of a dictionary by sorted name.
        structure: how they hang together.

    >>> InputSpec.of_shape((3,)).shapes(2)
    ShapeDtypeStruct(shape=(2, 3), dtype=float32)
    """

    leaves: tuple[Leaf, ...]
    structure: Structure = "array"

    def check_stored(self) -> None:
        """At least one array, of rows that have a size."""
        sizes = [math.prod(leaf.shape) for leaf in self.leaves]
        if not sizes or any(min(leaf.shape, default=0) < 0 for leaf in self.leaves):
            raise ValueError("a row of its inputs has no shape.")
        if max(sizes) > MOST_NUMBERS:
            raise ValueError(f"a row of its inputs has {max(sizes)} numbers.")
        if self.structure == "array" and len(sizes) > 1:
            raise ValueError("its inputs are one array, and several.")
        for leaf in self.leaves:
            if len(leaf.shape) > MOST_AXES:
                raise ValueError(f"a row of its inputs has {len(leaf.shape)} axes.")
            if leaf.columns is not None and (len(leaf.columns),) != leaf.shape:
                raise ValueError(f"{len(leaf.columns)} columns have names, of {leaf.shape}.")

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> InputSpec:
        """One float array whose rows have a shape."""
        return cls((Leaf("", tuple(map(int, shape))),))

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of a row where the inputs are one float array, else None."""
        only = self.structure == "array" and self.leaves[0].dtype == "float"
        return self.leaves[0].shape if only else None

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Names of the columns where the inputs are one array that has them, else None."""
        return self.leaves[0].columns if self.structure == "array" else None

    @property
    def dtypes(self) -> tuple[Number, ...]:
        """The type of every array."""
        return tuple(leaf.dtype for leaf in self.leaves)

    def with_dtypes(self, dtypes: Sequence[Number]) -> Self:
        """The description with other types."""
        leaves = [
            dataclasses.replace(leaf, dtype=dtype)
            for leaf, dtype in zip(self.leaves, dtypes, strict=True)
        ]
        return dataclasses.replace(self, leaves=tuple(leaves))

    def built(self, parts: Sequence[Any]) -> Any:
        """One value per leaf as one array, a tuple or a dictionary."""
        if self.structure == "dict":
            return {leaf.name: part for leaf, part in zip(self.leaves, parts, strict=True)}
        return tuple(parts) if self.structure == "tuple" else parts[0]

    def without_numbers(self) -> Self:
        """The description without names that are 0, 1, 2, …, which nobody gave."""
        leaves = [
            dataclasses.replace(leaf, columns=None)
            if leaf.columns and default_names(leaf.columns)
            else leaf
            for leaf in self.leaves
        ]
        return dataclasses.replace(self, leaves=tuple(leaves))

    def shapes(self, rows: int) -> Any:
        """Inputs of so many rows as shapes and dtypes, for tracing."""
        dtypes = {"float": float_dtype(), "int32": np.int32}
        return self.built(
            [jax.ShapeDtypeStruct((rows, *leaf.shape), dtypes[leaf.dtype]) for leaf in self.leaves]
        )

    def label(self, number: int, name: str = "x") -> str:
        """What a user calls array `number`: ``x``, ``x[0]`` or ``x['age']``."""
        if self.structure == "array":
            return name
        return f"{name}[{number if self.structure == 'tuple' else repr(self.leaves[number].name)}]"

    def alike(self, other: InputSpec) -> bool:
        """Whether both have the same arrays with rows of the same shapes."""
        return self.structure == other.structure and (
            [(leaf.name, leaf.shape) for leaf in self.leaves]
            == [(leaf.name, leaf.shape) for leaf in other.leaves]
        )

    def __str__(self) -> str:
        words = [f"{leaf.shape}" + " of integers" * (leaf.dtype == "int32") for leaf in self.leaves]
        if self.structure == "array":
            return words[0]
        return ", ".join(f"{self.label(n)} {said}" for n, said in enumerate(words))

    def to_json(self) -> dict[str, Any]:
        """Plain data, for files."""
        return {
            "structure": self.structure,
            "leaves": [
                {
                    "name": leaf.name,
                    "shape": list(leaf.shape),
                    "dtype": leaf.dtype,
                    "columns": None if leaf.columns is None else list(leaf.columns),
                }
                for leaf in self.leaves
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InputSpec:
        """The inverse of `to_json`.

        Raises:
            ValueError, KeyError: the data describe no inputs.
        """
        leaves = tuple(
            Leaf(
                str(leaf["name"]),
                tuple(map(int, leaf["shape"])),
                leaf["dtype"],
                None if leaf["columns"] is None else tuple(map(str, leaf["columns"])),
            )
            for leaf in data["leaves"]
        )
        known = data["structure"] in get_args(Structure)
        if not known or any(leaf.dtype not in get_args(Number) for leaf in leaves) or not leaves:
            raise ValueError(f"inputs: {data!r} is no description of them")
        return cls(leaves, data["structure"])


def as_spec(inputs: InputSpec | Sequence[int]) -> InputSpec:
    """A description, or the shape of a row of one float array, as a description."""
    return inputs if isinstance(inputs, InputSpec) else InputSpec.of_shape(inputs)


@dataclasses.dataclass(frozen=True)
class Given:
    """Inputs as a user gave them: arrays of numbers, not yet converted.

    Attributes:
        arrays: as they were given. name: what the user calls them.
        spec: their description; ``"int32"`` says that an array was given as integers.
        labels: the labels of the rows of a data frame, as a pandas index; None where there are
            none.
    """

    arrays: tuple[np.ndarray, ...]
    spec: InputSpec
    name: str = "x"
    labels: Any = dataclasses.field(default=None, compare=False)

    @property
    def rows(self) -> int:
        """N."""
        return self.arrays[0].shape[0]

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Names of the columns where there is one array with names, else None."""
        return self.spec.columns

    def matched(self, spec: InputSpec) -> Given:
        """The inputs under the description that a model was fitted to.

        Columns with the same names in another order are put right by name. Names are kept where
        only one side has them; names 0, 1, 2, … in this order count as none.

        Raises:
            ValueError: other arrays, rows of another shape, or columns that are missing or unknown.
        """
        self._refuse_others(spec)
        arrays, leaves = [], []
        for number, (array, own, leaf) in enumerate(
            zip(self.arrays, self.spec.leaves, spec.leaves)
        ):
            label = self.spec.label(number, self.name)
            array = in_order(array, own.columns, leaf.columns, label)
            if array.shape[1:] != leaf.shape:
                raise ValueError(
                    f"{label}: its rows have shape {array.shape[1:]}, but the model was fitted to "
                    f"rows of shape {leaf.shape}. Give the same columns in the same order as in "
                    "fit."
                )
            arrays.append(array)
            leaves.append(dataclasses.replace(leaf, columns=leaf.columns or own.columns))
        described = InputSpec(tuple(leaves), spec.structure)
        return Given(tuple(arrays), described, self.name, self.labels)

    def taken(self, rows: np.ndarray) -> Given:
        """Some of the rows, by number."""
        labels = None if self.labels is None else self.labels[rows]
        return Given(tuple(array[rows] for array in self.arrays), self.spec, self.name, labels)

    def converted(self, spec: InputSpec | None = None) -> Any:
        """Finite arrays in the types of `spec`, which differs from the own one in types only.

        Args:
            spec: None for floats.

        Raises:
            ValueError: a value is not finite, too large, or no integer where the net indexes.
        """
        dtypes = spec.dtypes if spec else ("float",) * len(self.arrays)
        parts = [
            (as_indices if dtype == "int32" else as_finite)(array, self.spec.label(n, self.name))
            for n, (array, dtype) in enumerate(zip(self.arrays, dtypes))
        ]
        return self.spec.built(parts)

    def _refuse_others(self, spec: InputSpec) -> None:
        own, fitted = self.spec, spec
        same_names = [a.name for a in own.leaves] == [b.name for b in fitted.leaves]
        if own.structure != fitted.structure or not same_names:
            raise ValueError(
                f"{self.name}: the model was fitted to {_words(fitted)}, not {_words(own)}."
                + " For one array of rows use np.asarray."
                * (own.structure == "tuple" and fitted.structure == "array")
            )


def _words(spec: InputSpec) -> str:
    if spec.structure == "array":
        return "one array"
    if spec.structure == "tuple":
        return f"a tuple of {len(spec.leaves)} arrays"
    return f"a dictionary of {', '.join(repr(leaf.name) for leaf in spec.leaves)}"


def read(x: Any, name: str = "x") -> Given:
    """Inputs as arrays of numbers, with their description.

    Args:
        x: one array (N, ...) of NumPy, JAX or lists; a pandas or polars data frame; a tuple or a
            dictionary of such, whose arrays may also be (N,).
        name: what the user calls them.

    Raises:
        TypeError: an array holds no numbers.
        ValueError: no rows, a wrong rank, or arrays with different numbers of rows.
    """
    if isinstance(x, Given):
        return x
    if isinstance(x, Mapping):
        return _several({key: x[key] for key in _keys(x, name)}, "dict", name)
    if isinstance(x, tuple):
        return _several({str(number): part for number, part in enumerate(x)}, "tuple", name)
    frame = read_frame(x, name)
    array = as_numbers(x, name) if frame is None else frame.array
    if array.ndim < 2:
        raise ValueError(
            f"{name}: expected rows of inputs, shape (rows, columns, ...), got "
            f"shape {array.shape}. {remedies.rows_of(x, name, array.ndim)}"
        )
    if 0 in array.shape:
        raise ValueError(f"{name}: it is empty, shape {array.shape}; at least one row is needed.")
    return Given(
        (array,), InputSpec((_leaf("", frame, array),)), name, frame.labels if frame else None
    )


def _several(parts: dict[str, Any], structure: Structure, name: str) -> Given:
    if not parts:
        raise ValueError(f"{name}: it is empty; at least one array is needed.")
    names = InputSpec(tuple(Leaf(key, ()) for key in parts), structure)
    arrays: list[np.ndarray] = []
    frames: list[Frame | None] = []
    labels, first = None, 0  # those of the first array that has them
    for number, part in enumerate(parts.values()):
        label = names.label(number, name)
        if isinstance(part, Mapping):
            raise TypeError(f"{label}: expected an array, got a dictionary in a {structure}.")
        frame = read_frame(part, label)
        frames.append(frame)
        array = as_numbers(part, label) if frame is None else frame.array
        if frame is not None and frame.labels is not None:
            if labels is None:
                labels, first = frame.labels, number
            array = frame.arranged(None, labels, names.label(first, name))
        if array.ndim == 0:
            raise ValueError(
                f"{label}: expected an array with an axis of rows, got one number. "
                f"{remedies.row_by_row(parts.values(), label, name, structure)}"
            )
        if 0 in array.shape:
            raise ValueError(
                f"{label}: it is empty, shape {array.shape}; at least one row is needed."
            )
        if arrays and array.shape[0] != arrays[0].shape[0]:
            raise ValueError(
                f"{label}: it has {array.shape[0]} rows, but {names.label(0, name)} has "
                f"{arrays[0].shape[0]}. They must describe the same rows."
            )
        arrays.append(array)
    leaves = [_leaf(key, frame, array) for key, frame, array in zip(parts, frames, arrays)]
    return Given(tuple(arrays), InputSpec(tuple(leaves), structure), name, labels)


def _keys(x: Mapping[Any, Any], name: str) -> list[str]:
    for key in x:
        if not isinstance(key, str):
            raise TypeError(f"{name}: as a dictionary, its keys are names, not {key!r}.")
    return sorted(x)


def _leaf(name: str, frame: Frame | None, array: np.ndarray) -> Leaf:
    dtype: Number = "int32" if array.dtype.kind in INTEGER_KINDS else "float"
    return Leaf(name, array.shape[1:], dtype, frame.columns if frame else None)


def as_inputs(x: Any, spec: InputSpec | None = None, name: str = "x") -> Any:
    """Inputs as finite arrays, each (rows, ...): one, a tuple or a dictionary of them.

    Args:
        x: as `read`.
        spec: the description that a model was fitted to; None for floats of any shape.
        name: what the user calls them.

    Raises:
        TypeError, ValueError: `x` holds no real numbers, NaN or infinite ones, has no rows, or is
            not as described. The message names the array, the first bad index and the remedy.

    >>> as_inputs([[1, 2], [3, 4]]).dtype.name
    'float32'
    """
    given = read(x, name)
    return given.converted() if spec is None else given.matched(spec).converted(spec)


def as_table(x: Any, name: str = "x") -> np.ndarray:
    """Inputs as one array of columns (rows, columns), for what shows one or two of them.

    Raises:
        ValueError: they are several arrays.
    """
    given = read(x, name)
    if given.spec.structure != "array":
        raise ValueError(
            f"{name}: this needs the columns of one array, and {_words(given.spec)} is given."
        )
    return given.converted()


def row_count(x: Any) -> int:
    """The number of rows of inputs."""
    return jax.tree.leaves(x)[0].shape[0]


def take(x: Any, rows: Any) -> Any:
    """Some rows of inputs: `rows` is what an array is indexed with."""
    return jax.tree.map(lambda array: array[rows], x)


def padded(x: Any, rows: int) -> Any:
    """Inputs with the last row repeated until there are `rows` of them."""
    short = rows - row_count(x)
    if not short:
        return x
    return jax.tree.map(lambda a: np.concatenate([a, np.repeat(a[-1:], short, axis=0)]), x)


def on_device(x: Any) -> Any:
    """Inputs as JAX arrays."""
    return jax.tree.map(jnp.asarray, x)


# -- numbers --------------------------------------------------------------------------------------


def as_numbers(given: Any, name: str) -> np.ndarray:
    """`given` as an array of real numbers, of any shape and values.

    Raises:
        TypeError, ValueError: it holds something else, or masked values.
    """
    if np.ma.isMaskedArray(given) and np.ma.getmaskarray(given).any():
        where = ", ".join(map(str, np.argwhere(np.ma.getmaskarray(given))[0]))
        raise ValueError(f"{name}[{where}] is masked: drop or impute missing values.")
    if (frame := read_frame(given, name)) is not None:
        return frame.array
    try:
        array = np.asarray(given)
    except Exception as error:
        raise TypeError(f"{name}: {remedies.unconvertible(given, name, error)}") from error
    if array.dtype.kind in REAL_KINDS:
        return array
    if array.dtype.kind == "V" and jnp.issubdtype(array.dtype, np.floating):  # bfloat16 and less
        return array.astype(np.float32)
    if array.dtype.kind in "OUS":
        return _from_objects(given, array, name)
    raise TypeError(
        f"{name}: dtype {array.dtype} holds no real numbers; "
        f"{remedies.of_dtype(given, array, name)}."
    )


def _from_objects(given: Any, array: np.ndarray, name: str) -> np.ndarray:
    """Objects that are all real numbers as floats; anything else is refused by index."""
    for index, value in np.ndenumerate(array):
        if not isinstance(value, (int, float, np.integer, np.floating, np.bool_)):
            raise TypeError(
                f"{name}{_at(index)} = {_short(value)} is not a number (dtype {array.dtype}): "
                f"{remedies.of_value(given, array, index, name)}."
            )
    return array.astype(np.float64)


def _short(value: Any, most: int = 80) -> str:
    """A value for a message; of a long one, its type."""
    said = repr(value)
    return said if len(said) <= most else f"a {type(value).__name__}"


def as_finite(array: np.ndarray, name: str) -> np.ndarray:
    """`array` in the library's float type; NaN, infinity and what cannot be squared are refused."""
    if array.dtype.kind != "f" or array.dtype.itemsize < 4:
        array = array.astype(np.float64 if array.dtype.itemsize > 2 else np.float32)
    limit = largest_magnitude()
    # One pass and no temporary of the array's size where all is well.
    if array.size and not (float(array.min()) >= -limit and float(array.max()) <= limit):
        bad = ~(np.abs(array) <= np.float64(limit))
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        value = array[first]
        if np.isfinite(value):
            what = f"is too large for {np.dtype(float_dtype()).name} arithmetic: standardise {name}"
        else:
            what = "is not finite: drop or impute such rows"
        raise ValueError(f"{name}{_at(first)} = {value} {what}. ({bad.sum()} such values.)")
    return array.astype(float_dtype(), copy=False)


def as_indices(array: np.ndarray, name: str) -> np.ndarray:
    """`array` as int32, which a net indexes with; what is no integer of that range is refused."""
    if array.dtype == np.int32:
        return array
    limits = np.iinfo(np.int32)
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.floor(array))
        if not whole.all():
            first = tuple(int(i) for i in np.argwhere(~whole)[0])
            raise ValueError(
                f"{name}{_at(first)} = {array[first]} is no whole number, but the net indexes with "
                f"{name}. Give integers. ({(~whole).sum()} such values.)"
            )
    if float(array.min()) < limits.min or float(array.max()) > limits.max:
        bad = (array < limits.min) | (array > limits.max)
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name}{_at(first)} = {array[first]} is out of the range of int32: number the "
            f"categories from 0. ({bad.sum()} such values.)"
        )
    return array.astype(np.int32)


def _at(index: Sequence[int]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""
