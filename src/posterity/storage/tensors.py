"""Named arrays in a safetensors file, of which draws may stay in another file."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from posterity.distributions.draws import in_blocks
from posterity.distributions.spool import Spool, scratch
from posterity.distributions.spooled import SpooledDraws
from posterity.files import replacing

Tensor = np.ndarray | SpooledDraws

# Those of the format that arrays of a posterior have.
DTYPES = (
    *("float64", "float32", "float16", "bool"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
)


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write a safetensors file atomically; draws in a file are mapped, and not loaded."""
    arrays = {name: _in_order(tensor) for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(arrays, temporary, dict(metadata))
    return path


def digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """The checksum of a description and of all arrays with their names, dtypes and shapes."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        head = f"\n{name} {dtype_of(tensor).str} {tensor.shape}\n"
        found.update(head.encode())
        for piece in pieces(tensor):
            found.update(piece)
    return found.hexdigest()


def pieces(tensor: Tensor) -> Iterator[memoryview]:
    """The bytes of an array in the order of its elements."""
    if isinstance(tensor, SpooledDraws):
        for numbers in in_blocks(tensor.stored, tensor.spool.width):
            yield tensor.raw(numbers).data.cast("B")
    else:
        yield np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data


def mapped(path: Path, name: str) -> SpooledDraws:
    """Draws (chain, draw, D) of a safetensors file, left where they are."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(length))[name]
    dtype = f"<f{int(entry['dtype'].removeprefix('F')) // 8}"
    shape = tuple(map(int, entry["shape"]))
    spool = Spool(path, 8 + length + int(entry["data_offsets"][0]), shape, dtype)
    return SpooledDraws(spool, shape[1])


def dtype_of(tensor: Tensor) -> np.dtype:
    """The dtype of an array."""
    return tensor.spool.dtype if isinstance(tensor, SpooledDraws) else tensor.dtype


def _in_order(tensor: Tensor) -> np.ndarray:
    """An array whose elements lie one after the other: the library writes what lies there."""
    if not isinstance(tensor, SpooledDraws):
        return np.asarray(tensor, order="C")
    array = tensor.theta
    if array.flags.c_contiguous:
        return array
    # A file that has room for more draws: they are brought together in another.
    copy = scratch(tensor.shape, dtype_of(tensor))
    rows = copy.reshape(tensor.stored, tensor.size)
    for numbers in in_blocks(tensor.stored, tensor.spool.width):
        rows[numbers] = tensor.raw(numbers)
    return copy
