"""Named arrays in a safetensors file, written and read piece by piece."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from posterity.distributions.draws import in_blocks
from posterity.distributions.spool import Spool
from posterity.distributions.spooled import SpooledDraws
from posterity.files import write_atomic

Tensor = np.ndarray | SpooledDraws

# The dtypes of the format that arrays of a posterior have.
NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write a safetensors file atomically; draws in a file pass through in blocks.

    The library's own writer wants every array as bytes in memory. Larger dtypes come first, as
    there, so that every array is aligned.
    """
    names = sorted(tensors, key=lambda name: (-dtype_of(tensors[name]).itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + _bytes(tensor)
        header[name] = {
            "dtype": NAMES[dtype_of(tensor).name],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def content() -> Iterator[bytes | memoryview]:
        yield struct.pack("<Q", len(text)) + text
        for name in names:
            yield from pieces(tensors[name])

    return write_atomic(path, content())


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
    dtype = next(known for known, short in NAMES.items() if short == entry["dtype"])
    shape = tuple(map(int, entry["shape"]))
    spool = Spool(path, 8 + length + int(entry["data_offsets"][0]), shape, dtype)
    return SpooledDraws(spool, shape[1])


def dtype_of(tensor: Tensor) -> np.dtype:
    """The dtype of an array."""
    return tensor.spool.dtype if isinstance(tensor, SpooledDraws) else tensor.dtype


def _bytes(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64)) * dtype_of(tensor).itemsize
