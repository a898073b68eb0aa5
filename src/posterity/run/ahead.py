"""Compiles the loop in the background while the run's starts are drawn."""

from __future__ import annotations

import contextlib
import threading
import warnings
from typing import Any

import equinox as eqx
import jax
import numpy as np

from posterity.data.batches import Batches
from posterity.dtypes import float_dtype
from posterity.methods.method import AbstractMethod
from posterity.model.net_target import Target
from posterity.run.loop import Fixed, Loop, compiled_for, fixed_for, prepare
from posterity.run.runner import runs_apart
from posterity.run.threads import split

_known: set[int] = set()  # hashes of the loops that were compiled, by this process


class Ahead:
    """The loop of a run, while it is being compiled.

    Most of a first fit is compilation: of what draws and judges the starts, and of the loop. XLA
    works outside Python's lock, so that both can go on at once. The loop is traced here, as that
    needs the lock; what is compiled stays in JAX's memory, where the first dispatch finds it. A
    loop that was compiled before is left to JAX.

    Args:
        method, target, batches: of the run.
    """

    def __init__(self, method: AbstractMethod, target: Target, batches: Batches) -> None:
        self.thread: threading.Thread | None = None
        fixed = fixed_for(method, target, batches)
        loop = _fingerprint(fixed)
        if loop in _known:
            return
        _known.add(loop)
        blank, count = _blank(method, fixed), np.asarray(0, np.int32)
        with warnings.catch_warnings():
            # As when the loop is called: that of a number there is no use for is no news.
            warnings.filterwarnings("ignore", message="Some donated buffers were not usable")
            lowered = compiled_for(method, target).lower(fixed, blank, count, count)
        self.thread = threading.Thread(target=_compile, args=(lowered,))
        self.thread.start()

    def wait(self) -> None:
        """Until the loop is compiled, if it is not yet."""
        if self.thread is not None:
            self.thread.join()


def _compile(lowered: Any) -> None:
    with contextlib.suppress(Exception):  # the first dispatch will raise it where it can be caught
        lowered.compile()


def _fingerprint(fixed: Any) -> int:
    """The same for all runs that one compiled loop serves."""
    leaves, tree = jax.tree.flatten(fixed)
    kinds = [(leaf.shape, leaf.dtype) if eqx.is_array(leaf) else leaf for leaf in leaves]
    return hash((tree, tuple(kinds)))


def _blank(method: AbstractMethod, fixed: Fixed) -> Loop:
    """What the first dispatch of the run takes, in shapes and types."""
    chains = method.chains
    data = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
    zeros: Any = np.zeros((chains, *data.shape), data.dtype)
    keys = jax.random.wrap_key_data(zeros)
    starts = (method.start_count(fixed.target), chains, fixed.target.size)
    thetas = jax.ShapeDtypeStruct(starts, float_dtype())
    loop, _ = eqx.filter_eval_shape(prepare.__wrapped__, fixed, keys, thetas)
    rest = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), loop[1:])
    return split(Loop(keys, *rest), runs_apart(method, fixed.target))[0].loop
