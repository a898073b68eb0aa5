"""Convolutions and pooling that are fast inside a compiled loop on CPU.

Inside a `lax.scan` XLA computes a convolution on CPU by plain loops: for the layers of LeNet-5 on
two cores 6 to 19 times slower than here (`benchmarks/convolutions.py`). `lowered` traces a function
and computes its convolutions as products of patches, and its pooling by comparisons: the same
numbers but for rounding.

Two things make the products fast. The batch is the last axis, (channels, height, width, batch), so
that every copy moves long runs. And neighbouring outputs are computed together, as a *tile* (see
`tiles`).
"""

from posterity.nets.lowering.evaluation import lowered

__all__ = ["lowered"]
