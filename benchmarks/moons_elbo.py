"""How high an ELBO each variational method ends at on two moons, and in how long: a table.

python benchmarks/moons_elbo.py        about a minute
"""

from __future__ import annotations

import time
from typing import Any

import jax.numpy as jnp

import posterity as po

SEEDS = (0, 1, 2)
DRAWS = 20_000  # of the estimate of the ELBO
METHODS: dict[str, Any] = {
    "ADVI, mean-field": po.ADVI(),
    "ADVI, low-rank": po.ADVI(family="low-rank"),
    "ADVI, full-rank": po.ADVI(family="full-rank"),
    "ADVI, full-rank, 10 draws": po.ADVI(family="full-rank", draws=10),
    "ADVI, flow": po.ADVI(family="flow"),
    "ADVI, flow, 8,000 steps of 4 draws": po.ADVI(steps=8_000, draws=4, family="flow"),
    "IVON": po.IVON(),
    "DADVI": po.DADVI(),
    "DADVI, draws=30": po.DADVI(draws=30),
}


def main() -> None:
    # The model and data of `posterity demo moons`.
    x, y, _, _ = po.data.moons()
    net = po.nets.MLP(2, [5, 5], 1, activation=jnp.tanh, use_bias=False)
    model = po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Bernoulli())
    print("| method | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " | seconds, compiled |")
    print("| --- |" + " ---: |" * (len(SEEDS) + 1))
    for name, method in METHODS.items():
        cells, seconds = [], []
        for seed in SEEDS:
            began = time.perf_counter()
            posterior = po.fit(model, (x, y), method, seed=seed, progress=False)
            seconds.append(time.perf_counter() - began)
            bound = po.elbo(posterior, (x, y), draws=DRAWS)
            cells.append(f"{bound.value:.1f} ± {bound.error:.1f}")
        # The first fit of a method compiles, the others do not.
        print(f"| {name} | {' | '.join(cells)} | {min(seconds):.1f} |", flush=True)


if __name__ == "__main__":
    main()
