"""r-hat, effective sample sizes and the like: those of ArviZ, and fast."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from posterity.diagnostics import convergence as chains

RNG = np.random.default_rng(0)


def autoregressive(phi: float, chain: int, draw: int, *shape: int) -> np.ndarray:
    """Stationary chains of unit variance with correlation φ from draw to draw."""
    # The same whatever tests have run before.
    rng = np.random.default_rng([chain, draw, round(100 * (phi + 1))])
    noise = rng.normal(size=(chain, draw, *shape))
    x = np.empty_like(noise)
    x[:, 0] = noise[:, 0]
    for t in range(1, draw):
        x[:, t] = phi * x[:, t - 1] + np.sqrt(1 - phi**2) * noise[:, t]
    return x


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "normal": lambda x: x,
    "rounded": lambda x: np.round(2 * x),
    "apart": lambda x: x + 0.7 * np.arange(len(x))[:, None],
    "of-different-width": lambda x: x * (1 + np.arange(len(x)))[:, None],
    "piled-up": lambda x: np.minimum(x, 1.0),
    "heavy": lambda x: np.tan(1.5 * np.tanh(x)),
}


@pytest.mark.parametrize("phi", [-0.9, -0.4, 0.0, 0.5, 0.95])
@pytest.mark.parametrize("kind", KINDS)
def test_figures_are_those_of_arviz(kind: str, phi: float) -> None:
    """For few and many draws, even and odd, of one and more chains, antithetic ones included."""
    az = pytest.importorskip("arviz")
    for chain in (1, 2, 5):
        for draw in (10, 11, 13, 51, 300):
            x = KINDS[kind](autoregressive(phi, chain, draw))
            found = chains.mixing(x)
            expected = az.rhat(x), az.ess(x, method="bulk"), az.ess(x, method="tail")
            first = 0 if chain > 1 else 1  # of one chain ArviZ gives no r-hat
            np.testing.assert_allclose(found[first:], expected[first:], rtol=1e-6)
            np.testing.assert_allclose(chains.mcse_mean(x), az.mcse(x, method="mean"), rtol=1e-6)
            np.testing.assert_allclose(chains.bfmi(x), np.atleast_1d(az.bfmi(x)), rtol=1e-6)
            apart = (chains.rhat(x), chains.ess_bulk(x), chains.ess_tail(x))
            np.testing.assert_array_equal(np.array(found), np.array(apart))


def test_autocorrelation_is_that_of_arviz() -> None:
    az = pytest.importorskip("arviz")
    x = autoregressive(0.8, 3, 101, 2)
    found = chains.autocorrelation(x)
    assert found.shape == x.shape
    np.testing.assert_allclose(found, az.autocorr(x, axis=1), atol=1e-9)


@pytest.mark.parametrize("draw", [4, 5, 6, 7])
def test_so_few_draws_still_agree_with_arviz(draw: int) -> None:
    az = pytest.importorskip("arviz")
    x = RNG.normal(size=(3, draw))
    expected = az.rhat(x), az.ess(x, method="bulk"), az.ess(x, method="tail")
    np.testing.assert_allclose(chains.mixing(x), expected, rtol=1e-6)


def test_quantities_do_not_touch_each_other() -> None:
    """Any shape, in blocks of any size, with constants and infinities among them."""
    x = autoregressive(0.5, 4, 100, 6, 50)
    x[..., 2, 3] = 1.0
    x[1, 7, 4, 4] = np.nan
    x[1, 7, 5, 5] = np.inf
    found = chains.mixing(x)
    assert found.rhat.shape == (6, 50)
    assert np.isnan(found).sum() == 9
    for at in np.ndindex(6, 50):
        alone = chains.mixing(x[(..., *at)])
        np.testing.assert_allclose([f[at] for f in found], alone, rtol=1e-12)


def test_figures_do_not_depend_on_units_or_precision() -> None:
    x = autoregressive(0.5, 4, 200).astype(np.float32)
    once = chains.mixing(x)
    np.testing.assert_allclose(once, chains.mixing(1e3 - 7.0 * x.astype(float)), rtol=1e-9)
    # A monotone transform keeps ranks; distances from the median, which r-hat also sees, it alters.
    assert chains.ess_bulk(np.exp(x.astype(float))) == pytest.approx(once.ess_bulk, rel=1e-9)


def test_constants_have_no_figures() -> None:
    """ArviZ gives the number of draws as effective sample size; a chain that stands has none."""
    x = np.ones((4, 100))
    assert np.isnan(chains.mixing(x)).all()
    assert np.isnan(chains.mcse_mean(x))
    assert np.isnan(chains.autocorrelation(x)).all()
    assert np.isnan(chains.bfmi(x)).all()


def test_chains_that_stand_apart_never_agree() -> None:
    assert np.isinf(chains.rhat(np.repeat([[0.0], [1.0]], 50, axis=1)))


def test_fewer_than_four_draws_have_no_figures() -> None:
    assert np.isnan(chains.mixing(RNG.normal(size=(4, 3, 2)))).all()
    assert np.isnan(chains.bfmi(RNG.normal(size=(4, 3)))).all()


def test_a_single_chain_is_compared_with_itself() -> None:
    still, moving = RNG.normal(size=(2, 1, 1_000))
    moving = moving + np.linspace(0, 3, 1_000)
    assert chains.rhat(still) < 1.01
    assert chains.rhat(moving) > 1.3


def test_what_has_no_draws_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(chain, draw, ...\)"):
        chains.rhat(np.zeros(5))


def test_the_limit_is_exceeded_as_often_as_it_says() -> None:
    """Over 2,000 sets of independent draws, at a rate of 1 %; 20 are expected, 40 the bound."""
    x = np.random.default_rng(5).normal(size=(4, 400, 2_000))
    limit = chains.limit(chains.ess_within(x), 4, 0.01)
    assert 0 < (chains.rhat(x) > limit).sum() < 40


def test_effective_draws_within_do_not_see_disagreement() -> None:
    x = autoregressive(0.5, 4, 2_000)
    apart = x + 5 * np.arange(4)[:, None]
    assert chains.ess_within(x) == pytest.approx(8_000 / 3, rel=0.15)
    assert chains.ess_within(apart) > 1_000
    assert chains.ess_bulk(apart) < 10


def test_a_thousand_quantities_take_about_a_second() -> None:
    x = np.random.default_rng(0).normal(size=(4, 1_000, 1_000))
    began = time.perf_counter()
    chains.mixing(x)
    assert time.perf_counter() - began < 5  # 0.6 on an idle machine


def test_figures_do_not_depend_on_how_many_are_looked_at_together(monkeypatch) -> None:
    values = np.random.default_rng(3).normal(size=(3, 40, 23))
    values[:, :, 5] = 1.0  # a constant among them
    together = chains.mixing(values)
    monkeypatch.setattr(chains, "NUMBERS", 2 * 3 * 40)  # two at a time, in threads
    for one, other in zip(together, chains.mixing(values)):
        np.testing.assert_array_equal(one, other)
