"""One suite for every method; `table.py` has the rows."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from contract.table import SETTINGS, TABLE, Row
from oracles import conjugate, z_limit
from posterity.data.batches import as_batches
from posterity.distributions.draws import Draws
from posterity.methods import METHODS, method_named
from posterity.methods.method import AbstractMethod
from posterity.model.net_target import Target
from posterity.run import runner as loop
from posterity.run.finish import asked
from posterity.run.start import start_points
from posterity.run.update import made_by

ORACLE = conjugate()
rows = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


@functools.cache
def exact_fit(row: Row) -> po.Posterior:
    """The long run of a row: one for all tests that only look at it."""
    return po.fit(ORACLE.model, ORACLE.data, row.long, progress=False)


def moments(posterior: po.Posterior) -> np.ndarray:
    return np.stack([np.asarray(part) for part in posterior.distribution.mean_and_sd()])


def bound(method: Any) -> tuple[Target, Any, Any, Any]:
    """Target, batches, one key and one start for a method."""
    model, data = walled(FAR)
    batches = as_batches(data, model.likelihood, method.batch_size)
    target = Target.build(model, data[0].shape[1:], (), batches.rows)
    keys, thetas = start_points("net", target, 0, range(method.chains), 1)
    return target, batches, keys, thetas


@rows
def test_state_and_info_keep_structure_shapes_and_dtypes(row: Row) -> None:
    """In single and in double precision; nothing is compiled."""
    methods = [method for method in (row.short, row.minibatch) if method is not None]
    for wide, method in itertools.product((False, True), methods):
        with jax.enable_x64(wide):
            target, batches, keys, thetas = bound(method)
            batch = batches.batch(batches.start(keys[0]), 0)
            step = functools.partial(one_step, method, target, keys[0], batch)
            state = of_types(method.init, keys[0], target, thetas[0, 0])
            first, info = of_types(step, state)
            second, again = of_types(step, first)
            assert types(state) == types(first) == types(second)
            assert types(info) == types(again)
            assert info.ok.dtype == bool
            assert all(leaf.ndim == 0 for leaf in info)
            assert of_types(method.theta, first).shape == (target.size,)
            kept = of_types(method.retreat, first)
            assert jax.tree.structure(kept) == jax.tree.structure(first)
            assert hasattr(info, method.figure)


def one_step(method: AbstractMethod, target: Target, key: Any, batch: Any, state: Any) -> Any:
    return method.step(key, target, state, batch)


def types(tree: Any) -> tuple[Any, list[tuple[Any, Any]]]:
    """The structure, and shape and dtype of every leaf."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def of_types(function: Any, *args: Any) -> Any:
    """Shapes and dtypes of what the function gives: nothing is compiled."""
    return eqx.filter_eval_shape(function, *args)


def walled(wall: float) -> tuple[po.Model, tuple[np.ndarray, np.ndarray]]:
    """A regression that is NaN where a weight is beyond a wall, and its data.

    The last column of x says where the wall is, so that every wall is the same compiled loop.
    """
    x, y = ORACLE.data
    return WALLED, (np.column_stack([x, np.full(len(x), wall)]), y)


