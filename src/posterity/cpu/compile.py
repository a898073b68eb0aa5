"""Compilation: kept between processes, and quick where code runs only once."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import platformdirs

VARIABLE = "POSTERITY_CACHE"
# Code that runs once, and loops that are over in less time than it takes to compile them well: the
# older emitters compile faster and make slower loops.
ONCE = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
BRIEF = {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}


# Compiled forms of a function that are kept: of a fit's loop, of about 20 MB each, and of others,
# as a process that serves many models goes from one to the next.
LOOPS, MOST = 16, 64

_kept: list[tuple[Any, int]] = []


def kept_jit(function: Callable, *, most: int = MOST, **settings: Any) -> Any:
    """`equinox.filter_jit`, of whose compiled forms `forget` drops those of too many models.

    Args:
        function: what to compile. most: how many of its forms are kept.
        settings: of `equinox.filter_jit` and `jax.jit`.
    """
    jit: Any = eqx.filter_jit  # whose types do not know JAX's own settings
    compiled = jit(function, **settings)
    _kept.append((compiled, most))
    return compiled


def forget() -> None:
    """Drop the compiled forms of functions that have too many: all of them, to begin anew.

    JAX keeps every compiled form for ever: a form for each model and number of rows there was.
    What is still needed is read back from the cache on disk.
    """
    for compiled, most in _kept:
        inside = getattr(compiled, "_cached", None)
        size, clear = getattr(inside, "_cache_size", None), getattr(inside, "clear_cache", None)
        if size is not None and clear is not None and size() > most:
            clear()


def quick_jit(function: Callable, options: dict[str, Any] = ONCE, **settings: Any) -> Any:
    """Compile `function` fast rather than well.

    What runs once saves so 25 % of the gap's cold first fit (`python benchmarks/cold.py`).

    Args:
        function: what to compile. options: of XLA's; where one is gone, there are none.
        settings: of `kept_jit`.
    """
    quick = kept_jit(function, compiler_options=options, **settings)
    plain = kept_jit(function, **settings)

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
    forget()
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
