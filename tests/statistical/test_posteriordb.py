"""NUTS beside the reference draws of posteriordb (Stan, ten chains), on NumPyro programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po

az = pytest.importorskip("arviz")

pytestmark = pytest.mark.slow

FARTHEST = 4.0  # |z| of a mean; all is right in 9,999 of 10,000 comparisons that stay below


def eight_schools(y, sigma):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("school", y.shape[0]):
        z = numpyro.sample("z", dist.Normal(0, 1))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def regression(X, y):
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([X.shape[1]]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(10))
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def kidscore(kid_score, mom_iq):
    beta = numpyro.sample("beta", dist.ImproperUniform(dist.constraints.real_vector, (), (2,)))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    numpyro.sample("y", dist.Normal(beta[0] + beta[1] * mom_iq, sigma), obs=kid_score)


def gaussian_process(x, y):
    rho = numpyro.sample("rho", dist.Gamma(25, 4))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    distance = (x[:, None] - x) / rho
    cov = alpha**2 * jnp.exp(-0.5 * distance**2) + sigma * jnp.eye(x.shape[0])
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(x.shape[0]), cov), obs=y)


class Case(NamedTuple):
    """A posterior of posteriordb as a program, and the data it takes from the file."""

    program: Callable[..., Any]
    data: tuple[str, ...]
    method: po.NUTS


CASES = {
    "eight_schools-eight_schools_noncentered": Case(
        eight_schools, ("y", "sigma"), po.NUTS(target_acceptance=0.95)
    ),
    "sblrc-blr": Case(regression, ("X", "y"), po.NUTS()),
    "kidiq-kidscore_momiq": Case(kidscore, ("kid_score", "mom_iq"), po.NUTS()),
    "gp_pois_regr-gp_regr": Case(gaussian_process, ("x", "y"), po.NUTS()),
}


def by_name(posterior: po.Posterior, names: np.ndarray) -> np.ndarray:
    """Draws (chain, draw, quantity) of the quantities that the reference has."""
    sites = {name.partition("[")[0] for name in names}
    draws = {site: posterior.weights(site) for site in sites}
    columns = []
    for name in names:
        site, _, index = name.rstrip("]").partition("[")
        columns.append(draws[site][..., int(index) - 1] if index else draws[site])
    return np.stack(columns, -1).astype(float)


def mean_and_error(draws: np.ndarray) -> tuple[float, float]:
    """The mean of (chain, draw) and its Monte Carlo standard error."""
    return draws.mean(), float(az.mcse(draws, method="mean"))


@pytest.mark.parametrize("name", CASES)
def test_nuts_agrees_with_the_reference_draws(name: str, shared_data: Path) -> None:
    case = CASES[name]
    path = shared_data / "posteriordb" / f"{name}.npz"
    with np.load(path, allow_pickle=False) as file:
        data = {key: np.asarray(file[f"data__{key}"], float) for key in case.data}
        reference, names = file["draws"], file["names"]
    posterior = po.fit(po.Model.from_numpyro(case.program), data, case.method, progress=False)
    assert posterior.history.divergent.sum() == 0
    ours = by_name(posterior, names)
    for number, quantity in enumerate(names):
        here, there = ours[..., number], reference[..., number]
        assert az.rhat(here) < 1.01, quantity
        assert az.ess(here, method="bulk") >= 400, quantity
        for power in (1, 2):
            (mean, error), (known, doubt) = (mean_and_error(d**power) for d in (here, there))
            z = (mean - known) / np.hypot(error, doubt)
            assert abs(z) < FARTHEST, f"{quantity}^{power}: {mean} ± {error}, {known} ± {doubt}"
