"""Target against NumPyro and SciPy: log prior, Jacobian, log likelihood, scaling, order of θ."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions.transforms import AffineTransform, ExpTransform, PowerTransform
from scipy import special, stats

import posterity as po
from oracles import z_limit
from posterity.methods.vi.families.mean_field import MeanField
from posterity.methods.vi.objectives import kl
from posterity.model.net_target import Batch, Target

NET = po.nets.MLP(2, [3], 1, activation=jnp.tanh)
SQUARE = dist.TransformedDistribution(dist.Gamma(0.5, 1.0), PowerTransform(2.0))
MVN = dist.MultivariateNormal(
    jnp.array([0.5, -0.5]), covariance_matrix=jnp.array([[1.0, 0.6], [0.6, 2.0]])
)

PRIORS = {
    "normal": dist.Normal(0.3, 1.7),
    "student": dist.StudentT(3.0, 0.0, 2.0),
    "mixed": {"*.bias": dist.Normal(0.0, 3.0), "*.0.weight": MVN, "*": dist.Laplace(0.0, 1.0)},
    "arrays": {
        "layers.0.weight": dist.Normal(jnp.array([0.0, 5.0]), jnp.array([[1.0], [2.0], [3.0]])),
        "*": dist.Normal(0.0, 1.0),
    },
    "half-normal": dist.HalfNormal(2.0),
    "log-normal": dist.LogNormal(0.1, 0.8),
    "square": SQUARE,
    "interval": dist.Uniform(-2.0, 3.0),
    "exp-affine": dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), [AffineTransform(0.5, 2.0), ExpTransform()]
    ),
    "positive-and-real": {
        "layers.1.weight": dist.Gamma(2.0, 1.0),
        "layers.0.bias": dist.Exponential(1.0),
        "*": dist.Normal(0.0, 1.0),
    },
    "neighbours": {
        "layers.0.*": dist.HalfNormal(1.0),
        "layers.1.bias": dist.HalfNormal(3.0),
        "*": dist.Normal(0.0, 1.0),
    },
}
SCALES = {"known": 0.5, "half-normal": dist.HalfNormal(1.0), "square": SQUARE}


def build(prior, scale=0.5, rows=10, y_shape=()):
    model = po.Model(NET, prior, po.likelihoods.Normal(scale))
    return Target.build(model, (2,), y_shape, rows)


def thetas(target, number=2):
    rng = np.random.default_rng(5)
    return [jnp.asarray(rng.normal(0, 0.7, target.size), jnp.float32) for _ in range(number)]


def rule_of(prior, path):
    """The distribution that the patterns of `PRIORS` mean for a path, worked out by hand."""
    if not isinstance(prior, dict):
        return prior
    for pattern, given in prior.items():
        beginning, _, end = pattern.partition("*")
        if path == pattern or (
            "*" in pattern and path.startswith(beginning) and path.endswith(end)
        ):
            return given
    raise AssertionError(path)


def positive(free, given):
    """NumPyro-free constraint maps: exp for positive support, scaled sigmoid for an interval."""
    if isinstance(given, dist.Uniform):
        low, high = float(given.low), float(given.high)
        s = special.expit(free)
        return low + (high - low) * s, np.log((high - low) * s * (1 - s))
    if given.support is dist.constraints.real or given is MVN:
        return free, np.zeros_like(free)
    return np.exp(free), free


@pytest.mark.parametrize("name", PRIORS)
def test_log_prior_is_numpyros_plus_the_jacobian(name):
    prior = PRIORS[name]
    target = build(prior)
    for theta in thetas(target):
        total = jacobian = 0.0
        for path, shape, start, stop in target.parameters:
            given = rule_of(prior, path)
            free = np.asarray(theta[start:stop], np.float64).reshape(shape)
            value, log_det = positive(free, given)
            total += float(np.sum(given.log_prob(jnp.asarray(value, jnp.float32))))
            jacobian += float(np.sum(log_det))
        np.testing.assert_allclose(target.log_prior(theta), total + jacobian, rtol=2e-5, atol=2e-5)
        plain = target.log_prior(theta, jacobian=False)
        np.testing.assert_allclose(plain, total, rtol=2e-5, atol=2e-5)


def test_log_prior_of_a_squared_gamma_is_the_density_worked_out_by_hand():
    # s = g², g ~ Gamma(½, 1), θ = log s:  p(θ) = p_g(e^{θ/2}) · ½ e^{θ/2}
    target = build(dist.Normal(0.0, 1.0), SQUARE)
    for theta in thetas(target):
        log_s = float(theta[-1])
        unknown = stats.gamma(0.5).logpdf(np.exp(log_s / 2)) + log_s / 2 - np.log(2)
        weights = stats.norm.logpdf(np.asarray(theta[:-1], float)).sum()
        np.testing.assert_allclose(target.log_prior(theta), weights + unknown, rtol=2e-5)


@pytest.mark.parametrize(("name", "scale"), list(zip(PRIORS, itertools.cycle(SCALES))))
def test_constrain_and_unconstrain_are_inverse(name, scale):
    target = build(PRIORS[name], SCALES[scale])
    for theta in thetas(target):
        params = target.constrain(theta)
        assert list(params) == list(target.paths)
        back = target.unconstrain(params)
        np.testing.assert_allclose(back, theta, rtol=1e-4, atol=1e-4)
        again = target.constrain(back)
        for path, value in params.items():
            np.testing.assert_allclose(again[path], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PRIORS)
def test_constrained_parameters_lie_in_the_support(name):
    target = build(PRIORS[name], SQUARE)
    for theta in thetas(target):
        for path, value in target.constrain(theta).items():
            given = SQUARE if path.startswith("likelihood.") else rule_of(PRIORS[name], path)
            assert bool(np.all(given.support(value))), path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("layers.0.bias"), r"missing \['layers.0.bias'\]"),
        (lambda p: p.update(gain=1.0), r"unknown \['gain'\]"),
        (lambda p: p.update({"layers.0.bias": np.zeros(4)}), r"shape \(4,\), expected \(3,\)"),
    ],
)
def test_unconstrain_refuses_other_parameters(change, message):
    target = build(dist.Normal(0.0, 1.0))
    params = dict(target.constrain(jnp.zeros(target.size)))
    change(params)
    with pytest.raises(ValueError, match=message):
        target.unconstrain(params)


def test_theta_holds_the_weights_in_tree_order_then_the_unknowns():
    target = build(dist.Normal(0.0, 1.0), dist.HalfNormal(1.0))
    paths = ("layers.0.bias", "layers.0.weight", "layers.1.bias", "layers.1.weight")
    assert target.paths == (*paths, "likelihood.scale")
    assert target.size == 3 + 6 + 1 + 3 + 1
    params = target.constrain(jnp.arange(14.0))
    np.testing.assert_array_equal(params["layers.0.bias"], [0, 1, 2])
    np.testing.assert_array_equal(params["layers.0.weight"], [[3, 4], [5, 6], [7, 8]])
    np.testing.assert_array_equal(params["layers.1.weight"], [[10, 11, 12]])
    np.testing.assert_allclose(params["likelihood.scale"], np.exp(13.0), rtol=1e-5)


# -- log likelihood ------------------------------------------------------------------------------


def forward(theta, x):
    """NET by hand: θ = (b₀, W₀, b₁, W₁)."""
    t = np.asarray(theta, np.float64)
    h = np.tanh(x @ t[3:9].reshape(3, 2).T + t[:3])
    return h @ t[10:13].reshape(1, 3).T + t[9:10]


RNG = np.random.default_rng(11)
X = RNG.normal(size=(12, 2)).astype(np.float32)
Y = RNG.normal(size=12).astype(np.float32)


@pytest.mark.parametrize(
    ("likelihood", "y", "oracle"),
    [
        (po.likelihoods.Normal(0.5), Y, lambda f, u, y: stats.norm(f, 0.5).logpdf(y)),
        (
            po.likelihoods.Normal(dist.HalfNormal(1.0)),
            Y,
            lambda f, u, y: stats.norm(f, np.exp(u)).logpdf(y),
        ),
        (
            po.likelihoods.StudentT(4.0, SQUARE),
            Y,
            lambda f, u, y: stats.t(4.0, f, np.exp(u)).logpdf(y),
        ),
        (
            po.likelihoods.Bernoulli(),
            (Y > 0).astype(np.float32),
            lambda f, u, y: stats.bernoulli(special.expit(f)).logpmf(y),
        ),
        (
            po.likelihoods.Poisson(),
            np.abs(Y * 3).round(),
            lambda f, u, y: stats.poisson(np.exp(f)).logpmf(y),
        ),
    ],
    ids=["normal", "normal-learned", "student-learned", "bernoulli", "poisson"],
)
def test_log_likelihood_of_every_example_is_scipys(likelihood, y, oracle):
    model = po.Model(NET, po.priors.Normal(), likelihood)
    target = Target.build(model, (2,), (), 12)
    for theta in thetas(target):
        got = target.log_likelihood(theta, Batch(jnp.asarray(X), jnp.asarray(y)))
        expected = oracle(forward(theta, X)[:, 0], float(theta[-1]), y)
        assert got.shape == (12,)
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-5)


def test_locations_of_several_targets_come_before_their_scales():
    model = po.Model(
        po.nets.MLP(2, [], 4, use_bias=False), po.priors.Normal(), po.likelihoods.Normal("net")
    )
    target = Target.build(model, (2,), (2,), 12)
    theta = thetas(target)[0]
    f = X @ np.asarray(theta, float).reshape(4, 2).T
    scale = np.log1p(np.exp(f[:, 2:])) + 1e-4
    y = np.stack([Y, Y[::-1]], 1)
    got = target.log_likelihood(theta, Batch(jnp.asarray(X), jnp.asarray(y)))
    np.testing.assert_allclose(got, stats.norm(f[:, :2], scale).logpdf(y).sum(1), rtol=2e-4)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("prior", ["normal", "positive-and-real"])
def test_the_average_over_a_partition_is_the_full_value_and_gradient(size, prior):
    target = build(PRIORS[prior], SQUARE, rows=12)
    theta = thetas(target)[0]
    order = np.random.default_rng(1).permutation(12).reshape(-1, size)
    evaluate = jax.value_and_grad(target.log_joint)
    parts = Batch(jnp.asarray(X[order]), jnp.asarray(Y[order]))
    values, gradients = jax.jit(jax.vmap(evaluate, (None, 0)))(theta, parts)
    value, gradient = jax.jit(evaluate)(theta, Batch(jnp.asarray(X), jnp.asarray(Y)))
    np.testing.assert_allclose(np.mean(values, dtype=float), value, rtol=1e-5)
    mean = np.mean(gradients, axis=0, dtype=float)
    np.testing.assert_allclose(mean, gradient, rtol=1e-5, atol=1e-5 * float(np.abs(mean).max()))


def test_the_log_joint_of_a_batch_is_the_prior_plus_n_over_b_times_the_sum():
    target = build(PRIORS["normal"], 0.5, rows=120)
    theta = thetas(target)[0]
    rows = stats.norm(forward(theta, X[:5])[:, 0], 0.5).logpdf(Y[:5]).sum()
    prior = stats.norm(0.3, 1.7).logpdf(np.asarray(theta, float)).sum()
    batch = Batch(jnp.asarray(X[:5]), jnp.asarray(Y[:5]))
    np.testing.assert_allclose(target.log_joint(theta, batch), prior + 24 * rows, rtol=2e-5)
    np.testing.assert_allclose(target.scaled_log_likelihood(theta, batch), 24 * rows, rtol=2e-5)


def test_the_elbo_takes_the_whole_kl():
    assert float(build(dist.Normal(0.0, 1.0)).elbo(jnp.float32(5.0), jnp.float32(3.0))) == 2.0


# -- the prior as a sampler, and its KL ----------------------------------------------------------


def many(draw, number):
    return jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(4), number))


@pytest.mark.parametrize(
    ("prior", "moments"),
    [
        (dist.Normal(0.3, 1.7), (0.3, 1.7**2)),
        (dist.HalfNormal(2.0), (2 * np.sqrt(2 / np.pi), 4 * (1 - 2 / np.pi))),
        (dist.Uniform(-2.0, 3.0), (0.5, 25 / 12)),
        (dist.LogNormal(0.1, 0.5), stats.lognorm(0.5, scale=np.exp(0.1)).stats("mv")),
    ],
    ids=["normal", "half-normal", "uniform", "log-normal"],
)
def test_prior_draws_have_the_priors_moments(prior, moments):
    target = build(prior)
    params = many(lambda key: target.constrain(target.prior_draw(key)), 2_000)
    values = np.concatenate([np.asarray(v, float).ravel() for v in params.values()])
    mean, var = map(float, moments)
    squares = (values - mean) ** 2
    limit = z_limit(2)
    assert abs(values.mean() - mean) < limit * np.sqrt(var / values.size)
    assert abs(squares.mean() - var) < limit * squares.std() / np.sqrt(values.size)


def test_prior_draws_of_different_parameters_are_independent():
    target = build(PRIORS["positive-and-real"], dist.HalfNormal(1.0))
    draws = many(target.prior_draw, 2_000)
    correlation = np.corrcoef(np.asarray(draws).T)
    pairs = correlation[np.triu_indices(target.size, 1)]
    assert np.abs(pairs).max() < z_limit(pairs.size) / np.sqrt(2_000)


def test_net_draws_are_the_nets_own_weights_and_the_priors_median_of_the_unknowns():
    target = build(dist.Normal(0.0, 1.0), dist.LogNormal(1.0, 0.5))
    params = many(lambda key: target.constrain(target.net_draw(key)), 500)
    assert not np.asarray(params["layers.0.bias"]).any()
    weight = np.asarray(params["layers.1.weight"], float).ravel()  # N(0, 1/3)
    assert abs((weight**2).mean() - 1 / 3) < z_limit() * np.sqrt(2 / weight.size) / 3
    # The median of 101 draws of the logarithm: sd 0.5 √(π/2) / √101.
    log_scale = np.log(np.asarray(params["likelihood.scale"], float))
    sd = 0.5 * np.sqrt(np.pi / 2 / 101)
    assert abs(log_scale.mean() - 1) < z_limit() * sd / np.sqrt(500)


def test_net_draws_outside_the_priors_support_come_from_the_prior():
    target = build(dist.HalfNormal(1.0))
    theta = target.net_draw(jax.random.key(0))
    assert np.isfinite(np.asarray(theta)).all()
    for value in target.constrain(theta).values():
        assert (np.asarray(value) > 0).all()


def test_kl_to_a_normal_prior_is_exact():
    target = build(PRIORS["arrays"])
    rng = np.random.default_rng(0)
    mean = rng.normal(size=target.size)
    sd = rng.uniform(0.1, 2, target.size)
    loc, scale = np.zeros(13), np.ones(13)
    loc[3:9] = np.tile([0.0, 5.0], 3)
    scale[3:9] = np.repeat([1.0, 2.0, 3.0], 2)
    expected = np.log(scale / sd) + (sd**2 + (mean - loc) ** 2) / (2 * scale**2) - 0.5
    phi = jnp.asarray([mean, np.log(np.expm1(sd))], jnp.float32)
    got = kl(target, MeanField(), phi, jnp.full((1, 13), jnp.nan))  # draws are not looked at
    np.testing.assert_allclose(got, expected.sum(), rtol=1e-5)


# -- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "likelihood", "x_shape", "y_shape", "words"),
    [
        (po.nets.MLP(3, [2], 1), po.likelihoods.Normal(), (2,), (), ["x:", "(2,)"]),
        (po.nets.MLP(2, [2], 3), po.likelihoods.Normal(), (2,), (), ["needs 1 per row"]),
        (po.nets.MLP(2, [2], 1), po.likelihoods.Normal("net"), (2,), (), ["needs 2 per row"]),
        (po.nets.MLP(2, [2], 2), po.likelihoods.Categorical(3), (2,), (), ["needs 3 per row"]),
        (po.nets.MLP(2, [2], 1), po.likelihoods.Normal(), (2,), (2,), ["2 target columns"]),
        (po.nets.MLP(2, [2], 2), po.likelihoods.Normal("net"), (2,), (2,), ["needs 4 per row"]),
        (po.nets.MLP(2, [2], 2), po.likelihoods.Bernoulli(), (2,), (), ["Bernoulli", "needs 1"]),
        (po.nets.MLP(2, [2], 1), po.likelihoods.Normal(), (3, 4), (), ["x:", "(3, 4)"]),
        (
            (lambda k: {"w": jnp.ones(2)}, lambda p, x: (x @ p["w"]).sum(keepdims=True)),
            po.likelihoods.Normal(),
            (2,),
            (),
            ["net: it gives outputs of shape"],
        ),
    ],
)
def test_a_net_that_does_not_fit_the_data_is_refused(net, likelihood, x_shape, y_shape, words):
    model = po.Model(net, po.priors.Normal(), likelihood)
    with pytest.raises(ValueError) as caught:
        Target.build(model, x_shape, y_shape, 10)
    assert all(word in str(caught.value) for word in words)


def test_outputs_one_per_row_without_an_axis_are_accepted():
    net = (lambda k: {"w": jnp.ones(2)}, lambda p, x: x @ p["w"])
    target = Target.build(
        po.Model(net, po.priors.Normal(), po.likelihoods.Normal(1.0)), (2,), (), 12
    )
    got = target.log_likelihood(jnp.ones(2), Batch(jnp.asarray(X), jnp.asarray(Y)))
    np.testing.assert_allclose(got, stats.norm(X.sum(1), 1).logpdf(Y), rtol=1e-4, atol=1e-5)


def test_blocks_cover_theta_once_and_in_order():
    for prior in PRIORS.values():
        target = build(prior, SQUARE)
        edges = [(block.start, block.stop) for block in target.blocks]
        assert edges[0][0] == 0
        assert edges[-1][1] == target.size
        assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))
