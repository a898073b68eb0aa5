"""The sketch of a deep ensemble: its members are fits of their own."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import posterity as po
from sketches.deep_ensemble import DeepEnsemble

X = np.linspace(-2, 2, 30)[:, None]
DATA = X, np.sin(2 * X[:, 0])
MODEL = po.Model(po.nets.MLP(1, [4], 1), po.priors.Normal(), po.likelihoods.Normal(0.1))


def fit(chains: int) -> po.Posterior:
    return po.fit(MODEL, DATA, DeepEnsemble(steps=300, chains=chains), progress=False)


def test_its_members_are_modes_from_starts_of_their_own(tmp_path: Any) -> None:
    posterior, first = fit(3), fit(1)
    theta = np.asarray(posterior.distribution.theta)
    assert theta.shape == (3, 1, posterior.target.size)
    np.testing.assert_allclose(theta[0], first.distribution.theta[0], rtol=2e-2, atol=2e-3)
    distances = np.array(posterior.facts["distances"])
    np.testing.assert_allclose(
        distances[0, 1], np.sqrt(np.mean((theta[0] - theta[1]) ** 2)), rtol=1e-5
    )
    assert (distances + np.eye(3) > 0.01).all()
    # The mixture of the members, and what they disagree about far from the data.
    each = [posterior.target.outputs(mode[0], np.array([[0.0], [9.0]]))[0][:, 0] for mode in theta]
    predicted = posterior.predict(np.array([[0.0], [9.0]]))
    np.testing.assert_allclose(predicted.mean, np.mean(each, axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predicted.epistemic, np.var(each, axis=0), rtol=1e-3, atol=1e-5)
    assert predicted.epistemic[1] > predicted.epistemic[0]
    loaded = po.load(posterior.save(tmp_path / "ensemble"))
    assert loaded.facts == posterior.facts
    assert jax.numpy.array_equal(loaded.distribution.theta, theta)
