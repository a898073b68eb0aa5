"""Where ADVI starts: at initial weights or at modes. The ELBO that it ends at, by job and seed.

python benchmarks/starts.py        a minute
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import posterity as po
import updating

SEEDS = (0, 1, 2)
HIDDEN = 50


def curve() -> tuple[po.Model, Any]:
    """The sinusoid of `updating.py`, without a gap: few weights under wide priors."""
    x = np.linspace(-0.2, 1.0, 1_000)
    return updating.model(), (x[:, None], updating.wave(x, np.random.default_rng(42)))


def moons() -> tuple[po.Model, Any]:
    """Two moons, as in `posterity demo moons`."""
    x, y, _, _ = po.data.moons()
    net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
    return po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli()), (x, y)


def table(name: str) -> tuple[po.Model, Any]:
    """A UCI table's first split, as in `examples/uci_regression.py`: more weights than it needs."""
    x, y, _, _ = po.data.uci(name, split=0)
    prior = {"layers.1.weight": dist.Normal(0, HIDDEN**-0.5), "*": dist.Normal(0, 1)}
    net = po.nets.MLP(x.shape[1], [HIDDEN], 1, activation=jax.nn.relu)
    model = po.Model(net, prior, po.likelihoods.Normal(scale=dist.LogNormal(-1, 1)))
    return model, tuple(po.data.Standardizer.fit(part).transform(part) for part in (x, y))


def main() -> None:
    """Print the table."""
    jobs = {"curve": curve(), "moons": moons()}
    jobs |= {name: table(name) for name in ("concrete", "energy", "yacht")}
    print("| job | starts | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " |")
    print("| --- | --- |" + " ---: |" * len(SEEDS))
    for job, (model, data) in jobs.items():
        starts: dict[str, Any] = {"initial weights": "net", "modes": po.MAP()}
        for start, init in starts.items():
            found = [
                po.fit(model, data, po.ADVI(), seed=seed, init=init, progress=False)
                for seed in SEEDS
            ]
            elbos = " | ".join(f"{po.elbo(posterior, data).value:.0f}" for posterior in found)
            print(f"| {job} | {start} | {elbos} |", flush=True)


if __name__ == "__main__":
    main()
