"""What other chains would predict: the jackknife, and which sentence its verdict chooses."""

from __future__ import annotations

import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from handmade import draws_of, linear, posterior_of
from posterity.diagnostics import other_chains
from posterity.diagnostics.advice import SHARES

X = np.linspace(-1, 1, 20)[:, None].astype(np.float32)
MODEL = linear(po.likelihoods.Normal(dist.HalfNormal(1.0)), bias=True)


def ensemble(
    seed: int, chains: int, apart: float, draws: int = 200, width: float = 0.02
) -> np.ndarray:
    """Steady chains of (b, w, log noise) in modes of their own, `apart` from each other.

    The noise is about 1, and so is the predictive sd.
    """
    rng = np.random.default_rng(seed)
    modes = np.concatenate([apart * rng.normal(size=(chains, 1, 2)), np.zeros((chains, 1, 1))], 2)
    return modes + width * rng.normal(size=(chains, draws, 3))


def advice(theta: np.ndarray) -> tuple[str, ...]:
    return posterior_of(MODEL, draws_of(theta)).diagnose(X).advice


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=(6, 50, 3)) + np.arange(6)[:, None, None]
    found = other_chains.change(values, np.full((6, 3), 4.0))
    means = values.mean(1)
    sd = np.sqrt(values.var((0, 1)) + 4)
    np.testing.assert_allclose(found.mean, means.std(0, ddof=1) / np.sqrt(6) / sd, rtol=1e-6)


@pytest.mark.parametrize("apart", [0.1, 1.0])
def test_a_second_ensemble_differs_by_what_is_said(apart: float) -> None:
    """By √2 of it in 200 pairs: root mean squares over pairs and rows agree within a fifth."""
    said, seen = [], []
    for seed in range(200):
        pair = [ensemble(seed + 1_000 * part, 8, apart, draws=8) for part in range(2)]
        means = [theta[..., :1] + theta[..., 1:2] * X[:, 0] for theta in pair]
        var = np.exp(2 * pair[0][..., 2]).mean(1)[:, None] * np.ones(len(X))
        found = other_chains.change(means[0], var)
        sd = np.sqrt(means[0].var((0, 1)) + var.mean(0))
        said.append(found.mean**2)
        seen.append(((means[1].mean((0, 1)) - means[0].mean((0, 1))) / sd) ** 2 / 2)
    assert np.sqrt(np.mean(seen) / np.mean(said)) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("chains", [4, 10])
def test_modes_that_predict_alike_are_no_alarm(chains: int) -> None:
    theta = ensemble(1, chains, apart=0.06)
    found = posterior_of(MODEL, draws_of(theta)).diagnose(X)
    assert found.predictions is not None
    assert found.predictions.rhat > 1.5
    little, shares = found.advice
    assert little.startswith("Each chain holds a mode of its own (r-hat of predictions is up to")
    assert "predictive means would change by about ±0.0" in little
    assert shares == SHARES
    assert "isagree" not in little


def test_modes_that_predict_otherwise_ask_for_more_chains() -> None:
    much, shares = advice(ensemble(2, 8, apart=1.0))
    assert "several modes" in much
    assert "More chains would change predictions" in much
    said = float(much.split("change by about ±")[1].split()[0])
    assert 0.15 < said < 0.4  # 1 / √8 of a predictive sd of √2 at x = 0
    assert int(much.split("chains=")[1].split()[0]) > 20
    assert shares == SHARES


def test_three_chains_are_too_few_to_say() -> None:
    said = advice(ensemble(3, 3, apart=0.1))
    assert "several modes" in said[0]
    assert "More chains" not in said[0]
    assert "Each chain" not in said[0]


def test_chains_on_their_way_are_an_alarm_however_many_there_are() -> None:
    """All go the same way: what other chains would say is no excuse."""
    theta = ensemble(4, 10, apart=0.1, width=0.1)
    theta[..., 0] += np.linspace(1, 0, 200)
    (drift, *_) = advice(theta)
    assert "still drift" in drift
    theta = ensemble(4, 10, apart=0.1)
    theta[..., 0] += np.linspace(1, 0, 200)
    (slow, *_) = advice(theta)
    assert "too slow for their length" in slow
    assert "to the second, predictive means have moved by 0." in slow
    assert "More chains" not in slow


@pytest.mark.parametrize(("rise", "word"), [(1.0, "risen by 1"), (-2.0, "fallen by 2")])
def test_chains_that_underfit_together_are_on_their_way(rise: float, word: str) -> None:
    """They predict alike, and their log joint is not where it will stay."""
    noise = np.random.default_rng(7).normal(size=(8, 200))
    history = {"log_joint": noise + np.where(np.arange(200) < 100, 0, rise)}
    theta = ensemble(1, 8, apart=0.1)
    (way, *_) = posterior_of(MODEL, draws_of(theta), history=history).diagnose(X).advice
    assert way.startswith("The chains disagree")
    assert f"the log joint has {word}" in way
    history = {"log_joint": noise}
    (little, _) = posterior_of(MODEL, draws_of(theta), history=history).diagnose(X).advice
    assert little.startswith("Each chain holds a mode of its own")


def test_modes_that_differ_in_the_noise_alone_are_an_alarm() -> None:
    """Predictive means agree, and predictive sds do not."""
    theta = ensemble(5, 8, apart=0.0)
    theta[:4, :, 2] += 1.5
    said = advice(theta)
    assert "named quantities" in said[0]
    assert "several modes" in said[0]
    assert "More chains would change predictions" in said[0]


def test_sure_classes_are_judged_by_their_probabilities() -> None:
    """Odds of 1 to 10⁴ or to 10⁵: other chains change a probability by nothing."""
    model = linear(po.likelihoods.Bernoulli(), bias=True)
    rng = np.random.default_rng(6)
    theta = np.stack([rng.normal(-10, 1, 8), np.zeros(8)], 1)[:, None]
    theta = theta + 0.05 * rng.normal(size=(8, 200, 2))
    (little, _) = posterior_of(model, draws_of(theta)).diagnose(X).advice
    assert little.startswith("Each chain holds a mode of its own")
