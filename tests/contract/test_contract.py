"""One suite for every method; `table.py` has the rows."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from contract.table import TABLE, Row
from oracles import conjugate, z_limit
from posterity.data.batches import as_batches
from posterity.distributions.draws import Draws
from posterity.model.net_target import Target
from posterity.run import runner as loop
from posterity.run.start import start_points

ORACLE = conjugate()
rows = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


def fit(method: Any, seed: int = 0) -> po.Posterior:
    return po.fit(ORACLE.model, ORACLE.data, method, seed=seed, progress=False)


def moments(posterior: po.Posterior) -> np.ndarray:
    return np.stack([np.asarray(part) for part in posterior.distribution.mean_and_sd()])


def bound(method: Any) -> tuple[Target, Any, Any, Any]:
    """Target, batches, one key and one start for a method."""
    batches = as_batches(ORACLE.data, ORACLE.model.likelihood, method.batch_size)
    target = Target.build(ORACLE.model, ORACLE.x.shape[1:], (), batches.rows)
    keys, thetas = start_points("net", target, 0, range(method.chains), 1)
    return target, batches, keys, thetas


@rows
def test_state_and_info_keep_structure_shapes_and_dtypes(row: Row) -> None:
    for method in (row.short, row.minibatch):
        if method is None:
            continue
        target, batches, keys, thetas = bound(method)
        batch = batches.batch(batches.start(keys[0]), 0)
        state = method.init(keys[0], target, thetas[0, 0])
        step = eqx.filter_jit(
            lambda key, state, m=method, t=target, b=batch: m.step(key, t, state, b)
        )
        first, info = step(keys[0], state)
        second, again = step(keys[0], first)
        for old, new in ((state, first), (first, second), (info, again)):
            assert jax.tree.structure(old) == jax.tree.structure(new)
            for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new)):
                assert jnp.shape(a) == jnp.shape(b)
                assert jnp.result_type(a) == jnp.result_type(b)
        assert info.ok.dtype == bool
        assert all(jnp.ndim(leaf) == 0 for leaf in info)
        assert method.theta(first).shape == (target.size,)
        kept = method.retreat(first)
        assert jax.tree.structure(kept) == jax.tree.structure(first)
        assert hasattr(info, method.figure)


@rows
def test_same_seed_same_result_and_another_seed_another(row: Row) -> None:
    first, second, other = (moments(fit(row.short, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-4


@rows
def test_the_loop_is_compiled_once(row: Row, caplog: pytest.LogCaptureFixture) -> None:
    fewer = tuple(part[:-3] for part in ORACLE.data)  # that no other test compiles for
    for seed in (0, 3):
        with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
            po.fit(ORACLE.model, fewer, row.short, seed=seed, progress=False)
        messages = [record.getMessage() for record in caplog.records]
        compiled = [said for said in messages if "Finished XLA compilation" in said]
        for name in ("dispatch", "prepare"):
            assert len([said for said in compiled if name in said]) == (seed == 0)
        caplog.clear()


@rows
def test_chains_together_equal_chains_apart(row: Row) -> None:
    """Chains started by number give the same draws whoever runs beside them.

    Products of several chains are computed in another order than those of one, so that rounding
    differs; the runs are too short for it to grow.
    """
    if not row.short.collects:
        assert row.short.chains == 1
        return
    method = dataclasses.replace(row.short, **shorter(row.short))
    target, batches, keys, thetas = bound(method)
    together = run_draws(method, target, batches, keys, thetas)
    alone = dataclasses.replace(method, chains=1)
    for chain in range(2):
        chosen = slice(chain, chain + 1)
        apart = run_draws(alone, target, batches, keys[chosen], thetas[:, chosen])
        np.testing.assert_allclose(apart[0], together[chain], rtol=2e-4, atol=2e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def shorter(method: Any) -> dict[str, int]:
    return {"draws": 8, "warmup": 4 * method.thin}


def run_draws(method: Any, target: Any, batches: Any, keys: Any, thetas: Any) -> np.ndarray:
    finished = loop.run(method, target, batches, keys, thetas, loop.Watcher())
    draws = finished.stretches[0].draws
    assert draws is not None
    return draws


@rows
def test_failure_is_a_result_code_and_the_last_finite_state_is_kept(row: Row) -> None:
    """A net that is NaN beyond a wall: steps over it are not made, or the sampler rejects them."""

    def init(key: jax.Array) -> dict[str, jax.Array]:
        return {"w": jnp.zeros(ORACLE.x.shape[1])}

    def walled(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        out = (x @ params["w"])[:, None]
        return jnp.where(jnp.abs(params["w"]).max() > 0.2, jnp.nan, out)

    model = po.Model((init, walled), po.priors.Normal(0, 1), po.likelihoods.Normal(0.5))
    posterior = po.fit(model, ORACLE.data, row.short, progress=False)
    assert np.isfinite(moments(posterior)).all()
    counted = any("not finite" in warning for warning in posterior.result.warnings)
    diverged = any("diverged" in warning for warning in posterior.result.warnings)
    assert counted or diverged
    assert not posterior.result.ok


@rows
def test_a_start_without_a_finite_step_is_refused_with_the_reason(row: Row) -> None:
    def hopeless(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return (x @ params["w"])[:, None] + jnp.nan

    net = (lambda key: {"w": jnp.zeros(ORACLE.x.shape[1])}, hopeless)
    model = po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Normal(0.5))
    with pytest.raises(ValueError, match=r"no finite step.*row 0"):
        po.fit(model, ORACLE.data, row.long, progress=False)


@rows
def test_save_and_load_are_exact(row: Row, tmp_path: Path) -> None:
    posterior = fit(row.short)
    loaded = po.load(posterior.save(tmp_path / "posterior"))
    np.testing.assert_array_equal(posterior.sample(7, seed=5), loaded.sample(7, seed=5))
    np.testing.assert_array_equal(posterior.predict(ORACLE.x).total, loaded.predict(ORACLE.x).total)
    assert loaded.result == posterior.result
    assert loaded.settings == posterior.settings
    assert loaded.facts == posterior.facts
    for name in posterior.history:
        np.testing.assert_array_equal(
            getattr(posterior.history, name), getattr(loaded.history, name)
        )


@rows
def test_leading_axes_are_chain_and_draw(row: Row) -> None:
    posterior = fit(row.short)
    size = posterior.target.size
    assert posterior.sample(6).shape == (1, 6, size)
    if row.short.collects:
        stored = (row.short.chains, row.short.draws, size)
        assert isinstance(posterior.distribution, Draws)
        assert posterior.sample().shape == stored
        steps = (row.short.chains, row.short.draws * row.short.thin)
        assert getattr(posterior.history, row.short.figure).shape == steps
        assert posterior.weights("layers.0.weight").shape[:2] == stored[:2]


@rows
def test_conjugate_regression(row: Row) -> None:
    posterior = fit(row.long)
    mean, sd = row.answer(ORACLE)
    width = np.sqrt(np.diag(ORACLE.cov))
    if row.optimises:
        found_mean, found_sd = moments(posterior)
        # 2 % of a posterior sd is below what any use would notice; test_exact asks for 1e-3.
        np.testing.assert_allclose(found_mean, mean, atol=0.02 * width.min())
        np.testing.assert_allclose(found_sd, sd, atol=0.02 * width.min())
        return
    draws = np.asarray(posterior.distribution.theta, np.float64)
    # First enough effective draws, then agreement within Monte Carlo error.
    for figure, truth in ((draws, mean), ((draws - mean) ** 2, sd**2)):
        ess = effective(figure)
        assert ess.min() > 400
        error = figure.std(axis=(0, 1)) / np.sqrt(ess)
        z = (figure.mean(axis=(0, 1)) - truth) / error
        assert np.abs(z).max() < z_limit(2 * len(mean)), z


def effective(draws: np.ndarray) -> np.ndarray:
    """Effective sample size of each column of draws (chain, draw, D)."""
    from blackjax.diagnostics import effective_sample_size

    return np.asarray(effective_sample_size(jnp.asarray(draws - draws.mean((0, 1)))))


@rows
def test_minibatches_are_used(row: Row) -> None:
    if row.minibatch is None:
        pytest.skip("full-batch method")
    full, mini = (
        moments(fit(dataclasses.replace(row.minibatch, batch_size=size)))
        for size in (len(ORACLE.y), 7)
    )
    assert np.isfinite(mini).all()
    assert np.abs(full - mini).max() > 1e-6
