"""What a likelihood derives from its density alone, against SciPy and against draws."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import posterity as po
from posterity.likelihoods import defaults


class Gamma(po.likelihoods.AbstractLikelihood):
    concentration: Any = 2.0
    kind = "regression"
    outputs_per_target = 1

    def distribution(self, outputs, unknowns):
        concentration = unknowns.get("concentration", self.concentration)
        return dist.Gamma(concentration, concentration / jnp.exp(outputs[:, 0]))


class ZeroInflated(po.likelihoods.AbstractLikelihood):
    kind = "count"
    outputs_per_target = 2

    def distribution(self, outputs, unknowns):
        return dist.ZeroInflatedPoisson(jax.nn.sigmoid(outputs[:, 0]), rate=jnp.exp(outputs[:, 1]))


class Uniform(po.likelihoods.AbstractLikelihood):
    kind = "regression"
    outputs_per_target = 1

    def distribution(self, outputs, unknowns):
        return dist.Uniform(0.0, jnp.exp(outputs[:, 0]))


OUTPUTS = [[0.3], [-0.8], [1.1]]
TWO = [[0.3, 0.5], [-0.8, 1.0], [1.1, 0.2]]
CHECKED = {
    "bernoulli": (po.likelihoods.Bernoulli(), OUTPUTS, {}),
    "categorical": (po.likelihoods.Categorical(2), TWO, {}),
    "normal": (po.likelihoods.Normal(dist.HalfNormal(1.0)), OUTPUTS, {"scale": 0.7}),
    "normal-net": (po.likelihoods.Normal("net"), TWO, {}),
    "student-net": (po.likelihoods.StudentT(6.0, "net"), TWO, {}),
    "poisson": (po.likelihoods.Poisson(), OUTPUTS, {}),
    "gamma": (Gamma(dist.LogNormal(0, 1)), OUTPUTS, {"concentration": 1.5}),
    "zero-inflated": (ZeroInflated(), TWO, {}),
    "two-targets": (po.likelihoods.Normal("net"), np.stack([TWO, TWO[::-1]], -1), {}),
}


@pytest.mark.parametrize(
    ("likelihood", "outputs", "unknowns"), CHECKED.values(), ids=CHECKED.keys()
)
def test_what_is_derived_agrees_with_draws(likelihood, outputs, unknowns):
    po.testing.check_likelihood(likelihood, outputs, unknowns, draws=4_000)


class WrongEntropy(po.likelihoods.Poisson):
    def entropy(self, outputs, unknowns):
        return 1.1 * super().entropy(outputs, unknowns)


class WrongCdf(po.likelihoods.Poisson):
    def cdf(self, given, y):
        return super().cdf(given, y - 1)


class WrongCurvature(po.likelihoods.Normal):
    def curvature(self, outputs, unknowns):
        return jnp.sqrt(super().curvature(outputs, unknowns))


class WrongVariance(po.likelihoods.Normal):
    def mean_and_var(self, outputs, unknowns):
        mean, var = super().mean_and_var(outputs, unknowns)
        return mean, jnp.sqrt(var)


class WrongKind(po.likelihoods.Poisson):
    kind = "regression"


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        (WrongEntropy(), "WrongEntropy.entropy: row 0"),
        (WrongCdf(), "WrongCdf.cdf at"),
        (WrongCurvature(0.5), "WrongCurvature.curvature: row 0, 0, 0"),
        (WrongVariance(0.5), "WrongVariance.mean_and_var: variance: row 0"),
        (WrongKind(), 'WrongKind.kind: it is "regression"'),
    ],
)
def test_a_wrong_figure_is_named(likelihood, message):
    with pytest.raises(AssertionError, match=message):
        po.testing.check_likelihood(likelihood, OUTPUTS, draws=4_000)


# -- distribution functions -----------------------------------------------------------------------


def hidden(given):
    """The same distribution without the closed forms of its distribution function and moments."""

    class Hidden(type(given)):  # type: ignore[misc]
        def cdf(self, value):
            raise NotImplementedError

        @property
        def mean(self):
            raise NotImplementedError

        def entropy(self):
            raise NotImplementedError

    other = object.__new__(Hidden)
    other.__dict__.update(given.__dict__)
    return other


SHAPES = {
    "normal-far": (dist.Normal(1e3, 0.01), stats.norm(1e3, 0.01)),
    "student": (dist.StudentT(2.5, -3.0, 5.0), stats.t(2.5, -3.0, 5.0)),
    "cauchy": (dist.Cauchy(0.0, 2.0), stats.cauchy(0, 2)),
    "gamma": (dist.Gamma(0.3, 2.0), stats.gamma(0.3, scale=0.5)),
    "log-normal": (dist.LogNormal(1.0, 3.0), stats.lognorm(3.0, scale=np.e)),
    "beta": (dist.Beta(0.7, 3.0), stats.beta(0.7, 3.0)),
    "negative-binomial": (dist.NegativeBinomial2(3.0, 1.5), stats.nbinom(1.5, 1.5 / 4.5)),
    "poisson-large": (dist.Poisson(900.0), stats.poisson(900.0)),
    "binomial": (dist.Binomial(9, 0.3), stats.binom(9, 0.3)),
}


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", SHAPES)
def test_numeric_distribution_functions_are_scipys(double, name):
    given, oracle = SHAPES[name]
    given = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), given)
    levels = np.linspace(0.001, 0.999, 60)
    y = np.concatenate([oracle.ppf(levels), oracle.ppf(levels) + 1e-3])
    found = np.asarray(jax.jit(lambda y: defaults.cdf(hidden(given), y))(jnp.asarray(y)))
    np.testing.assert_allclose(found, oracle.cdf(y), atol=1e-6)
    assert (np.diff(found[np.argsort(y)]) >= -1e-12).all()


def test_numeric_moments_and_entropies_are_scipys(double):
    for name in ("normal-far", "gamma", "beta", "negative-binomial", "binomial"):
        given, oracle = SHAPES[name]
        given = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), given)
        points = defaults.nodes(hidden(given))
        mean, var = defaults.mean_and_var(points)
        np.testing.assert_allclose(mean, oracle.mean(), rtol=1e-6)
        np.testing.assert_allclose(var, oracle.var(), rtol=1e-5)
        entropy = defaults.entropy(given, points)
        np.testing.assert_allclose(entropy, oracle.entropy(), rtol=1e-5)


@pytest.mark.parametrize("name", ["gamma", "beta", "negative-binomial", "log-normal"])
def test_outside_the_support_a_distribution_function_is_0_or_1(name):
    given, _ = SHAPES[name]
    y = jnp.array([-jnp.inf, -3.0, -1e-3, 1.0, 1e30, jnp.inf])
    found = np.asarray(defaults.cdf(given, y))
    np.testing.assert_array_equal(found[:3], 0)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[4:], 1, rtol=1e-6)


def test_what_numpyro_leaves_open_is_computed():
    class Gap(dist.Normal):
        def cdf(self, value):
            return jnp.where(jnp.abs(value) < 0.5, jnp.nan, super().cdf(value))

    y = jnp.linspace(-2, 2, 9)
    np.testing.assert_allclose(defaults.cdf(Gap(0.0, 1.0), y), stats.norm.cdf(y), atol=2e-6)


# -- curvature, closed form against quadrature ----------------------------------------------------


@pytest.mark.parametrize("name", ["bernoulli", "normal", "normal-net", "poisson", "two-targets"])
def test_closed_curvatures_are_those_by_quadrature(name):
    likelihood, outputs, unknowns = CHECKED[name]
    outputs = jnp.asarray(outputs)
    closed = jax.jit(lambda f: likelihood.curvature(f, unknowns))(outputs)
    default = jax.jit(
        lambda f: po.likelihoods.AbstractLikelihood.curvature(likelihood, f, unknowns)
    )(outputs)
    np.testing.assert_allclose(closed, default, rtol=2e-4, atol=1e-4)


# -- support, unknowns, numbers to be learned -----------------------------------------------------


def test_supports_are_found():
    assert Gamma().bounds == (0.0, np.inf)
    assert ZeroInflated().bounds == (0.0, np.inf)
    assert Uniform().bounds == (0.0, np.inf)  # its end varies
    assert po.likelihoods.Categorical(3).bounds == (0.0, 2.0)


@pytest.mark.parametrize(
    ("likelihood", "y", "words"),
    [
        (Gamma(), [1.0, -2.0], ["y[1] = -2", "outside the support of Gamma, which is 0 … inf"]),
        (Gamma(), [[1.0, 2.0], [3.0, -1.0]], ["y[1, 1] = -1"]),
        (ZeroInflated(), [0.0, 0.5], ["y[1] = 0.5", "not a whole number"]),
        (Uniform(), [1.0, -0.5], ["y[1] = -0.5"]),
    ],
)
def test_targets_outside_the_support_are_named(likelihood, y, words):
    with pytest.raises(ValueError) as caught:
        likelihood.check(np.asarray(y))
    assert all(word in str(caught.value) for word in words)


def test_a_support_that_varies_refuses_nothing_possible():
    Uniform().check(np.array([0.5, 50.0, 5_000.0]))


def test_fields_are_unknown_or_learned_by_what_they_hold():
    prior = dist.LogNormal(0.0, po.learned(2.0))
    assert Gamma(2.0).unknowns() == {}
    assert list(Gamma(prior).unknowns()) == ["concentration"]
    (inside,) = Gamma(prior).slots()
    assert inside.name == "likelihood.concentration.scale"
    field = Gamma(po.learned(3.0))
    (slot,) = field.slots()
    assert slot.name == "likelihood.concentration"
    assert field.fill({slot.token: 5.0}).concentration == 5.0
    assert field.bounds == (0.0, np.inf)
    with pytest.raises(ValueError, match="cannot start at -1"):
        Gamma(po.learned(-1.0)).slots()


# -- expected targets -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
@pytest.mark.parametrize(
    ("low", "high", "whole"),
    [
        (-np.inf, np.inf, False),
        (0, np.inf, False),
        (-np.inf, 4, False),
        (-1, 4, False),
        (0, np.inf, True),
    ],
)
def test_expected_targets_have_the_moments_and_lie_inside(shape, low, high, whole):
    mean = np.broadcast_to(np.array([0.5, 1.0, 3.0]).reshape(3, *[1] * (len(shape) - 1)), shape)
    for factor in (0.3, 1.0, 2.0) if whole else (0.2,):
        y, shares = defaults.targets_of(mean, factor * mean, low, high, whole)
        assert y.shape == (3, 64, *shape[1:])
        np.testing.assert_allclose(shares.sum(1), 1)
        assert ((y >= low) & (y <= high)).all()
        np.testing.assert_allclose(y.mean(1), mean, rtol=0.05)
        if not (whole and factor < 1):  # a binomial has a whole number of trials
            np.testing.assert_allclose(y.var(1), factor * mean, rtol=0.2)
        if whole:
            np.testing.assert_array_equal(y, np.floor(y))


def test_ordered_labels_add_up():
    given = dist.CategoricalProbs(np.float32([[0.2, 0.5, 0.3]]))
    y = jnp.array([[-1.0], [0.0], [0.5], [1.0], [2.0], [9.0]])
    found = defaults.cdf_of_labels(given, y, 3, jnp.int32)
    np.testing.assert_allclose(found[:, 0], [0, 0.2, 0.2, 0.7, 1, 1], atol=1e-6)
