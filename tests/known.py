"""Posteriors of known draws, with the mean and variance of y given each."""

from __future__ import annotations

import numpy as np
import numpyro.distributions as dist
from scipy import special

import posterity as po
from handmade import draws_of, linear, posterior_of

RNG = np.random.default_rng(4)
X = RNG.normal(size=(9, 1)).astype(np.float32)
W = RNG.normal(0, 1.5, 37).astype(np.float32)  # 37: no multiple of a block
F = W[:, None].astype(float) * X[:, 0]  # (draws, rows)


def several(rows):
    return RNG.normal(0, 1, (37, rows)).astype(np.float32)


V = several(3)
LOGITS = V[:, None, :] * X[:, 0][None, :, None].astype(float)
U = several(2)

# name: (posterior, mean and variance of y given each draw: (draws, rows, ...))
CASES = {
    "normal": (
        posterior_of(linear(po.likelihoods.Normal(0.5)), draws_of(W[:, None])),
        F,
        np.full_like(F, 0.25),
    ),
    "normal-learned": (
        posterior_of(linear(po.likelihoods.Normal(dist.HalfNormal(1.0))), draws_of(U)),
        U[:, :1] * X[:, 0],
        np.exp(2.0 * U[:, 1:]) * np.ones((1, 9)),
    ),
    "normal-net": (
        posterior_of(linear(po.likelihoods.Normal("net"), 2), draws_of(U)),
        U[:, :1] * X[:, 0],
        (np.log1p(np.exp(U[:, 1:] * X[:, 0].astype(float))) + 1e-4) ** 2,
    ),
    "student": (
        posterior_of(linear(po.likelihoods.StudentT(4.0, 0.5)), draws_of(W[:, None])),
        F,
        np.full_like(F, 0.5),
    ),
    "poisson": (
        posterior_of(linear(po.likelihoods.Poisson()), draws_of(W[:, None])),
        np.exp(F),
        np.exp(F),
    ),
    "bernoulli": (
        posterior_of(linear(po.likelihoods.Bernoulli()), draws_of(W[:, None])),
        special.expit(F),
        special.expit(F) * special.expit(-F),
    ),
    "categorical": (
        posterior_of(linear(po.likelihoods.Categorical(3), 3), draws_of(V)),
        special.softmax(LOGITS, -1),
        special.softmax(LOGITS, -1) * (1 - special.softmax(LOGITS, -1)),
    ),
    "two-targets": (
        posterior_of(linear(po.likelihoods.Normal(0.5), 2), draws_of(U), targets=2),
        U[:, None, :] * X[:, 0][None, :, None],
        np.full((37, 9, 2), 0.25),
    ),
}
