"""MAP: a mode that does not depend on how a scale is mapped to the real line."""

from __future__ import annotations

import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import optimize, stats

import posterity as po


def test_the_mode_is_that_of_the_constrained_scale() -> None:
    """Noise of unknown sd around zero: log p(s) + Σ log N(y; 0, s²), without a Jacobian."""
    y = np.random.default_rng(0).normal(size=6)
    net = po.nets.MLP(1, [], 1, use_bias=False)
    likelihood = po.likelihoods.Normal(dist.LogNormal(0.5, 1.0))
    model = po.Model(net, po.priors.Normal(0, 1), likelihood)
    posterior = po.fit(model, (np.zeros((6, 1)), y), po.MAP(steps=2_000), progress=False)

    def loss(scale: float) -> float:
        prior = stats.lognorm.logpdf(scale, s=1.0, scale=np.exp(0.5))
        return -prior - stats.norm.logpdf(y, 0, scale).sum()

    mode = optimize.minimize_scalar(loss, bounds=(0.1, 5.0), method="bounded").x
    assert posterior.weights("likelihood.scale").item() == pytest.approx(mode, rel=1e-3)
