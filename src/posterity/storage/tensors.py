"""Named arrays in a safetensors file, of which draws may stay in another file."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from posterity.distributions.spool import is_mapped, scratch
from posterity.files import replacing

# Those of the format that arrays of a posterior have.
DTYPES = (
    *("float64", "float32", "float16", "bool"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
)


def write(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Path:
    """Write a safetensors file atomically; draws in a file are mapped, and not loaded."""
    arrays = {name: _in_order(tensor) for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(arrays, temporary, dict(metadata))
    return path


def digest(text: str, tensors: Mapping[str, np.ndarray]) -> str:
    """The checksum of a description and of all arrays with their names, dtypes and shapes."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        head = f"\n{name} {tensor.dtype.str} {tensor.shape}\n"
        found.update(head.encode())
        for piece in pieces(tensor):
            found.update(piece)
    return found.hexdigest()


def pieces(tensor: np.ndarray) -> Iterator[memoryview]:
    """The bytes of an array in the order of its elements."""
    apart = is_mapped(tensor) and not tensor.flags.c_contiguous
    for part in tensor if apart else [tensor]:  # chains of a file with room for more draws
        yield np.ascontiguousarray(part).reshape(-1).view(np.uint8).data


def mapped(path: Path, name: str) -> np.ndarray:
    """Draws (chain, draw, D) of a safetensors file, left where they are."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(length))[name]
    dtype = f"<f{int(entry['dtype'].removeprefix('F')) // 8}"
    return np.memmap(path, dtype, "r", 8 + length + entry["data_offsets"][0], tuple(entry["shape"]))


def _in_order(tensor: np.ndarray) -> np.ndarray:
    """An array whose elements lie one after the other: the library writes what lies there."""
    if not is_mapped(tensor) or tensor.flags.c_contiguous:
        return np.asarray(tensor, order="C")
    copy = scratch(tensor.shape, tensor.dtype)
    for chain, draws in enumerate(tensor):
        copy[chain] = draws
    return copy
