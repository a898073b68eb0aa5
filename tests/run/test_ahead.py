"""The loop that is compiled while the starts are drawn."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import jax
import numpy as np
import pytest

import posterity as po
from posterity.run import ahead

MODEL = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))


def fit(steps: int) -> po.Posterior:
    """With as many rows as steps, since it takes other rows to have another loop."""
    x = np.linspace(-1, 1, steps)[:, None]
    return po.fit(MODEL, (x, x[:, 0]), po.ADVI(steps=steps), progress=False)


@pytest.fixture
def loops(caplog: pytest.LogCaptureFixture) -> Any:
    """How often this thread has XLA compile a loop in a fit of so many steps."""

    def count(steps: int) -> int:
        with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
            assert fit(steps).result.code.name in ("COMPLETED", "CONVERGED")
        said = [record.getMessage() for record in caplog.records]
        return sum("Finished XLA compilation of jit(dispatch)" in message for message in said)

    return count


def test_the_first_dispatch_waits_for_it(monkeypatch: pytest.MonkeyPatch, loops: Any) -> None:
    compile_at_once, threads = ahead._compile, []

    def late(lowered: Any) -> None:
        threads.append(threading.current_thread())
        time.sleep(1)
        compile_at_once(lowered)

    monkeypatch.setattr(ahead, "_compile", late)
    assert loops(steps=31) == 0
    assert threads
    assert threads[0] is not threading.current_thread()


def test_a_loop_that_is_known_is_left_to_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    fit(steps=32)
    monkeypatch.setattr(ahead, "_compile", lambda lowered: pytest.fail("compiled again"))
    assert fit(steps=32).result.code.name in ("COMPLETED", "CONVERGED")


def test_where_it_cannot_be_compiled_the_first_dispatch_does_it(
    monkeypatch: pytest.MonkeyPatch, loops: Any
) -> None:
    class Broken:
        def compile(self) -> None:
            raise RuntimeError("no")

    compile_it = ahead._compile
    monkeypatch.setattr(ahead, "_compile", lambda lowered: compile_it(Broken()))
    assert loops(steps=33) == 1
