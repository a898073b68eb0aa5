"""Numbers that are no shapes are arrays; that they compile nothing, `contract/` tests."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import posterity as po
from contract.table import TABLE, Row
from oracles import conjugate
from posterity.run.loop import fixed_for

ORACLE = conjugate(rows=37)  # rows that no other test has
rows = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


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
    assert fixed.method == fixed_for(row.other, _Sized(3), None).method  # type: ignore[arg-type]
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
