"""Ctrl-C: the first ends the run and keeps what there is, the second raises."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

import posterity as po
from posterity.diagnostics import diagnose
from posterity.diagnostics.result import Code
from posterity.run import runner, update
from posterity.run.finish import UNDIAGNOSED, UNDRAWN
from posterity.run.progress import Interrupt, Watcher

X = np.linspace(-1, 1, 12)[:, None]
MODEL = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
METHODS = {
    "advi": po.ADVI(steps=2_000_000, stop=False),
    "advi-batch": po.ADVI(steps=2_000_000, batch_size=3),
    "map": po.MAP(steps=2_000_000),
    "sgld": po.SGLD(draws=1_000_000, step_size=1e-3, warmup=0, chains=2),
    "sgld-warmup": po.SGLD(draws=1_000_000, step_size=1e-3, chains=2),
    "nuts": po.NUTS(chains=2, warmup=100_000, draws=100_000),
}


pytestmark = pytest.mark.usefixtures("own_handler")


def fit(method):
    return po.fit(MODEL, (X, X[:, 0]), method, progress=False)


@pytest.mark.parametrize("name", METHODS)
def test_the_first_ctrl_c_returns_what_was_fitted(press, name):
    calls = press(2)
    posterior = fit(METHODS[name])
    # Chains in threads of their own finish what they are at, and count as far as the last is.
    others = METHODS[name].chains - 1 if METHODS[name].apart else 0
    assert 2 <= len(calls) <= 2 + others
    assert posterior.result.code is Code.INTERRUPTED
    made = posterior.facts["steps_made"]
    assert made == calls[-1] if not others else made <= calls[-1]
    assert made < METHODS[name].total_steps
    assert f"{made:,} steps" in posterior.result.message
    mean, sd = posterior.distribution.mean_and_sd()
    assert np.isfinite(np.asarray([mean, sd])).all()
    assert np.isfinite(posterior.predict(X, draws=10).mean).all()


def test_the_kept_draws_are_those_made_before_it(press):
    calls = press(2)
    posterior = fit(METHODS["sgld"])
    made = posterior.facts["steps_made"]
    assert 1 <= made <= calls[-1]  # another chain may be ahead
    assert posterior.distribution.theta.shape == (2, made, 2)
    assert posterior.history.log_joint.shape == (2, made)


def test_while_looking_for_a_start_it_is_the_whole_run_that_ends(press):
    first = fit(po.ADVI(steps=500))
    for begin in (
        lambda: po.fit(MODEL, (X, X[:, 0]), po.NUTS(), init=po.MAP(steps=10**7), progress=False),
        lambda: first.update((X, X[:, 0]), remember=X, progress=False),
    ):
        calls = press(1)
        with pytest.raises(KeyboardInterrupt, match="looking for a start"):
            begin()
        assert len(calls) == 1


def test_a_real_signal_from_another_thread_ends_the_run(monkeypatch):
    begun = threading.Event()
    monkeypatch.setattr(Watcher, "update", lambda *args: begun.set())

    def press():
        if begun.wait(60):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    posterior = fit(po.MAP(steps=50_000_000))
    thread.join()
    assert posterior.result.code is Code.INTERRUPTED


def test_the_second_ctrl_c_raises(monkeypatch):
    def update(self, steps, figure, failures, also):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Watcher, "update", update)
    with pytest.raises(KeyboardInterrupt):
        fit(METHODS["map"])


@pytest.mark.parametrize("raises", [False, True])
def test_the_handler_before_the_fit_is_there_after_it(monkeypatch, raises):
    mine = lambda number, frame: None
    signal.signal(signal.SIGINT, mine)
    if raises:
        monkeypatch.setattr(Watcher, "update", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit(po.MAP(steps=5))
    else:
        fit(po.MAP(steps=5))
    assert signal.getsignal(signal.SIGINT) is mine


def test_the_watcher_is_stopped_whatever_happens(monkeypatch):
    stopped = []
    monkeypatch.setattr(Watcher, "stop", lambda self: stopped.append(True))
    monkeypatch.setattr(Watcher, "update", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(po.MAP(steps=5))
    assert stopped == [True]


def test_ctrl_c_between_stretches_is_kept_too(monkeypatch):
    review, calls = po.ADVI.review, []

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return review(self, *args)

    monkeypatch.setattr(po.ADVI, "review", interrupted)
    posterior = fit(po.ADVI(steps=600))
    assert posterior.result.code is Code.INTERRUPTED
    assert np.isfinite(posterior.predict(X, draws=10).mean).all()


def pressed_in(monkeypatch, place, name):
    """Ctrl-C whenever a function is entered."""
    function = getattr(place, name)

    def pressed(*args, **settings):
        signal.raise_signal(signal.SIGINT)
        return function(*args, **settings)

    monkeypatch.setattr(place, name, pressed)


@pytest.mark.parametrize("method", [po.MAP(steps=50), po.NUTS(chains=2, warmup=50, draws=50)])
def test_ctrl_c_before_the_first_step_is_no_fit(monkeypatch, method):
    pressed_in(monkeypatch, runner, "prepare")
    with pytest.raises(KeyboardInterrupt, match="before the first step; nothing has been fitted"):
        fit(method)


def test_ctrl_c_in_the_warm_up_is_said(press):
    press(2)
    posterior = fit(METHODS["nuts"])
    assert UNDRAWN in posterior.result.warnings
    assert posterior.sample().shape == (2, 1, 2)


@pytest.mark.parametrize("place", ["finish", "diagnosis"])
def test_ctrl_c_after_the_loop_keeps_the_draws(monkeypatch, place):
    method = po.SGLD(draws=60, step_size=1e-3, warmup=0, chains=2)
    whole = fit(method)
    if place == "finish":
        pressed_in(monkeypatch, po.SGLD, "finish")
    else:
        pressed_in(monkeypatch, diagnose, "diagnose_fit")
    posterior = fit(method)
    assert np.array_equal(posterior.sample(), whole.sample())
    assert posterior.result.code is Code.COMPLETED
    assert UNDIAGNOSED in posterior.result.warnings
    assert posterior.diagnostics is None
    assert posterior.diagnose(X).chains == 2


def test_ctrl_c_after_an_update_keeps_it(monkeypatch):
    first = fit(po.SGLD(draws=60, step_size=1e-3, warmup=0))
    pressed_in(monkeypatch, update, "_stands_badly")
    posterior = first.update((X, X[:, 0]), po.MAP(steps=50), progress=False)
    assert update.UNCOMPARED in posterior.result.warnings


def test_outside_the_main_thread_nothing_is_caught_and_fits_work():
    found = []
    before = signal.getsignal(signal.SIGINT)

    def work():
        with Interrupt() as interrupt:
            found.append((signal.getsignal(signal.SIGINT), interrupt.asked))
        found.append(fit(po.MAP(steps=5)).result.code)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(before, False), Code.COMPLETED]
