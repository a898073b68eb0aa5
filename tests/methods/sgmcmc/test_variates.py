"""Control variates: no bias, less noise, and a sum over all rows that is exact."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterity as po
from oracles import conjugate
from posterity.data.batches import as_batches
from posterity.methods.sgmcmc.variates import Anchor, Variates
from posterity.model.net_target import Target

ORACLE = conjugate(rows=60)
BATCHES = as_batches(ORACLE.data, ORACLE.model.likelihood, 10)
TARGET = Target.build(ORACLE.model, ORACLE.x.shape[1:], (), 60)
START = jnp.array([0.3, -0.2, 0.5])


def after_a_pass(kind: str, size: int = 10) -> tuple[Anchor, list]:
    """The anchor after one pass at START, and the batches of the next."""
    batches = as_batches(ORACLE.data, ORACLE.model.likelihood, size)
    order = batches.start(jax.random.key(0))
    variates, anchor = Variates(kind), Variates(kind).init(START)
    passes = -(-60 // size)
    for index in range(passes):
        _, _, anchor = variates.gradient(TARGET, anchor, START, batches.batch(order, index))
    later = [batches.batch(order, passes + index) for index in range(6)]
    return anchor, later


@pytest.mark.parametrize("kind", ["start", "svrg"])
@pytest.mark.parametrize("size", [10, 7])
def test_the_first_pass_gathers_the_gradient_of_all_rows(kind: str, size: int) -> None:
    anchor, _ = after_a_pass(kind, size)
    full = jax.grad(TARGET.scaled_log_likelihood)(START, BATCHES.full)
    assert bool(anchor.ready)
    np.testing.assert_allclose(anchor.gradient, full, rtol=2e-5, atol=1e-3)


def test_gradients_are_unbiased_and_have_less_noise_near_the_anchor() -> None:
    anchor, batches = after_a_pass("start")
    near = START + 0.01
    plain = np.stack([jax.grad(TARGET.log_joint)(near, batch) for batch in batches])
    known = np.stack(
        [Variates("start").gradient(TARGET, anchor, near, batch)[1] for batch in batches]
    )
    full = np.asarray(jax.grad(TARGET.log_joint)(near, BATCHES.full))
    np.testing.assert_allclose(known.mean(0), full, rtol=1e-4, atol=1e-2)  # of a whole pass
    assert (known.var(0) < 2e-3 * plain.var(0)).all()


def test_svrg_moves_its_anchor_with_every_pass_and_start_does_not() -> None:
    for kind, moves in (("svrg", True), ("start", False)):
        anchor, batches = after_a_pass(kind)
        elsewhere = START + 1.0
        for batch in [*batches, *batches]:
            _, _, anchor = Variates(kind).gradient(TARGET, anchor, elsewhere, batch)
        expected = elsewhere if moves else START
        np.testing.assert_allclose(anchor.theta, expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda kind: po.SGLD(draws=50, batch_size=10, step_size=1e-4, control_variates=kind),
        lambda kind: po.SGHMC(draws=50, batch_size=10, step_size=1e-2, control_variates=kind),
        lambda kind: po.SGNHT(draws=50, batch_size=10, step_size=1e-2, control_variates=kind),
        lambda kind: po.SGFS(draws=50, batch_size=10, control_variates=kind),
    ],
    ids=["SGLD", "SGHMC", "SGNHT", "SGFS"],
)
def test_every_sampler_takes_them(make) -> None:
    plain, start, svrg = (
        np.asarray(po.fit(ORACLE.model, ORACLE.data, make(kind), progress=False).sample(50))
        for kind in (None, "start", "svrg")
    )
    assert np.isfinite(start).all()
    assert np.abs(plain - start).max() > 1e-6
    assert np.abs(start - svrg).max() > 1e-6


def test_full_batches_have_no_noise_to_remove() -> None:
    with pytest.raises(ValueError, match=r"SGLD: control_variates.*batch_size"):
        po.SGLD(step_size=1e-3, control_variates="svrg")
    with pytest.raises(ValueError, match='must be one of "start", "svrg"'):
        po.SGLD(step_size=1e-3, batch_size=5, control_variates="saga")
