"""Parallel tempering where paths alone fail: modes far apart, of known weights and evidence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from oracles import conjugate, z_limit
from posterity.diagnostics.convergence import ess_bulk, mcse_mean

pytestmark = pytest.mark.slow

SEEDS = range(5)
PRIOR = 5.0
WEIGHTS = np.array([0.7, 0.3])
MODES = np.array([[3.0, 3.0, 3.0], [-4.0, -2.0, 0.0]])
SDS = np.array([0.1, 0.15])  # over 50 sds apart


def program(y: Any) -> None:
    theta = numpyro.sample("theta", dist.Normal(0, PRIOR).expand([3]).to_event(1))
    parts = dist.MultivariateNormal(
        theta - MODES, SDS[:, None, None] ** 2 * np.eye(3, dtype=np.float32)
    )
    numpyro.sample("y", dist.MixtureSameFamily(dist.Categorical(WEIGHTS), parts), obs=y)


def exact() -> tuple[float, float]:
    """The weight of the first mode, and log p(data)."""
    var = SDS**2 + PRIOR**2
    log_part = np.log(WEIGHTS) - 1.5 * np.log(2 * math.pi * var) - 0.5 * (MODES**2).sum(1) / var
    return float(1 / (1 + np.exp(log_part[1] - log_part[0]))), float(np.logaddexp(*log_part))


def run(method: Any, seed: int) -> tuple[po.Posterior, np.ndarray]:
    posterior = po.fit(
        po.Model.from_numpyro(program), (np.zeros(3),), method, seed=seed, progress=False
    )
    return posterior, np.asarray(posterior.weights("theta"), float)


def test_two_modes_have_their_weights_and_the_data_their_evidence() -> None:
    weight, log_evidence = exact()
    method = po.ParallelTempering(temperatures=16, warmup=2_000, draws=2_500, thin=4)
    estimates, scores = [], []
    for seed in SEEDS:
        posterior, theta = run(method, seed)
        first = (theta[..., 2] > 1.5).astype(float)
        assert ess_bulk(first) > 400, ess_bulk(first)
        scores.append((first.mean() - weight) / mcse_mean(first))
        inside = np.where(first[..., None] == 1, MODES[0], MODES[1])
        assert np.abs(theta - inside).max() < 8 * SDS.max()
        estimates += posterior.history.log_evidence[:, -1].tolist()
        assert posterior.history.restarts[:, -1].min() > 10
    assert np.abs(scores).max() < z_limit(len(scores)), scores
    error = np.std(estimates, ddof=1) / np.sqrt(len(estimates))
    # Student's t with 19 degrees of freedom stays below 5.6 but for 2e-5.
    assert abs(np.mean(estimates) - log_evidence) < 5.6 * error, (estimates, log_evidence)


def test_paths_alone_fail_on_it() -> None:
    """So that the test above is one of tempering."""
    _, theta = run(po.NUTS(warmup=500, draws=500), 0)
    first = theta[..., 2] > 1.5
    assert (first.all(axis=1) | (~first).all(axis=1)).all()


def test_evidence_of_a_conjugate_regression() -> None:
    oracle = conjugate()
    method = po.ParallelTempering(temperatures=10, warmup=1_500, draws=2_500, thin=4)
    estimates: list[float] = []
    for seed in SEEDS:
        posterior = po.fit(oracle.model, oracle.data, method, seed=seed, progress=False)
        estimates += posterior.history.log_evidence[:, -1].tolist()
    error = np.std(estimates, ddof=1) / np.sqrt(len(estimates))
    assert error < 0.1
    assert abs(np.mean(estimates) - oracle.log_evidence) < 5.6 * error
