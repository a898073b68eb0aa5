"""Warm-started ensembles of nets: which sentence good ones get and which bad ones, and if it is so.

"Good" and "bad" are set apart by the test log-likelihood of the kind of run, not by the sentences.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from posterity.diagnostics import other_chains
from posterity.diagnostics.advice import LITTLE
from posterity.diagnostics.monitored import monitor, noise

pytestmark = pytest.mark.slow

ENSEMBLE = po.MCLMC(chains=8, warmup=2_000, draws=200)
SHORT = po.MCLMC(chains=8, warmup=100, draws=100, thin=1)
COLD = po.MCLMC(chains=8, warmup=20, draws=100, thin=1)


def wave(activation: Any) -> tuple[po.Model, Any]:
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(-2, 2, 80))
    net = po.nets.MLP(1, [20], 1, activation=activation)
    likelihood = po.likelihoods.Normal(scale=dist.HalfNormal(1.0))
    model = po.Model(net, po.priors.Normal(0, 1.0), likelihood)
    return model, (x[:, None], np.sin(3 * x) + 0.2 * rng.normal(size=80))


def gap() -> tuple[po.Model, Any]:
    """The job of examples/gap.py, with 200 rows."""
    rng = np.random.default_rng(42)
    x = np.hstack([np.linspace(-0.2, 0.2, 100), np.linspace(0.6, 1, 100)])
    e = 0.02 * rng.normal(size=200)
    y = x + 0.3 * np.sin(2 * np.pi * (x + e)) + 0.3 * np.sin(4 * np.pi * (x + e)) + e
    net = po.nets.MLP(1, [5], 1, activation=jnp.tanh)
    model = po.Model(net, po.priors.Normal(0, 10.0), po.likelihoods.Normal(dist.HalfNormal(0.2)))
    return model, (x[:, None], y)


def moons() -> tuple[po.Model, Any]:
    x, y, _, _ = po.data.moons()
    net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
    return po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli()), (x, y)


JOBS = {
    "tanh": lambda: wave(jnp.tanh),
    "relu": lambda: wave(jax.nn.relu),
    "gap": gap,
    "moons": moons,
}


def fitted(job: str, method: Any, steps: int, seed: int) -> tuple[po.Posterior, Any]:
    model, data = JOBS[job]()
    init = po.MAP(steps=steps)
    return po.fit(model, data, method, init=init, seed=seed, progress=False), data[0]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("job", ["tanh", "relu", "moons"])
def test_good_ensembles_are_no_alarm(job: str, seed: int) -> None:
    posterior, _ = fitted(job, ENSEMBLE, 2_000, seed)
    said = " ".join(posterior.result.warnings)
    assert "The chains disagree" not in said


@pytest.mark.parametrize(
    ("job", "method", "steps"),
    [
        ("tanh", COLD, 2_000),
        ("relu", COLD, 2_000),
        ("gap", COLD, 2_000),
        ("tanh", SHORT, 30),
        ("relu", SHORT, 30),
    ],
    ids=lambda value: str(value) if isinstance(value, (str, int)) else f"warmup-{value.warmup}",
)
def test_bad_ensembles_are(job: str, method: Any, steps: int) -> None:
    """A warm-up of 20 steps; or 30 steps of MAP and 100 of warm-up."""
    for seed in range(2):
        posterior, _ = fitted(job, method, steps, seed)
        said = " ".join(posterior.result.warnings)
        assert "The chains disagree" in said, seed
        assert LITTLE not in said, seed


@pytest.mark.parametrize("job", ["tanh", "relu", "gap", "moons"])
def test_a_second_ensemble_predicts_otherwise_by_about_what_is_said(job: str) -> None:
    """Its distance, over √2, is within a factor of 2.5 of what either of two says, or both say."""
    pair = [fitted(job, ENSEMBLE, 2_000, seed) for seed in range(2)]
    said = []
    for posterior, x in pair:
        target: Any = posterior.target
        draws: Any = posterior.distribution
        seen = monitor(target, draws, x).predictions
        assert seen is not None
        said.append(other_chains.change(seen.values, noise(target, draws, x)).typical)
    one, other = (posterior.predict(x) for posterior, x in pair)
    apart = (one.mean - other.mean) / np.sqrt((one.total + other.total) / 2)
    actual = float(np.sqrt(np.mean(apart**2) / 2))
    stated = float(np.sqrt(np.mean(np.square(said))))
    assert stated / 2.5 < actual < 2.5 * stated, (stated, actual)
