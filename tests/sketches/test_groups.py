"""Weights of groups against NUTS on NumPyro's own program, and groups that are new."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.diagnostics import summary
from numpyro.infer import MCMC, NUTS

import posterity as po
from oracles import z_limit
from posterity.methods.vi.estimators.estimator import plan
from posterity.model.net_target import Batch, Target
from sketches.groups import Groups

NOISE, COUNT = 0.3, 3
RNG = np.random.default_rng(0)
GROUP = np.arange(18) % COUNT
SLOPES = np.array([0.2, 1.0, 1.5])
INPUT = RNG.normal(size=18)
X = np.stack([INPUT, GROUP], axis=1)
Y = SLOPES[GROUP] * INPUT + NOISE * RNG.normal(size=18)
MODEL = po.Model(
    po.nets.MLP(1, [], 1, use_bias=False), Groups(COUNT, (1,)), po.likelihoods.Normal(NOISE)
)
PROBE = np.stack([np.ones(COUNT), np.arange(COUNT)], axis=1)  # predictions there are the slopes


def program(x: Any, group: Any, y: Any) -> None:
    shared = numpyro.sample("shared", dist.Normal(0, 1))
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    z = numpyro.sample("z", dist.Normal(0, 1).expand([COUNT]))
    slope = numpyro.deterministic("slope", shared + spread * z)
    numpyro.sample("y", dist.Normal(slope[group] * x, NOISE), obs=y)


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    mcmc = MCMC(
        NUTS(program, target_accept_prob=0.95),
        num_warmup=500,
        num_samples=2_000,
        num_chains=1,
        progress_bar=False,
    )
    mcmc.run(jax.random.key(0), jnp.asarray(INPUT), jnp.asarray(GROUP), jnp.asarray(Y))
    return {name: np.asarray(v)[None] for name, v in mcmc.get_samples().items()}


@pytest.fixture(scope="module")
def varied() -> po.Posterior:
    method = po.ADVI(steps=3_000, estimator="flipout", starts=1, batch_size=9)
    return po.fit(MODEL, (X, Y), method, progress=False)


def test_nuts_meets_numpyros_program(reference: dict[str, Any]) -> None:
    method = po.NUTS(chains=2, warmup=500, draws=1_000, target_acceptance=0.95)
    posterior = po.fit(MODEL, (X, Y), method, progress=False)
    known = summary({name: reference[name] for name in ("slope", "spread")})
    slopes = posterior.predict(PROBE).raw(of="mean")
    spread = posterior.weights("prior.spread").ravel()
    effective = posterior.diagnostics
    ours = [*((slopes[:, g], effective.predictions.ess_bulk) for g in range(COUNT))]
    ours.append((spread, min(n.ess_bulk for n in effective.named)))
    theirs = [(known["slope"]["mean"][g], known["slope"]["n_eff"][g]) for g in range(COUNT)]
    theirs.append((known["spread"]["mean"], known["spread"]["n_eff"]))
    for (drawn, count), (mean, other) in zip(ours, theirs):
        assert min(count, other) > 100
        error = drawn.std() * np.sqrt(1 / count + 1 / other)
        assert abs(drawn.mean() - mean) < z_limit(4) * error


def test_advi_finds_the_slopes(varied: po.Posterior, reference: dict[str, Any]) -> None:
    found, known = varied.predict(PROBE).mean, reference["slope"][0].mean(0)
    np.testing.assert_allclose(found, known, atol=0.1)
    assert varied.facts["estimators"] == {"layers.0.weight": "shared"}


def test_a_row_is_as_by_a_loop_over_rows() -> None:
    """Outputs, log likelihood and gradients of rows, in a net whose second layer is not grouped."""
    prior = {"layers.0.*": Groups(COUNT, (1,)), "*": po.priors.Normal(0, 1)}
    model = po.Model(po.nets.MLP(2, [3], 1, activation=jnp.tanh), prior, po.likelihoods.Normal(0.3))
    x = np.stack([INPUT, GROUP, INPUT**2], axis=1).astype(np.float32)
    target = Target.build(model, (3,), (), 18)
    theta = target.prior_draw(jax.random.key(0))
    values = target.constrain(theta)

    def weight(path: str, g: int) -> Any:
        begin = "prior.layers.0.*"
        shared, z = values[f"{begin}.shared.{path}"], values[f"{begin}.z.{path}"]
        return shared + values[f"{begin}.spread"] * z[g]

    expected = []
    for row in x:
        g = int(row[1])
        h = jnp.tanh(weight("layers.0.weight", g) @ row[[0, 2]] + weight("layers.0.bias", g))
        expected.append(values["layers.1.weight"] @ h + values["layers.1.bias"])
    outputs, _ = target.outputs(theta, jnp.asarray(x))
    np.testing.assert_allclose(outputs[:, 0], np.array(expected)[:, 0], rtol=2e-4, atol=1e-5)
    batch = Batch(jnp.asarray(x), jnp.asarray(Y, jnp.float32))
    one = Batch(batch.x[4:5], batch.y[4:5])
    np.testing.assert_allclose(
        target.log_likelihood(theta, one)[0], target.log_likelihood(theta, batch)[4], rtol=1e-4
    )
    chosen = plan(target, "flipout").by_path()
    assert chosen["layers.1.weight"] == "flipout"
    assert chosen["layers.0.weight"] == "shared"


def test_a_new_group_is_drawn_around_the_shared_weights(varied: po.Posterior) -> None:
    """Its slope is N(shared, spread²) in every draw, one for all of its rows."""
    drawn = varied.predict(np.array([[1.0, 7], [1.0, 7], [2.0, 7], [1.0, 8]]), draws=4_000)
    slopes = drawn.raw(of="mean")
    np.testing.assert_array_equal(slopes[:, 0], slopes[:, 1])
    np.testing.assert_allclose(2 * slopes[:, 0], slopes[:, 2], rtol=1e-5)
    names = ("prior.spread", "prior.shared.layers.0.weight")
    latents = varied.named(names, draws=4_000)
    spread, shared = (latents[name].reshape(-1) for name in names)
    variance = shared.var() + (spread**2).mean()
    assert abs(slopes[:, 0].var() / variance - 1) < 0.3
    between = np.cov(slopes[:, 0], slopes[:, 3])[0, 1]  # two new groups share only the shared
    assert abs(between - shared.var()) < 5 * variance / np.sqrt(4_000)
    z = slopes[:, 0] - shared  # the same draws: what is new is independent of θ
    assert abs(np.corrcoef(z / spread, shared)[0, 1]) < 5 / np.sqrt(4_000)


def test_what_groups_expect_before_data() -> None:
    """Var[slope] = 1 + E[spread²] = 2, in groups with and without weights of their own."""
    drawn = po.prior_predictive(MODEL, np.array([[1.0, 0], [1.0, 9]]), draws=8_000)
    expected = 2 + NOISE**2  # kurtosis of the slope at most 3 + 2 · 3 · 3 / 4
    assert (np.abs(drawn.var(0) / expected - 1) < z_limit(2) * np.sqrt(7 / 8_000)).all()


@pytest.mark.parametrize(
    ("prior", "columns", "match"),
    [
        (Groups(3, (2,)), 2, "reads column 2 of x, which has 2 columns: 0 to 1"),
        (Groups(3, ("g",)), 2, "column 'g' of x, whose columns have no names"),
        (Groups(3, (0,)), 1, "net cannot take rows of shape"),
    ],
)
def test_columns_that_are_not_there(prior: Any, columns: int, match: str) -> None:
    model = po.Model(po.nets.MLP(1, [], 1), prior, po.likelihoods.Normal(1.0))
    with pytest.raises(ValueError, match=match):
        Target.build(model, (columns,), (), 3)


def test_the_rest_of_the_house(varied: po.Posterior, tmp_path: Any) -> None:
    """SGLD, refusal of a mode, a file, a report, updates."""
    sgld = po.SGLD(draws=8_000, warmup=2_000, batch_size=9, step_size=1e-3)
    slopes = po.fit(MODEL, (X, Y), sgld, progress=False).predict(PROBE).mean
    np.testing.assert_allclose(slopes, varied.predict(PROBE).mean, atol=0.2)
    with pytest.raises(ValueError, match="mode of weights around shared ones"):
        po.fit(MODEL, (X, Y), po.MAP(steps=1), progress=False)
    again = po.load(varied.save(tmp_path / "groups"), model=MODEL)
    np.testing.assert_array_equal(again.predict(X).mean, varied.predict(X).mean)
    assert "prior.spread" in po.report(varied, tmp_path / "page").read_text()
    for remember in (None, X):
        method = po.ADVI(steps=1_000, starts=1)
        second = varied.update((X, Y), method, remember=remember, progress=False)
        np.testing.assert_allclose(second.predict(PROBE).mean, SLOPES, atol=0.4)
