"""Single precision is named where it is the cause, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from posterity.distributions.draws import Draws
from posterity.model.arguments import as_arguments
from posterity.model.net_target import Batch, Target
from posterity.model.program_target import ProgramTarget
from posterity.run import single_precision

CAUSE = "Single precision is the cause"
REMEDY = 'jax.config.update("jax_enable_x64", True)'
X = np.arange(-10.0, 11.0, 2.0)
COUNTS = np.array([40, 37, 29, 12, 4, 3, 9, 19, 77, 82, 33])
NUTS = po.NUTS(chains=2, warmup=80, draws=40, max_depth=6)


def gaussian_process(x: Any, k: Any) -> None:
    """posteriordb's gp_pois_regr: counts whose log rate is smooth."""
    rho = numpyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2.0))
    z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([x.shape[0]]).to_event(1))
    cov = alpha**2 * jnp.exp(-0.5 * ((x[:, None] - x) / rho) ** 2)
    chol = jnp.linalg.cholesky(cov + 1e-10 * jnp.eye(x.shape[0]))
    numpyro.sample("k", dist.Poisson(jnp.exp(chol @ z)), obs=k)


def funnel() -> None:
    v = numpyro.sample("v", dist.Normal(0, 3))
    numpyro.sample("x", dist.Normal(0, jnp.exp(v / 2)).expand([9]).to_event(1))


def said(program: Callable[..., None], *data: Any, **settings: Any) -> str:
    model = po.Model.from_numpyro(program)
    return " ".join(po.fit(model, data, NUTS, progress=False, **settings).result.warnings)


def test_a_gaussian_process_whose_cholesky_fails_is_told_to_run_in_double() -> None:
    model = po.Model.from_numpyro(gaussian_process)
    first, *_ = po.fit(model, (X, COUNTS), NUTS, progress=False).result.warnings
    assert CAUSE in first
    assert REMEDY in first
    assert "priors" not in first


@pytest.mark.slow
def test_the_remedy_cures_it() -> None:
    with jax.enable_x64(True):
        warnings = said(gaussian_process, X, COUNTS)
    assert "recision" not in warnings


@pytest.mark.slow
def test_a_funnel_that_diverges_is_not_blamed_on_precision() -> None:
    warnings = " ".join(
        po.fit(po.Model.from_numpyro(funnel), (), po.NUTS(), progress=False).result.warnings
    )
    assert "diverged" in warnings
    assert "recision" not in warnings
    assert "tighten the priors" in warnings


def test_a_funnel_is_not_blamed_on_precision() -> None:
    """Exact draws of it, down to its neck: gradients of e⁹ are as fine in float32."""
    rng = np.random.default_rng(2)
    v = 3 * rng.normal(size=(2, 200, 1))
    draws = np.concatenate([v, np.exp(v / 2) * rng.normal(size=(2, 200, 9))], 2)
    arguments = as_arguments(())
    target = ProgramTarget.build(po.Model.from_numpyro(funnel), arguments)
    assert target.paths == ("v", "x")
    assert single_precision.of_run(target, arguments, Draws(draws.astype(np.float32))) == ""


def test_a_start_that_fails_in_single_precision_only_says_so() -> None:
    def program(y: Any) -> None:
        rate = numpyro.sample("rate", dist.Normal(0.0, 1.0))
        cov = jnp.exp(-0.5 * ((X[:, None] - X) / 20) ** 2) + 1e-10 * jnp.eye(X.size)
        mean = rate * jnp.ones(X.size)
        numpyro.sample(
            "y", dist.MultivariateNormal(mean, scale_tril=jnp.linalg.cholesky(cov)), obs=y
        )

    model = po.Model.from_numpyro(program)
    with pytest.raises(ValueError, match="no finite step") as error:
        po.fit(model, (np.zeros(X.size),), NUTS, init={"rate": 0.5}, progress=False)
    assert CAUSE in str(error.value)
    assert REMEDY in str(error.value)
    assert "priors" not in str(error.value)


# -- by themselves --------------------------------------------------------------------------------


def of_net(apply: Callable[..., Any], theta: Any) -> tuple[Target, Batch, Draws]:
    """A net of one weight, ten rows, and draws of (weight,) that no method has made."""
    net = (lambda key: {"w": jnp.ones((1,))}, apply)
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(0.1))
    x = np.linspace(-1, 1, 10, dtype=np.float32)[:, None]
    batch = Batch(jnp.asarray(x), jnp.asarray(x[:, 0]))
    return Target.build(model, (1,), (), 10), batch, Draws(np.asarray(theta, np.float32)[..., None])


DRAWS = 1 + 0.3 * np.random.default_rng(0).normal(size=(2, 40))


def test_nets_are_looked_at_too() -> None:
    """A difference of large numbers has no digits left in float32."""

    def coarse(params: Any, x: jax.Array) -> jax.Array:
        large = 1e7 * (1 + x**2)
        return (large + params["w"] * x) - large

    def plain(params: Any, x: jax.Array) -> jax.Array:
        return params["w"] * x

    found = single_precision.of_run(*of_net(coarse, DRAWS))
    assert found.startswith("Single precision is too coarse for this model")
    assert REMEDY in found
    assert single_precision.of_run(*of_net(plain, DRAWS)) == ""


def test_what_double_precision_cannot_do_either_is_not_blamed() -> None:
    def rootless(params: Any, x: jax.Array) -> jax.Array:
        return jnp.sqrt(params["w"] - 1) * x  # half of the draws have no root

    def single_only(params: Any, x: jax.Array) -> jax.Array:
        if params["w"].dtype == jnp.float64:
            raise TypeError("float32 alone")
        return jnp.log(params["w"] - 10) * x

    assert single_precision.of_run(*of_net(rootless, DRAWS)) == ""
    assert single_precision.of_run(*of_net(single_only, DRAWS)) == ""
    target, batch, _ = of_net(single_only, DRAWS)
    assert single_precision.of_start(target, batch, np.ones(1, np.float32)) == ""


def test_an_overflow_is_not_blamed() -> None:
    """A log density of −10⁴⁹ is no place to start from, in whatever precision."""
    target, batch, _ = of_net(lambda params, x: params["w"] * x, DRAWS)
    assert single_precision.of_start(target, batch, np.full(1, 1e25, np.float32)) == ""


def test_places_beyond_reach_do_not_count() -> None:
    """The density fails in float32 far out in the prior's tail, where no path comes."""

    def program(y: Any) -> None:
        at = numpyro.sample("at", dist.Normal(0.0, 1.0))
        cut = jnp.where(jnp.asarray(1e-10) + 1.0 == 1.0, 30.0, jnp.inf)  # 30 in float32 alone
        numpyro.factor("cut", jnp.where(jnp.abs(at) < cut, 0.0, jnp.nan))
        numpyro.sample("y", dist.Normal(at, 1.0), obs=y)

    arguments = as_arguments((np.zeros(3),))
    target = ProgramTarget.build(po.Model.from_numpyro(program), arguments)
    near = Draws(np.random.default_rng(1).normal(size=(2, 40, 1)).astype(np.float32))
    assert single_precision.of_run(target, arguments, near) == ""
    far = Draws(near.theta + 31)
    assert CAUSE not in single_precision.of_run(target, arguments, near)
    assert CAUSE in single_precision.of_run(target, arguments, far)


def test_in_double_precision_nothing_is_compared() -> None:
    with jax.enable_x64(True):
        assert single_precision.of_run(*of_net(lambda params, x: params["w"] * x, DRAWS)) == ""
