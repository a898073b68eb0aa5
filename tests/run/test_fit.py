"""fit: reproducible, compiled once, and honest about steps that were not finite."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

import posterity as po
from compilations import Compilations
from posterity.diagnostics.result import Code
from posterity.distributions.draws import Draws

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 1)).astype(np.float32)
Y = (np.sin(2 * X[:, 0]) + 0.1 * RNG.normal(size=20)).astype(np.float32)
MODEL = po.Model(
    po.nets.MLP(1, [3], 1, activation=jnp.tanh), po.priors.Normal(), po.likelihoods.Normal(0.3)
)
METHODS = {
    "advi": po.ADVI(steps=60),
    "advi-batch": po.ADVI(steps=60, batch_size=7),
    "map-batch": po.MAP(steps=40, batch_size=6),
    "sgld": po.SGLD(draws=20, step_size=1e-3, batch_size=5, chains=2),
    "nuts": po.NUTS(chains=2, warmup=20, draws=10),
}


def fit(method, model=MODEL, data=(X, Y), **kwargs):
    return po.fit(model, data, method, progress=False, **kwargs)


def moments(posterior):
    return np.stack([np.asarray(m) for m in posterior.distribution.mean_and_sd()])


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(name):
    method = METHODS[name]
    first, again, other = (fit(method, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(moments(first), moments(again))
    for field, values in first.history.fields.items():
        np.testing.assert_array_equal(values, getattr(again.history, field))
    assert np.isfinite(moments(first)).all()
    assert not np.isclose(moments(first)[0], moments(other)[0], rtol=1e-6).any()


def test_the_order_of_batches_depends_on_the_seed():
    data = X, Y
    theta = np.zeros(10, np.float32) + 0.1
    one, other = (fit(po.MAP(steps=9, batch_size=1), seed=s, init=theta, data=data) for s in (1, 2))
    assert not np.array_equal(one.history.log_joint, other.history.log_joint)


def test_a_method_reports_what_it_was_and_what_it_did():
    posterior = fit(po.MAP(steps=40, batch_size=6), seed=11)
    settings = posterior.settings
    assert settings["method"] == "MAP"
    assert (settings["steps"], settings["batch_size"], settings["seed"]) == (40, 6, 11)
    assert posterior.facts["steps_made"] == 40
    assert posterior.facts["seconds"] > 0
    assert posterior.result.code is Code.COMPLETED
    assert posterior.history.log_joint.shape == (40,)
    assert posterior.target.rows == 20


def test_draws_and_history_of_a_sampler_leave_the_warmup_out():
    posterior = fit(po.SGLD(draws=6, step_size=1e-4, warmup=5, thin=3, chains=2))
    assert posterior.distribution.theta.shape == (2, 6, 10)
    assert posterior.history.log_joint.shape == (2, 18)
    assert posterior.facts["steps_made"] == 5 + 18


@pytest.mark.parametrize("name", ["advi-batch", "sgld", "nuts"])
def test_a_second_fit_of_the_same_shapes_compiles_nothing(name):
    # A net of its own, so that no other test has compiled it; other data, another seed.
    net = po.nets.MLP(1, [2 + len(name)], 1, activation=jnp.tanh)
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(0.3))
    with Compilations() as first:
        fit(METHODS[name], model)
    assert any("dispatch" in compiled for compiled in first.names)
    with Compilations() as second:
        fit(METHODS[name], model, (X[::-1] * 2, Y[::-1] - 1), seed=9)
    assert second.names == []


def test_a_new_model_of_the_same_kind_compiles_no_loop_again():
    def build():
        net = po.nets.MLP(1, [4], 1, activation=jnp.tanh)
        return po.Model(net, po.priors.Normal(0, 2), po.likelihoods.Normal(0.3))

    fit(METHODS["map-batch"], build())
    with Compilations() as second:
        fit(METHODS["map-batch"], build())
    assert not any("dispatch" in name for name in second.names)


# -- steps that are not finite -------------------------------------------------------------------


def cliff(edge):
    """f = w x, which is NaN where w is above `edge`."""
    init = lambda key: {"w": jnp.zeros(1)}
    apply = lambda p, x: x * jnp.where(p["w"] > edge, jnp.nan, p["w"])
    return po.Model((init, apply), po.priors.Normal(), po.likelihoods.Normal(1.0))


def regression(slope):
    x = np.linspace(-1, 1, 20)[:, None].astype(np.float32)
    return x, slope * x[:, 0]


def not_finite(posterior):
    """How many steps the warnings say were not finite."""
    warnings = [w for w in posterior.result.warnings if "not finite" in w]
    assert len(warnings) == 1
    return int(warnings[0].split()[0])


@pytest.mark.parametrize("batch_size", [None, 5])
def test_a_rare_draw_that_is_not_finite_is_taken_back_and_counted(batch_size):
    # The posterior is N(0, 0.354²) or so: one draw of q in twenty lies beyond 0.6.
    posterior = fit(
        po.ADVI(steps=2_000, stop=False, starts=1, batch_size=batch_size, init_scale=0.3),
        cliff(0.6),
        regression(0.0),
    )
    failures = int((~posterior.history.ok).sum())
    assert 1 <= failures <= not_finite(posterior) < 1_000
    assert posterior.result.code in (Code.COMPLETED, Code.FAILED)
    assert not posterior.result.ok
    mean, sd = moments(posterior)
    assert abs(mean[0]) < 0.6
    assert 0 < sd[0] < 1


@pytest.mark.parametrize(
    "method",
    [
        po.SGLD(draws=200, step_size=0.02, warmup=200),
        po.MAP(steps=200),
        # A step size that stays large: the last step itself goes over the edge.
        po.MAP(steps=7, optimizer=optax.sgd(0.02)),
    ],
    ids=["SGLD", "MAP", "MAP-large-steps"],
)
def test_the_state_that_is_kept_has_a_finite_density(method):
    # The mode is at w = 1, beyond the cliff: every method walks into it.
    x, y = regression(1.15)
    posterior = fit(method, cliff(0.6), (x, y))
    assert isinstance(posterior.distribution, Draws)
    assert np.all(posterior.distribution.theta <= np.float32(0.6))
    assert posterior.distribution.theta.mean() > 0.3
    assert np.isfinite(posterior.predict(x).mean).all()
    if method.total_steps > 10:
        assert not_finite(posterior) > 0


def test_a_run_beyond_help_says_so():
    """Finite at the start and nowhere else: every step fails, back at the start none does."""
    init = lambda key: {"w": jnp.zeros(1)}
    apply = lambda p, x: x * jnp.where(p["w"] == 0.0, p["w"], jnp.nan)
    alone = po.Model((init, apply), po.priors.Normal(), po.likelihoods.Normal(1.0))
    posterior = fit(po.MAP(steps=5_000), alone, regression(1.15))
    assert posterior.result.code is Code.FAILED
    assert posterior.facts["steps_made"] < 5_000
    assert not_finite(posterior) >= 60
    np.testing.assert_array_equal(moments(posterior), 0.0)


def test_a_run_without_trouble_has_no_warnings():
    posterior = fit(po.MAP(steps=100), cliff(50.0), regression(1.0))
    assert posterior.result.ok
    assert posterior.history.ok.all()


def lost(value, scale=1.0):
    """A net whose outputs are `value` for every w."""
    init = lambda key: {"w": jnp.ones(1)}
    apply = lambda p, x: x * p["w"] * jnp.float32(value)
    return po.Model((init, apply), po.priors.Normal(), po.likelihoods.Normal(scale))


HOPELESS = [po.ADVI(steps=200), po.MAP(steps=200), po.SGLD(draws=100, step_size=1e-3)]


@pytest.mark.parametrize("method", HOPELESS, ids=lambda m: type(m).__name__)
def test_a_hopeless_start_raises_and_names_the_row(method):
    with pytest.raises(ValueError, match=r"init: no finite step.*log likelihood of row 0.*nan"):
        fit(method, lost(np.nan))


@pytest.mark.parametrize("method", HOPELESS, ids=lambda m: type(m).__name__)
def test_a_hopeless_start_of_infinite_loss_raises_and_names_the_row(method):
    with pytest.raises(ValueError, match=r"init: no finite step.*log likelihood of row 0.*-inf"):
        fit(method, lost(1e25))


def test_a_hopeless_prior_is_named():
    theta = np.full(10, 1e25, np.float32)
    with pytest.raises(ValueError, match=r"init: no finite step.*log prior there is -inf"):
        fit(po.MAP(steps=200), init=theta)


@pytest.mark.parametrize("method", [po.ADVI(steps=50), po.MAP(steps=50)])
def test_a_hopeless_start_raises_however_short_the_run(method):
    with pytest.raises(ValueError, match="init: no finite step"):
        fit(method, lost(1e25))


# -- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [None, "model", po.nets.MLP(1, [3], 1)])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(TypeError, match=r"model: expected a po\.Model"):
        fit(po.MAP(steps=2), model)


@pytest.mark.parametrize("method", [None, "ADVI", po.ADVI])
def test_what_is_no_method_is_refused(method):
    with pytest.raises(TypeError, match=r"method: expected a method such as po\.ADVI\(\)"):
        fit(method)


@pytest.mark.parametrize("seed", [1.5, "1", None, True])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(TypeError, match="seed must be an integer"):
        fit(po.MAP(steps=2), seed=seed)


@pytest.mark.parametrize("seed", [-1, np.int64(5), 2**40])
def test_any_integer_is_a_seed(seed):
    assert np.isfinite(moments(fit(po.MAP(steps=2), seed=seed))).all()


def test_unknown_scales_are_fitted_with_the_net():
    model = po.Model(MODEL.net, po.priors.Normal(), po.likelihoods.Normal(dist.HalfNormal(1.0)))
    posterior = fit(po.ADVI(steps=60), model)
    scale = posterior.weights("likelihood.scale", draws=5)
    assert scale.shape == (1, 5)
    assert (scale > 0).all()


def test_the_bar_goes_to_standard_error(capfd):
    po.fit(MODEL, (X, Y), po.MAP(steps=3), progress=True)
    out, err = capfd.readouterr()
    assert "MAP" in err
    assert out == ""
    fit(po.MAP(steps=3))
    assert capfd.readouterr() == ("", "")


# -- looking on ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [po.ADVI(steps=200, stop=False), po.MAP(steps=200), po.NUTS(warmup=20, draws=100)],
    ids=lambda method: type(method).__name__,
)
def test_a_look_every_so_many_steps_changes_nothing(method) -> None:
    """The same posterior with and without looks, and each look is at the posterior of its step."""
    x = np.linspace(-1, 1, 30)[:, None]
    model = po.Model(po.nets.MLP(1, [3], 1), po.priors.Normal(), po.likelihoods.Normal(0.2))
    seen: list[int] = []

    def look(posterior: po.Posterior) -> None:
        assert np.isfinite(posterior.predict(x, draws=5).mean).all()
        seen.append(posterior.facts["steps_made"])

    data = (x, x[:, 0])
    watched = po.fit(model, data, method, progress=False, every=40, call=look)
    alone = po.fit(model, data, method, progress=False)
    assert seen == list(range(40, method.total_steps + 1, 40))
    np.testing.assert_array_equal(watched.sample(10), alone.sample(10))


def test_a_true_answer_ends_the_run() -> None:
    x = np.linspace(-1, 1, 30)[:, None]
    model = po.Model(po.nets.MLP(1, [3], 1), po.priors.Normal(), po.likelihoods.Normal(0.2))
    method = po.MAP(steps=500)
    posterior = po.fit(
        model, (x, x[:, 0]), method, progress=False, every=50, call=lambda so_far: True
    )
    assert posterior.facts["steps_made"] == 50
    assert posterior.result.code is Code.INTERRUPTED
    with pytest.raises(ValueError, match="go together"):
        po.fit(model, (x, x[:, 0]), method, progress=False, every=50)


def test_a_method_as_init_gives_every_chain_a_fit_of_its_own_to_start_from():
    model = po.Model(po.nets.MLP(1, [5], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
    x = np.linspace(-1, 1, 50)[:, None]
    data = (x, np.sin(3 * x[:, 0]))
    sampler = po.NUTS(chains=3, warmup=1, draws=4, target_acceptance=0.99, max_depth=1)
    cold = po.fit(model, data, sampler, progress=False)
    warm = po.fit(model, data, sampler, init=po.MAP(steps=2_000), progress=False)
    assert warm.history.log_joint[:, 0].min() > cold.history.log_joint[:, 0].max()
    first = np.asarray(warm.distribution.theta[:, 0])
    assert np.abs(first[0] - first[1]).max() > 0.1
    assert np.abs(first[1] - first[2]).max() > 0.1
    with pytest.raises(ValueError, match="draws and does not optimise"):
        po.fit(model, data, sampler, init=po.NUTS(), progress=False)
