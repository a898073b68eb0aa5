"""Fits that learned nothing, or cannot be judged, say so; good ones are in the slow suite."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest

import posterity as po
from posterity.diagnostics import verdict
from posterity.diagnostics.result import Code
from posterity.model.net_target import Batch, Target

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 1))
WAVE = np.sin(2 * X[:, 0]) + 0.1 * RNG.normal(size=64)
LABELS = (WAVE > 0).astype(int)
COUNTS = RNG.poisson(np.exp(1.5 * WAVE))
YEARS = np.arange(1950.0, 2014)[:, None]
NET = po.nets.MLP(1, [8], 1, activation=jnp.tanh)
TINY = optax.adam(1e-6)
NOISE = dist.LogNormal(-1.0, 1.0)
WORDS = "Cannot judge|Nothing was learned|hardly left|has not converged|miss the training|k-hat"


def normal(scale=NOISE, net=NET, prior=None):
    return po.Model(net, prior or po.priors.Normal(), po.likelihoods.Normal(scale))


CLASSES = po.Model(NET, po.priors.Normal(), po.likelihoods.Bernoulli())
POISSON = po.Model(NET, po.priors.Normal(), po.likelihoods.Poisson())
NARROW = po.priors.Normal(0, 1e-4)  # functions that are constant
BAD = {
    "advi: 3 steps": (normal(), WAVE, po.ADVI(steps=3)),
    "advi: tiny steps": (normal(), WAVE, po.ADVI(steps=400, optimizer=TINY)),
    "advi: tiny steps, batches": (normal(), WAVE, po.ADVI(steps=400, optimizer=TINY, batch_size=8)),
    "advi: tiny steps, full rank": (
        normal(),
        WAVE,
        po.ADVI(steps=400, optimizer=TINY, family="full-rank"),
    ),
    "advi: tiny steps, classes": (CLASSES, LABELS, po.ADVI(steps=400, optimizer=TINY)),
    "advi: narrow prior": (normal(prior=NARROW), WAVE, po.ADVI(steps=1_000)),
    "map: 1 step": (normal(), WAVE, po.MAP(steps=1)),
    "map: 99 steps": (normal(), WAVE, po.MAP(steps=99)),
    "map: tiny steps": (normal(0.1), WAVE, po.MAP(steps=400, optimizer=TINY)),
    "map: tiny steps, classes": (CLASSES, LABELS, po.MAP(steps=400, optimizer=TINY)),
    "map: tiny steps, counts": (POISSON, COUNTS, po.MAP(steps=400, optimizer=TINY)),
    "map: noise too small": (normal(1e-3), WAVE, po.MAP(steps=150)),
    "map: narrow prior": (normal(prior=NARROW), WAVE, po.MAP(steps=400)),
    "map: narrow prior, classes": (
        po.Model(NET, NARROW, po.likelihoods.Bernoulli()),
        LABELS,
        po.MAP(steps=400),
    ),
    "map: straight line": (normal(0.05, po.nets.MLP(1, [], 1)), WAVE, po.MAP(steps=400)),
    "map: prices": (normal(1.0), 2e5 + 1e4 * WAVE, po.MAP(steps=400)),
    "ensemble: 50 steps": (normal(), WAVE, po.MAP(steps=50, chains=3)),
    "dadvi: tolerance": (normal(), WAVE, po.DADVI(tolerance=1e10)),
    "ivon: 20 steps": (normal(), WAVE, po.IVON(steps=20)),
    "noise only": (normal(), RNG.normal(size=64), po.MAP(steps=400)),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_fits_say_so(case):
    model, y, method = BAD[case]
    if case == "noise only":
        model = normal(prior=po.priors.Normal(0, 0.1))
    posterior = po.fit(model, (X, y), method, progress=False)
    assert any(re.search(WORDS, said) for said in posterior.result.warnings)


def test_years_under_standard_priors_learn_nothing_and_the_column_is_named():
    y = 0.02 * (YEARS[:, 0] - 1980) + 0.1 * RNG.normal(size=64)
    posterior = po.fit(normal(), (YEARS, y), po.ADVI(steps=1_000), progress=False)
    said = " ".join(posterior.result.warnings)
    assert "x[:, 0] (mean 1982, sd 18.5)" in said
    assert "Nothing was learned: predictions explain 0.0 %" in said


def test_mean_field_on_a_funnel_is_poor_by_k_hat():
    def funnel():
        v = numpyro.sample("v", dist.Normal(0, 3))
        numpyro.sample("x", dist.Normal(0, jnp.exp(v / 2)).expand([9]))

    model = po.Model.from_numpyro(funnel)
    posterior = po.fit(model, (), po.ADVI(steps=2_000), progress=False)
    assert any("k-hat" in said for said in posterior.result.warnings)

    def normals():
        numpyro.sample("x", dist.Normal(0, 1).expand([9]))

    posterior = po.fit(po.Model.from_numpyro(normals), (), po.ADVI(steps=2_000), progress=False)
    assert posterior.result.warnings == ()


def test_an_interrupted_fit_is_not_judged_and_one_cut_short_is():
    ends = po.fit(
        normal(), (X, WAVE), po.MAP(steps=50), every=10, call=lambda p: True, progress=False
    )
    assert ends.result.code is Code.INTERRUPTED
    assert ends.result.warnings == ()


# -- the figures ----------------------------------------------------------------------------------


def test_pace_tells_a_steady_rise_from_one_that_has_ended():
    steps = np.arange(1_000.0)
    assert verdict.on_pace(steps[None], 1_000)
    assert not verdict.on_pace(-1_000 * np.exp(-steps / 50)[None], 1_000)
    noise = RNG.normal(size=(1, 1_000))
    assert not verdict.on_pace(noise, 1_000)
    assert verdict.on_pace(noise + steps / 20, 1_000)
    assert not verdict.on_pace(np.zeros((1, 1_000)), 1_000)


def test_rise_is_that_of_the_second_half():
    steps = np.arange(1_000.0)
    assert "rose by 382 nats in the second half" in verdict.on_rise(steps[None], 20, 1_000)[0]
    assert not verdict.on_rise(np.minimum(steps, 480)[None], 20, 1_000)
    assert not verdict.on_rise(np.full((1, 1_000), np.nan), 20, 1_000)


def test_widths_that_have_not_changed():
    assert verdict.on_width(np.full(30, 0.031), 0.03)
    assert not verdict.on_width(np.r_[np.full(30, 0.03), 0.3], 0.03)
    assert not verdict.on_width(np.full(3, 0.03), 0.03)  # by chance, perhaps


def test_variance_that_is_explained_counts_as_learned():
    net = po.nets.MLP(1, [], 1)
    y = X[:, 0] + RNG.normal(size=64)

    def said(slope, scale):
        model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(scale))
        target = Target.build(model, (1,), (), rows=64)
        theta = target.unconstrain(
            {"layers.0.weight": jnp.full((1, 1), slope), "layers.0.bias": jnp.zeros(1)}
        )
        return verdict.on_predictions(target, theta[None], Batch(X, y))

    assert said(1.0, 1.0) == []
    assert said(0.0, 1.0)[0].startswith("Nothing was learned: predictions explain 0.0 %")
    assert said(-9.0, 1.0)[0].startswith("Nothing was learned: predictions explain 0.0 %")
    assert said(1.0, 0.05)[0].startswith("Predictions miss the training targets by ")


def test_of_several_targets_those_that_were_not_learned_are_named():
    y = np.stack([X[:, 0], RNG.normal(size=64)], 1)
    model = po.Model(po.nets.MLP(1, [], 2), po.priors.Normal(), po.likelihoods.Normal(0.5))
    target = Target.build(model, (1,), (2,), rows=64)
    theta = target.unconstrain(
        {"layers.0.weight": jnp.array([[1.0], [0.0]]), "layers.0.bias": jnp.zeros(2)}
    )
    (said,) = verdict.on_predictions(target, theta[None], Batch(X, y))
    assert "of the variance of y[:, 1] at training rows" in said


def test_what_cannot_be_judged_is_said_and_the_fit_is_kept(monkeypatch):
    few = po.fit(normal(), (X[:5], WAVE[:5]), po.MAP(steps=100), progress=False)
    assert "Cannot judge: 5 rows are too few" in few.result.warnings[-1]

    def broken(*args):
        raise ZeroDivisionError("of a likelihood of one's own")

    monkeypatch.setattr(verdict, "on_predictions", broken)
    kept = po.fit(normal(), (X, WAVE), po.MAP(steps=100), progress=False)
    said = "Cannot judge: predictions at training rows failed (of a likelihood of one's own)."
    assert kept.result.warnings[-1] == said
    assert kept.sample().shape[-1] == kept.target.size


def test_a_spread_that_the_net_learns_counts_as_learned():
    x = np.linspace(-2, 2, 400)[:, None]
    y = np.exp(x[:, 0]) * np.random.default_rng(1).normal(size=400)  # its mean is 0 everywhere
    net = po.nets.MLP(1, [], 2)
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal("net"))
    posterior = po.fit(model, (x, y), po.MAP(steps=1_000), progress=False)
    assert posterior.result.warnings == ()


def test_rows_to_look_at_are_a_hundredth_of_the_work():
    assert verdict.rows_for(30_000, 400, 1, 400) == 400
    assert verdict.rows_for(6_000, 128, 1, 60_000) == 1_000
    assert verdict.rows_for(200, 128, 1, 60_000) == 64
    assert verdict.rows_for(200, 128, jax.numpy.inf, 10) == 10
