"""Digits that single precision loses, and units far from standard ones, are named by column."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import posterity as po
from posterity.diagnostics.units import Column, far_units, lost_digits, notes
from posterity.inputs import read

RNG = np.random.default_rng(0)
LOST = {
    "whole numbers on a large mean": 1e8 + np.arange(25.0),
    "minutes of Unix time": 1.7e9 + 60 * np.arange(24.0),
    "milliseconds of a year": 1.7e12 + 1000 * np.arange(1e4),
    "whole numbers of 64 bits": 2**24 + np.arange(50),
    "few whole numbers that collide": np.array([2.0**24, 2.0**24 + 1] + [0.0] * 500),
    "real numbers on a large mean": 1e6 + RNG.normal(size=500),
    "single precision already": (1e6 + RNG.normal(size=500)).astype(np.float32),
    "negative": -1e8 - np.arange(25.0),
}
KEPT = {
    "standard": RNG.normal(size=20_000),
    "years": np.arange(1950, 2020),
    "prices": RNG.lognormal(10, 1, 1_000).round(2),
    "large numbers of one decade": RNG.uniform(1e9, 9e9, 10_000),
    "tiny": 1e-12 * RNG.normal(size=1_000),
    "mostly zeros": np.r_[np.zeros(990), RNG.normal(size=10)],
    "constant": np.full(20, 1e8 + 1),
    "pixels": RNG.integers(0, 256, 1_000),
    "rare": np.r_[np.zeros(999), 1],
    "minutes of ten years": 1.3e9 + 60.0 * RNG.integers(0, 5_256_000, 200) // 128 * 128,
}


@pytest.mark.parametrize("case", LOST)
def test_lost_digits_are_said(case):
    said = lost_digits(Column("x", LOST[case]))
    assert " is resolved to " in said or "distinct values, of which" in said
    with jax.enable_x64(True):
        assert not lost_digits(Column("x", LOST[case]))


@pytest.mark.parametrize("case", KEPT)
def test_what_single_precision_bears_is_not_said(case):
    assert not lost_digits(Column("x", KEPT[case]))


def test_the_figures_are_right():
    said = lost_digits(Column("y", np.array([2.0**24, 2.0**24 + 1] + [0.0] * 500)))
    assert said == "y has 3 distinct values, of which 2 are kept"
    said = lost_digits(Column("y", 1e8 + np.arange(25.0)))
    assert said == "y (mean 1e+08, sd 7.21) is resolved to 12, 1.7 of its sd"


FAR = {
    "years": np.arange(1950.0, 2010),
    "prices": RNG.lognormal(12, 0.5, 500),
    "shifted": 5 + 0.1 * RNG.normal(size=500),
    "tiny": 1e-3 * RNG.normal(size=500),
    "pixels": RNG.integers(0, 256, 500),
    "constant": np.full(10, 100.0),
}
NEAR = {
    "standard": RNG.normal(size=500),
    "unit interval": RNG.uniform(size=500),
    "rare": np.r_[np.zeros(999), 1],
    "counts": RNG.poisson(4, 500),
    "constant": np.ones(10),
    "wide": RNG.uniform(-20, 20, 500),
}


@pytest.mark.parametrize("case", FAR)
def test_far_units_are_said(case):
    assert far_units(Column("x", FAR[case])).startswith("x (")


@pytest.mark.parametrize("case", NEAR)
def test_near_units_are_not_said(case):
    assert not far_units(Column("x", NEAR[case]))


METHODS = {
    "MAP": po.MAP(steps=2),
    "ADVI": po.ADVI(steps=2, starts=1),
    "SGLD": po.SGLD(draws=4, step_size=1e-9, warmup=0),
    "NUTS": po.NUTS(chains=1, warmup=2, draws=4, max_depth=1),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_names_the_columns(name):
    x = pd.DataFrame({"year": np.arange(1950.0, 1990), "size": RNG.normal(size=40)})
    model = po.Model(po.nets.MLP(2, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.5))
    posterior = po.fit(model, (x, 1e8 + np.arange(40.0)), METHODS[name], progress=False)
    lost, far, *_ = posterior.result.warnings
    assert lost.startswith("Single precision loses digits of the data: y (mean 1e+08, sd 11.5)")
    assert 'jax.config.update("jax_enable_x64", True)' in lost
    assert "x['year'] (mean 1970, sd 11.5), y (mean 1e+08" in far
    assert "x['size']" not in far


def test_what_a_net_indexes_with_and_labels_have_no_units():
    net = (
        lambda key: {"e": jax.random.normal(key, (5, 1))},
        lambda p, x: p["e"][jnp.minimum(x[:, 0], 4)],
    )
    ids = (2**24 + np.arange(20))[:, None]
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Bernoulli())
    posterior = po.fit(model, (ids, np.arange(20) % 2), po.MAP(steps=2), progress=False)
    assert not any("units" in said or "digits" in said for said in posterior.result.warnings)


def test_images_are_one_column():
    x = RNG.integers(0, 256, (30, 8, 8, 1)).astype(np.uint8)
    model = po.Model(
        po.nets.CNN((8, 8, 1), [2], [], 2), po.priors.Normal(), po.likelihoods.Categorical(2)
    )
    posterior = po.fit(model, (x, np.arange(30) % 2), po.MAP(steps=2), progress=False)
    assert "Far from standard units: x (mean 12" in posterior.result.warnings[0]


def test_arguments_of_programs_are_named_too():
    import numpyro
    import numpyro.distributions as dist

    def program(x, y):
        mean = numpyro.sample("mean", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(mean + x, 1), obs=y)

    model = po.Model.from_numpyro(program)
    data = {"x": np.arange(25.0), "y": 1e8 + np.arange(25.0)}
    (said, *_) = po.fit(model, data, po.MAP(steps=2), progress=False).result.warnings
    assert said.startswith("Single precision loses digits of the data: data['y'] (mean 1e+08")
    assert "data['x']" not in said


REMEDIED = {
    "array": np.stack([FAR["years"], np.full(60, 100.0)], 1),
    "frame": pd.DataFrame({"year": FAR["years"], "tiny": FAR["tiny"][:60]}),
    "list": FAR["years"][:, None].tolist(),
    "images": RNG.integers(0, 256, (60, 4, 4)),
    "large mean": 1e8 + np.arange(60.0)[:, None],
}


@pytest.mark.parametrize("case", REMEDIED)
def test_the_remedy_runs_and_helps(case):
    x = REMEDIED[case]
    spec = read(x).spec.with_dtypes(["float"])
    said = notes(read(x), spec, np.zeros(60), None, real=False)[-1]
    code = re.search(r"(?<=standardise, ).*(?=, or choose)", said)[0]
    mended = eval(code, {"po": po, "np": np, "x": x})
    assert notes(read(mended), spec, np.zeros(60), None, real=False) == []
