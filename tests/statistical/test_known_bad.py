"""Chains made by hand and by NUTS: bad ones are flagged with their sentence, good ones never."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from handmade import draws_of, linear, posterior_of
from oracles import conjugate
from posterity.diagnostics.advice import SHARES, on_mixing
from posterity.diagnostics.convergence import mixing
from posterity.diagnostics.monitored import Quantities

# f(x) = b + w x at 25 inputs; θ = (b, w, log of the noise's scale).
X = np.linspace(-2, 2, 25)[:, None].astype(np.float32)
MODEL = linear(po.likelihoods.Normal(dist.HalfNormal(1.0)), bias=True)


def autoregressive(seed: int, phi: float, chain: int = 4, draw: int = 1_000) -> np.ndarray:
    """Stationary chains of θ, of unit variance and with correlation φ from draw to draw."""
    noise = np.random.default_rng(seed).normal(size=(chain, draw, 3))
    x = noise.copy()
    for t in range(1, draw):
        x[:, t] = phi * x[:, t - 1] + np.sqrt(1 - phi**2) * noise[:, t]
    return 0.3 * x


def advice(
    theta: np.ndarray, history: Mapping[str, np.ndarray] | None = None, **settings: object
) -> tuple[str, ...]:
    fields = dict(history or {})
    posterior = posterior_of(MODEL, draws_of(theta), history=fields, **settings)
    return posterior.diagnose(X).advice


@pytest.mark.parametrize("seed", range(10))
def test_good_chains_are_not_flagged(seed: int) -> None:
    """Ten sets, of independent, slow and antithetic chains; the energies of a normal target."""
    rng = np.random.default_rng(100 + seed)
    theta = autoregressive(seed, phi=(0.0, 0.3, 0.5, -0.3, -0.8)[seed % 5])
    history = {
        "energy": rng.normal(size=(4, 1_000)),
        "divergent": np.zeros((4, 1_000), bool),
        "depth": rng.integers(1, 5, (4, 1_000)),
        "acceptance_rate": rng.uniform(0.6, 1.0, (4, 1_000)),
    }
    assert advice(theta, history, target_acceptance=0.8, max_depth=10) == ()


@pytest.mark.slow
def test_good_sets_are_rarely_said_to_disagree() -> None:
    """At a declared rate of 0.001, five or more of 300 sets have a probability of 2e-5."""
    rng = np.random.default_rng(0)
    labels = tuple(f"row {row}" for row in range(100))
    said = 0
    for _ in range(300):
        noise = rng.normal(size=(4, 500, 10))
        theta = noise.copy()
        for t in range(1, 500):
            theta[:, t] = 0.3 * theta[:, t - 1] + noise[:, t]
        watched = Quantities(labels, theta @ rng.normal(size=(10, 100)))
        said += bool(on_mixing("predictions", watched, mixing(watched.values)))
    assert said < 5


@pytest.mark.parametrize("chain", [2, 4])
@pytest.mark.parametrize("gap", [0.6, 3.0])
def test_two_separated_modes(chain: int, gap: float) -> None:
    """Half of the chains sit elsewhere, by two standard deviations or by ten."""
    theta = autoregressive(1, phi=0.3, chain=chain)
    theta[: chain // 2, :, 0] += gap
    modes = [sentence for sentence in advice(theta) if "disagree" in sentence]
    assert len(modes) == 1
    assert "several modes" in modes[0]
    assert "each chain by itself is steady" in modes[0]
    assert "without chain" not in modes[0]


def test_a_chain_stuck_in_a_bad_mode_is_named() -> None:
    theta = autoregressive(2, phi=0.3)
    theta[2] = 0.2 * theta[2] + 2.0
    (modes, *_) = advice(theta)
    assert "several modes" in modes
    assert "1.00 without chain 3" in modes


def test_a_chain_that_stands_still_is_named() -> None:
    theta = autoregressive(3, phi=0.3)
    theta[1] = theta[1, :1]
    assert [sentence.split(":")[0] for sentence in advice(theta)] == ["Chain 2 stood still"]
    (none,) = advice(np.repeat(theta[:, :1], 100, axis=1))
    assert none.startswith("No chain has moved")


@pytest.mark.parametrize("phi", [0.95, 0.99])
def test_too_few_draws(phi: float) -> None:
    said = advice(autoregressive(4, phi=phi, draw=400))
    few = [sentence for sentence in said if sentence.startswith("Too few draws")]
    assert [("of predictions" in s, "of named quantities" in s) for s in few] == [
        (True, False),
        (False, True),
    ]
    assert "below 400, 100 per chain" in few[0]
    assert "several modes that" not in " ".join(said)


def test_a_tail_that_is_hardly_visited() -> None:
    """The middle mixes at once; the upper tail is entered twice, and stayed in."""
    theta = autoregressive(5, phi=0.0)
    stay = np.zeros((4, 1_000))
    stay[0, 300:420] = 4
    stay[2, 700:820] = 4
    theta[..., 0] += stay
    (few, *_) = [sentence for sentence in advice(theta) if sentence.startswith("Too few draws")]
    assert "in the tail" in few


def test_drifting_chains() -> None:
    """All chains are on the way to one place, as after too short a warm-up."""
    theta = autoregressive(6, phi=0.3)
    theta[..., 0] += np.linspace(2, 0, 1_000)
    (drift, *_) = advice(theta)
    assert "chains 1, 2, 3 and 4 still drift" in drift
    assert "Warm up longer" in drift
    assert "modes" not in drift


def test_one_drifting_chain_among_good_ones_is_named() -> None:
    theta = autoregressive(7, phi=0.3)
    theta[3, :, 0] += np.linspace(2, 0, 1_000)
    (drift, *_) = advice(theta)
    assert "chain 4 still drifts" in drift


def test_chains_that_have_nearly_converged() -> None:
    """Two chains lie a third of an sd from the others, which 4,000 draws can tell from noise."""
    theta = autoregressive(8, phi=0.0, draw=1_000)
    theta[:2, :, 0] += 0.09
    (mild,) = advice(theta)
    assert mild.startswith("The chains have not quite converged")
    assert "Draw longer" in mild


def test_a_single_chain() -> None:
    (alone,) = advice(autoregressive(9, phi=0.0, chain=1))
    assert alone.startswith("One chain cannot show")
    theta = autoregressive(9, phi=0.0, chain=1)
    theta[..., 0] += np.linspace(2, 0, 1_000)
    assert any(sentence.startswith("The chain drifts") for sentence in advice(theta))


def test_a_funnel_like_energy() -> None:
    """Energies that wander: drawing the momentum anew changes them by little."""
    energy = np.cumsum(np.random.default_rng(10).normal(size=(4, 1_000)), axis=1)
    energy[1] = np.random.default_rng(11).normal(size=1_000)
    (funnel,) = advice(autoregressive(10, phi=0.0), {"energy": energy})
    assert funnel.startswith("E-BFMI of chains 1, 3 and 4 is down to 0.0")
    assert "funnel" in funnel


def test_what_a_sampler_reports() -> None:
    history = {
        "divergent": np.arange(4_000).reshape(4, 1_000) < 37,
        "depth": np.full((4, 1_000), 10),
        "acceptance_rate": np.full((4, 1_000), 0.5),
    }
    said = advice(autoregressive(11, phi=0.0), history, target_acceptance=0.8, max_depth=10)
    diverged, deep, low = said
    assert diverged.startswith("37 of 4000 kept steps diverged")
    assert "Raise target_acceptance above 0.8" in diverged
    assert deep.startswith("4000 of 4000 kept steps reached max_depth=10")
    assert low.startswith("The mean acceptance is 0.50, far below the 0.8")


def test_disagreement_about_the_noise_alone_is_seen() -> None:
    theta = autoregressive(12, phi=0.3)
    theta[0, :, 2] += 3.0
    said = advice(theta)
    assert all("named quantities" in sentence for sentence in said if sentence != SHARES)
    assert "(likelihood.scale)" in said[0]


def test_symmetric_modes_of_the_weights_are_no_disagreement() -> None:
    """tanh(w₁ x) w₂ is the same with both signs changed: chains on both sides predict alike."""
    net = po.nets.MLP(1, [1], 1, activation=jnp.tanh, use_bias=False)
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(0.3))
    theta = 1 + autoregressive(13, phi=0.3)[..., :2]
    theta[:2] *= -1
    found = posterior_of(model, draws_of(theta)).diagnose(X)
    assert found.weights is not None
    assert found.weights.rhat > 1.5
    assert found.advice == ()
    assert "label-symmetric" in found.remark


# -- real samplers on what they cannot do, and on what they can -----------------------------------


def funnel() -> None:
    """Neal 2003: the scale of nine coordinates is the exponential of another."""
    v = numpyro.sample("v", dist.Normal(0, 3))
    numpyro.sample("x", dist.Normal(0, jnp.exp(v / 2)).expand([9]).to_event(1))


def two_modes() -> None:
    """Two normals, twenty sds apart."""
    mixture = dist.MixtureSameFamily(
        dist.Categorical(jnp.array([0.5, 0.5])), dist.Normal(jnp.array([-1.0, 1.0]), 0.1)
    )
    numpyro.sample("theta", mixture)


def of_program(program: Callable[[], None], method: po.NUTS, seed: int) -> tuple[str, ...]:
    model = po.Model.from_numpyro(program)
    return po.fit(model, (), method, seed=seed, progress=False).result.warnings


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nuts_in_a_funnel(seed: int) -> None:
    said = " ".join(of_program(funnel, po.NUTS(), seed))
    assert "diverged" in said or "E-BFMI" in said or "Too few draws" in said


@pytest.mark.slow
def test_nuts_between_two_modes() -> None:
    """Starts are uniform in (−2, 2): of eight chains, all are in one mode at a rate of 1 in 128.

    So the seeds are fixed, and those of which all chains are in one mode count as nothing shown.
    """
    told = []
    for seed in range(4):
        model = po.Model.from_numpyro(two_modes)
        method = po.NUTS(chains=8, warmup=300, draws=300)
        posterior = po.fit(model, (), method, seed=seed, progress=False)
        sides = np.sign(np.asarray(posterior.weights("theta"))[:, -1])
        if np.abs(sides.sum()) < sides.size:
            told.append("several modes" in " ".join(posterior.result.warnings))
    assert told
    assert all(told)


@pytest.mark.slow
def test_nuts_with_too_few_draws() -> None:
    oracle = conjugate()
    method = po.NUTS(warmup=300, draws=40)
    said = po.fit(oracle.model, oracle.data, method, progress=False).result.warnings
    assert any(sentence.startswith("Too few draws") for sentence in said)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_good_fits_are_not_flagged(seed: int) -> None:
    oracle = conjugate()
    posterior = po.fit(oracle.model, oracle.data, po.NUTS(), seed=seed, progress=False)
    assert posterior.result.warnings == ()
