"""Models with exact answers, which every method meets before it meets a network."""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist

import numpy as np

import posterity as po

# Declared failure rate of a statistical check: two-sided, per comparison, if all is right.
FAILURE_RATE = 2e-5


def z_limit(comparisons: int = 1) -> float:
    """The |z| that `comparisons` standard normals all stay below, but for `FAILURE_RATE`."""
    return NormalDist().inv_cdf(1 - FAILURE_RATE / comparisons / 2)


@dataclasses.dataclass(frozen=True)
class Conjugate:
    """Bayesian linear regression with known noise: y = X w + noise · ε, w ~ N(0, prior²)."""

    x: np.ndarray
    y: np.ndarray
    noise: float
    prior: float

    @property
    def model(self) -> po.Model:
        """The regression as a net without hidden layers."""
        net = po.nets.MLP(self.x.shape[1], [], 1, use_bias=False)
        return po.Model(net, po.priors.Normal(0, self.prior), po.likelihoods.Normal(self.noise))

    @property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        return self.x, self.y

    @property
    def precision(self) -> np.ndarray:
        return np.eye(self.x.shape[1]) / self.prior**2 + self.x.T @ self.x / self.noise**2

    @property
    def mean(self) -> np.ndarray:
        return np.linalg.solve(self.precision, self.x.T @ self.y / self.noise**2)

    @property
    def cov(self) -> np.ndarray:
        return np.linalg.inv(self.precision)

    @property
    def mean_field_sd(self) -> np.ndarray:
        """The optimal mean-field q has the conditional, not the marginal, sds."""
        return 1 / np.sqrt(np.diag(self.precision))

    @property
    def log_evidence(self) -> float:
        cov = self.noise**2 * np.eye(len(self.y)) + self.prior**2 * self.x @ self.x.T
        _, log_det = np.linalg.slogdet(2 * math.pi * cov)
        return float(-0.5 * (log_det + self.y @ np.linalg.solve(cov, self.y)))

    @property
    def best_elbo(self) -> float:
        """The ELBO of the optimal mean-field q: log evidence − KL(q ‖ posterior)."""
        precision = self.precision
        _, log_det = np.linalg.slogdet(precision)
        kl = 0.5 * (np.log(np.diag(precision)).sum() - log_det)
        return self.log_evidence - float(kl)


def conjugate(
    rows: int = 40, columns: int = 3, noise: float = 0.5, prior: float = 1.5
) -> Conjugate:
    """A regression with correlated columns, skewed so that a wrong sign shows."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(rows, columns)) + 0.6 * rng.normal(size=(rows, 1)) + 0.2
    w = np.linspace(-1.0, 1.5, columns)
    y = x @ w + noise * rng.normal(size=rows)
    return Conjugate(x.astype(np.float32), y.astype(np.float32).astype(float), noise, prior)
