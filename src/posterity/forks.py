"""Processes that were forked after JAX had started.

A fork copies a process without its threads. JAX computes in threads, so a forked process that
computes waits for ever, without a word. Each is told here that it is one.
"""

from __future__ import annotations

import os
import sys

_starting = False  # whether JAX had started when the fork that is under way began
_parent: int | None = None  # the process that this one was forked from, where its JAX had started


def refuse_fork(what: str) -> None:
    """Refuse to compute in a process that was forked after JAX had started.

    Args:
        what: what was called, as the message names it.

    Raises:
        RuntimeError: this is such a process.
    """
    if _parent is not None:
        raise RuntimeError(
            f"{what}: this process was forked from process {_parent}, in which JAX had started; "
            "its threads are not here, and the call would wait for ever. Start processes anew: "
            'multiprocessing.get_context("spawn").Pool(…), '
            'concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))'
            ', or joblib\'s own processes (loky). In Linux "forkserver" does, too.'
        )


def started() -> bool:
    """Whether JAX has started its threads in this process, as far as its insides tell."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bool(getattr(bridge, "_backends", None))


def _before() -> None:
    global _starting
    # Not in the child: a lock that another thread held is held there for ever.
    _starting = started()


def _in_child() -> None:
    global _parent
    if _starting and _parent is None:
        _parent = os.getppid()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before, after_in_child=_in_child)
