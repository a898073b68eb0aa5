"""Chains in threads of their own: the same draws as alone, looks in step, nothing lost."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from oracles import conjugate
from posterity.diagnostics.result import Code
from posterity.run import runner
from posterity.run.progress import Watcher

ORACLE = conjugate()
NUTS = po.NUTS(chains=4, warmup=150, draws=250)


def fit(method: Any = NUTS, **settings: Any) -> po.Posterior:
    return po.fit(ORACLE.model, ORACLE.data, method, progress=False, **settings)


def theta(posterior: po.Posterior) -> np.ndarray:
    return np.asarray(posterior.distribution.theta)


@pytest.mark.parametrize(
    "method",
    [NUTS, po.MCLMC(chains=3, warmup=100, draws=50, thin=3)],
    ids=lambda method: type(method).__name__,
)
def test_the_number_of_workers_changes_no_bit(method: Any, monkeypatch: Any) -> None:
    runs = []
    for cores in (1, 2, 8):
        monkeypatch.setattr(runner, "_cores", lambda cores=cores: cores)
        runs.append(fit(method))
    for other in runs[1:]:
        np.testing.assert_array_equal(theta(other), theta(runs[0]))
        for name, values in runs[0].history.fields.items():
            np.testing.assert_array_equal(other.history.fields[name], values)


def test_a_chain_is_the_same_without_the_others() -> None:
    """Chain number c has a key and a start of its own, however many chains there are."""
    four, one, two = (fit(po.NUTS(chains=c, warmup=150, draws=250)) for c in (4, 1, 2))
    np.testing.assert_array_equal(theta(four)[:1], theta(one))
    np.testing.assert_array_equal(theta(four)[:2], theta(two))
    assert len(np.unique(theta(four)[:, -1, 0])) == 4


def test_the_size_of_dispatches_changes_no_bit(monkeypatch: Any) -> None:
    whole = fit()
    monkeypatch.setattr(runner, "DISPATCH_SECONDS", 1e-4)
    np.testing.assert_array_equal(theta(fit()), theta(whole))


def test_looks_change_no_bit_and_see_all_chains_at_the_same_step() -> None:
    seen: list[tuple[int, np.ndarray, int]] = []

    def look(posterior: po.Posterior) -> None:
        draws = theta(posterior).copy()
        seen.append((posterior.facts["steps_made"], draws, posterior.history.energy.shape[1]))

    whole = fit(every=80, call=look)
    np.testing.assert_array_equal(theta(whole), theta(fit()))
    assert [made for made, _, _ in seen] == [80, 160, 240, 320, 400]
    for made, draws, reported in seen:
        if made > NUTS.warmup:
            kept = made - NUTS.warmup
            assert reported == kept
            np.testing.assert_array_equal(draws, theta(whole)[:, :kept])
        else:
            assert draws.shape == (4, 1, 3)  # where the chains are: nothing is kept yet


def test_a_look_can_end_the_run() -> None:
    whole = fit()
    told = fit(every=200, call=lambda posterior: posterior.facts["steps_made"] >= 200)
    assert told.facts["steps_made"] == 200
    np.testing.assert_array_equal(theta(told), theta(whole)[:, :50])


def test_an_interrupted_run_keeps_what_all_chains_have_finished(
    press: Callable[[int], None], monkeypatch: Any
) -> None:
    long = po.NUTS(chains=3, warmup=20, draws=200_000)
    press(12)
    posterior = fit(long)
    kept = theta(posterior)
    assert posterior.result.code is Code.INTERRUPTED
    assert kept.shape[0] == 3
    assert kept.shape[1] == posterior.facts["steps_made"] - 20 > 0
    assert posterior.history.energy.shape == kept.shape[:2]
    assert np.isfinite(kept).all()
    monkeypatch.setattr(Watcher, "update", lambda *args: None)
    count = min(kept.shape[1], 500)
    again = fit(po.NUTS(chains=3, warmup=20, draws=count))
    np.testing.assert_array_equal(kept[:, :count], theta(again))


@pytest.mark.usefixtures("own_handler")
def test_an_interruption_before_all_chains_had_a_turn(monkeypatch: Any) -> None:
    def update(self: Watcher, *figures: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Watcher, "update", update)
    monkeypatch.setattr(runner, "_cores", lambda: 1)
    with pytest.raises(KeyboardInterrupt, match="before the first step"):
        fit(po.NUTS(chains=3, warmup=50_000, draws=10))


def test_an_error_in_a_thread_comes_out() -> None:
    calls = []

    class Broken(Exception):
        pass

    def look(posterior: po.Posterior) -> None:
        calls.append(posterior)
        raise Broken

    with pytest.raises(Broken):
        fit(every=50, call=look)
    assert len(calls) == 1
    np.testing.assert_array_equal(theta(fit()), theta(fit()))


def test_float64_within_a_context_reaches_the_threads() -> None:
    with jax.enable_x64(True):
        wide = fit()
        assert wide.distribution.theta.dtype == np.float64
        assert wide.history.energy.dtype == np.float64
        log_joint = jax.vmap(lambda t: wide.target.log_joint(t, batch_of(wide)))
        exact = np.asarray(log_joint(jnp.asarray(theta(wide)[:, -1])))
    # Computed in double precision: it agrees to more digits than float32 has.
    np.testing.assert_allclose(wide.history.log_joint[:, -1], exact, rtol=1e-12)
    assert fit().distribution.theta.dtype == np.float32


def batch_of(posterior: po.Posterior) -> Any:
    from posterity.data.batches import as_batches

    return as_batches(ORACLE.data, ORACLE.model.likelihood, None).full
