"""Numbers that are no shapes compile nothing: a second fit of another length is for free."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import jax
import numpy as np
import pytest

import posterity as po
from contract.table import TABLE, Row
from oracles import conjugate
from posterity.run.loop import fixed_for

ORACLE = conjugate(rows=37)  # rows that no other test has
OTHER: dict[str, Any] = {
    "steps": 60,
    "draws": 24,
    "kl_weight": 0.7,
    "temperature": 1.2,
    "friction": 0.15,
    "target_acceptance": 0.75,
    "bias": 0.05,
    "length": 1.5,
    "energy_var": 1e-3,
    "leapfrogs": 3,
    "tolerance": 1e-2,
    "init_scale": 0.05,
    "beta_1": 0.8,
    "warmup": 22,
}


def other(method: Any) -> Any:
    """The method with another value of every traced setting that has one."""
    changed = {name: OTHER[name] for name in method.traced if name in OTHER}
    if getattr(method, "step_size", None) is not None:
        changed["step_size"] = 0.8 * method.step_size
    if isinstance(method, po.DADVI):
        changed["steps"] = 3
    return dataclasses.replace(method, **changed)


rows = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


@rows
def test_other_lengths_steps_and_weights_compile_nothing(
    row: Row, caplog: pytest.LogCaptureFixture
) -> None:
    """Where chains run in threads, whatever compiles does so in this one."""
    method = row.short
    assert method.traced
    for number, chosen in enumerate((method, other(method))):
        with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
            po.fit(ORACLE.model, ORACLE.data, chosen, progress=False)
        said = [record.getMessage() for record in caplog.records]
        compiled = [each for each in said if "Finished XLA compilation" in each]
        loops = [each for each in compiled if "dispatch" in each or "prepare" in each]
        assert bool(loops) == (number == 0), loops
        caplog.clear()


@rows
def test_settings_that_are_traced_are_the_methods_own(row: Row) -> None:
    method = row.short
    fields = {field.name: str(field.type) for field in dataclasses.fields(method)}
    for name in method.traced:
        assert fields[name] in ("int", "float", "int | None", "float | None")
    fixed = fixed_for(method, _Sized(3), None)  # type: ignore[arg-type]
    for name in method.traced:
        found = getattr(fixed.whole, name)
        assert found == pytest.approx(getattr(method, name)) if found is not None else True
    assert fixed.method == fixed_for(other(method), _Sized(3), None).method  # type: ignore[arg-type]
    assert fixed.room == 1 << (fixed.room // method.thin).bit_length() - 1 or method.collects


class _Sized:
    def __init__(self, size: int) -> None:
        self.size = size


def test_a_length_that_is_traced_is_the_length_that_is_run() -> None:
    """The same draws by a run whose loop was compiled for another, and by one of its own."""
    short = po.SGLD(draws=5, step_size=1e-3, thin=2)
    long = dataclasses.replace(short, draws=8, step_size=2e-3)
    po.fit(ORACLE.model, ORACLE.data, short, progress=False)
    found = po.fit(ORACLE.model, ORACLE.data, long, progress=False)
    jax.clear_caches()
    again = po.fit(ORACLE.model, ORACLE.data, long, progress=False)
    np.testing.assert_array_equal(found.distribution.theta, again.distribution.theta)
    assert found.history.step_size[0, 0] == np.float32(2e-3)
