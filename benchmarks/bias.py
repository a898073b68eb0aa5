"""Bias of stochastic-gradient samplers against step size, on a posterior that is known exactly.

python benchmarks/bias.py [--steps 400000] [--out benchmarks/results/bias.md]

A linear regression of 200 rows, three correlated columns and known noise; batches of 20. For each
method and step size: the relative error of the variances (mean over the three directions in which
the exact posterior is round) and of the mean (in exact sds, largest), each with its Monte Carlo
standard error over eight chains; and the order, log₂ of how much the error of the variances falls
when the step size halves.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import posterity as po
from oracles import Conjugate, conjugate

CHAINS = 8
ORACLE = conjugate(rows=200)
BATCH = 20


def methods(steps: int) -> dict[str, list[tuple[float, object]]]:
    """Method → (step size, settings), step sizes falling by half."""
    largest = float(np.linalg.eigvalsh(ORACLE.precision)[-1])
    kept = {"draws": steps // 10, "thin": 10, "chains": CHAINS, "warmup": steps // 10}
    long = [0.4 / largest * 2.0**-k for k in range(4)]
    noisy = [0.08 / largest * 2.0**-k for k in range(4)]
    paces = [0.6 / math.sqrt(largest) * 2.0**-k for k in range(4)]
    fisher = [4.0**3 * 2.0 / largest * 16.0**-k for k in range(3)]
    scales = np.diag(ORACLE.cov) * largest

    def row(make, sizes: list[float]) -> list[tuple[float, object]]:
        return [(size, make(size)) for size in sizes]

    return {
        "SGLD, all rows": row(lambda e: po.SGLD(step_size=e, **kept), long),
        "SGLD": row(lambda e: po.SGLD(step_size=e, batch_size=BATCH, **kept), noisy),
        "SGLD, fixed preconditioner": row(
            lambda e: po.SGLD(step_size=e, batch_size=BATCH, preconditioner=scales, **kept), noisy
        ),
        "SGLD, svrg": row(
            lambda e: po.SGLD(step_size=e, batch_size=BATCH, control_variates="svrg", **kept), noisy
        ),
        "SGHMC, all rows": row(lambda e: po.SGHMC(step_size=e, **kept), paces),
        "SGHMC": row(lambda e: po.SGHMC(step_size=e, batch_size=BATCH, **kept), paces),
        "SGHMC, noise estimate": row(
            lambda e: po.SGHMC(step_size=e, batch_size=BATCH, noise_estimate=True, **kept),
            paces[1:],
        ),
        "SGNHT": row(lambda e: po.SGNHT(step_size=e, batch_size=BATCH, **kept), paces),
        "SGFS": row(lambda e: po.SGFS(step_size=e, batch_size=BATCH, **kept), fisher),
        "SGFS, fisher": row(
            lambda e: po.SGFS(step_size=e, batch_size=BATCH, preconditioner="fisher", **kept),
            [4.0, 1.0, 0.25],
        ),
    }


def errors(posterior: po.Posterior, oracle: Conjugate) -> tuple[float, float, float, float]:
    """Relative error of the variances and its standard error; that of the mean and its own."""
    root = np.linalg.cholesky(oracle.precision)
    draws = (np.asarray(posterior.distribution.theta, np.float64) - oracle.mean) @ root
    var = (draws**2).mean(1).mean(1) - 1  # of each chain
    mean = draws.mean(1)
    worst = int(np.argmax(np.abs(mean.mean(0))))
    spread = np.sqrt(len(draws))
    return (
        float(var.mean()),
        float(var.std(ddof=1) / spread),
        float(abs(mean.mean(0)[worst])),
        float(mean[:, worst].std(ddof=1) / spread),
    )


def table(steps: int) -> str:
    """The markdown table."""
    lines = [
        "| method | ε | error of variances | order | error of mean (sds) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, rows in methods(steps).items():
        before: tuple[float, float] | None = None
        for size, method in rows:
            posterior = po.fit(ORACLE.model, ORACLE.data, method, seed=0, progress=False)
            var, its, mean, own = errors(posterior, ORACLE)
            order = ""
            if before and abs(var) > 4 * its and var * before[1] > 0:
                order = f"{math.log2(before[1] / var) / math.log2(before[0] / size):.1f}"
            lines.append(
                f"| {name} | {size:.2g} | {var:+.2%} ± {its:.2%} | {order} | "
                f"{mean:.3f} ± {own:.3f} |"
            )
            print(lines[-1], flush=True)
            before = size, var
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/bias.md"))
    settings = parser.parse_args()
    text = table(settings.steps)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
