"""NumPyro programs as models: every method, their arguments, and the posterior."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from compilations import Compilations
from programs import MIXED, SD, Y, exact, fit, mixed, normal

# -- methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "method"), [(0, po.NUTS()), (1, po.NUTS(chains=2))])
def test_nuts_is_exact_on_a_conjugate_program(seed, method):
    posterior = fit(method, seed=seed)
    draws = posterior.weights("mu").astype(float)
    mean, sd = exact()
    for power, known in ((draws, mean), ((draws - mean) ** 2, sd**2)):
        effective = float(numpyro.diagnostics.effective_sample_size(power))
        assert abs(power.mean() - known) < 4 * power.std() / effective**0.5
    np.testing.assert_allclose(posterior.weights("twice"), 2 * posterior.weights("mu"), rtol=1e-6)


@pytest.mark.parametrize(
    "method",
    [
        po.ADVI(steps=8_000),
        po.ADVI(steps=8_000, family="full-rank"),
        po.IVON(steps=3_000),
        po.DADVI(),
        po.MAP(steps=1_000),
        po.SGLD(draws=5_000, step_size=1e-3),
    ],
    ids=lambda method: type(method).__name__,
)
def test_every_method_takes_a_program(method):
    posterior = fit(method)
    mean, sd = exact()
    found, spread = posterior.distribution.mean_and_sd()
    assert abs(float(found[0]) - mean) < 0.25 * sd
    if not isinstance(method, po.MAP):
        assert float(spread[0]) == pytest.approx(sd, rel=0.2)


def test_elbo_and_khat_of_a_program():
    posterior = fit(po.ADVI(steps=8_000))
    covariance = SD**2 * np.eye(Y.size) + 2**2
    evidence = dist.MultivariateNormal(0.0, covariance).log_prob(jnp.asarray(Y))
    value, error = po.elbo(posterior, (Y, SD))
    assert value == pytest.approx(float(evidence), abs=0.05 + 4 * error)
    assert po.pareto_khat(posterior, (Y, SD)).good


def test_flat_priors_start_finite_but_cannot_be_drawn_from():
    def flat(y):
        mu = numpyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
        numpyro.sample("y", dist.Normal(mu, SD), obs=y)

    draws = fit(po.NUTS(chains=2, warmup=300, draws=500), flat, (Y,)).weights("mu")
    assert draws.mean() == pytest.approx(Y.mean(), abs=5 * SD / Y.size**0.5 / 10)
    with pytest.raises(ValueError, match="site 'mu' is improper and cannot be drawn from"):
        fit(po.MAP(steps=5), flat, (Y,), init="prior")


def test_starts_elsewhere():
    method = po.MAP(steps=1, optimizer=None)
    there = fit(method, init={"mu": 3.0})
    assert there.weights("mu")[0, 0] == pytest.approx(3.0, abs=0.2)
    assert np.isfinite(fit(method, init="prior").weights("mu")).all()
    assert fit(method, init=there).weights("mu")[0, 0] == pytest.approx(3.0, abs=0.4)


def test_a_second_fit_to_other_numbers_compiles_nothing():
    method = po.NUTS(chains=2, warmup=20, draws=17)
    with Compilations() as first:
        fit(method)
    assert any("dispatch" in name for name in first.names)
    with Compilations() as second:
        found = fit(method, data=(Y[::-1] + 5, SD), seed=9)
    assert second.names == []
    assert found.weights("mu").mean() > 4


def test_plain_numbers_are_constants_and_keep_their_type():
    seen = []

    def program(count, y):
        seen.append(type(count))
        numpyro.sample("mu", dist.Normal(0, 1).expand([int(count)]))
        numpyro.sample("y", dist.Normal(0, 1), obs=y)

    for count in (2, 2.0, np.int64(2)):
        assert fit(po.MAP(steps=1), program, (count, Y)).weights("mu").shape == (1, 1, 2)
        assert set(seen) == {type(count) if type(count) is float else int}
        seen.clear()


def test_integers_stay_integers():
    def program(group, y):
        assert group.dtype == jnp.int32
        mu = numpyro.sample("mu", dist.Normal(0, 1).expand([2]))
        numpyro.sample("y", dist.Normal(mu[group], 1), obs=y)

    group = np.array([0, 1, 1])
    assert fit(po.MAP(steps=1), program, {"group": group, "y": [1, 2, 3]}).target.size == 2


def test_programs_may_have_no_arguments_and_arguments_may_be_dictionaries():
    def funnel():
        v = numpyro.sample("v", dist.Normal(0, 3))
        numpyro.sample("x", dist.Normal(0, jnp.exp(v / 2)))

    def nested(data):
        normal(data["y"], data["sd"])

    for data in ((), {}):
        assert fit(po.MAP(steps=1), funnel, data).target.size == 2
    assert fit(po.MAP(steps=1), nested, ({"y": Y, "sd": SD},)).target.paths == ("mu",)


# -- what is refused ------------------------------------------------------------------------------


NAN = np.array([[1.0, 2.0], [np.nan, 4.0]])


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ((NAN, 1.0), ValueError, r"data\[0\]\[1, 0\] = nan is not finite"),
        ({"y": Y, "sd": np.array(np.inf)}, ValueError, r"data\['sd'\] = inf is not finite"),
        ((Y, float("nan")), ValueError, r"data\[1\] = nan is not finite"),
        ((Y, {"sd": NAN}), ValueError, r"data\[1\]\['sd'\]\[1, 0\] = nan"),
        ((Y, [1, 2**40]), ValueError, r"data\[1\]\[1\] = 1099511627776 is out of the range"),
        ((Y, np.array(["a"])), TypeError, r"data\[1\]\[0\] = .*'a'.* is not a number"),
        ((Y, len), TypeError, r"data\[1\] = <built-in function len> is not a number"),
        (Y, TypeError, r"data: for a program, expected a tuple .* got ndarray. A single .* \(x,\)"),
        ({1: Y}, TypeError, "names of arguments as keys"),
    ],
)
def test_bad_arguments_are_named(data, error, message):
    with pytest.raises(error, match=message):
        fit(po.MAP(steps=1), data=data)


def test_what_needs_rows_or_a_net_is_refused():
    with pytest.raises(ValueError, match=r"ADVI: batch_size=5 needs .* Leave batch_size out"):
        fit(po.ADVI(batch_size=5))
    with pytest.raises(ValueError, match=r'ADVI: estimator="flipout" needs .*"shared"'):
        fit(po.ADVI(estimator="flipout"))
    posterior = fit(po.MAP(steps=1))
    with pytest.raises(AttributeError, match=r"predict: .* posterior\.replicate\(\*args, draws="):
        posterior.predict(Y)
    with pytest.raises(AttributeError, match="inputs: the model is a NumPyro program"):
        _ = posterior.target.inputs
    with pytest.raises(TypeError, match=r"numpyro\.infer\.Predictive"):
        po.prior_predictive(po.Model.from_numpyro(normal), Y)
    with pytest.raises(TypeError, match="program: expected a function"):
        po.Model.from_numpyro(3)


# -- the posterior --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def posterior() -> po.Posterior:
    return fit(po.NUTS(chains=2, warmup=100, draws=50), mixed, MIXED)


def test_weights_of_latent_and_deterministic_sites(posterior):
    assert posterior.weights("share").shape == (2, 50, 3)
    np.testing.assert_allclose(posterior.weights("share").sum(-1), 1, rtol=1e-5)
    expected = posterior.weights("mu")[..., None] + (
        posterior.weights("tau")[..., None] * posterior.weights("z")
    )
    np.testing.assert_allclose(posterior.weights("theta"), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(KeyError, match="mu, tau, share, below, flat, z, theta"):
        posterior.weights("eta")


def test_summary_and_arviz_have_all_sites(posterior):
    assert [row.path for row in posterior.summary().rows] == list(posterior.target.paths)
    pytest.importorskip("arviz")
    groups = posterior.to_arviz()
    assert set(groups.posterior) == {*posterior.target.paths, "theta"}
    assert groups.posterior["theta"].shape == (2, 50, 3)
    assert groups.sample_stats["diverging"].shape == (2, 50)


def test_replicate_draws_observed_sites_from_the_posterior():
    posterior = fit(po.NUTS(chains=2, warmup=200, draws=1_000))
    mean, sd = exact()
    same = posterior.replicate()
    assert set(same) == {"y", "twice"}
    assert same["y"].shape == (2_000, 20)
    assert same["y"].mean() == pytest.approx(mean, abs=0.02)
    assert same["y"].std() == pytest.approx(np.hypot(sd, SD), rel=0.02)
    other = posterior.replicate(np.zeros(3), sd=0.01, draws=30, seed=1)
    assert other["y"].shape == (30, 3)
    np.testing.assert_allclose(other["y"].mean(1), other["twice"] / 2, atol=0.05)
    np.testing.assert_array_equal(
        posterior.replicate(draws=5, seed=2)["y"], posterior.replicate(draws=5, seed=2)["y"]
    )


def test_replicate_says_what_is_wrong(posterior):
    assert set(posterior.replicate(draws=2)) == {"y", "theta"}  # a factor is no data
    with pytest.raises(ValueError, match=r"replicate\['x'\]\[0\] = nan"):
        posterior.replicate(x=np.array([np.nan]))
    with pytest.raises(ValueError, match="replicate: the program cannot take these arguments"):
        posterior.replicate(np.ones(3), nonsense=1)
    with pytest.raises(ValueError, match="draws: must be a whole number"):
        posterior.replicate(draws=0)
    model = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(1.0))
    net = po.fit(model, (Y[:, None], Y), po.MAP(steps=1), progress=False)
    assert not hasattr(net, "replicate")


def test_files_hold_theta_and_need_program_and_data(posterior, tmp_path):
    path = posterior.save(tmp_path / "program")
    model = po.Model.from_numpyro(mixed)
    loaded = po.load(path, model=model, data=MIXED)
    np.testing.assert_array_equal(loaded.weights("theta"), posterior.weights("theta"))
    with pytest.raises(ValueError, match=r"NumPyro program.*model=model, data=data"):
        po.load(path)
    with pytest.raises(ValueError, match=r"missing 1 required .* Give the data"):
        po.load(path, model=model)
    with pytest.raises(ValueError, match="no parameter 'tau'"):
        po.load(path, model=po.Model.from_numpyro(normal), data=(Y, SD))
    net = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(1.0))
    with pytest.raises(ValueError, match="holds a NumPyro program's posterior"):
        po.load(path, model=net)
