"""ADVI's step size, and where it is smaller."""

from __future__ import annotations

import math

import numpy as np
import optax
import pytest

import posterity as po
from posterity.methods.vi.advi import NEAR
from posterity.methods.vi.cycles import peak

X = np.linspace(-1, 1, 20)[:, None]
MODEL = po.Model(po.nets.MLP(1, [3], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))


def fitted(**settings: object) -> po.Posterior:
    return po.fit(MODEL, (X, X[:, 0]), po.ADVI(steps=400, starts=1, **settings), progress=False)


def test_the_step_size_is_the_peak_of_the_schedule() -> None:
    for given, expected in ((None, peak(fitted().target.size)), (0.01, 0.01)):
        sizes = fitted(step_size=given, stop=False).history.step_size.ravel()
        assert sizes[0] == pytest.approx(expected, rel=1e-3)
        assert sizes.max() <= expected * (1 + 1e-6)


@pytest.mark.parametrize("step_size", [0.0, -1.0, math.inf, math.nan])
def test_a_step_size_out_of_range_is_refused(step_size: float) -> None:
    with pytest.raises(ValueError, match="ADVI: step_size must be positive and finite"):
        po.ADVI(step_size=step_size)


def test_an_optimizer_has_its_own() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        po.ADVI(step_size=0.1, optimizer=optax.adam(0.1))


def test_near_modes_the_step_is_smaller_unless_the_user_has_chosen_it() -> None:
    target = fitted().target
    method = po.ADVI()
    assert method.near_modes(target).step_size == pytest.approx(NEAR * peak(target.size))
    for chosen in (po.ADVI(step_size=0.2), po.ADVI(optimizer=optax.adam(0.1)), po.NUTS()):
        assert chosen.near_modes(target) is chosen
