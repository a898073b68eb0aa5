"""UCI regression by a microcanonical ensemble: 12 chains, each from a MAP fit of its own.

python benchmarks/uci_mcmc.py [--data yacht,energy] [--splits 20]

Mean test RMSE and log-likelihood over the standard splits, one hidden layer of 50, beside published
figures: MC dropout (Gal & Ghahramani 2016, after tuning) and deep ensembles (Lakshminarayanan et
al. 2017). Needs `pip install -e .` only.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import posterity as po

PUBLISHED = {
    "yacht": {"MC dropout": (0.67, -1.25), "deep ensemble": (1.58, -1.18)},
    "energy": {"MC dropout": (0.54, -1.21), "deep ensemble": (2.09, -1.38)},
}
SAMPLER = po.MCLMC(chains=12, warmup=5_000, draws=500, thin=20)


def one_split(name: str, split: int) -> tuple[float, float, float]:
    """Test RMSE and mean log-likelihood on the scale of y, and seconds."""
    x_train, y_train, x_test, y_test = po.data.uci(name, split)
    centre, spread = x_train.mean(0), x_train.std(0)
    spread = np.where(spread > 0, spread, 1)
    mean, sd = y_train.mean(), y_train.std()
    net = po.nets.MLP(x_train.shape[1], [50], 1, activation=jnp.tanh)
    noise = dist.LogNormal(-2.0, 1.0)  # in units of y's sd: from a few hundredths to all of it
    model = po.Model(net, po.priors.Normal(0, 1), po.likelihoods.Normal(scale=noise))
    data = (x_train - centre) / spread, (y_train - mean) / sd
    began = time.perf_counter()
    posterior = po.fit(model, data, SAMPLER, init=po.MAP(steps=5_000), seed=split, progress=False)
    seconds = time.perf_counter() - began
    pred = posterior.predict((x_test - centre) / spread)
    rmse = float(np.sqrt(np.mean((pred.mean * sd + mean - y_test) ** 2)))
    log_likelihood = -po.metrics.nll((y_test - mean) / sd, pred) - float(np.log(sd))
    return rmse, log_likelihood, seconds


def main() -> None:
    """Print and keep the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="yacht,energy")
    parser.add_argument("--splits", type=int, default=20)
    given = parser.parse_args()
    folder = Path(__file__).parent / "results"
    print("| data | method | RMSE | log-likelihood | seconds per split |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name in given.data.split(","):
        found = np.array([one_split(name, split) for split in range(given.splits)])
        error = found.std(0, ddof=1) / np.sqrt(len(found))
        means = found.mean(0)
        print(
            f"| {name} | ours, {len(found)} splits | {means[0]:.2f} ± {error[0]:.2f} "
            f"| {means[1]:.2f} ± {error[1]:.2f} | {np.median(found[:, 2]):.1f} |",
            flush=True,
        )
        for method, (rmse, log_likelihood) in PUBLISHED.get(name, {}).items():
            print(f"| {name} | {method} | {rmse:.2f} | {log_likelihood:.2f} | |", flush=True)
        text = json.dumps({"rmse_ll_seconds": found.tolist()}, indent=1)
        (folder / f"uci-mcmc-{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
