"""Likelihoods against SciPy: densities, moments, entropies, distribution functions, refusals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import special, stats

import posterity as po

RNG = np.random.default_rng(3)
ROWS = 7
F = RNG.normal(0, 1.5, ROWS)
RAW = RNG.normal(0, 1.5, ROWS)
REAL = RNG.normal(0, 2, ROWS)
COUNTS = RNG.poisson(2.0, ROWS).astype(float)
SOFT = np.log1p(np.exp(RAW)) + 1e-4
PRIOR = dist.HalfNormal(1.0)

# name: (likelihood, outputs (rows, k), unknowns, y, SciPy's distribution of y)
UNIVARIATE = {
    "bernoulli": (
        po.likelihoods.Bernoulli(),
        F[:, None],
        {},
        np.array([0, 1, 1, 0, 1, 0, 1.0]),
        stats.bernoulli(special.expit(F)),
    ),
    "normal-known": (po.likelihoods.Normal(0.7), F[:, None], {}, REAL, stats.norm(F, 0.7)),
    "normal-learned": (
        po.likelihoods.Normal(PRIOR),
        F[:, None],
        {"scale": 0.3},
        REAL,
        stats.norm(F, 0.3),
    ),
    "normal-net": (
        po.likelihoods.Normal("net"),
        np.stack([F, RAW], 1),
        {},
        REAL,
        stats.norm(F, SOFT),
    ),
    "student": (po.likelihoods.StudentT(5.0, 0.7), F[:, None], {}, REAL, stats.t(5.0, F, 0.7)),
    "student-learned": (
        po.likelihoods.StudentT(3.5, PRIOR),
        F[:, None],
        {"scale": 1.3},
        REAL,
        stats.t(3.5, F, 1.3),
    ),
    "student-net": (
        po.likelihoods.StudentT(4.0, "net"),
        np.stack([F, RAW], 1),
        {},
        REAL,
        stats.t(4.0, F, SOFT),
    ),
    "poisson": (po.likelihoods.Poisson(), F[:, None], {}, COUNTS, stats.poisson(np.exp(F))),
}
CASES = pytest.mark.parametrize(
    ("likelihood", "outputs", "unknowns", "y", "oracle"),
    UNIVARIATE.values(),
    ids=UNIVARIATE.keys(),
)


def f32(array):
    return jnp.asarray(np.asarray(array, np.float32))


@CASES
def test_log_prob_is_scipys(likelihood, outputs, unknowns, y, oracle):
    discrete = likelihood.kind != "regression"
    expected = oracle.logpmf(y) if discrete else oracle.logpdf(y)
    got = likelihood.log_prob(f32(outputs), f32(y), unknowns)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)


@CASES
def test_the_distribution_gives_the_same_density(likelihood, outputs, unknowns, y, oracle):
    discrete = likelihood.kind != "regression"
    expected = oracle.logpmf(y) if discrete else oracle.logpdf(y)
    given = likelihood.distribution(f32(outputs), unknowns)
    assert given.batch_shape == (ROWS,)
    np.testing.assert_allclose(given.log_prob(f32(y)), expected, rtol=2e-5, atol=2e-6)


@CASES
def test_mean_and_variance_are_scipys(likelihood, outputs, unknowns, y, oracle):
    mean, var = likelihood.mean_and_var(f32(outputs), unknowns)
    np.testing.assert_allclose(mean, oracle.mean(), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(np.broadcast_to(var, ROWS), oracle.var(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("shift", [-3.0, -0.5, 0.0, 1.25, 6.0])
@pytest.mark.parametrize("name", [name for name in UNIVARIATE if name != "bernoulli"])
def test_cdf_is_scipys(name, shift):
    likelihood, outputs, unknowns, y, oracle = UNIVARIATE[name]
    given = likelihood.distribution(f32(outputs), unknowns)
    points = y + shift
    np.testing.assert_allclose(likelihood.cdf(given, f32(points)), oracle.cdf(points), atol=5e-6)


def test_the_cdf_of_student_is_exact_about_its_centre():
    likelihood = po.likelihoods.StudentT(3.0, 1.0)
    t = np.array([-1e-3, -2e-4, 1e-5, 2e-4, 1e-3])
    got = likelihood.cdf(likelihood.distribution(jnp.zeros((5, 1)), {}), f32(t))
    np.testing.assert_allclose(got, stats.t(3.0).cdf(t), atol=5e-6)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_categorical_is_softmax(classes):
    logits = RNG.normal(0, 2, (ROWS, classes))
    y = RNG.integers(0, classes, ROWS)
    likelihood = po.likelihoods.Categorical(classes)
    p = special.softmax(logits, axis=1)
    got = likelihood.log_prob(f32(logits), jnp.asarray(y, jnp.int32), {})
    np.testing.assert_allclose(got, np.log(p[np.arange(ROWS), y]), rtol=2e-5, atol=2e-6)
    mean, var = likelihood.mean_and_var(f32(logits), {})
    one_hot = p[:, 1] if classes == 2 else p
    np.testing.assert_allclose(mean, one_hot, rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(var, one_hot * (1 - one_hot), rtol=2e-5, atol=1e-7)
    expected = stats.entropy(p, axis=1)
    np.testing.assert_allclose(likelihood.entropy(f32(logits), {}), expected, rtol=2e-5, atol=1e-6)
    assert likelihood.outputs_per_target == likelihood.classes == classes


def test_bernoulli_entropy_is_scipys():
    got = po.likelihoods.Bernoulli().entropy(f32(F[:, None]), {})
    np.testing.assert_allclose(got, stats.bernoulli(special.expit(F)).entropy(), rtol=2e-5)


@pytest.mark.parametrize("name", ["normal-known", "normal-net", "student", "poisson"])
def test_several_targets_sum_over_a_row(name):
    likelihood, outputs, unknowns, y, _ = UNIVARIATE[name]
    k = likelihood.outputs_per_target
    many = f32(np.stack([outputs, outputs[::-1]], axis=-1))  # (rows, k, 2 targets)
    assert many.shape == (ROWS, k, 2)
    targets = np.stack([y, y[::-1]], axis=-1)
    one = np.asarray(likelihood.log_prob(f32(outputs), f32(y), unknowns))
    got = likelihood.log_prob(many, f32(targets), unknowns)
    assert got.shape == (ROWS,)
    np.testing.assert_allclose(got, one + one[::-1], rtol=1e-5)
    assert likelihood.distribution(many, unknowns).batch_shape == (ROWS, 2)


BIG = np.array([-1e4, -90.0, 0.0, 90.0, 1e4])


@pytest.mark.parametrize("name", UNIVARIATE)
def test_expected_targets_stand_for_all_of_them(name):
    """E log p(y | f) − E log p(y | f + 0.3), of y from the likelihood itself: constants cancel."""
    likelihood, outputs, unknowns, _, oracle = UNIVARIATE[name]
    y, shares = likelihood.expected(oracle.mean(), oracle.var())
    np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-6)
    levels = (np.arange(20_000)[:, None] + 0.5) / 20_000
    many = oracle.ppf(levels)

    def gain(targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        here, there = (
            jax.vmap(lambda y, f=f: likelihood.log_prob(f, y, unknowns))(jnp.asarray(targets))
            for f in (jnp.asarray(outputs), jnp.asarray(outputs) + 0.3)
        )
        return np.sum(weights * np.asarray(here - there, np.float64), axis=0)

    found = gain(y.swapaxes(0, 1), shares.T)
    truth = gain(many, np.full((len(levels), 1), 1 / len(levels)))
    # Student's noise by 64 values lacks its last tails; the others are exact but for float32.
    rtol = 0.05 if "student" in name else 2e-3
    np.testing.assert_allclose(found, truth, rtol=rtol, atol=1e-5)


def test_expected_labels_of_several_classes_have_their_probabilities():
    p = RNG.dirichlet(np.ones(3), 5)
    y, shares = po.likelihoods.Categorical(3).expected(p, p * 0)
    np.testing.assert_array_equal(y, np.tile([0, 1, 2], (5, 1)))
    np.testing.assert_array_equal(shares, p)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_bernoulli_of_extreme_logits_is_finite_and_right(label):
    likelihood = po.likelihoods.Bernoulli()
    y = np.full(5, label)
    got = likelihood.log_prob(f32(BIG[:, None]), f32(y), {})
    expected = -np.logaddexp(0, np.where(y == 1, -BIG, BIG))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-30)
    gradient = jax.vmap(jax.grad(lambda f: likelihood.log_prob(f[None, None], f32([label]), {})[0]))
    np.testing.assert_allclose(gradient(f32(BIG)), label - special.expit(BIG), atol=1e-6)
    entropy = np.asarray(likelihood.entropy(f32(BIG[:, None]), {}))
    assert np.isfinite(entropy).all()
    assert (entropy >= 0).all()
    np.testing.assert_allclose(entropy[[0, 2, 4]], [0, np.log(2), 0], rtol=1e-6)


def test_categorical_of_extreme_logits_is_finite_and_right():
    likelihood = po.likelihoods.Categorical(3)
    logits = np.array([[1e4, 0, -1e4], [-1e4, 1e4, 0], [1e4, 1e4, 1e4]])
    got = likelihood.log_prob(f32(logits), jnp.array([2, 1, 0]), {})
    np.testing.assert_allclose(got, [-2e4, 0, -np.log(3)], rtol=1e-5)
    entropy = likelihood.entropy(f32(logits), {})
    np.testing.assert_allclose(entropy, [0, 0, np.log(3)], rtol=1e-5, atol=1e-7)
    gradient = jax.grad(lambda f: likelihood.log_prob(f, jnp.array([2, 1, 0]), {}).sum())
    assert np.isfinite(np.asarray(gradient(f32(logits)))).all()


def test_poisson_of_a_vanishing_rate_is_finite_and_right():
    likelihood = po.likelihoods.Poisson()
    f = np.array([-200.0, -200.0, -90.0, 10.0])
    y = np.array([0.0, 3.0, 1.0, 20000.0])
    expected = y * f - np.exp(f) - special.gammaln(y + 1)
    got = likelihood.log_prob(f32(f[:, None]), f32(y), {})
    # float32 rounds the terms of up to 2e5 that cancel here
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e5 * 2**-23)


def test_the_scale_of_a_net_stays_positive_however_small_its_output():
    likelihood = po.likelihoods.Normal("net")
    _, var = likelihood.mean_and_var(f32([[0.0, -1e4], [0.0, 1e4]]), {})
    np.testing.assert_allclose(var, [1e-8, 1e8], rtol=1e-3)


@pytest.mark.parametrize(
    ("likelihood", "outputs", "unknown", "kind"),
    [
        (po.likelihoods.Bernoulli(), 1, False, "classification"),
        (po.likelihoods.Categorical(4), 4, False, "classification"),
        (po.likelihoods.Normal(0.5), 1, False, "regression"),
        (po.likelihoods.Normal(PRIOR), 1, True, "regression"),
        (po.likelihoods.Normal("net"), 2, False, "regression"),
        (po.likelihoods.StudentT(4.0, PRIOR), 1, True, "regression"),
        (po.likelihoods.StudentT(4.0, "net"), 2, False, "regression"),
        (po.likelihoods.Poisson(), 1, False, "count"),
    ],
)
def test_what_a_likelihood_says_of_itself(likelihood, outputs, unknown, kind):
    assert likelihood.outputs_per_target == outputs
    assert likelihood.kind == kind
    assert likelihood.unknowns() == ({"scale": PRIOR} if unknown else {})


@pytest.mark.parametrize("classes", [1, 0, -3, 2.5, True])
def test_categorical_refuses_such_numbers_of_classes(classes):
    with pytest.raises(ValueError, match="classes must be a whole number from 2"):
        po.likelihoods.Categorical(classes)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("build", [po.likelihoods.Normal, lambda s: po.likelihoods.StudentT(4, s)])
def test_a_scale_that_is_no_scale_is_refused(build, scale):
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        build(scale)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ("learned", 'can only be "net"'),
        (dist.HalfNormal(np.ones(2, np.float32)), r"prior of shape \(2,\), and must be one number"),
    ],
)
def test_other_words_and_vector_priors_are_refused_as_scale(scale, message):
    for build in (po.likelihoods.Normal, lambda s: po.likelihoods.StudentT(4, s)):
        with pytest.raises(ValueError, match=message):
            build(scale)


@pytest.mark.parametrize("prior", [dist.Normal(0.0, 1.0), dist.Poisson(2.0)])
def test_a_scale_prior_that_is_not_over_positive_numbers_is_refused(prior):
    for build in (po.likelihoods.Normal, lambda s: po.likelihoods.StudentT(4, s)):
        with pytest.raises((ValueError, TypeError), match="scale"):
            build(prior)


@pytest.mark.parametrize("df", [2, 1.0, 0, -1, float("nan"), float("inf")])
def test_student_refuses_degrees_of_freedom_without_a_variance(df):
    with pytest.raises(ValueError, match="df must be above 2"):
        po.likelihoods.StudentT(df)


@pytest.mark.parametrize(
    ("likelihood", "y", "words"),
    [
        (po.likelihoods.Bernoulli(), [0, 1, 2.0], ["y[2] = 2", "outside the labels 0 … 1"]),
        (po.likelihoods.Bernoulli(), [0, -1.0, 1], ["y[1] = -1", "(y + 1) / 2"]),
        (po.likelihoods.Bernoulli(), [0.5, 1], ["y[0] = 0.5", "not a whole number"]),
        (po.likelihoods.Categorical(3), [0, 1, 3.0], ["y[2] = 3", "outside the labels 0 … 2"]),
        (po.likelihoods.Poisson(), [0, 1, -2.0], ["y[2] = -2", "negative"]),
        (po.likelihoods.Poisson(), [0, 1.5, 2], ["y[1] = 1.5", "likelihoods.Normal"]),
        (po.likelihoods.Poisson(), [[0, 1], [1e9, 2]], ["y[1, 0] = 1e+09", "rescale"]),
    ],
)
def test_targets_outside_the_support_are_named(likelihood, y, words):
    with pytest.raises(ValueError) as caught:
        likelihood.check(np.asarray(y, float))
    assert all(word in str(caught.value) for word in words)
