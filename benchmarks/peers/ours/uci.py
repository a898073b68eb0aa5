"""One UCI table by mean-field ADVI as it comes: every standard split, scored in the units of y."""
# ruff: noqa: E402  (imports are timed)

# Parts of the library are imported when named; a signature must not do that between two clocks.
from __future__ import annotations

import argparse
import math
from typing import Any

from childkit import Clock, fitted, report, timed

_imports = Clock()
import jax
import numpy as np
import numpyro.distributions as dist

import posterity as po
from posterity.data.datasets import SPLITS
from posterity.data.scaling import Standardizer
from posterity.diagnostics.result import Code

IMPORT_SECONDS = _imports.seconds()

HIDDEN = 50
DRAWS = 1_000  # of the predictive distribution


def build(features: int) -> po.Model:
    """The network of the published tables, for inputs and targets in standard units."""
    net = po.nets.MLP(features, [HIDDEN], 1, activation=jax.nn.relu)
    prior = {"layers.1.weight": dist.Normal(0, 1 / math.sqrt(HIDDEN)), "*": dist.Normal(0, 1)}
    return po.Model(net, prior, po.likelihoods.Normal(scale=dist.LogNormal(-1, 1)))


def run(model: po.Model, method: po.ADVI, table: str, number: int) -> dict[str, Any]:
    """Fit one split, with its number as seed, and score its test rows."""
    split = po.data.uci(table, number)
    of_x, of_y = Standardizer.fit(split.x_train), Standardizer.fit(split.y_train)
    train = (of_x.transform(split.x_train), of_y.transform(split.y_train))
    seconds, posterior = timed(lambda: po.fit(model, train, method, seed=number, progress=False))
    if number == 0:
        fitted()
    standard = posterior.predict(of_x.transform(split.x_test), draws=DRAWS)
    predictive = standard.rescaled(float(of_y.loc), float(of_y.scale))
    return {
        "split": number,
        "train_rows": len(split.y_train),
        "test_rows": len(split.y_test),
        "rmse": po.metrics.rmse(split.y_test, predictive),
        "log_likelihood": -po.metrics.nll(split.y_test, predictive),
        "coverage_90": po.metrics.coverage(split.y_test, predictive, 0.9),
        "elbo": float(np.mean(posterior.history.elbo[-1000:])),
        "steps": posterior.facts["steps_made"],
        "converged": posterior.result.code is Code.CONVERGED,
        "seconds": seconds,
        "warnings": list(posterior.result.warnings),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="not used: the table comes from the library")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--table", required=True)
    args = parser.parse_args()

    # One model and one method for all splits: what is compiled for the first serves the others.
    model = build(po.data.uci(args.table).x_train.shape[1])
    method = po.ADVI(steps=args.steps)
    splits = [run(model, method, args.table, number) for number in range(SPLITS)]

    def column(name: str) -> np.ndarray:
        return np.array([split[name] for split in splits], float)

    def standard_error(name: str) -> float:
        return float(column(name).std(ddof=1) / math.sqrt(SPLITS))

    report(
        table=args.table,
        import_seconds=IMPORT_SECONDS,
        rmse=float(column("rmse").mean()),
        rmse_error=standard_error("rmse"),
        log_likelihood=float(column("log_likelihood").mean()),
        log_likelihood_error=standard_error("log_likelihood"),
        coverage_90=float(column("coverage_90").mean()),
        steps=float(column("steps").mean()),
        converged=int(column("converged").sum()),
        first_fit_seconds=splits[0]["seconds"],
        later_fit_seconds=float(column("seconds")[1:].mean()),
        splits=splits,
    )


main()
