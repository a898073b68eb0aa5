"""Which loops are compiled fast rather than well."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import posterity as po
from posterity.data.batches import SPARED
from posterity.model.arguments import as_arguments
from posterity.model.net_target import Target
from posterity.model.program_target import ProgramTarget
from posterity.model.target import AbstractTarget
from posterity.run import loop
from posterity.run.loop import brief, compiled_for, spare_rows, thorough

SMALL = po.Model(po.nets.MLP(1, [3], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))
CONVOLUTION = po.nets.CNN((4, 4, 1), [2], [], 2)
IMAGES = po.Model(CONVOLUTION, po.priors.Normal(), po.likelihoods.Categorical(2))


def small(rows: int = 50) -> Target:
    return Target.build(SMALL, (1,), (), rows)


def program() -> AbstractTarget:
    def model(y: Any) -> None:
        numpyro.sample("y", dist.Normal(numpyro.sample("m", dist.Normal()), 1.0), obs=y)

    return ProgramTarget.build(po.Model.from_numpyro(model), as_arguments((np.ones(3),)))


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (po.ADVI(steps=1_000), small()),
        (po.MAP(steps=2_000), small()),
        (po.IVON(steps=1_000), small()),
        (po.ADVI(steps=1_000, batch_size=10), small(rows=10**6)),
    ],
)
def test_short_runs_of_small_nets_are_brief(method: Any, target: Any) -> None:
    assert compiled_for(method, target) is brief


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (po.ADVI(), small()),  # 30,000 steps
        (po.ADVI(steps=1_000), small(rows=10**6)),
        (po.ADVI(steps=1_000, draws=1_000), small()),
        (po.NUTS(warmup=10, draws=10), small()),  # of paths whose lengths are not known
        (po.SGLD(draws=10), small()),
        (po.DADVI(steps=2), small()),
        (po.MAP(steps=10), program()),
        (po.MAP(steps=10), Target.build(IMAGES, (4, 4, 1), (), 5)),
    ],
)
def test_others_are_compiled_well(method: Any, target: Any) -> None:
    assert compiled_for(method, target) is thorough


def test_rows_to_spare_cost_a_run_as_much_as_it_may_spend_on_them() -> None:
    target, method = small(), po.ADVI(steps=1_000, draws=2)
    assert spare_rows(method, target) == SPARED / (1_000 * 2 * target.size)
    assert spare_rows(po.NUTS(draws=10), target) == 0  # paths are as long as they are
    assert spare_rows(po.MAP(steps=10), program()) == 0


def test_both_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """To rounding, which the order of sums decides: a few steps do not amplify it."""
    x = np.linspace(-1, 1, 20)[:, None]
    found = []
    for little in (10**9, 0):
        monkeypatch.setattr(loop, "LITTLE", little)
        jax.clear_caches()
        method = po.ADVI(steps=20, stop=False, starts=1)
        posterior = po.fit(SMALL, (x, np.sin(x[:, 0])), method, progress=False)
        found.append(posterior.distribution)
    np.testing.assert_allclose(found[0].mean, found[1].mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[0].sd, found[1].sd, rtol=1e-4)
