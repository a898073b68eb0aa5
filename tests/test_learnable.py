"""Learned numbers: empirical Bayes against closed forms, and the places they may stand in."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from oracles import conjugate
from posterity.model.net_target import Target

ORACLE = conjugate(rows=60, columns=4)
LINE = (np.linspace(-1, 1, 40)[:, None], np.linspace(-1, 1, 40))


def evidence_maximum() -> tuple[float, float]:
    """Prior sd and noise that maximise the mean-field ELBO's optimum, on a fine grid."""
    x, y = np.asarray(ORACLE.x, float), ORACLE.y

    def best(prior: float, noise: float) -> float:
        precision = np.eye(4) / prior**2 + x.T @ x / noise**2
        cov = noise**2 * np.eye(len(y)) + prior**2 * x @ x.T
        evidence = -0.5 * (np.linalg.slogdet(cov)[1] + y @ np.linalg.solve(cov, y))
        gap = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
        return evidence - gap

    priors, noises = np.linspace(0.3, 3, 271), np.linspace(0.3, 0.8, 251)
    grid = np.array([[best(prior, noise) for noise in noises] for prior in priors])
    at = np.unravel_index(grid.argmax(), grid.shape)
    return float(priors[at[0]]), float(noises[at[1]])


def test_the_learned_numbers_maximise_the_elbo() -> None:
    """Both at once; the grid's spacing and the optimiser's noise are within 3 %."""
    net = po.nets.MLP(4, [], 1, use_bias=False)
    prior = po.priors.Normal(0, po.learned(1.0))
    model = po.Model(net, prior, po.likelihoods.Normal(po.learned(1.0)))
    method = po.ADVI(steps=12_000, draws=32, stop=False)
    posterior = po.fit(model, ORACLE.data, method, progress=False)
    learned = posterior.learned
    assert set(learned) == {"prior.*.scale", "likelihood.scale"}
    sd, noise = evidence_maximum()
    np.testing.assert_allclose(learned["prior.*.scale"], sd, rtol=0.03)
    np.testing.assert_allclose(learned["likelihood.scale"], noise, rtol=0.03)


def model(prior: object, scale: object = 0.1) -> po.Model:
    return po.Model(po.nets.MLP(1, [3], 1), prior, po.likelihoods.Normal(scale))


@pytest.mark.parametrize(
    ("prior", "scale", "names"),
    [
        (po.priors.Normal(po.learned(0.1), 1.0), 0.1, {"prior.*.loc"}),
        (
            po.priors.ScaleMixture(po.learned(0.2), po.learned(1.0), po.learned(0.1)),
            0.1,
            {"prior.*.pi", "prior.*.scale_1", "prior.*.scale_2"},
        ),
        (dist.Laplace(0.0, po.learned(1.0)), 0.1, {"prior.*.scale"}),
        (
            {"*.bias": dist.StudentT(4.0, 0.0, po.learned(1.0)), "*": dist.Normal(0.0, 1.0)},
            0.1,
            {"prior.*.bias.scale"},
        ),
        (po.priors.Normal(), dist.HalfNormal(po.learned(1.0)), {"likelihood.scale.scale"}),
        (po.priors.Normal(), dist.LogNormal(po.learned(0.0), 1.0), {"likelihood.scale.loc"}),
        (dist.Normal(0.0, po.learned(1.0)).expand((3, 1)), 0.1, None),
    ],
)
def test_they_stand_in_any_prior_or_likelihood(prior, scale, names, tmp_path) -> None:
    if names is None:  # one array's shape only
        prior, names = (
            {"layers.0.weight": prior, "*": dist.Normal(0.0, 1.0)},
            {"prior.layers.0.weight.scale"},
        )
    posterior = po.fit(model(prior, scale), LINE, po.ADVI(steps=300, stop=False), progress=False)
    assert set(posterior.learned) == names
    starts = {0.2, 1.0, 0.1, 0.0}
    assert all(value not in starts for value in posterior.learned.values())
    # The posterior's own model has plain numbers in their places, and can be saved.
    theta = posterior.sample(1)[0, 0]
    assert np.isfinite(float(posterior.target.log_prior(theta)))
    again = po.load(posterior.save(tmp_path / "posterior"))
    assert again.learned == posterior.learned
    np.testing.assert_array_equal(again.predict(LINE[0]).mean, posterior.predict(LINE[0]).mean)


