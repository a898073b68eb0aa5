"""What an update keeps and what it learns: the sinusoid with a gap.

A net sees 1,000 points on both sides of a gap, and then 100 points in the gap alone. An update that
remembers predictions narrows the gap and leaves the sides; docs/updating.md shows the table that
this prints, beside updates that keep what normals hold of the weights:

    python benchmarks/updating.py            # writes benchmarks/results/updating.json, too
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax

import posterity as po

RESULTS = Path(__file__).parent / "results" / "updating.json"
STEPS = 30_000
SEEDS = (42, 43)
KEPT = (None, "low-rank", "none")
REMEMBERED = (50, 20, 5)  # inputs
# The step size that ADVI chooses finds a higher ELBO on this net, and one of 0.02 a wider q.
GENTLE = optax.adam(optax.cosine_decay_schedule(0.02, STEPS))
METHODS: dict[str, Any] = {
    "full-rank": po.ADVI(family="full-rank", draws=8, steps=STEPS),
    "mean-field": po.ADVI(draws=8, steps=STEPS),
    "full-rank, gentle": po.ADVI(family="full-rank", draws=8, steps=STEPS, optimizer=GENTLE),
    "mean-field, gentle": po.ADVI(draws=8, steps=STEPS, optimizer=GENTLE),
    "NUTS": po.NUTS(chains=4, warmup=1_000, draws=1_000),
}


def wave(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """x + 0.3 sin 2π(x + ε) + 0.3 sin 4π(x + ε) + ε, with ε ~ N(0, 0.02²)."""
    eps = 0.02 * rng.normal(size=len(x))
    return x + 0.3 * np.sin(2 * np.pi * (x + eps)) + 0.3 * np.sin(4 * np.pi * (x + eps)) + eps


def model() -> po.Model:
    """MLP 1-5-1 with wide priors and an unknown noise level."""
    square = dist.transforms.PowerTransform(2.0)
    noise = dist.TransformedDistribution(dist.Gamma(0.5, 1.0), square)
    net = po.nets.MLP(1, [5], 1, activation=jnp.tanh)
    return po.Model(net, po.priors.Normal(0, 10), po.likelihoods.Normal(scale=noise))


def figures(posterior: po.Posterior, sides: Any, gap: Any) -> dict[str, float]:
    """Epistemic sd and RMSE in the gap, and RMSE beside it."""
    inside, outside = posterior.predict(gap[0]), posterior.predict(sides[0])

    def rmse(mean: np.ndarray, y: np.ndarray) -> float:
        return float(np.sqrt(np.mean((np.asarray(mean) - y) ** 2)))

    return {
        "gap sd": float(np.mean(np.sqrt(np.asarray(inside.epistemic)))),
        "gap rmse": rmse(inside.mean, gap[1]),
        "sides rmse": rmse(outside.mean, sides[1]),
    }


def main() -> None:
    """Print and write the table."""
    rng = np.random.default_rng(42)
    x = np.concatenate([np.linspace(-0.2, 0.2, 500), np.linspace(0.6, 1.0, 500)])
    y = wave(x, rng)
    x_gap = np.linspace(0.2, 0.6, 100)
    y_gap = wave(x_gap, rng)
    sides, gap = (x[:, None], y), (x_gap[:, None], y_gap)
    both = (np.concatenate([sides[0], gap[0]]), np.concatenate([y, y_gap]))
    rows = []

    def row(method: str, seed: int, what: str, posterior: po.Posterior) -> None:
        found = {"method": method, "seed": seed, "posterior": what}
        found |= figures(posterior, sides, gap) | {"result": posterior.result.code.value}
        cells = (f"{v:.4f}" if isinstance(v, float) else str(v) for v in found.values())
        print(" | ".join(cells), flush=True)
        rows.append(found)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")

    for name, method in METHODS.items():
        for seed in SEEDS[: 1 if name == "NUTS" else None]:
            first = po.fit(model(), sides, method, seed=seed, progress=False)
            row(name, seed, "sides alone", first)
            whole = po.fit(model(), both, method, seed=seed, progress=False)
            row(name, seed, "all at once", whole)
            for kept in KEPT if "mean-field" not in name else (None,):
                q = first.as_prior(kept).density
                prior = po.Posterior(first.target, q, settings=first.settings)
                row(name, seed, f"prior, {kept or 'all'}", prior)
                second = first.update(gap, correlations=kept, seed=seed, progress=False)
                row(name, seed, f"updated, {kept or 'all'}", second)
            for count in REMEMBERED:
                old = sides[0][:: len(x) // count]
                second = first.update(gap, remember=old, seed=seed, progress=False)
                row(name, seed, f"updated, {count} inputs remembered", second)


if __name__ == "__main__":
    main()
