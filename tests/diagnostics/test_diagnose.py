"""Diagnostics of chains: of what, where kept, and what a fit makes of them."""

from __future__ import annotations

import json
import time

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from handmade import draws_of, gaussian_of, linear, posterior_of
from posterity.diagnostics import convergence as chains
from posterity.diagnostics.diagnose import REMARK, Diagnostics, diagnose_fit
from posterity.diagnostics.monitored import MOST_DRAWS, MOST_WEIGHTS, monitor
from posterity.distributions.draws import Draws

RNG = np.random.default_rng(0)
X = np.linspace(-1, 1, 12)[:, None].astype(np.float32)
NOISY = linear(po.likelihoods.Normal(dist.HalfNormal(1.0)), bias=True)
THETA = RNG.normal(size=(3, 200, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def nuts() -> po.Posterior:
    model = po.Model(
        po.nets.MLP(1, [3], 1, activation=jnp.tanh),
        po.priors.Normal(),
        po.likelihoods.Normal(dist.HalfNormal(1.0)),
    )
    method = po.NUTS(chains=2, warmup=100, draws=50)
    return po.fit(model, (X, np.sin(2 * X[:, 0])), method, progress=False)


def test_predictions_are_those_of_the_rows_and_the_worst_is_named() -> None:
    found = posterior_of(NOISY, draws_of(THETA)).diagnose(X)
    means = THETA[..., :1] + THETA[..., 1:2] * X[:, 0]
    expected = chains.mixing(means)
    worst = found.predictions
    assert worst is not None
    assert (worst.count, worst.constant) == (12, 0)
    assert worst.rhat == pytest.approx(expected.rhat.max(), abs=1e-4)
    assert worst.rhat_at == f"row {expected.rhat.argmax()}"
    assert worst.ess_bulk == pytest.approx(expected.ess_bulk.min(), rel=1e-3)
    assert worst.ess_tail_at == f"row {expected.ess_tail.argmin()}"


def test_named_numbers_are_in_their_own_units() -> None:
    (scale,) = posterior_of(NOISY, draws_of(THETA)).diagnose(X).named
    values = np.exp(THETA[..., 2].astype(float))
    assert scale.name == "likelihood.scale"
    assert scale.mean == pytest.approx(values.mean(), rel=1e-5)
    assert scale.sd == pytest.approx(values.std(), rel=1e-5)
    assert scale.mcse == pytest.approx(float(chains.mcse_mean(values)), rel=1e-4)
    figures = (scale.rhat, scale.ess_bulk, scale.ess_tail)
    np.testing.assert_allclose(figures, chains.mixing(values), rtol=1e-3)


def test_weights_are_named_and_come_with_a_remark() -> None:
    theta = THETA.copy()
    theta[0, :, 1] += 5
    found = posterior_of(NOISY, draws_of(theta)).diagnose(X)
    assert found.weights is not None
    assert found.weights.count == 2  # the noise is not a weight
    assert found.weights.rhat_at == "layers.0.weight[0, 0]"
    assert found.remark == REMARK
    assert REMARK in str(found)


def test_classes_and_outputs_are_named() -> None:
    model = linear(po.likelihoods.Categorical(3), 3)
    monitored = monitor(posterior_of(model, draws_of(THETA)).target, Draws(THETA), X[:2])
    assert monitored.predictions is not None
    assert monitored.predictions.labels[:4] == (
        "row 0, class 0",
        "row 0, class 1",
        "row 0, class 2",
        "row 1, class 0",
    )
    assert monitored.named is None
    two = linear(po.likelihoods.Normal(0.5), 2)
    posterior = posterior_of(two, draws_of(THETA[..., :2]), targets=2)
    labels = monitor(
        posterior.target, Draws(THETA[..., :2]), X[:1], np.array([40])
    ).predictions.labels
    assert labels == ("row 40, output 0", "row 40, output 1")


def test_what_never_changes_is_counted_and_not_judged() -> None:
    theta = THETA.copy()
    theta[..., 0] = 0.5
    theta[..., 1] = 0.0
    found = posterior_of(NOISY, draws_of(theta)).diagnose(X)
    assert found.predictions is not None
    assert (found.predictions.count, found.predictions.constant) == (12, 12)
    assert np.isnan(found.predictions.rhat)
    assert "predictions" not in " ".join(found.advice)


def test_few_draws_say_so() -> None:
    found = posterior_of(NOISY, draws_of(THETA[:, :3])).diagnose(X)
    assert found.predictions is not None
    assert np.isnan(found.predictions.rhat)
    assert found.advice[0].startswith("With 3 draws per chain")


def test_long_runs_and_large_nets_are_looked_at_in_part() -> None:
    net = po.nets.MLP(1, [300], 1)
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal(0.5))
    theta = RNG.normal(size=(2, 3_000, 901)).astype(np.float32)
    posterior = posterior_of(model, draws_of(theta))
    monitored = monitor(posterior.target, Draws(theta), X)
    assert monitored.step == 2
    assert monitored.weights is not None
    assert monitored.predictions is not None
    assert monitored.weights.values.shape == (2, 1_500, MOST_WEIGHTS)
    assert monitored.predictions.values.shape == (2, 1_500, 12)
    np.testing.assert_array_equal(monitored.weights.values[..., 0], theta[:, ::2, 0])
    assert monitored.weights.labels[0] == "layers.0.bias[0]"
    assert monitored.weights.labels[-1] == "layers.1.weight[0, 299]"
    assert MOST_DRAWS >= 2 * 1_500


def test_a_fit_looks_at_evenly_spaced_training_rows() -> None:
    target = posterior_of(NOISY, draws_of(THETA)).target
    data = type("Data", (), {"x": np.linspace(-1, 1, 1_000)[:, None]})
    found = diagnose_fit(target, Draws(jnp.asarray(THETA)), {}, data, {})
    assert found.predictions is not None
    assert found.predictions.count == 100
    # The variance of a line is largest at one of its ends; r-hat may be anywhere.
    assert int(found.predictions.rhat_at.split()[1]) in np.linspace(0, 999, 100).astype(int)


def test_figures_of_the_sampler_are_those_of_its_history(nuts: po.Posterior) -> None:
    sampler = nuts.diagnose(X).sampler
    history = nuts.history
    assert sampler.steps == 100
    assert sampler.divergences == history.divergent.sum()
    assert sampler.divergent_share == history.divergent.mean()
    assert sampler.depth_hits == (history.depth >= 10).sum()
    assert sampler.acceptance == pytest.approx(history.acceptance_rate.mean())
    assert sampler.leapfrogs == pytest.approx(history.leapfrogs.mean())
    np.testing.assert_allclose(sampler.bfmi, chains.bfmi(history.energy))


def test_what_a_sampler_does_not_report_is_left_out() -> None:
    method = po.SGLD(draws=50, step_size=1e-3, chains=2)
    posterior = po.fit(NOISY, (X, X[:, 0]), method, progress=False)
    assert posterior.diagnostics is not None
    sampler = posterior.diagnostics.sampler
    assert sampler.steps == 100
    assert (sampler.divergences, sampler.bfmi, sampler.acceptance) == (None, None, None)
    assert posterior.diagnostics.facts() == {}
    assert posterior.diagnostics.named[0].name == "likelihood.scale"


def test_a_fit_keeps_its_diagnostics_and_warns_of_them(nuts: po.Posterior) -> None:
    found = nuts.diagnostics
    assert found is not None
    assert (found.chains, found.draws, found.step) == (2, 50, 1)
    assert any(sentence.startswith("Too few draws") for sentence in found.advice)
    assert set(found.advice) <= set(nuts.result.warnings)
    assert len(set(nuts.result.warnings)) == len(nuts.result.warnings)


def test_chains_that_predict_apart_are_warned_of() -> None:
    """SGLD that hardly moves stays where each chain starts."""
    method = po.SGLD(draws=200, step_size=1e-9, chains=4, warmup=0)
    posterior = po.fit(NOISY, (X, X[:, 0]), method, progress=False)
    assert any("The chains disagree" in warning for warning in posterior.result.warnings)
    assert not posterior.result.ok


def test_inputs_of_ones_own_are_looked_at(nuts: po.Posterior) -> None:
    found = nuts.diagnose(X[:5] + 3)
    assert found.predictions is not None
    assert nuts.diagnostics is not None
    assert found.predictions.count == 5
    assert found.predictions != nuts.diagnostics.predictions
    assert found.named == nuts.diagnostics.named
    assert found.sampler == nuts.diagnostics.sampler


def test_inputs_that_do_not_fit_are_refused(nuts: po.Posterior) -> None:
    with pytest.raises(ValueError, match="x: give the inputs"):
        nuts.diagnose(None)
    with pytest.raises(ValueError, match="x: its rows have shape"):
        nuts.diagnose(np.zeros((3, 2)))


def test_densities_have_no_chains() -> None:
    posterior = posterior_of(NOISY, gaussian_of([0.0] * 3, [1.0] * 3))
    assert posterior.diagnostics is None
    with pytest.raises(TypeError, match="found a density, which has no chains"):
        posterior.diagnose(X)
    fitted = po.fit(NOISY, (X, X[:, 0]), po.MAP(steps=20), progress=False)
    assert fitted.diagnostics is None


def test_files_hold_them(nuts: po.Posterior, tmp_path) -> None:
    assert po.load(nuts.save(tmp_path / "p")).diagnostics == nuts.diagnostics


def test_plain_data_and_back_also_of_what_is_not_finite() -> None:
    stuck = np.repeat(THETA[:, :1], 50, axis=1)
    for theta in (THETA, stuck, THETA[:, :2]):
        found = posterior_of(NOISY, draws_of(theta)).diagnose(X)
        text = json.dumps(found.to_json(), allow_nan=False)
        again = Diagnostics.from_json(json.loads(text))
        assert repr(again) == repr(found)
        assert str(again) == str(found)


def test_the_table_has_a_row_for_each_kind(nuts: po.Posterior) -> None:
    assert nuts.diagnostics is not None
    rows = nuts.diagnostics.table()
    assert [row["quantity"] for row in rows] == ["predictions", "likelihood.scale", "weights"]
    text = str(nuts.diagnostics)
    assert "2 chains of 50 draws" in text
    assert "E-BFMI by chain" in text


def test_a_program_is_judged_by_its_sites() -> None:
    def program(y):
        centre = numpyro.sample("centre", dist.Normal(0, 1))
        spread = numpyro.sample("spread", dist.HalfNormal(1.0))
        numpyro.deterministic("twice", 2 * centre)
        with numpyro.plate("rows", len(y)):
            numpyro.sample("y", dist.Normal(centre, spread), obs=y)

    model = po.Model.from_numpyro(program)
    method = po.NUTS(chains=2, warmup=200, draws=200)
    posterior = po.fit(model, (RNG.normal(size=30),), method, progress=False)
    found = posterior.diagnostics
    assert found is not None
    assert [number.name for number in found.named] == ["centre", "spread", "twice"]
    assert (found.predictions, found.weights, found.remark) == (None, None, "")
    assert found.named[2].mean == pytest.approx(2 * found.named[0].mean, rel=1e-5)
    assert posterior.diagnose() == found


def test_it_costs_little() -> None:
    posterior = posterior_of(NOISY, draws_of(RNG.normal(size=(4, 1_000, 3))))
    x = np.linspace(-1, 1, 100)[:, None]
    posterior.diagnose(x)
    began = time.perf_counter()
    posterior.diagnose(x)
    assert time.perf_counter() - began < 2  # 0.1 on an idle machine
