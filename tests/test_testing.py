"""`po.testing.check_likelihood`: right likelihoods pass, and each wrong figure is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po

ONE = np.array([[0.3], [-0.8], [1.1]])
TWO = np.array([[0.3, 0.5], [-0.8, 1.0], [1.1, 0.2]])
exp, sigmoid = jnp.exp, jax.nn.sigmoid


def of(
    kind_: Any, build: Callable[..., Any], outputs: int = 1
) -> po.likelihoods.AbstractLikelihood:
    """A user's likelihood: a NumPyro distribution of the net's outputs."""

    class User(po.likelihoods.AbstractLikelihood):
        kind = kind_
        outputs_per_target = outputs

        def distribution(self, outputs: Any, unknowns: Any) -> Any:
            return build(*(outputs[:, i] for i in range(self.outputs_per_target)))

    return User()


def two_humps(f: Any, g: Any) -> Any:
    which = dist.Categorical(probs=jnp.stack([sigmoid(f), 1 - sigmoid(f)], -1))
    return dist.MixtureSameFamily(which, dist.Normal(jnp.stack([f, g + 3], -1), jnp.ones(2)))


REAL: dict[str, Any] = {
    "gamma": lambda f: dist.Gamma(0.7, exp(-f)),
    "log-normal": lambda f: dist.LogNormal(f, 1.0),
    "log-normal, heavy": lambda f: dist.LogNormal(f, 2.0),
    "beta": lambda f, g: dist.Beta(exp(f), exp(g)),
    "half-normal": lambda f: dist.HalfNormal(exp(f)),
    "exponential": lambda f: dist.Exponential(exp(f)),
    "uniform": lambda f: dist.Uniform(-exp(f), 2 * exp(f)),
    "weibull": lambda f: dist.Weibull(exp(f), 1.5),
    "laplace": lambda f, g: dist.Laplace(f, exp(g)),
    "asymmetric-laplace": lambda f: dist.AsymmetricLaplace(f, 1.0, 1.5),
    "cauchy": lambda f, g: dist.Cauchy(f, exp(g)),  # has no mean
    "half-cauchy": lambda f: dist.HalfCauchy(exp(f)),
    "truncated-normal": lambda f: dist.TruncatedNormal(f, 1.0, low=-1.0, high=2.0),
    "truncated-cauchy": lambda f: dist.LeftTruncatedDistribution(dist.Cauchy(f, 1.0), low=0.0),
    "von-mises": lambda f: dist.VonMises(f, 4.0),  # NumPyro's variance is of angles
    "mixture": two_humps,
    "pareto": lambda f: dist.Pareto(1.0, 3 + exp(f)),
    "gumbel": lambda f: dist.Gumbel(f, 1.0),
    "inverse-gamma": lambda f: dist.InverseGamma(3 + exp(f), 1.0),
    "kumaraswamy": lambda f, g: dist.Kumaraswamy(exp(f), exp(g)),
    "gompertz": lambda f: dist.Gompertz(exp(f), 1.0),
    "exp of a normal": lambda f: dist.TransformedDistribution(
        dist.Normal(f, 1.0), dist.transforms.ExpTransform()
    ),
}
COUNTS: dict[str, Any] = {
    "negative-binomial": lambda f, g: dist.NegativeBinomial2(exp(f), exp(g)),
    "zero-inflated": lambda f, g: dist.ZeroInflatedPoisson(sigmoid(f), rate=exp(g)),
    "zero-inflated negative-binomial": lambda f, g: dist.ZeroInflatedNegativeBinomial2(
        exp(f), 2.0, gate=sigmoid(g)
    ),
    "binomial": lambda f: dist.Binomial(12, logits=f),
    "beta-binomial": lambda f, g: dist.BetaBinomial(exp(f), exp(g), 10),
    "geometric": lambda f: dist.GeometricLogits(f),
    "discrete-uniform": lambda f: dist.DiscreteUniform(0, jnp.full(f.shape, 9)),
}
QUICK = ("cauchy", "von-mises", "binomial")  # others of this kind: tests/likelihoods
USERS = [
    pytest.param(kind, build, id=name, marks=() if name in QUICK else pytest.mark.slow)
    for kind, known in (("regression", REAL), ("count", COUNTS))
    for name, build in known.items()
]


@pytest.mark.parametrize(("kind", "build"), USERS)
def test_likelihoods_of_users_have_the_figures_of_their_draws(kind: str, build: Any) -> None:
    outputs = build.__code__.co_argcount
    likelihood = of(kind, build, outputs)
    po.testing.check_likelihood(likelihood, TWO if outputs == 2 else ONE, draws=8_000)


# -- wrong ones -----------------------------------------------------------------------------------


class WrongMean(po.likelihoods.Normal):
    def mean_and_var(self, outputs, unknowns):
        mean, var = super().mean_and_var(outputs, unknowns)
        return mean + 0.1, var


class WrongLogProb(po.likelihoods.Normal):
    def log_prob(self, outputs, y, unknowns):
        return super().log_prob(outputs, y, unknowns) + 0.1


class WrongDraws(po.likelihoods.Normal):
    def sample(self, given, key):
        return given.mean + 1.1 * (given.sample(key) - given.mean)


class WrongBounds(po.likelihoods.Poisson):
    @property
    def bounds(self):
        return 1.0, np.inf


class WrongExpected(po.likelihoods.Normal):
    def expected(self, mean, var):
        y, shares = super().expected(mean, var)
        return y + 1.0, shares


class Tilted(dist.Normal):
    """A density of mass e^0.2, with draws and moments of mass 1."""

    def log_prob(self, value):
        return super().log_prob(value) + 0.2


class CutCdf(dist.Normal):
    def cdf(self, value):
        return jnp.where(value > self.loc + 1, 1.0, super().cdf(value))


WRONG = {
    "mean": (WrongMean(0.5), ["WrongMean.mean_and_var: mean: row 0: it is 0.4, but draws of y"]),
    "log_prob": (
        WrongLogProb(0.5),
        ["WrongLogProb.log_prob: row", "differs by up to 0.1", "WrongLogProb.entropy: row 0"],
    ),
    "draws": (WrongDraws(0.5), ["WrongDraws.mean_and_var: variance: row 0", ".quantile(0.05)"]),
    "bounds": (WrongBounds(), ["WrongBounds.bounds: they are 1 … inf; 0 was drawn"]),
    "expected": (WrongExpected(0.5), ["WrongExpected.expected: row 0: the mean of y is off by 2"]),
    "density": (
        of("regression", lambda f: Tilted(f, 1.0)),
        ["User.log_prob: its density integrated from", "but draws of y give 0.1"],
    ),
    "cdf": (of("regression", lambda f: CutCdf(f, 1.0)), ["User.cdf at", "User.quantile(0.95)"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    likelihood, words = WRONG[name]
    with pytest.raises(AssertionError) as caught:
        po.testing.check_likelihood(likelihood, ONE, draws=8_000)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_right_figures_of_a_wrong_likelihood_are_not_named() -> None:
    with pytest.raises(AssertionError) as caught:
        po.testing.check_likelihood(WrongMean(0.5), ONE, draws=8_000)
    assert not any(word in str(caught.value) for word in ("cdf", "entropy", "log_prob", "curv"))


@pytest.mark.slow
def test_a_density_that_single_precision_spoils_is_found() -> None:
    """NumPyro's negative binomial of means of 10⁴."""
    likelihood = of("count", lambda f: dist.NegativeBinomial2(1e4 * exp(f), 3.0))
    with pytest.raises(AssertionError, match=r"User\.log_prob: its density integrated"):
        po.testing.check_likelihood(likelihood, ONE[:1], draws=2_000)


@pytest.mark.slow
@pytest.mark.parametrize("build", [REAL["gamma"], REAL["log-normal"], COUNTS["binomial"]])
def test_right_likelihoods_pass_with_every_seed(build: Any) -> None:
    kind = "count" if build is COUNTS["binomial"] else "regression"
    likelihood = of(kind, build)
    for seed in range(40):
        po.testing.check_likelihood(likelihood, ONE, draws=1_000, seed=seed)


def test_arguments_of_the_check_are_checked() -> None:
    with pytest.raises(ValueError, match=r"check_likelihood: likelihood must be.*draws.*failure"):
        po.testing.check_likelihood(3, ONE, draws=5, failure_rate=2.0)  # type: ignore[arg-type]
