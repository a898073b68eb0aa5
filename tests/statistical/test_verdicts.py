"""Good fits say nothing: forty of them, by every optimiser, on data of every kind."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest

import posterity as po

pytestmark = pytest.mark.slow
NOISE = dist.LogNormal(-1.0, 1.0)
SAID = ("Cannot judge", "Nothing was learned", "hardly left", "miss the training", "Far from")
SAID += ("in the second half", "at the end as it did", "k-hat", "Single precision")


def net(inputs, outputs=1, width=16, **settings):
    return po.nets.MLP(inputs, [width], outputs, activation=jnp.tanh, **settings)


def model(inputs, likelihood, outputs=1, width=16):
    return po.Model(net(inputs, outputs, width), po.priors.Normal(0, 1), likelihood)


def wave(rows=200, noise=0.1):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 1))
    return x, np.sin(2 * x[:, 0]) + noise * rng.normal(size=rows)


def plane(rows=300):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(rows, 5))
    return x, x @ np.array([1.0, -0.5, 0.3, 0, 0]) + 0.3 * rng.normal(size=rows)


def weak(rows=2_000):
    x, _ = plane(rows)
    return x, 0.4 * x[:, 0] + np.random.default_rng(2).normal(size=rows)


def blobs(rows=300):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, rows)
    return rng.normal(size=(rows, 2)) + np.eye(3)[labels] @ np.array([[2, 0], [-2, 0], [0, 3.0]]), (
        labels
    )


def counts(rows=300):
    x, _ = wave(rows)
    return x, np.random.default_rng(4).poisson(np.exp(1 + np.sin(2 * x[:, 0])))


def funnel_shaped(rows=400):
    x, _ = wave(rows)
    return x, np.sin(x[:, 0]) + np.exp(x[:, 0] - 1.5) * np.random.default_rng(5).normal(size=rows)


def two(rows=200):
    x, y = wave(rows)
    return x, np.stack([y, -0.5 * y], 1)


def outliers(rows=300):
    x, y = wave(rows)
    return x, y + 0.1 * np.random.default_rng(6).standard_t(2, rows)


def moons():
    return po.data.moons()[:2]


DATA = {
    "wave": (model(1, po.likelihoods.Normal(NOISE)), wave()),
    "wave, known noise": (model(1, po.likelihoods.Normal(0.1)), wave()),
    "few rows": (model(1, po.likelihoods.Normal(NOISE), width=5), wave(30)),
    "plane": (model(5, po.likelihoods.Normal(NOISE)), plane()),
    "weak signal": (model(5, po.likelihoods.Normal(NOISE), width=4), weak()),
    "moons": (model(2, po.likelihoods.Bernoulli()), moons()),
    "blobs": (model(2, po.likelihoods.Categorical(3), 3), blobs()),
    "counts": (model(1, po.likelihoods.Poisson()), counts()),
    "spread": (model(1, po.likelihoods.Normal("net"), 2), funnel_shaped()),
    "two targets": (model(1, po.likelihoods.Normal(NOISE), 2), two()),
    "outliers": (model(1, po.likelihoods.StudentT(3.0, NOISE)), outliers()),
}
METHODS = {
    "map": po.MAP(steps=5_000),
    "advi": po.ADVI(),
    "ivon": po.IVON(),
}
GOOD = [(data, method) for data in DATA for method in METHODS]
OTHERS = {
    "ensemble": ("wave", po.MAP(steps=4_000, chains=3)),
    "map, batches": ("plane", po.MAP(steps=5_000, batch_size=32)),
    "advi, batches": ("plane", po.ADVI(batch_size=32)),
    "dadvi": ("few rows", po.DADVI()),
    "map, own optimiser": ("wave", po.MAP(steps=10_000, optimizer=optax.adam(3e-3))),
    "advi, own optimiser": ("moons", po.ADVI(optimizer=optax.adam(3e-3))),
    "low rank": ("few rows", po.ADVI(family="low-rank")),
}


def check(posterior):
    said = [s for s in posterior.result.warnings if any(word in s for word in SAID)]
    assert said == []


@pytest.mark.parametrize(("data", "method"), GOOD)
def test_good_fits_are_not_doubted(data, method):
    given, rows = DATA[data]
    check(po.fit(given, rows, METHODS[method], progress=False))


@pytest.mark.parametrize("case", OTHERS)
def test_other_good_fits_are_not_doubted(case):
    data, method = OTHERS[case]
    given, rows = DATA[data]
    check(po.fit(given, rows, method, progress=False))


def test_a_program_that_mean_field_suits_is_not_doubted():
    def means(y):
        mu = numpyro.sample("mu", dist.Normal(0, 1).expand([3]))
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)

    y = np.random.default_rng(0).normal(size=(50, 3))
    for method in (po.ADVI(), po.MAP(steps=1_000)):
        check(po.fit(po.Model.from_numpyro(means), (y,), method, progress=False))
