"""Convolutions and pooling that are fast inside a compiled loop on CPU.

Inside a `lax.scan` XLA computes a convolution on CPU by plain loops, many times slower than here
(`benchmarks/convolutions.py`). `lowered` traces a function and computes its convolutions as
products, and its pooling by comparisons: the same numbers but for rounding.

A convolution is a product of patches (`tiles`), or one of spectra (`spectra`), whichever costs
less: spectra where channels are many or images small, patches where the input has a channel or
three, a kernel is of 1×1, or strides leave few outputs. In both the batch is the last axis, so that
every copy moves long runs.
"""

from posterity.cpu.conv.evaluation import lowered

__all__ = ["lowered"]