def outputs(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    out = (x[:, :-1] @ params["w"])[:, None]
    return jnp.where(jnp.abs(params["w"]).max() > x[:, -1:], jnp.nan, out)


WALLED = po.Model(
    (lambda key: {"w": jax.random.normal(key, ORACLE.x.shape[1:]) / 100}, outputs),
    po.priors.Normal(0, 1),
    po.likelihoods.Normal(0.5),
)
FAR = 1e9


@rows
def test_same_seed_same_result_another_seed_another(row: Row) -> None:
    """And one compilation for all, for other numbers and lengths too."""
    found = []
    with Compilations() as compiled:
        for seed in (0, 0, 1):
            posterior = po.fit(*walled(FAR), row.short, seed=seed, progress=False)
            found.append(moments(posterior))
            assert compiled.since() <= (0 if len(found) > 1 else 2)
        assert row.short.traced
        po.fit(*walled(FAR), row.other, progress=False)
        assert compiled.since() == 0
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 1e-4


def test_compilations_are_noticed() -> None:
    """The tests beside this one count them, and none is what a wrong count would say too."""
    more = tuple(np.concatenate([part] * 3) for part in ORACLE.data)  # a room of their own
    with Compilations() as compiled:
        po.fit(ORACLE.model, more, po.MAP(steps=40), progress=False)
        assert compiled.since() == 2


class Compilations(logging.Handler):
    """How often a run's two functions have been compiled since this was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.stack = contextlib.ExitStack()

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        ours = "dispatch" in said or "prepare" in said
        self.count += "Finished XLA compilation" in said and ours

    def since(self) -> int:
        count, self.count = self.count, 0
        return count

    def __enter__(self) -> Compilations:
        logger = logging.getLogger("jax")
        self.stack.enter_context(jax.log_compiles())
        logger.addHandler(self)
        self.stack.callback(logger.removeHandler, self)
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()


@rows
def test_chains_together_equal_chains_apart(row: Row) -> None:
    """Chains started by number give the same draws whoever runs beside them.

    Products of several chains are computed in another order than those of one, so that rounding
    differs; the runs are too short for it to grow.
    """
    if not row.short.collects:
        assert row.short.chains == 1
        return
    method = dataclasses.replace(row.short, draws=8, warmup=4 * row.short.thin)
    target, batches, keys, thetas = bound(method)
    together = run_draws(method, target, batches, keys, thetas)
    alone = dataclasses.replace(method, chains=1)
    for chain in range(2):
        chosen = slice(chain, chain + 1)
        apart = run_draws(alone, target, batches, keys[chosen], thetas[:, chosen])
        np.testing.assert_allclose(apart[0], together[chain], rtol=2e-4, atol=2e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def run_draws(method: Any, target: Any, batches: Any, keys: Any, thetas: Any) -> np.ndarray:
    finished = loop.run(method, target, batches, keys, thetas, loop.Watcher(), loop.Interrupt())
    draws = finished.stretches[0].draws
    assert draws is not None
    return draws


@rows
def test_failure_is_a_result_code_and_the_last_finite_state_is_kept(row: Row) -> None:
    """Steps over a wall are not made, or the sampler rejects them."""
    posterior = po.fit(*walled(0.2), row.short, progress=False)
    assert np.isfinite(moments(posterior)).all()
    counted = any("not finite" in warning for warning in posterior.result.warnings)
    diverged = any("diverged" in warning for warning in posterior.result.warnings)
    assert counted or diverged
    assert not posterior.result.ok


@rows
def test_a_start_without_a_finite_step_is_refused_with_the_reason(row: Row) -> None:
    with pytest.raises(ValueError, match=r"no finite step.*row 0"):
        po.fit(*walled(-1.0), row.short, progress=False)


@rows
def test_save_and_load_are_exact(row: Row, tmp_path: Path) -> None:
    posterior = exact_fit(row)
    loaded = po.load(posterior.save(tmp_path / "posterior"))
    np.testing.assert_array_equal(posterior.sample(7, seed=5), loaded.sample(7, seed=5))
    np.testing.assert_array_equal(posterior.predict(ORACLE.x).total, loaded.predict(ORACLE.x).total)
    assert loaded.result == posterior.result
    assert loaded.settings == posterior.settings
    assert loaded.facts == posterior.facts
    assert made_by(loaded) == row.long
    for name in posterior.history:
        np.testing.assert_array_equal(
            getattr(posterior.history, name), getattr(loaded.history, name)
        )


@pytest.mark.slow
@rows
def test_it_is_fitted_saved_and_loaded_in_double_precision(row: Row, tmp_path: Path) -> None:
    """What fails here mostly fails above, where nothing is compiled."""
    with jax.enable_x64(True):
        posterior = po.fit(ORACLE.model, ORACLE.data, row.minibatch or row.short, progress=False)
        assert posterior.sample(3).dtype == np.float64
        assert np.isfinite(posterior.predict(ORACLE.x).total).all()
        loaded = po.load(posterior.save(tmp_path / "posterior"))
        np.testing.assert_array_equal(posterior.sample(7, seed=5), loaded.sample(7, seed=5))


def written(method: AbstractMethod, folder: Path) -> po.Posterior:
    """A posterior that says it was made by a method, from its file."""
    target = Target.build(ORACLE.model, ORACLE.x.shape[1:], (), len(ORACLE.x))
    q = Draws(jnp.zeros((1, 1, target.size)))
    posterior = po.Posterior(target, q, settings=asked(method, 0))
    loaded = po.load(posterior.save(folder / "posterior"))
    assert loaded.settings == posterior.settings
    return loaded


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_in_files(name: str, tmp_path: Path) -> None:
    """So that the posterior can be updated by its own method; functions must be given again."""
    method = SETTINGS[name]
    loaded = written(method, tmp_path)
    if getattr(method, "optimizer", None) is None:
        assert made_by(loaded) == method
        return
    with pytest.raises(ValueError, match=r"does not hold the \w+'s own optimizer; give the method"):
        made_by(loaded)


def test_every_setting_has_a_row_of_another_value_than_the_usual() -> None:
    unseen = []
    for name in METHODS:
        kind = method_named(name)
        rows = [method for method in SETTINGS.values() if type(method) is kind]
        for field in dataclasses.fields(kind):
            if not any(str(getattr(row, field.name)) != str(field.default) for row in rows):
                unseen.append(f"{name}.{field.name}")
    assert unseen == []


@pytest.mark.slow
@pytest.mark.parametrize("double", [False, True], ids=["single", "double"])
@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_fitted_saved_and_loaded(name: str, double: bool, tmp_path: Path) -> None:
    with jax.enable_x64(double):
        posterior = po.fit(ORACLE.model, ORACLE.data, SETTINGS[name], progress=False)
        loaded = po.load(posterior.save(tmp_path / "posterior"))
        dtype = np.float64 if double else np.float32
        assert posterior.sample(3).dtype == loaded.sample(3).dtype == dtype
        np.testing.assert_array_equal(posterior.sample(7, seed=5), loaded.sample(7, seed=5))
        assert np.isfinite(loaded.predict(ORACLE.x).total).all()
        for part in ("settings", "facts", "result"):
            assert getattr(loaded, part) == getattr(posterior, part)
        for field in posterior.history:
            one, other = (getattr(p.history, field) for p in (posterior, loaded))
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype


@rows
def test_leading_axes_are_chain_and_draw(row: Row) -> None:
    posterior, method = exact_fit(row), row.long
    size = posterior.target.size
    assert posterior.sample(6).shape == (1, 6, size)
    if method.collects:
        stored = (method.chains, method.draws, size)
        assert isinstance(posterior.distribution, Draws)
        assert posterior.sample().shape == stored
        steps = (method.chains, method.draws * method.thin)
        assert getattr(posterior.history, method.figure).shape == steps
        assert posterior.weights("layers.0.weight").shape[:2] == stored[:2]


@rows
def test_conjugate_regression(row: Row) -> None:
    posterior = exact_fit(row)
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
    x, y = ORACLE.data
    # Whatever uses all rows gives the same, but for rounding, when these come in another order.
    one, other = (
        moments(po.fit(ORACLE.model, data, row.minibatch, progress=False))
        for data in ((x, y), (x[::-1], y[::-1]))
    )
    assert np.isfinite(one).all()
    assert np.abs(one - other).max() > 1e-4


@rows
def test_a_fit_to_other_rows_compiles_nothing(row: Row) -> None:
    x, y = ORACLE.data
    for method in (row.short, row.minibatch):
        if method is None:
            continue
        po.fit(ORACLE.model, (x, y), method, progress=False)
        with Compilations() as compiled:
            po.fit(ORACLE.model, (x[:-3], y[:-3]), method, progress=False)
            assert compiled.since() == 0
