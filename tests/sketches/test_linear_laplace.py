"""The sketch of Laplace: exact where the posterior is normal; its target is the linearised net."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import posterity as po
from oracles import conjugate
from sketches.linear_laplace import Linearised, LinearLaplace

ORACLE = conjugate()


def test_posterior_and_evidence_are_exact_on_conjugate_regression() -> None:
    posterior = po.fit(ORACLE.model, ORACLE.data, LinearLaplace(), progress=False)
    q, width = posterior.distribution, np.sqrt(np.diag(ORACLE.cov))
    np.testing.assert_allclose(q.mean, ORACLE.mean, atol=1e-4 * width.min())
    np.testing.assert_allclose(q.cov, ORACLE.cov, atol=1e-4 * (width**2).max())
    evidence = posterior.facts["log_evidence"]
    assert abs(evidence - ORACLE.log_evidence) < 1e-4 * abs(ORACLE.log_evidence)


def test_a_net_is_linearised_and_saved(tmp_path: Any) -> None:
    x = np.linspace(-1, 1, 40)[:, None]
    model = po.Model(po.nets.MLP(1, [2], 1), po.priors.Normal(), po.likelihoods.Normal(0.3))
    start = po.fit(model, (x, x[:, 0] ** 2), po.MAP(steps=400), progress=False)
    posterior = po.fit(model, (x, x[:, 0] ** 2), LinearLaplace(), init=start, progress=False)
    target, mode = posterior.target, posterior.distribution.mean
    assert isinstance(target.net, Linearised)
    # Linear in θ, and tangent to the net at the mode.
    away = jnp.linspace(-0.3, 0.5, target.size)
    near, far = (target.outputs(mode + k * away, x)[0] for k in (1.0, 3.0))
    here = target.outputs(mode, x)[0]
    np.testing.assert_allclose(far - here, 3 * (near - here), rtol=1e-3, atol=1e-5)
    _, tangent = jax.jvp(lambda t: start.target.outputs(t, x)[0], (mode,), (away,))
    np.testing.assert_allclose(near - here, tangent, rtol=1e-4, atol=1e-5)
    # A file cannot describe a net of one's own; the fitted model is given again.
    given = po.Model(target.net, target.prior, target.likelihood)
    loaded = po.load(posterior.save(tmp_path / "laplace"), model=given)
    assert loaded.facts == posterior.facts
    np.testing.assert_array_equal(loaded.predict(x).mean, posterior.predict(x).mean)
