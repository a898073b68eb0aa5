"""Posteriors: axes of draws, thinning, named weights, summary and history."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import posterity as po
from handmade import draws_of, gaussian_of, linear, posterior_of
from oracles import conjugate, z_limit
from posterity.diagnostics.history import History
from posterity.distributions.draws import Draws

NOISY = po.likelihoods.Normal(dist.HalfNormal(1.0))
GAUSSIAN = posterior_of(linear(NOISY), gaussian_of([1.0, -2.0], [0.5, 0.1]))
CHAINS = np.random.default_rng(0).normal(size=(3, 20, 2)).astype(np.float32)
STORED = posterior_of(linear(NOISY), draws_of(CHAINS))


def test_samples_have_axes_chain_draw_parameter():
    assert GAUSSIAN.sample(7).shape == (1, 7, 2)
    assert STORED.sample().shape == (3, 20, 2)
    assert STORED.sample(60).shape == (1, 60, 2)  # as of any other number
    assert GAUSSIAN.sample().shape == (1, 1_000, 2)
    assert STORED.sample(9).shape == (1, 9, 2)
    assert STORED.sample(130).shape == (1, 130, 2)
    np.testing.assert_array_equal(STORED.sample(), CHAINS)


def test_fewer_draws_are_the_beginning_of_more():
    np.testing.assert_array_equal(GAUSSIAN.sample(5, seed=3)[0], GAUSSIAN.sample(10, seed=3)[0, :5])
    np.testing.assert_array_equal(STORED.sample(5, seed=3)[0], STORED.sample(10, seed=3)[0, :5])


def test_a_seed_is_a_number_or_a_key():
    np.testing.assert_array_equal(
        GAUSSIAN.sample(5, seed=3), GAUSSIAN.sample(5, seed=jax.random.key(3))
    )
    np.testing.assert_array_equal(GAUSSIAN.sample(5, seed=3), GAUSSIAN.sample(5, seed=np.int64(3)))
    assert not np.isin(GAUSSIAN.sample(5, seed=3), GAUSSIAN.sample(5, seed=4)).any()


def test_gaussian_draws_have_their_moments():
    theta = np.asarray(GAUSSIAN.sample(5_000, seed=1)[0], float)
    z = (theta - [1.0, -2.0]) / [0.5, 0.1]
    limit = z_limit(5) / np.sqrt(5_000)
    assert np.abs(z.mean(0)).max() < limit
    assert np.abs((z**2).mean(0) - 1).max() < limit * np.sqrt(2)
    assert abs((z[:, 0] * z[:, 1]).mean()) < limit


@pytest.mark.parametrize(
    "total",
    [
        (1, 1),
        (1, 2),
        (1, 7),
        (3, 20),
        (1, 987),
        (4, 250),
    ],
)
def test_a_thinned_sample_visits_every_draw_once_and_evenly(total):
    numbers = np.arange(total[0] * total[1], dtype=np.float32).reshape(*total, 1)
    stored = Draws(jnp.asarray(numbers))
    count = stored.stored
    everything = np.asarray(stored.sample(jax.random.key(0), count + 1))[0, :, 0]
    np.testing.assert_array_equal(np.sort(everything[:count]), np.arange(count))
    assert everything[count] == everything[0]  # more begin again
    for n in (count // 3, count // 2):
        if n < 4:
            continue
        # n points spread evenly over 0 … count − 1 leave no gap of more than three shares, and
        # no quarter of the run has less than half or more than twice its share.
        some = np.sort(everything[:n])
        assert np.diff(some, prepend=-1, append=count).max() <= 3 * count / n + 1
        quarters = np.bincount((some * 4 // count).astype(int), minlength=4)
        assert quarters.min() >= n / 8
        assert quarters.max() <= n / 2


def test_moments_of_stored_draws_are_numpys():
    mean, sd = STORED.distribution.mean_and_sd()
    np.testing.assert_allclose(mean, CHAINS.reshape(-1, 2).mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(sd, CHAINS.reshape(-1, 2).std(0), rtol=1e-5)


def test_weights_are_named_and_constrained():
    np.testing.assert_allclose(
        STORED.weights("layers.0.weight"), CHAINS[..., 0][..., None, None], rtol=1e-6
    )
    scale = STORED["likelihood.scale"]
    np.testing.assert_allclose(scale, np.exp(CHAINS[..., 1]), rtol=1e-5)
    fifth = np.exp(STORED.sample(5)[..., 1])
    np.testing.assert_allclose(STORED.weights("likelihood.scale", draws=5), fifth, rtol=1e-5)
    few = GAUSSIAN.weights("likelihood.scale", draws=5, seed=2)
    assert few.shape == (1, 5)
    np.testing.assert_allclose(few, np.exp(GAUSSIAN.sample(5, seed=2)[..., 1]), rtol=1e-6)


def test_unknown_weights_are_refused_with_those_there_are():
    with pytest.raises(KeyError, match=r"layers\.0\.weight, likelihood\.scale"):
        GAUSSIAN.weights("scale")


@pytest.mark.parametrize("n", [0, -1])
def test_no_draws_are_refused(n):
    with pytest.raises(ValueError, match="whole number from 1"):
        GAUSSIAN.sample(n)


def test_the_summary_has_a_row_per_parameter_with_the_range_of_its_moments():
    net = po.nets.MLP(2, [], 2)
    model = po.Model(net, po.priors.Normal(), po.likelihoods.Normal("net"))
    q = gaussian_of([1, 2, -3, 0.25, 5, 0], [0.1, 0.2, 0.5, 0.4, 0.3, 0.7])
    rows = posterior_of(model, q, columns=2).summary().rows
    assert [(row.path, row.shape) for row in rows] == [
        ("layers.0.bias", (2,)),
        ("layers.0.weight", (2, 2)),
    ]
    figures = [rows[1].smallest_mean, rows[1].largest_mean, rows[1].smallest_sd, rows[1].largest_sd]
    np.testing.assert_allclose(figures, [-3, 5, 0.3, 0.7], rtol=1e-6)
    lines = str(posterior_of(model, q, columns=2).summary()).splitlines()
    assert lines[0].split() == ["parameter", "shape", "means", "from", "to", "sds", "from", "to"]
    assert lines[1].split() == ["layers.0.bias", "(2,)", "1.000", "2.000", "0.100", "0.200"]
    assert len({len(line) for line in lines}) == 1


def test_a_history_gives_its_fields_by_name():
    history = History({"elbo": np.arange(3.0), "ok": np.ones(3, bool)})
    assert list(history) == ["elbo", "ok"]
    assert len(history) == 2
    np.testing.assert_array_equal(history.elbo, [0, 1, 2])
    assert "elbo(3,)" in repr(history)
    with pytest.raises(AttributeError, match="this run kept elbo, ok"):
        history.loss  # noqa: B018


def test_a_posterior_prints_its_method_kind_and_end():
    assert repr(STORED) == "Posterior(handmade, Draws over 2 parameters, completed)"


def test_the_elbo_of_the_best_mean_field_gaussian_is_the_exact_one():
    exact = conjugate()
    q = gaussian_of(exact.mean, exact.mean_field_sd)
    posterior = posterior_of(exact.model, q, columns=3)
    data = exact.x, exact.y.astype(np.float32)
    object.__setattr__(posterior.target, "rows", len(exact.y))
    found = po.elbo(posterior, data, draws=4_000)
    assert 0 < found.error < 0.1
    assert abs(found.value - exact.best_elbo) < z_limit() * found.error
    assert found.value < exact.log_evidence


def test_stored_draws_have_no_elbo():
    with pytest.raises(TypeError, match="elbo: stored draws have no density"):
        po.elbo(STORED, (np.zeros((3, 1)), np.zeros(3)))
