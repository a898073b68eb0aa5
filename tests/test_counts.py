"""Numbers of draws and seeds: one answer wherever they are asked for."""

from __future__ import annotations

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from handmade import gaussian_of, posterior_of

X = np.linspace(-1, 1, 5)[:, None]
DATA = X, X[:, 0]
MODEL = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))


def program(y: jax.Array) -> None:
    numpyro.sample("y", dist.Normal(numpyro.sample("w", dist.Normal()), 1.0), obs=y)


POSTERIOR = posterior_of(MODEL, gaussian_of(np.zeros(2), np.ones(2)))
CALLS = {
    "sample": POSTERIOR.sample,
    "predict": lambda **asked: POSTERIOR.predict(X, **asked),
    "weights": lambda **asked: POSTERIOR.weights("layers.0.bias", **asked),
    "elbo": lambda **asked: po.elbo(POSTERIOR, DATA, **asked),
    "pareto_khat": lambda **asked: po.pareto_khat(POSTERIOR, DATA, **asked),
    "prior_predictive": lambda **asked: po.prior_predictive(MODEL, X, **asked),
}


@pytest.mark.parametrize("draws", [0, -1, 1.5, True, "ten"])
@pytest.mark.parametrize("name", CALLS)
def test_a_number_of_draws_that_is_none_is_refused(name: str, draws: object) -> None:
    with pytest.raises(ValueError, match="draws: must be a whole number from"):
        CALLS[name](draws=draws)


@pytest.mark.parametrize("seed", [1.5, None, "a", False])
@pytest.mark.parametrize("name", CALLS)
def test_a_seed_that_is_none_is_refused(name: str, seed: object) -> None:
    with pytest.raises(TypeError, match="seed: expected an integer, got"):
        CALLS[name](seed=seed)


def test_one_draw_gives_no_error_of_an_elbo() -> None:
    with pytest.raises(ValueError, match="draws: must be a whole number from 2, not 1"):
        po.elbo(POSTERIOR, DATA, draws=1)


def test_a_program_refuses_them_alike() -> None:
    model = po.Model.from_numpyro(program)
    posterior = po.fit(model, {"y": np.ones(3)}, po.MAP(steps=2), progress=False)
    with pytest.raises(ValueError, match="draws: must be a whole number from 1, not 0"):
        posterior.replicate(draws=0)
    with pytest.raises(TypeError, match=r"seed: expected an integer, got 1\.5"):
        posterior.replicate(seed=1.5)


def test_keys_of_both_kinds_and_integers_give_the_same_draws() -> None:
    drawn = POSTERIOR.sample(3, seed=4)
    for seed in (np.int64(4), jax.random.key(4), jax.random.PRNGKey(4)):
        np.testing.assert_array_equal(POSTERIOR.sample(3, seed=seed), drawn)
