"""Predictions against direct averages over the same draws, in NumPy and SciPy."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import special, stats

import posterity as po
from compilations import Compilations
from handmade import draws_of, gaussian_of, linear, posterior_of
from known import CASES, LOGITS, F, X
from posterity.predict import stream

NAMES = pytest.mark.parametrize("name", CASES)


@NAMES
def test_mean_and_variances_are_numpys_over_the_same_draws(name):
    posterior, mean, var = CASES[name]
    pred = posterior.predict(X)
    assert pred.draws == 37
    aleatoric, epistemic = var.mean(0), mean.var(0)
    if name == "categorical":
        aleatoric, epistemic = aleatoric.sum(-1), epistemic.sum(-1)
    np.testing.assert_allclose(pred.mean, mean.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pred.aleatoric, aleatoric, rtol=2e-5)
    np.testing.assert_allclose(pred.epistemic, epistemic, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(pred.total, pred.aleatoric + pred.epistemic)
    np.testing.assert_allclose(pred.sd, np.sqrt(aleatoric + epistemic), rtol=2e-5)


@NAMES
def test_raw_draws_are_the_means_of_every_draw_in_the_order_of_prediction(name):
    posterior, mean, _ = CASES[name]
    raw = posterior.predict(X).raw()
    assert raw.shape == mean.shape
    order = np.argsort(raw.reshape(37, -1)[:, 0]), np.argsort(mean.reshape(37, -1)[:, 0])
    np.testing.assert_allclose(raw[order[0]], mean[order[1]], rtol=2e-5, atol=1e-6)


@NAMES
@pytest.mark.parametrize("draws", [1, 5, 36])
def test_fewer_draws_are_averaged_over_those_draws_only(name, draws):
    posterior = CASES[name][0]
    raw = posterior.predict(X).raw()[:draws].astype(float)
    pred = posterior.predict(X, draws=draws)
    np.testing.assert_allclose(pred.mean, raw.mean(0), rtol=1e-5, atol=1e-6)
    epistemic = raw.var(0).sum(-1) if name == "categorical" else raw.var(0)
    np.testing.assert_allclose(pred.epistemic, epistemic, rtol=1e-4, atol=1e-7)


def test_a_gaussian_prediction_is_the_average_over_its_own_sample():
    q = posterior_of(linear(po.likelihoods.Normal(0.5)), gaussian_of([0.7], [0.4]))
    for draws in (3, 5_003):
        w = np.asarray(q.sample(draws, seed=5))[0, :, 0].astype(float)
        pred = q.predict(X, draws=draws, seed=5)
        np.testing.assert_allclose(pred.mean, w.mean() * X[:, 0], rtol=1e-4)
        np.testing.assert_allclose(pred.epistemic, w.var() * X[:, 0] ** 2, rtol=1e-4)
    assert q.predict(X).draws == 1_000


def test_the_seed_decides_the_draws():
    q = posterior_of(linear(po.likelihoods.Normal(0.5)), gaussian_of([0.7], [0.4]))
    one, again, other = (q.predict(X, draws=9, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.mean, again.mean)
    np.testing.assert_array_equal(one.raw(of="y"), again.raw(of="y"))
    assert not np.isclose(one.mean, other.mean).any()


def test_predictions_at_other_rows_compile_nothing_where_they_are_quick():
    posterior = CASES["normal"][0]
    posterior.predict(X[:5]).quantile(0.1)
    with Compilations() as compiled:
        few = posterior.predict(X[:4])
        few.quantile(0.1)
    assert compiled.names == []
    assert few.mean.shape == (4,)
    np.testing.assert_array_equal(few.mean, posterior.predict(X[:5]).mean[:4])


def test_a_net_that_takes_long_is_evaluated_at_no_other_rows():
    long = SimpleNamespace(draws=1_000, target=SimpleNamespace(multiplications=lambda rows: 2e4))
    assert stream._room(long, 1, each=1) == 1
    long.draws = 100
    assert stream._room(long, 1, each=1) == 16
    assert stream._room(long, 140, each=1) == 256
    assert stream._room(long, 140, each=5) == 144


# -- classes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
def test_entropies_are_scipys_and_split_exactly(name):
    posterior, mean, _ = CASES[name]
    p = np.stack([1 - mean, mean], -1) if name == "bernoulli" else mean
    pred = posterior.predict(X)
    np.testing.assert_allclose(pred.probs, p.mean(0), rtol=1e-5)
    np.testing.assert_allclose(pred.entropy, stats.entropy(p.mean(0), axis=-1), rtol=1e-5)
    expected = stats.entropy(p, axis=-1).mean(0)
    np.testing.assert_allclose(pred.expected_entropy, expected, rtol=1e-5)
    np.testing.assert_array_equal(pred.mutual_information, pred.entropy - pred.expected_entropy)
    assert (pred.mutual_information > -1e-6).all()
    np.testing.assert_array_equal(pred.label, p.mean(0).argmax(-1))


def test_numbers_have_no_labels():
    for name in ("normal", "poisson"):
        for field in ("probs", "label", "entropy", "expected_entropy"):
            with pytest.raises(AttributeError, match="is for class labels"):
                getattr(CASES[name][0].predict(X), field)


# -- densities, raw draws, units, rows -----------------------------------------------------------


def test_log_probabilities_are_those_of_the_mixture():
    rng = np.random.default_rng(5)
    y = rng.normal(size=9).astype(np.float32)
    labels, counts = rng.integers(0, 3, 9), rng.poisson(2, 9)
    binary = (y > 0).astype(int)
    expected = {
        "normal": (y, stats.norm(F, 0.5).logpdf(y)),
        "student": (y, stats.t(4.0, F, 0.5).logpdf(y)),
        "poisson": (counts, stats.poisson(np.exp(F)).logpmf(counts)),
        "bernoulli": (binary, stats.bernoulli(special.expit(F)).logpmf(binary)),
        "categorical": (labels, special.log_softmax(LOGITS, -1)[:, np.arange(9), labels]),
        "two-targets": (
            np.stack([y, -y], 1),
            stats.norm(CASES["two-targets"][1], 0.5).logpdf(np.stack([y, -y], 1)).sum(-1),
        ),
    }
    for name, (targets, each) in expected.items():
        found = CASES[name][0].predict(X).log_prob(targets)
        np.testing.assert_allclose(
            found, special.logsumexp(each, axis=0) - np.log(37), rtol=1e-4, atol=1e-5
        )


def test_far_targets_have_a_finite_log_probability():
    pred = CASES["normal"][0].predict(X)
    far = np.full(9, 1e4)
    expected = special.logsumexp(stats.norm(F, 0.5).logpdf(far), axis=0) - np.log(37)
    np.testing.assert_allclose(pred.log_prob(far), expected, rtol=1e-4)


def test_one_label_for_every_row_is_a_test_set():
    assert CASES["bernoulli"][0].predict(X).log_prob(np.ones(9)).shape == (9,)


@pytest.mark.parametrize(
    ("name", "y"),
    [
        ("normal", np.zeros(8)),
        ("normal", np.zeros((9, 1))),
        ("two-targets", np.zeros(9)),
        ("bernoulli", np.full(9, 2)),
        ("normal", np.full(9, np.nan)),
    ],
)
def test_log_prob_refuses_targets_that_do_not_fit(name, y):
    with pytest.raises(ValueError, match="y"):
        CASES[name][0].predict(X).log_prob(y)


def test_log_prob_refuses_another_number_of_targets():
    with pytest.raises(ValueError, match="y"):
        CASES["two-targets"][0].predict(X).log_prob(np.zeros((9, 1)))


def test_raw_targets_have_the_predictive_moments():
    q = posterior_of(linear(po.likelihoods.Normal(0.5)), gaussian_of([0.7], [0.4]))
    pred = q.predict(X[:2], draws=4_000)
    y = pred.raw(of="y").astype(float)
    assert y.shape == (4_000, 2)
    noise = (y - pred.raw()) / 0.5
    assert stats.kstest(noise.ravel(), "norm").pvalue > 2e-5
    assert abs(np.corrcoef(noise.T)[0, 1]) < 5 / np.sqrt(4_000)
    with pytest.raises(ValueError, match="of: must be"):
        pred.raw(of="noise")


def test_rescaled_predictions_are_in_the_units_of_y():
    pred = CASES["normal-learned"][0].predict(X)
    scaled = pred.rescaled(10.0, 3.0)
    y = np.linspace(5, 15, 9)
    np.testing.assert_allclose(scaled.mean, 10 + 3 * pred.mean, rtol=1e-6)
    np.testing.assert_allclose(scaled.aleatoric, 9 * pred.aleatoric, rtol=1e-6)
    np.testing.assert_allclose(scaled.epistemic, 9 * pred.epistemic, rtol=1e-6)
    np.testing.assert_allclose(scaled.quantile(0.2), 10 + 3 * pred.quantile(0.2), rtol=1e-5)
    np.testing.assert_allclose(
        scaled.quantile(0.2, of="mean"), 10 + 3 * pred.quantile(0.2, of="mean"), rtol=1e-4
    )
    np.testing.assert_allclose(scaled.raw(), 10 + 3 * pred.raw(), rtol=1e-6)
    expected = pred.log_prob((y - 10) / 3) - np.log(3)
    np.testing.assert_allclose(scaled.log_prob(y), expected, rtol=1e-5)
    twice = scaled.rescaled(-1.0, 2.0)
    np.testing.assert_allclose(twice.mean, -1 + 2 * (10 + 3 * pred.mean), rtol=1e-6)
    np.testing.assert_allclose(twice.log_prob(2 * y - 1), expected - np.log(2), rtol=1e-4)


def test_rescaled_counts_every_target_column():
    pred = CASES["two-targets"][0].predict(X)
    y = np.ones((9, 2))
    expected = pred.log_prob((y - 1) / 4) - 2 * np.log(4)
    np.testing.assert_allclose(pred.rescaled(1.0, 4.0).log_prob(y), expected, rtol=1e-5)


def test_rescaled_refuses_classes_and_bad_scales():
    for name in ("bernoulli", "poisson"):
        with pytest.raises(ValueError, match="only real targets have a scale"):
            CASES[name][0].predict(X).rescaled(0.0, 2.0)
    for scale in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="scale must be positive"):
            CASES["normal"][0].predict(X).rescaled(0.0, scale)


@pytest.mark.parametrize("name", ["categorical", "bernoulli"])
@pytest.mark.parametrize(
    "rows", [[5, 1, 5], slice(3), np.arange(9) % 4 == 0, 7], ids=["list", "slice", "mask", "one"]
)
def test_some_rows_of_a_prediction_are_the_prediction_of_these_rows(name, rows):
    pred = CASES[name][0].predict(X)
    part, kept = pred.take(rows), np.atleast_1d(np.arange(9)[rows])
    for field in ("mean", "aleatoric", "epistemic", "entropy", "mutual_information", "label"):
        np.testing.assert_array_equal(getattr(part, field), getattr(pred, field)[kept])
    np.testing.assert_allclose(part.raw(), pred.raw()[:, kept], rtol=1e-6)
    y = np.arange(9) % 2
    np.testing.assert_allclose(part.log_prob(y[kept]), pred.log_prob(y)[kept], rtol=1e-5)


# -- streaming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["normal-learned", "categorical", "two-targets"])
def test_chunks_of_rows_and_blocks_of_draws_change_nothing(monkeypatch, name):
    posterior = CASES[name][0]
    x = np.linspace(-2, 2, 103, dtype=np.float32)[:, None]
    y = np.zeros((103, 2)) if name == "two-targets" else np.zeros(103)

    def everything():
        pred = posterior.predict(x, draws=37)
        arrays = [pred.mean, pred.aleatoric, pred.epistemic, pred.log_prob(y), pred.raw()]
        return [*arrays, *pred.interval(0.8)]

    whole = everything()
    monkeypatch.setattr(stream, "ROWS", 20)  # 103 is no multiple
    chunked = everything()
    for one, other in zip(whole, chunked):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_more_rows_than_a_chunk_are_predicted_in_order():
    posterior = CASES["normal"][0]
    x = np.arange(2 * stream.ROWS + 5, dtype=np.float32)[:, None] / 1_000
    pred = posterior.predict(x, draws=4)
    w = posterior.predict(np.ones((1, 1)), draws=4).raw()[:, 0].astype(float)
    np.testing.assert_allclose(pred.mean, w.mean() * x[:, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(pred.epistemic, w.var() * x[:, 0] ** 2, rtol=1e-3, atol=1e-9)


PEAK = """
import pathlib, re, resource, sys
import numpy as np, jax.numpy as jnp
from handmade import gaussian_of, linear, posterior_of
import posterity as po
q = posterior_of(linear(po.likelihoods.Normal(0.5)), gaussian_of([0.7], [0.4]))
pred = q.predict(np.ones((2_000, 1)), draws=int(sys.argv[1]))
pred.quantile(0.5), pred.log_prob(np.zeros(2_000))
status = pathlib.Path("/proc/self/status")
# On Linux ru_maxrss also counts the process that started this one.
found = re.search(r"VmHWM:\\s*(\\d+)", status.read_text() if status.exists() else "")
print(found.group(1) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_draws(pytestconfig):
    def peak(draws):
        command = [sys.executable, "-c", PEAK, str(draws)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=pytestconfig.rootpath / "tests"
        )
        return int(done.stdout)

    peak(100)  # compiles, so that both others find the cache as it was left
    # All 10,000 draws of 2,000 rows at once would take 80 MB for each figure.
    assert peak(10_000) <= 1.1 * peak(100)


# -- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", [-1, 2.5, True])
def test_such_numbers_of_draws_are_refused(draws):
    with pytest.raises(ValueError, match="draws: must be a whole number from 1"):
        CASES["normal"][0].predict(X, draws=draws)


def test_no_draws_are_refused():
    with pytest.raises(ValueError, match="draws: must be a whole number from 1"):
        CASES["normal"][0].predict(X, draws=0)


def test_a_draw_that_was_not_asked_for_does_not_matter():
    # exp(200) is infinite in float32; only the first draw, of rate e, is asked for.
    posterior = posterior_of(linear(po.likelihoods.Poisson()), draws_of([[1.0], [200.0]]))
    pred = posterior.predict(np.ones((2, 1)), draws=1)
    np.testing.assert_allclose(pred.mean, np.e, rtol=1e-5)
    np.testing.assert_allclose(pred.aleatoric, np.e, rtol=1e-5)
