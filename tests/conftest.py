"""What all tests share."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Most tests run too few steps to pay for XLA's optimisation, which is half of their time. It must
# be switched off before JAX starts; `make test-default-xla` leaves it on.
if os.environ.get("POSTERITY_TEST_XLA") != "default":
    off = (
        "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
        "--xla_cpu_parallel_codegen_split_count=1"
    )
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {off}"

import jax
import numpy as np
import pytest

from posterity.cpu import compile as compiling

if os.environ.get("POSTERITY_TEST_XLA") != "default":
    # Loops that a fit takes for short are not optimised either; long ones are, a little.
    LONG = dict(compiling.BRIEF)
    compiling.BRIEF.update(compiling.ONCE)
    from posterity.run import loop

    loop.thorough = compiling.quick_jit(loop.dispatch, LONG, donate="all-except-first")
    # What one worker has compiled, however small, the other finds: in a folder of the tests' own.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    if (folder := compiling.cache_folder()) is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder.with_name("compiled-for-tests")))

# The collector looks at all that JAX has traced, many times over: 6 % of the time of the tests.
gc.set_threshold(20_000, 50, 100)

MAPS = Path("/proc/self/maps")
MANY = 40_000  # memory maps; Linux allows a process 65,530, and every compiled loop takes some
TESTS = itertools.count(1)


@pytest.fixture(autouse=True)
def room_to_compile() -> Iterator[None]:
    """Forget compiled functions before there are too many: LLVM then crashes the process."""
    yield
    if next(TESTS) % 10 or not MAPS.exists():
        return
    with MAPS.open("rb") as lines:
        count = sum(1 for _ in lines)
    if count > MANY:
        jax.clear_caches()
        gc.collect()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep on one worker what shares compiled code and fits: a file, or a row of the contract.

    xdist's own groups (`--dist loadgroup`) do nothing since pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFileOrRow(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            _, _, row = test.partition("[")
            return f"{file} {row}" if file.endswith("test_contract.py") else file

    return ByFileOrRow(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; a test that needs it is skipped where there is none."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("POSTERITY_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set POSTERITY_DATA to the folder with uci/ and mnist/")
    return folder


@pytest.fixture(scope="session")
def moons() -> tuple[np.ndarray, ...]:
    """Two moons: x_train, y_train, x_test, y_test."""
    import posterity as po

    return tuple(po.data.moons())