def test_one_object_in_two_places_is_one_number() -> None:
    shared = po.learned(1.0)
    prior = {"*.bias": dist.Normal(0.0, shared), "*": dist.Normal(0.0, shared)}
    target = Target.build(model(prior), (1,), (), 40)
    assert [slot.name for slot in target.slots] == ["prior.*.bias.scale"]
    one, other = (po.priors.Normal(0, po.learned(1.0)) for _ in range(2))
    apart = {"*.bias": one, "*": other}
    assert len(Target.build(model(apart), (1,), (), 40).slots) == 2


def test_a_model_stated_twice_compiles_once() -> None:
    """Tokens are counted from zero in every target."""
    first, second = (
        Target.build(model(po.priors.Normal(0, po.learned(1.0))), (1,), (), 40) for _ in range(2)
    )
    assert first.slots == second.slots


def test_at_puts_values_in_their_places() -> None:
    target = Target.build(model(po.priors.Normal(0, po.learned(2.0))), (1,), (), 40)
    theta = jnp.ones(target.size)
    free = dist.biject_to(dist.constraints.positive).inv(0.5)
    expected = dist.Normal(0.0, 0.5).log_prob(theta).sum()
    np.testing.assert_allclose(target.at(free[None]).log_prior(theta), expected, rtol=1e-5)


@pytest.mark.parametrize("method", [po.MAP(steps=5), po.NUTS(draws=5, warmup=5)])
def test_methods_without_an_elbo_refuse_them(method) -> None:
    with pytest.raises(ValueError, match=r"prior\.\*\.scale is po\.learned"):
        po.fit(model(po.priors.Normal(0, po.learned(1.0))), LINE, method, progress=False)


def test_what_cannot_be_learned_is_refused_and_never_fixed_in_silence() -> None:
    with pytest.raises(ValueError, match="finite"):
        po.learned(float("nan"))
    with pytest.raises(ValueError, match="invalid scale"):  # by NumPyro
        dist.Laplace(0.0, po.learned(-1.0))
    with pytest.raises(ValueError, match=r"cannot start at -1\.0"):
        po.fit(model(po.priors.Normal(), po.learned(-1.0)), LINE, po.ADVI(steps=5), progress=False)
    with pytest.raises(TypeError, match="fixed at its start"):
        dist.Normal(jnp.zeros(3), po.learned(1.0))
    truncated = dist.TruncatedNormal(0.0, po.learned(1.0), low=0.0)
    with pytest.raises(ValueError, match="nothing can be learned inside"):
        po.fit(model(truncated), LINE, po.ADVI(steps=5), progress=False)


def test_the_mixture_is_a_density_and_its_draws_have_its_moments() -> None:
    prior = po.priors.ScaleMixture(0.25, 1.0, 0.1).latents({"w": ()})["w"]
    grid = np.linspace(-8, 8, 200_001)
    density = np.exp(np.asarray(prior.log_prob(grid), np.float64))
    np.testing.assert_allclose(np.trapezoid(density, grid), 1, rtol=1e-4)
    np.testing.assert_allclose(np.trapezoid(density * grid**2, grid), prior.variance, rtol=1e-3)
    draws = np.asarray(prior.sample(jax.random.key(0), (100_000,)), np.float64)
    error = np.std(draws**2) / np.sqrt(draws.size)
    assert abs(np.mean(draws**2) - prior.variance) < 4.3 * error
    assert np.isfinite(float(prior.log_prob(50.0)))  # where the narrow one underflows
    with pytest.raises(ValueError, match="between 0 and 1"):
        po.priors.ScaleMixture(1.5)
    with pytest.raises(ValueError, match="scale_2"):
        po.priors.ScaleMixture(0.5, 1.0, -1.0)


def test_the_posteriors_model_has_the_learned_number() -> None:
    given = model(po.priors.Normal(0, po.learned(2.0)))
    posterior = po.fit(given, LINE, po.ADVI(steps=300, stop=False), progress=False)
    (value,) = posterior.learned.values()
    assert value != pytest.approx(2.0, rel=1e-3)
    ((_, prior),) = posterior.target.prior.rules
    assert float(prior.scale) == pytest.approx(value, rel=1e-6)
