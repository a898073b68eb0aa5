"""Normals that predict otherwise than the draws they stand for are said to."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from handmade import draws_of, gaussian_of, linear, posterior_of
from posterity.distributions import em as components
from posterity.run.update import Difference, difference
from posterity.run.update import _stands_badly as warning

LINE = linear(po.likelihoods.Normal(1.0), bias=True)
THETA = np.random.default_rng(0).normal(size=(4, 2_000, 2)) * [0.5, 2.0] + [1.0, 3.0]
DRAWS = posterior_of(LINE, draws_of(THETA))
X = np.linspace(-1, 1, 250)[:, None]


def test_the_difference_of_normals_is_exact() -> None:
    """f = b + w x: Var = 0.25 + 4 x², and a shift of b by d moves every mean by d."""
    for wider, moved in ((1.0, 0.0), (3.0, 0.0), (0.5, 1.2)):
        q = gaussian_of([1.0 + moved, 3.0], [0.5 * wider, 2.0 * wider])
        found = difference(DRAWS, q, X)
        assert found.ratio == pytest.approx(wider, rel=0.05)
        mean_var = 0.25 + 4 * np.mean(np.linspace(-1, 1, 100) ** 2)
        assert found.shift == pytest.approx(moved / np.sqrt(mean_var), abs=0.06)


def test_the_limits_are_on_both_sides() -> None:
    assert not Difference(1.4, 0.4).large
    assert Difference(1.6, 0.0).large
    assert Difference(0.6, 0.0).large
    assert Difference(1.0, 0.6).large
    assert Difference(float("nan"), 0.0).large


def test_classes_are_compared_too() -> None:
    model = linear(po.likelihoods.Categorical(3), outputs=3)
    theta = np.random.default_rng(1).normal(size=(2, 500, 3))
    posterior = posterior_of(model, draws_of(theta))
    assert not difference(posterior, gaussian_of(np.zeros(3), np.ones(3)), X).large
    assert difference(posterior, gaussian_of(np.zeros(3), 0.2 * np.ones(3)), X).large


def test_only_draws_are_compared() -> None:
    q = gaussian_of([1.0, 3.0], [5.0, 20.0])
    assert warning(posterior_of(LINE, q), q, X) is None
    assert "sd is 9.8" in warning(DRAWS, q, X)
    assert warning(DRAWS, gaussian_of([1.0, 3.0], [0.5, 2.0]), X) is None


def test_an_update_from_bent_draws_warns_and_one_from_normal_draws_does_not() -> None:
    net = po.nets.MLP(1, [1], 1, activation=jnp.tanh, use_bias=False)
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(1.0))
    rng = np.random.default_rng(0)
    first = np.exp(rng.normal(size=(4, 60))) + 0.01
    ridge = np.stack([first, 1 / first], axis=-1)  # a hyperbola in 240 draws, in four chains
    bent = posterior_of(model, draws_of(ridge))
    data = (X[:20], X[:20, 0])
    method = po.MAP(steps=20)
    found = bent.update(data, method, correlations="none", progress=False)
    said = [w for w in found.result.warnings if "predict otherwise than the draws" in w]
    assert len(said) == 1
    assert "fit all rows at once" in said[0]
    plain = DRAWS.update(data, method, progress=False)
    assert not [w for w in plain.result.warnings if "predict otherwise" in w]


@pytest.mark.slow
def test_several_normals_keep_more_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a small net's draws: closer to their predictions, and old rows are fitted better.

    One fit says little: the quotients of six are 0.50 to 0.95, and of errors 0.37 to 0.95. Their
    geometric means are 0.63 and 0.64; 0.9 is 3.6 and 2.4 standard errors of their logs away.
    """
    rng = np.random.default_rng(0)
    x = np.concatenate([np.linspace(-1, -0.3, 10), np.linspace(0.3, 1, 10)])[:, None]
    y = np.sin(3 * x[:, 0]) + 0.1 * rng.normal(size=20)
    net = po.nets.MLP(1, [3], 1, activation=jnp.tanh)
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(0.1))
    new = np.zeros((5, 1)), 0.1 * rng.normal(size=5)
    again = po.NUTS(chains=4, warmup=1_000, draws=2_000)
    several, grid = components.MOST, np.linspace(-1.5, 1.5, 100)[:, None]
    found = []
    for seed in range(6):
        nuts = po.NUTS(chains=4, warmup=1_000, draws=4_000)
        first = po.fit(model, (x, y), nuts, seed=seed, progress=False)
        for most in (1, several):
            monkeypatch.setattr(components, "MOST", most)
            ratio = difference(first, first.as_prior().density, grid).ratio
            updated = first.update(new, again, seed=seed + 1, progress=False)
            found.append((ratio, np.sqrt(np.mean((updated.predict(x).mean - y) ** 2))))
    ratios, errors = np.reshape(found, (6, 2, 2)).transpose(2, 0, 1)
    for one, more in (ratios.T, errors.T):
        print(one, more)  # with pytest -s
        assert np.log(more / one).mean() < np.log(0.9)
