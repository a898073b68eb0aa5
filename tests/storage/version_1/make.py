"""Write the files of format 1 beside this script, as the library of commit 9d80153 wrote them.

Run in a checkout of that commit, once for each precision:

    python make.py; JAX_ENABLE_X64=1 python make.py

Beside each file `expected-*.npz` holds the arrays of the distribution, five draws, a prediction
and a log prior.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import posterity as po

HERE = Path(__file__).parent
BITS = "64" if jax.config.jax_enable_x64 else "32"
X = np.linspace(-1, 1, 8)[:, None]
Y = np.sin(2 * X[:, 0])
NET = po.nets.MLP(1, [2], 1, activation=jnp.tanh)
MODEL = po.Model(NET, po.priors.Normal(0.1, 1.3), po.likelihoods.Normal(dist.HalfNormal(0.7)))
OWN = po.Model(
    (lambda key: {"a": jnp.ones(2)}, lambda params, x: x * params["a"].sum()),
    po.priors.Normal(),
    po.likelihoods.Normal(0.5),
)
LINEAR = po.Model(po.nets.MLP(1, [], 1), po.priors.Normal(), po.likelihoods.Normal(0.3))


def fitted(method: object, model: object = MODEL, data: object = (X, Y)) -> po.Posterior:
    return po.fit(model, data, method, progress=False, seed=1)


def program(x: jax.Array, y: jax.Array) -> None:
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.deterministic("double", 2 * slope)
    numpyro.sample("y", dist.Normal(slope * x[:, 0], scale), obs=y)


def mixture() -> po.Posterior:
    """A handmade mixture in the place of what a fit found."""
    from posterity.distributions.mixture import Mixture
    from posterity.distributions.normal import LowRank

    posterior = fitted(po.ADVI(steps=3))
    rng = np.random.default_rng(0)
    size = posterior.target.size

    def array(*shape: int) -> jax.Array:
        return jnp.asarray(rng.uniform(0.1, 1, shape), posterior.distribution.mean.dtype)

    parts = [LowRank(array(size), array(size), array(size, 2)) for _ in range(3)]
    posterior.distribution = Mixture.of([0.2, 0.5, 0.3], parts)
    return posterior


def posteriors() -> dict[str, po.Posterior]:
    learned = po.Model(
        NET, po.priors.Normal(0, po.learned(1.0)), po.likelihoods.Normal(po.learned(0.5))
    )
    by_path = po.Model(
        po.nets.MLP(1, [2], 2, activation=jax.nn.gelu, use_bias=False),
        {
            "layers.0.*": dist.TransformedDistribution(
                dist.Gamma(0.5, jnp.array([1.0, 2.0])[:, None]),
                dist.transforms.PowerTransform(2.0),
            ),
            "*": dist.TruncatedNormal(0.1, 1.0, low=-1.0),
        },
        po.likelihoods.StudentT(3.5, "net"),
    )
    counts = po.Model(
        NET, po.priors.ScaleMixture(0.3, po.learned(1.0), 0.1), po.likelihoods.Poisson()
    )
    images = po.Model(
        po.nets.CNN((4, 4, 1), [2], [], 3), po.priors.Normal(), po.likelihoods.Categorical(3)
    )
    pictures = np.random.default_rng(0).normal(size=(6, 4, 4, 1))
    sequences = po.Model(po.nets.Recurrent(1, 2, 1), po.priors.Normal(), po.likelihoods.Bernoulli())
    first = {
        "mean-field": fitted(po.ADVI(steps=4)),
        "full-rank": fitted(po.ADVI(family="full-rank", steps=4)),
        "low-rank": fitted(po.ADVI(family="low-rank", steps=4)),
        "flow": fitted(po.ADVI(family="flow", steps=4), LINEAR),
        "mixture": mixture(),
        "map": fitted(po.MAP(steps=4), by_path),
        "nuts": fitted(po.NUTS(chains=2, warmup=4, draws=5, max_depth=2)),
        "learned": fitted(po.ADVI(steps=4, estimator="flipout"), learned),
        "learned-slab": fitted(po.ADVI(steps=4), counts, (X, np.arange(8))),
        "tempered-advi": fitted(po.ADVI(steps=4, temperature=0.5)),
        "tempered-sgld": fitted(po.SGLD(draws=4, step_size=1e-3, temperature=0.5)),
        "cnn": fitted(po.MAP(steps=3), images, (pictures, np.arange(6) % 3)),
        "recurrent": fitted(po.MAP(steps=3), sequences, (X[:, :, None], Y > 0)),
        "program": fitted(
            po.NUTS(warmup=4, draws=5), po.Model.from_numpyro(program), {"x": X, "y": Y}
        ),
        "own-net": fitted(po.MAP(steps=3), OWN),
    }
    return {
        **first,
        "joint": first["full-rank"].update((X, Y), po.ADVI(steps=3), progress=False),
        "joint-mixture": first["mixture"].update((X, Y), po.MAP(steps=3), progress=False),
        "remembered": first["mean-field"].update(
            (X, Y), po.ADVI(steps=3), remember=X[::3], progress=False
        ),
        "remembered-draws": first["tempered-sgld"].update(
            (X, Y), po.MAP(steps=3), remember=X[:2], progress=False
        ),
    }


def rows(shape: tuple[int, ...]) -> np.ndarray:
    return np.linspace(-1, 1, 3 * int(np.prod(shape))).reshape(3, *shape)


if __name__ == "__main__":
    for name, posterior in posteriors().items():
        path = posterior.save(HERE / f"{name}-{BITS}")
        theta = np.asarray(posterior.distribution.sample(jax.random.key(0), 5))
        found = {"theta": theta, "log_prior": posterior.target.log_prior(theta[0, 0])}
        leaves = jax.tree.leaves(posterior.distribution)
        found |= {f"leaf {number}": leaf for number, leaf in enumerate(leaves)}
        if name == "program":
            found["double"] = posterior.weights("double")
        else:
            found["mean"] = posterior.predict(rows(posterior.target.x_shape), draws=5).mean
        np.savez_compressed(HERE / f"expected-{name}-{BITS}.npz", **found)
        print(path.stat().st_size, path)
