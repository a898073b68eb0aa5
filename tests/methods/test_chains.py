"""Chains of optimisers: several modes, each as if it were alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

import posterity as po
from oracles import conjugate
from posterity.data.batches import as_batches
from posterity.distributions.draws import Draws
from posterity.distributions.mixture import Mixture
from posterity.distributions.normal import FullRank, Gaussian, LowRank
from posterity.methods.method import of_chain
from posterity.model.net_target import Target
from posterity.run import runner as loop
from posterity.run.start import start_points

ORACLE = conjugate(rows=23)
METHODS = {
    "MAP": po.MAP(steps=30, batch_size=6),
    "ADVI": po.ADVI(steps=75, stop=False),
    "ADVI, local in batches": po.ADVI(steps=30, batch_size=6, estimator="local", starts=1),
    "IVON": po.IVON(steps=60),
    "DADVI": po.DADVI(steps=2),
}


def finished(method: Any, keys: Any, thetas: Any) -> Any:
    batches = as_batches(ORACLE.data, ORACLE.model.likelihood, method.batch_size)
    target = Target.build(ORACLE.model, ORACLE.x.shape[1:], (), batches.rows)
    return loop.run(method, target, batches, keys, thetas, loop.Watcher(), loop.Interrupt())


@pytest.mark.parametrize("name", METHODS)
def test_chains_together_equal_chains_apart(name: str) -> None:
    alone = METHODS[name]
    both = dataclasses.replace(alone, chains=2)
    target = Target.build(ORACLE.model, ORACLE.x.shape[1:], (), 23)
    keys, thetas = start_points("net", target, 0, range(2), both.start_count(target))
    together = finished(both, keys, thetas)
    for chain in range(2):
        one = slice(chain, chain + 1)
        apart = finished(alone, keys[one], thetas[:, one])
        for mine, theirs in zip(jax.tree.leaves(apart.state), jax.tree.leaves(together.state)):
            np.testing.assert_allclose(mine[0], theirs[chain], rtol=2e-3, atol=2e-4)
        for stretch, other in zip(apart.stretches, together.stretches):
            assert np.all(stretch.kept) == np.broadcast_to(other.kept, 2)[chain]
    first, second = (np.asarray(alone.theta(of_chain(together.state, k))) for k in (0, 1))
    assert np.abs(first - second).max() > 1e-5


FAMILIES = {"mean-field": Gaussian, "low-rank": LowRank, "full-rank": FullRank}


@pytest.mark.parametrize("family", FAMILIES)
def test_chains_are_a_mixture_that_is_saved_and_continued(family: str, tmp_path: Any) -> None:
    method = po.ADVI(steps=30, chains=2, family=family)
    posterior = po.fit(ORACLE.model, ORACLE.data, method, progress=False)
    found = posterior.distribution
    assert isinstance(found, Mixture)
    assert isinstance(found.components, FAMILIES[family])
    assert found.weights.tolist() == [0.5, 0.5]
    assert posterior.history.elbo.shape[0] == 2
    loaded = po.load(posterior.save(tmp_path / "mixture"))
    np.testing.assert_array_equal(loaded.sample(5), posterior.sample(5))
    after = posterior.update(ORACLE.data, progress=False)
    assert after.distribution.count == 2


def test_points_are_an_ensemble() -> None:
    method = po.MAP(steps=30, chains=3)
    posterior = po.fit(ORACLE.model, ORACLE.data, method, progress=False)
    assert isinstance(posterior.distribution, Draws)
    assert posterior.distribution.shape == (3, 1, 3)
    assert posterior.history.log_joint.shape == (3, 30)
    assert posterior.predict(ORACLE.x).epistemic.max() > 0
    with pytest.raises(ValueError, match="found a point"):
        posterior.as_prior()


def test_numbers_that_are_learned_and_flows_have_one_chain() -> None:
    model = dataclasses.replace(ORACLE.model, likelihood=po.likelihoods.Normal(po.learned(0.3)))
    with pytest.raises(ValueError, match=r"chains=2 would each learn likelihood\.scale"):
        po.fit(model, ORACLE.data, po.ADVI(chains=2), progress=False)

    pytest.importorskip("flowjax")
    with pytest.raises(ValueError, match="of flows there is none"):
        po.fit(ORACLE.model, ORACLE.data, po.ADVI(chains=2, family="flow"), progress=False)


def test_members_of_a_start_are_the_fits_of_their_seeds() -> None:
    """`init=po.MAP(…)`: one loop, and the points that fits of their own would find."""
    seeds = [int(s) for s in np.random.SeedSequence(5).generate_state(2)]
    alone = [
        po.fit(ORACLE.model, ORACLE.data, po.MAP(steps=40, batch_size=6), seed=s, progress=False)
        for s in seeds
    ]
    from posterity.run.fit import _members

    found = _members(
        ORACLE.model, ORACLE.data, po.MAP(steps=40, batch_size=6, chains=4), 2, 5, True
    )
    expected = np.stack([member.distribution.theta[0, 0] for member in alone])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
