"""The target of a program: the same densities as NumPyro's, and the sites that are refused."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from numpyro.infer.util import log_density, potential_energy

import posterity as po
from posterity.model.arguments import as_arguments
from posterity.model.program import ProgramModel
from posterity.model.program_target import ProgramTarget
from programs import MIXED, Y, fit, mixed, normal


@pytest.fixture(scope="module")
def target() -> ProgramTarget:
    return ProgramTarget.build(ProgramModel(mixed), as_arguments(MIXED))


@pytest.fixture(scope="module")
def theta(target: ProgramTarget) -> jax.Array:
    return target.net_draw(jax.random.key(1))


# -- densities ------------------------------------------------------------------------------------


def test_theta_holds_the_latent_sites_in_program_order(target):
    assert target.paths == ("mu", "tau", "share", "below", "flat", "z")
    assert [p.shape for p in target.parameters] == [(), (), (3,), (), (2,), (3,)]
    assert target.size == 1 + 1 + 2 + 1 + 2 + 3
    assert target.derived == ("theta",)


def test_log_joint_is_numpyros(target, theta):
    batch = target.arguments
    parts = dict(zip(target.paths, np.split(theta, [p.stop for p in target.parameters])))
    free = {
        p.path: jnp.reshape(parts[p.path], () if not p.shape else (-1,)) for p in target.parameters
    }
    energy = potential_energy(mixed, (), MIXED, free)
    assert target.log_joint(theta, batch) == pytest.approx(-float(energy), rel=1e-5)
    density, _ = log_density(mixed, (), MIXED, target.constrain(theta))
    ours = target.log_joint(theta, batch, jacobian=False)
    assert ours == pytest.approx(float(density), rel=1e-5)


def in_time(y):
    s = numpyro.sample("s", dist.HalfNormal(1))

    def step(level, y):
        x = numpyro.sample("x", dist.LogNormal(level, s))
        numpyro.sample("y", dist.Normal(x, 0.3), obs=y)
        return jnp.log(x), None

    scan(step, jnp.zeros(()), y)


def weighted(y):
    with numpyro.handlers.scale(scale=3.0), numpyro.handlers.mask(mask=y > 1):
        numpyro.sample("y", dist.Normal(numpyro.sample("m", dist.HalfNormal(1)), 1), obs=y)


def correlated(y):
    chol = numpyro.sample("chol", dist.LKJCholesky(4, 1.0))
    sd = numpyro.sample("sd", dist.HalfNormal(1).expand([4]).to_event(1))
    scale = sd[:, None] * chol
    numpyro.sample("y", dist.MultivariateNormal(0, scale_tril=scale), obs=y.reshape(5, 4))


@pytest.mark.parametrize("program", [in_time, weighted, correlated])
def test_handlers_loops_and_matrices_are_numpyros(program):
    found = ProgramTarget.build(ProgramModel(program), as_arguments((Y,)))
    theta = found.net_draw(jax.random.key(0))
    free = dict(zip(found.paths, jnp.split(theta, [p.stop for p in found.parameters])))
    free = {path: free[path].reshape(s) for path, s in zip(found.paths, found.free_shapes)}
    energy = potential_energy(program, (jnp.asarray(Y, jnp.float32),), {}, free)
    assert found.log_joint(theta, found.arguments) == pytest.approx(-float(energy), rel=1e-5)


def test_observed_sites_and_factors_are_the_likelihood(target, theta):
    values = target.values(theta)
    mean = values["theta"] * values["share"]
    expected = dist.Normal(mean, MIXED["x"]).log_prob(MIXED["y"]).sum()
    expected += -jnp.sum(values["flat"] ** 2) - values["below"]
    found = target.log_likelihood(theta, target.arguments)
    assert found.shape == (1,)
    assert found[0] == pytest.approx(float(expected), rel=1e-5)


def test_constrain_and_unconstrain_are_inverse(target, theta):
    values = target.constrain(theta)
    assert list(values) == list(target.paths)
    assert 0 < values["below"] < values["tau"]
    np.testing.assert_allclose(target.unconstrain(values), theta, atol=1e-5)
    with pytest.raises(ValueError, match="params: missing \\['mu'\\]"):
        target.unconstrain({k: v for k, v in values.items() if k != "mu"})
    with pytest.raises(ValueError, match="'mu' has shape"):
        target.unconstrain({**values, "mu": np.zeros(2)})


# -- sites that are refused -----------------------------------------------------------------------


def discrete(y):
    k = numpyro.sample("k", dist.Bernoulli(0.5))
    numpyro.sample("y", dist.Normal(k, 1), obs=y)


def subsampled(y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("rows", y.shape[0], subsample_size=5) as rows:
        numpyro.sample("y", dist.Normal(mu, 1), obs=y[rows])


def optimised(y):
    numpyro.sample("y", dist.Normal(numpyro.param("mu", 0.0), 1), obs=y)


def delta(y):
    numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Delta(0.0)), 1), obs=y)


def moving(y):
    s = numpyro.sample("s", dist.HalfNormal(1))
    region = dist.constraints.interval(0, s)
    mu = numpyro.sample("mu", dist.ImproperUniform(region, (), ()))
    numpyro.sample("y", dist.Normal(mu, s), obs=y)


def fixed(y):
    numpyro.sample("y", dist.Normal(0, 1), obs=y)


def by_value(y):
    numpyro.sample("mu", dist.Normal(0, 1).expand([np.unique(y).size]))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (discrete, "site 'k' is latent and discrete .* Sum it out"),
        (subsampled, "plate 'rows' draws 5 of 20 rows .* Leave subsample_size out"),
        (optimised, "'mu' is a numpyro.param.* numpyro.sample"),
        (delta, "site 'mu' has a Delta .* numpyro.deterministic"),
        (moving, "site 'mu' has an improper prior on a region .* dist.Uniform"),
        (fixed, "no latent site"),
        (by_value, "TracerArrayConversionError.* functools.partial"),
        (normal, "TypeError: normal\\(\\) missing 1 required positional argument: 'sd'"),
    ],
)
def test_programs_that_cannot_be_fitted_say_why(program, message):
    with pytest.raises(ValueError, match=message):
        fit(po.MAP(steps=1), program, (Y,))


def test_the_remedy_for_values_works():
    posterior = fit(po.MAP(steps=1), functools.partial(by_value, np.array([1, 1, 2])), ())
    assert posterior.weights("mu").shape == (1, 1, 2)
