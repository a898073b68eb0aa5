"""Compilation: kept between processes, and quick where code runs only once."""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import platformdirs

from posterity.dtypes import float_dtype

VARIABLE = "POSTERITY_CACHE"
# Code that runs once, and loops that are over in less time than it takes to compile them well: the
# older emitters compile faster and make slower loops.
ONCE = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
BRIEF = {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}


# Compiled forms of a function that are kept: of what a fit runs, whose loop has about 10 MB each,
# and of others, as a process that serves many models goes from one to the next.
LOOPS, MOST = 16, 32
NUMBERS = itertools.count()


class Forms:
    """A compiled function that keeps as many compiled forms as it is told, the last used ones.

    JAX keeps a form for each model and each number of rows that there ever was.

    Args:
        function: what to compile. most: how many of its forms are kept.
        settings: of `equinox.filter_jit` and `jax.jit`.
    """

    def __init__(self, function: Callable, most: int, settings: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self._function, self._most, self._settings = function, most, settings
        self._forms: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()  # chains call from several threads

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._form(args, kwargs)(*args, **kwargs)

    def __len__(self) -> int:
        return len(self._forms)

    def _form(self, args: Any, kwargs: Any) -> Any:
        leaves, structure = jax.tree.flatten((args, kwargs))
        key = structure, tuple(map(_kind, leaves)), float_dtype()
        with self._lock:
            form = self._forms.get(key)
            if form is None:
                form = self._forms[key] = self._new()
            self._forms.move_to_end(key)
            while len(self._forms) > self._most:
                _drop(self._forms.popitem(last=False)[1])
        return form

    def _new(self) -> Any:
        function = self._function

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        # Equinox has one compiled function for each qualified name, and frees all of it or nothing.
        call.__qualname__ = f"{function.__qualname__} {next(NUMBERS)}"
        jit: Any = eqx.filter_jit  # whose types do not know JAX's own settings
        return jit(call, **self._settings)


def _kind(leaf: Any) -> Any:
    """What a compiled form depends on: an array's shape and type, or the leaf itself."""
    if isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
        return leaf.shape, leaf.dtype
    return type(leaf), leaf


def _drop(form: Any) -> None:
    """Free a compiled form; JAX would keep it beside the function."""
    clear = getattr(getattr(form, "_cached", None), "clear_cache", None)
    if clear is not None:
        clear()


def kept_jit(function: Callable, *, most: int = MOST, **settings: Any) -> Any:
    """`equinox.filter_jit` that keeps the compiled forms used last; see `Forms`.

    Args:
        function: what to compile. most: how many of its forms are kept.
        settings: of `equinox.filter_jit` and `jax.jit`.
    """
    return Forms(function, most, settings)


def quick_jit(
    function: Callable, options: dict[str, Any] = ONCE, *, most: int = LOOPS, **settings: Any
) -> Any:
    """Compile `function` fast rather than well.

    What runs once saves so 25 % of the gap's cold first fit (`python benchmarks/cold.py`).

    Args:
        function: what to compile. options: of XLA's; where one is gone, there are none.
        most: how many compiled forms are kept.
        settings: of `kept_jit`.
    """
    quick = kept_jit(function, most=most, compiler_options=options, **settings)
    plain = kept_jit(function, most=most, **settings)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return quick(*args, **kwargs)
        except jax.errors.JaxRuntimeError as error:
            if "compile option" not in str(error):  # XLA's options come and go
                raise
            return plain(*args, **kwargs)

    return call


def cache_folder() -> Path | None:
    """Where compiled loops are kept: the user's cache folder, `POSTERITY_CACHE`, or nowhere.

    ``POSTERITY_CACHE=off`` switches the cache off; any other value is the folder to use.
    """
    given = os.environ.get(VARIABLE, "")
    if given.lower() in ("off", "0", "no", "false"):
        return None
    return Path(given) if given else Path(platformdirs.user_cache_dir("posterity")) / "compiled"


def use_compilation_cache() -> None:
    """Have JAX keep compiled loops on disk, unless the user has set up a cache or said no.

    JAX has one cache per process, so this is a process-wide setting; it is made at the first fit
    or prediction and never at import.
    """
    folder = cache_folder()
    if folder is None or jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # A read-only home is no reason to fail; compilation is then only slower.
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    # JAX decides once, at its first compilation, whether there is a cache.
    compilation_cache.reset_cache()
