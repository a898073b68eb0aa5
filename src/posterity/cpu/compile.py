"""Compilation: kept between processes, and quick where code runs only once."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import stat
import threading
import warnings
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
SEAL = hashlib.sha256().digest_size  # bytes at the end of an entry
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

    What is kept is native code, which a later process runs: the folder is the user's alone. One
    that others own or can write to is left alone, with a warning, and nothing is kept.

    JAX has one cache per process, so this is a process-wide setting; it is made at the first fit
    or prediction and never at import.
    """
    folder = cache_folder()
    if folder is None or jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    if not _is_ours(folder):
        return
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    # JAX decides once, at its first compilation, whether there is a cache.
    compilation_cache.reset_cache()
    _seal()


@functools.cache
def _is_ours(folder: Path) -> bool:
    """Whether only we can write to the folder, which is made where there is none; asked once."""
    try:
        _make_private(folder)
    except OSError:
        return False  # A read-only home is no reason to fail; compilation is then only slower.
    if os.name == "nt" or not (why := _open_to_others(folder)):
        return True
    warnings.warn(
        f"Compiled loops are not kept, so that every process compiles them again: {why}. They are "
        "native code, which whoever can write there could replace. Make the folder your own "
        f"(chown, chmod go-w), or name another: {VARIABLE}=/a/folder/of/yours; {VARIABLE}=off "
        "keeps none without this warning.",
        stacklevel=3,
    )
    return False


def _make_private(folder: Path) -> None:
    """Make the folder for its owner alone, as one that is there becomes."""
    for place in reversed([folder, *folder.parents]):
        if not place.exists():
            with contextlib.suppress(FileExistsError):
                place.mkdir(mode=0o700)
    found = folder.stat()
    readable = stat.S_IMODE(found.st_mode) & 0o055
    if os.name != "nt" and found.st_uid == os.getuid() and readable and not _writers(found):
        folder.chmod(0o700)


def _open_to_others(folder: Path) -> str:
    """Why others could put code into the folder, or another folder into its place; empty if not."""
    for path in dict.fromkeys([folder, folder.resolve()]):
        path = Path(os.path.abspath(path))
        for place in (path, *path.parents):
            found = place.stat()
            if found.st_uid not in (os.getuid(), 0) or (
                place == path and found.st_uid != os.getuid()
            ):
                return f"{place} belongs to another user, number {found.st_uid}"
            sticky = place != path and found.st_mode & stat.S_ISVTX  # others cannot rename ours
            if (who := _writers(found)) and not sticky:
                return f"{who} can write to {place}"
    return ""


def _writers(found: os.stat_result) -> str:
    """Which others can write to a folder: everybody, a group of several, or nobody."""
    if found.st_mode & stat.S_IWOTH:
        return "everybody"
    if found.st_mode & stat.S_IWGRP and not _is_alone(found.st_gid):
        return f"group {found.st_gid}"
    return ""


def _is_alone(group: int) -> bool:
    """Whether a group is the one that many systems give to every user alone, by the user's name."""
    import grp
    import pwd

    try:
        known, user = grp.getgrgid(group), pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    mine = user.pw_gid == group and known.gr_name == user.pw_name
    return mine and set(known.gr_mem) <= {user.pw_name}


# -- entries that chance has damaged ---------------------------------------------------------------


class Sealed:
    """JAX's cache with a checksum at the end of every entry: what does not fit is compiled anew.

    JAX reads a damaged entry with a warning, compiles, and then keeps the damaged one.

    Args:
        cache: of JAX, with `get` and `put` by key, whose entries are files in a folder.
    """

    def __init__(self, cache: Any) -> None:
        self.cache = cache
        self._path = cache._path  # which JAX logs

    def get(self, key: str) -> bytes | None:
        """The entry, or None where there is none; a damaged one is removed."""
        content = self.cache.get(key)
        if content is None:
            return None
        value, seal = content[:-SEAL], content[-SEAL:]
        if hashlib.sha256(value).digest() == seal:
            return value
        with contextlib.suppress(OSError):
            for kind in ("cache", "atime"):
                (Path(self._path) / f"{key}-{kind}").unlink(missing_ok=True)
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keep an entry."""
        self.cache.put(key, value + hashlib.sha256(value).digest())


def _seal() -> None:
    """Put `Sealed` around JAX's cache; where a release of JAX has another, it stays as it is."""
    try:
        from jax._src import compilation_cache as inside

        inside._initialize_cache()
        if inside._cache is not None:  # as where JAX is told to keep nothing at all
            inside._cache = Sealed(inside._cache)  # type: ignore[assignment]
    except (ImportError, AttributeError, TypeError) as error:
        warnings.warn(
            "This release of JAX keeps compiled loops in another way than posterity knows "
            f"({error}); a damaged one is compiled again in every process.",
            stacklevel=3,
        )
