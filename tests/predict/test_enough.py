"""How many draws predictions take, and the bar that shows them."""

from __future__ import annotations

import time

import numpy as np
import pytest

import posterity as po
from handmade import draws_of, gaussian_of, linear, posterior_of
from posterity.distributions.mixture import Mixture
from posterity.predict import bar, enough, source

X = np.linspace(-1, 1, 40)[:, None]
MODEL = linear(po.likelihoods.Normal(0.5))


@pytest.mark.parametrize(
    ("sd", "expected"),
    [(0.01, enough.FEWEST), (0.4, None), (50.0, enough.MOST)],
    ids=["noise alone", "between", "ignorance alone"],
)
def test_as_many_as_the_share_of_ignorance_asks_for(sd: float, expected: int | None) -> None:
    posterior = posterior_of(MODEL, gaussian_of([0.0], [sd]))
    found = enough.draws_needed(posterior.target, posterior.distribution, X)
    if expected is None:
        # At x = ±1 the share is sd² / (sd² + noise²), of which 200 draws know a tenth.
        expected = sd**2 / (sd**2 + 0.25) / enough.TOLERANCE**2
        assert abs(found - expected) < 0.25 * expected + 50
    else:
        assert found == expected


def test_stored_draws_count_for_what_they_are_worth() -> None:
    rng = np.random.default_rng(0)
    draws = draws_of(rng.normal(size=(4, 1_000, 1)) * 50)
    target = posterior_of(MODEL, draws).target
    assert enough.draws_needed(target, draws, X) == 4_000  # nothing is known of their worth
    assert enough.draws_needed(target, draws, X, effective=900.0) == 4_000
    thinned = enough.draws_needed(target, draws, X, effective=3_000.0)
    assert thinned == 1_500  # 1 / (1/1,000 − 1/3,000)
    few = draws_of(rng.normal(size=(1, 150, 1)))
    assert enough.draws_needed(target, few, X, effective=150.0) == 150


def test_the_number_is_decided_once_and_is_a_fact() -> None:
    data = X, 0.3 * X[:, 0] + 0.5 * np.random.default_rng(0).normal(size=40)
    posterior = po.fit(MODEL, data, po.ADVI(steps=300), progress=False)
    assert "predictive_draws" not in posterior.facts
    # The first rows that are asked for are far away, where more would be needed.
    draws = posterior.predict([[1e3]]).draws
    assert posterior.facts["predictive_draws"] == draws == posterior.predict(X).draws
    assert enough.FEWEST <= draws < enough.MOST
    assert posterior.predict(X, draws=7).draws == 7


def test_a_file_holds_the_number(tmp_path) -> None:
    data = X, X[:, 0]
    posterior = po.fit(MODEL, data, po.ADVI(steps=50), progress=False)
    loaded = po.load(posterior.save(tmp_path / "p"))
    assert loaded.facts["predictive_draws"] == posterior.facts["predictive_draws"]
    np.testing.assert_array_equal(loaded.predict(X).mean, posterior.predict(X).mean)


def test_without_training_rows_a_thousand_or_all_that_are_stored() -> None:
    assert posterior_of(MODEL, gaussian_of([0.0], [1.0])).predictive_draws == 1_000
    assert posterior_of(MODEL, draws_of(np.zeros((2, 30, 1)))).predictive_draws == 60


@pytest.mark.parametrize("unit", [1, 3_000])
def test_parts_give_the_same_to_the_last_bit(unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (gaussian_of([at], [1.0]) for at in (-1.0, 1.0))
    posterior = posterior_of(MODEL, Mixture.of([0.3, 0.7], [one, two]))
    whole = posterior.predict(X, draws=1_500)
    monkeypatch.setattr(source, "UNIT", unit)
    parts = posterior.predict(X, draws=1_500)
    np.testing.assert_array_equal(parts.mean, whole.mean)
    np.testing.assert_array_equal(parts.total, whole.total)
    np.testing.assert_array_equal(parts.quantile(0.2), whole.quantile(0.2))


def test_a_bar_is_shown_after_a_second(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar, "PATIENCE", 0.0)
    for shown in (True, False):
        with bar.progress(shown), bar.Bar("predict", 100) as it:
            time.sleep(0.01)
            it.update(50)
        assert ("50/100" in capsys.readouterr().err) == shown
